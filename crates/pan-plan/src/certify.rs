//! The independent checker: loses every node (or every domain, or every set of them) on paper and packs
//! the protected servers anew.
//!
//! It shares no code with the reservation it checks: it works on the snapshot as it is. For each loss
//! it first packs best fit, largest first; if that fails, it searches all arrangements, up to a bound.
//! Within the bound the answer is exact; beyond it "no place was found" counts as a broken promise.
//! Protected servers without a running node count as lost in every case. Survivors never move.

mod check;
mod ground;
mod pack;
mod shelf;

pub use check::{Certificate, Counterexample, certify};
