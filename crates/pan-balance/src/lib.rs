//! How traffic is spread over servers: which servers may get any, how much each should get, which gets the next
//! request or which slot of a table, and what keeps a decision from doing harm. docs/balancing.md says what each
//! name does.
//!
//! Pure: equal arguments give equal tables on every director and in every release, because a director
//! that takes over finds the server of a running connection by computing the same table again. Time and random
//! numbers are arguments, and nothing is calculated in floating point.
//!
//! Layer 4 holds [`Table`]s: [`spread`] makes one of the servers' states, [`Table::update`] follows changing
//! weights, [`capacity::weights`] makes weights out of load. Layer 7 holds a [`Balancer`] per service and worker.

pub mod balancer;
pub mod capacity;
pub mod churn;
pub mod draws;
pub mod ewma;
mod fixed;
mod fleet;
pub mod generations;
pub mod guard;
mod hash;
pub mod ipvs;
mod lane;
pub mod pick;
pub mod pipeline;
pub mod preset;
pub mod slots;
pub mod tandem;
pub mod view;

pub use balancer::{Balancer, Choice, Explanation, Guards, Outcome, Request, Ticket};
pub use draws::Draws;
pub use fleet::ServerSpec;
pub use generations::{Generation, Generations};
pub use hash::stable_hash;
pub use lane::LaneSpec;
pub use pipeline::{Backend, Candidate, Excluded, Refusal, Spread, spread};
pub use preset::{Preset, Way};
pub use slots::{Member, Table, table_size};
