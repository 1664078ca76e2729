//! The retry budget: retries help as long as they are few; when everything fails they are what keeps it failing.

use std::time::Duration;

/// The time over which requests and retries are compared, in slices of a second.
const SLICES: usize = 10;

/// At most a fifth of the requests and ten a second, both over ten seconds, as Finagle's `RetryBudget` and
/// Linkerd's service profiles have it. O(1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// Retries per request, in hundredths.
    percent: u32,
    /// Retries a second that are always allowed.
    per_second: u32,
    /// Requests and retries by second.
    slices: [(u64, u64); SLICES],
    /// The second of the newest slice.
    second: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(20, 10)
    }
}

impl Budget {
    /// A budget of so many hundredths of the requests, and so many a second.
    #[must_use]
    pub fn new(percent: u32, per_second: u32) -> Self {
        Self { percent, per_second, slices: [(0, 0); SLICES], second: 0 }
    }

    /// A request came; retries do not count as requests.
    pub fn request(&mut self, now: Duration) {
        self.advance(now);
        self.slice().0 += 1;
    }

    /// Whether a request may be tried again; if so, that is spent.
    pub fn retry(&mut self, now: Duration) -> bool {
        self.advance(now);
        let requests: u64 = self.slices.iter().map(|slice| slice.0).sum();
        let retries: u64 = self.slices.iter().map(|slice| slice.1).sum();
        let allowed = u128::from(requests) * u128::from(self.percent) + 100 * u128::from(self.per_second) * SLICES as u128;
        let within = (u128::from(retries) + 1) * 100 <= allowed;
        self.slice().1 += u64::from(within);
        within
    }

    fn slice(&mut self) -> &mut (u64, u64) {
        let at = usize::try_from(self.second % SLICES as u64).expect("below ten");
        &mut self.slices[at]
    }

    fn advance(&mut self, now: Duration) {
        for _ in 0..now.as_secs().saturating_sub(self.second).min(SLICES as u64) {
            self.second += 1;
            *self.slice() = (0, 0);
        }
        self.second = self.second.max(now.as_secs());
    }
}
