//! One server on this node: what is here of it ([`life`]), its record on disk ([`record`]), the task that
//! looks after it ([`task`]), and programs run inside it ([`exec`]).

pub(crate) mod deaths;
pub(crate) mod exec;
pub(crate) mod exit;
pub(crate) mod life;
mod needs;
pub(crate) mod record;
pub(crate) mod report;
mod running;
pub(crate) mod task;
mod volumes;
