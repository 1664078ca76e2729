//! The real decisions of a PAN under a simulated clock, network, store and machines.
//!
//! A *seed* makes a run: how many hosts there are, how their clocks drift, which faults strike when. Everything that is
//! decided in it is decided by the code that is shipped: `pan-member` (who is alive, who may send, who leads),
//! `pan_controller::core` (what should be), `pan_node::decide` and `pan_node::admission` (what a node does),
//! `pan_api::hostlink::admit` (what a host believes), `pan_director` (what suspicion does to tables). Simulated is
//! what these speak to: sockets, disks, the kernel's gate and tables, the store, the user.
//!
//! A run is calm first: small faults that must move nothing. Then a storm of faults that may take anything down, but
//! must break no promise; then everything is repaired and must come to rest within a bound; then one node dies alone.
//!
//! | invariant | where it is checked |
//! |---|---|
//! | I3 one binding reaches a network | after every step: every pair of processes of one server, every host's map |
//! | I4 decide, commit, act | whenever a controller publishes: against what the store has applied |
//! | I5 promises that are reported hold | by the planner's independent checker, while no fault is active |
//! | I7 servers run on without controllers | in the calm part: no process ends, no gate shuts |
//! | I8 it converges | after each repair, within [`phase::BOUND`] |
//! | I9 acknowledged writes stay, and are in the audit log; the deposed commit nothing | at every transaction and every answer |
//! | lease | a node of which a leader says that nothing can be on the network has its gate shut |
//! | map | no host's map goes back to an earlier generation |
//! | quiet | in the calm part: nothing is fenced, moved, or led by another, and nobody blames others for his own stall |
//! | panic | no director avoids more than half of a service's servers |
//!
//! Not here: I1 and I2 (volumes have a model of their own), I6 (what a partition may see is a matter of bytes, which
//! are not simulated).
//!
//! One seed says everything: no thread, clock, hash order or random number from outside enters a run. What is left
//! out of the cores or of the shell one rule at a time ([`Mutant`]) must be caught, and a test sees to it.

mod beat;
mod check;
mod controller;
mod dice;
mod director;
mod ear;
mod fault;
mod host;
mod letter;
mod mutant;
mod network;
mod node;
mod options;
mod owner;
pub mod phase;
mod publish;
mod report;
mod sim;
mod store;
mod task;
mod time;
mod user;

pub use mutant::{Mutant, UnknownMutant};
pub use report::{Coverage, Outcome, Tally, Violation};
pub use sim::Sim;
