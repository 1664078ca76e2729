//! Every way of balancing and every guard: against a slow model that is plain to be right, and against what was
//! published about it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod balancer;
mod churn;
mod guards;
mod hashed;
mod ipvs;
mod latency;
mod locality;
mod pickers;
mod prequal;
mod scene;
mod simulation;
mod tandem;
mod two;
