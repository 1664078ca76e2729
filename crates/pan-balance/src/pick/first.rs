//! First fit: fill one server before the next gets anything, so that those not needed can be switched off.

use crate::view::{Pick, View, Why};

/// HAProxy's `balance first` (configuration manual, 4.2): the server with the lowest number that has room; each
/// needs a cap, or the first gets all. O(servers) at worst.
#[must_use]
pub fn fit(view: &View<'_>) -> Option<Pick> {
    view.candidates().next().map(|at| Pick { at, why: Why::First })
}
