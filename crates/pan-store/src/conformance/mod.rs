//! The suite every store must pass. It panics at the first broken promise.
//!
//! `basics` are the rules one by one, `watching` those of watches, `model` a long random history checked
//! against an obvious map, `contention` many writers at once, `leadership` a record that one of many holds,
//! `suite` runs them all.

mod basics;
mod contention;
mod leadership;
mod model;
mod suite;
mod watching;

pub use suite::run;
