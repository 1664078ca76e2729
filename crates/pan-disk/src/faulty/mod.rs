//! A disk in memory that does to its files what disks do: it forgets and tears what was not synced, lies about syncs, fills up,
//! fails, and flips bits. Everything follows from a seed.

mod dice;
mod disk;
mod file;

pub use dice::Dice;
pub use disk::{Faults, FaultyDisk};
