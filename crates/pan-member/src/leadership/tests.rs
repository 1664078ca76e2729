//! Leaders come and go: one controller step by step, then three with a store.

mod parliament;
mod steps;
