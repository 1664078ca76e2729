//! Chaos on the real binary: a PAN under load, random faults from a seed, and from outside the same invariants that the
//! simulator checks from inside.
//!
//! A *round* makes a laboratory of its own, draws a [`Schedule`] from its seed, and goes through it. First *incidents*, one after
//! the other: each is within what protection promises, so everybody must be served all along but for a gap, and all must be
//! whole again before the next. Then a *storm* of faults that overlap and may take down anything, which must break no promise
//! of safety. Then everything is repaired, and must come to rest within a bound.
//!
//! | invariant | how it is seen from outside |
//! |---|---|
//! | I3 one binding reaches a network | clients outside, and on nodes, ask servers all the time, and nobody answers for another: [`check::instances`] |
//! | I5 promises hold | nobody waits long in the incidents: [`check::service`]; the PAN's own proof at the end |
//! | I8 it converges | after each incident and after the storm, see [`whole`] |
//! | I9 no acknowledged write is lost | a writer that remembers what it was told: [`check::writes`] |
//!
//! Schedules and checks are pure; what acts and what observes decides nothing. A seed replays its schedule byte for byte; what the PAN
//! makes of it depends on the machine.

mod act;
mod ask;
mod check;
mod dice;
mod error;
mod eyes;
mod fault;
mod observation;
mod report;
mod round;
mod schedule;
mod storm;
mod watch;
mod whole;
mod write;

pub use check::instances;
pub use error::ChaosError;
pub use fault::{Fault, FaultKind};
pub use observation::{Answer, Asked, Observation};
pub use report::{Figures, Report};
pub use round::{RoundOptions, round};
pub use schedule::Schedule;
pub use watch::{Target, Watcher};
