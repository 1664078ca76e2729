//! Checks: pure functions over what was observed. Each gives sentences that say what is wrong, none if nothing is.

mod instances;
mod service;
mod writes;

pub use instances::instances;
pub(super) use service::{Promise, longest_gap, service};
pub(super) use writes::writes;

/// More sentences of a kind say nothing new.
const SAID_MAX: usize = 10;

/// The first of many, and how many more there are.
fn shorten(mut said: Vec<String>) -> Vec<String> {
    if said.len() > SAID_MAX {
        let more = said.len() - SAID_MAX;
        said.truncate(SAID_MAX);
        said.push(format!("and {more} more of this kind"));
    }
    said
}
