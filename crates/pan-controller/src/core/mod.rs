//! The controller's decisions: a world of records and observations, changed by events, settled after each.
//!
//! Pure: no clock, no store, no sockets, no tasks. `run` feeds it, commits what it wrote, and only then lets
//! hosts see the outcome.

pub mod age;
pub mod apply;
pub mod audit;
mod death;
pub mod digest;
pub mod domain;
pub mod ending;
pub mod fail;
pub mod frames;
pub mod fullness;
pub mod hosts;
pub mod imports;
pub mod keys;
pub mod leave;
pub mod members;
pub mod operate;
pub mod orders;
pub mod persist;
pub mod place;
pub mod policy;
pub mod published;
pub mod quarantine;
pub mod rates;
mod reach;
pub mod record;
pub mod request;
pub mod resize;
mod restarts;
mod roll;
pub mod roster;
pub mod seen;
pub mod services;
pub mod settle;
pub mod standing;
pub mod strangers;
pub mod timeline;
pub mod tokens;
pub mod transactions;
pub mod usage;
pub mod validate;
pub mod volumes;
mod warm;
mod web;
pub mod world;
