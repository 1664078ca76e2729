//! Whole sets of cores against each other, in worlds that are made from a seed.

mod detector;
pub(crate) mod dice;
mod lease;
mod lease_world;
