//! Panic: when too few servers look well, the looking is what is wrong, or the rest could not carry the load.

/// The share of servers that must look well for the others to be left out, in hundredths. Envoy's
/// `healthy_panic_threshold` is 50 too, and so is that of layer 4 ([`crate::pipeline::guard`]).
pub const THRESHOLD: u32 = 50;

/// Whether opinions about servers (suspicion, ejection) are to be ignored: fewer than `threshold` hundredths of
/// those that could work look well. What is known (down, draining) is never ignored.
#[must_use]
pub fn panics(well: usize, all: usize, threshold: u32) -> bool {
    (well as u128) * 100 < (all as u128) * u128::from(threshold)
}
