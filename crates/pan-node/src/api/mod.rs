//! The agent's own HTTPS, for controllers only: logs of servers, and programs run inside them.

mod exec;
mod logs;
mod routes;
mod serve;

pub(crate) use routes::Inside;
pub(crate) use serve::serve;
