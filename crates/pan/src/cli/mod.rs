//! The command line: a file per noun or verb; `arguments` says what there is, `dispatch` runs it.

mod apply;
mod arguments;
mod audit;
mod bench;
mod contexts;
mod delete;
mod describe;
mod dispatch;
mod drain;
mod edit;
mod export;
mod failure;
mod get;
mod help;
mod host;
mod inside;
mod insight;
mod join;
mod kind;
mod lab;
mod login;
mod node;
mod output;
mod ready;
mod refused;
mod rows;
mod server;
mod session;
mod status;
mod token;
mod trace;
mod usage;
mod volume;
mod wait;

pub use dispatch::main;
pub use failure::Failure;
