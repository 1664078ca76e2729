//! All of it, in order.

use super::{basics, contention, leadership, model, watching};
use crate::Store;

/// Runs the whole suite; `make` returns a new, empty store each time, to which nobody else writes.
///
/// Wants a runtime with at least two worker threads.
pub async fn run<S: Store>(make: impl Fn() -> S) {
    basics::run(&make).await;
    watching::run(&make).await;
    model::run(&make).await;
    contention::run(&make).await;
    leadership::run(&make).await;
}
