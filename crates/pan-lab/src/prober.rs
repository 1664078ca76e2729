//! An open-loop prober: opens a new connection at a fixed rate, whatever became of earlier ones, and
//! notes what became of each.
//!
//! A client that waits for an answer before it asks again measures one failure where a hundred users
//! would have met one each (coordinated omission, as G. Tene named it); this one does not wait. It must
//! not know what is being tested: it sees an address, and nothing else.

mod exchange;
mod probing;
mod sample;
mod summary;

pub use probing::{ProbeError, ProbePlan, probe};
#[cfg(test)]
pub(crate) use sample::sample as sample_of;
pub use sample::{Outcome, SLOW, Sample, gap};
pub use summary::Summary;
