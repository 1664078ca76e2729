//! All of it, in order.

use super::{basics, contention, model, watching};
use crate::Store;

/// Runs the whole suite; `make` returns a new, empty store each time.
///
/// Wants a runtime with at least two worker threads.
pub async fn run<S: Store>(make: impl Fn() -> S) {
    basics::run(&make).await;
    watching::run(&make).await;
    model::run(&make).await;
    contention::run(&make).await;
}
