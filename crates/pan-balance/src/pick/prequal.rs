//! Prequal: ask some servers how they are, keep the answers for a moment, send requests to the fastest of
//! those that are not full of them.

use crate::draws::Draws;
use crate::ewma::micros;
use crate::pick::random;
use crate::view::{Pick, View, Why};
use std::time::Duration;

/// Answers kept, at most, as in the paper's section 4: more are stale before they are used.
const POOL_MAX: usize = 16;
/// Numbers of requests, of the latest answers, out of which the limit between hot and cold is estimated.
const WINDOW: usize = 64;
/// An answer is used so often at most, however few servers there are to ask.
const USES_MAX: u64 = 64;

/// What can be set. Rates are in thousandths, times for each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// A server is hot if it has more requests than this share of the latest answers tells of, in thousandths.
    pub hot_quantile: u32,
    /// Questions per request.
    pub probes: u32,
    /// Answers thrown away per request: in turn the oldest and the worst.
    pub removed: u32,
    /// Answers older than this are not used.
    pub age_max: Duration,
}

/// The paper's: Q_RIF 0.84, three probes and one removal a query, answers of at most a second.
impl Default for Settings {
    fn default() -> Self {
        Self { hot_quantile: 840, probes: 3000, removed: 1000, age_max: Duration::from_secs(1) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Probe {
    index: u32,
    in_flight: u32,
    latency: u64,
    at: Duration,
    uses: u64,
}

/// The hot-cold lexicographic rule (Wydrowski, Kleinberg, Rumble and Archer, "Load is not what you should balance:
/// Introducing Prequal", NSDI 2024, section 4). Probes are the caller's: [`Prequal::due`] says whom to ask,
/// [`Prequal::answered`] takes the answer, also one that came along with a response. O(16) a pick. Weights only
/// say who takes part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prequal {
    settings: Settings,
    pool: [Probe; POOL_MAX],
    held: usize,
    window: [u32; WINDOW],
    seen: usize,
    limit: u32,
    owed_probes: u32,
    owed_removals: u32,
    oldest_next: bool,
}

impl Prequal {
    /// Without answers yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            pool: [Probe::default(); POOL_MAX],
            held: 0,
            window: [0; WINDOW],
            seen: 0,
            limit: u32::MAX,
            owed_probes: 0,
            owed_removals: 0,
            oldest_next: true,
        }
    }

    /// The best of the servers that answered; one drawn by weight while fewer than two answers are of use.
    pub fn pick(&mut self, view: &View<'_>, draws: &mut Draws) -> Option<Pick> {
        self.owed_probes = self.owed_probes.saturating_add(self.settings.probes).min(1000 * 16);
        self.drop_old(view.ask.now);
        let usable = self.held().iter().filter(|probe| position(view, probe.index).is_some()).count();
        let picked = if usable < 2 { None } else { self.best(view) };
        let Some((slot, why)) = picked else { return random::weighted(view, draws) };
        let at = position(view, self.pool[slot].index)?;
        // What the answer says is one request out of date from now on.
        self.pool[slot].in_flight += 1;
        self.pool[slot].uses -= 1;
        if self.pool[slot].uses == 0 {
            self.remove(slot);
        }
        self.throw_away();
        Some(Pick { at, why })
    }

    /// The number of a server to ask now, if any is due: any that takes part. Call until it says nothing.
    pub fn due(&mut self, view: &View<'_>, draws: &mut Draws) -> Option<u32> {
        self.owed_probes = self.owed_probes.checked_sub(1000)?;
        let place = draws.below(view.roster.live.len() as u64);
        let at = *view.roster.live.get(usize::try_from(place).expect("a place"))?;
        Some(view.servers[at as usize].index)
    }

    /// Takes in that a server, of so many that take part, has `in_flight` requests and lately took `latency` with
    /// about as many. The oldest answer makes room.
    pub fn answered(&mut self, index: u32, in_flight: u32, latency: Duration, now: Duration, servers: usize, draws: &mut Draws) {
        self.window[self.seen % WINDOW] = in_flight;
        self.seen += 1;
        let mut sorted = self.window;
        let known = &mut sorted[..self.seen.min(WINDOW)];
        known.sort_unstable();
        let rank = known.len() * self.settings.hot_quantile as usize / 1000;
        self.limit = known[rank.min(known.len() - 1)];
        if self.held == POOL_MAX {
            self.remove(self.oldest());
        }
        self.pool[self.held] = Probe { index, in_flight, latency: micros(latency), at: now, uses: self.uses(servers, draws) };
        self.held += 1;
    }

    /// Forgets all answers: servers came or went.
    pub fn forget(&mut self) {
        self.held = 0;
    }

    /// How many requests are in flight at most at a server that is cold.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit
    }

    fn held(&self) -> &[Probe] {
        &self.pool[..self.held]
    }

    fn best(&self, view: &View<'_>) -> Option<(usize, Why)> {
        let open = || (0..self.held).filter(|slot| position(view, self.pool[*slot].index).is_some());
        let cold = open().filter(|slot| self.pool[*slot].in_flight <= self.limit).min_by_key(|slot| self.pool[*slot].latency);
        cold.map(|slot| (slot, Why::Cold)).or_else(|| open().min_by_key(|slot| self.pool[*slot].in_flight).map(|slot| (slot, Why::Hot)))
    }

    /// The reuse budget of the paper's section 4: max(1, (1 + d) / ((1 - m/n) probes - removals)) with d = 1, so that the
    /// pool does not run dry; the fraction by chance.
    fn uses(&self, servers: usize, draws: &mut Draws) -> u64 {
        let servers = servers.max(1) as u64;
        let fresh = u64::from(self.settings.probes) * servers.saturating_sub(POOL_MAX as u64) / servers;
        let gain = fresh.saturating_sub(u64::from(self.settings.removed));
        let thousandths = 2_000_000_u64.checked_div(gain).unwrap_or(u64::MAX).clamp(1000, USES_MAX * 1000);
        thousandths / 1000 + u64::from(draws.below(1000) < thousandths % 1000)
    }

    fn throw_away(&mut self) {
        self.owed_removals += self.settings.removed;
        while self.owed_removals >= 1000 {
            self.owed_removals -= 1000;
            // The last two answers are better than none.
            if self.held > 2 {
                let slot = if self.oldest_next { self.oldest() } else { self.worst() };
                self.oldest_next = !self.oldest_next;
                self.remove(slot);
            }
        }
    }

    fn oldest(&self) -> usize {
        (0..self.held).min_by_key(|slot| self.pool[*slot].at).expect("only a pool that holds something is thinned")
    }

    /// The hot one with most requests, else the slowest.
    fn worst(&self) -> usize {
        let hot = (0..self.held).filter(|slot| self.pool[*slot].in_flight > self.limit).max_by_key(|slot| self.pool[*slot].in_flight);
        let slow = || (0..self.held).max_by_key(|slot| self.pool[*slot].latency);
        hot.or_else(slow).expect("only a pool that holds something is thinned")
    }

    fn drop_old(&mut self, now: Duration) {
        let mut slot = 0;
        while slot < self.held {
            if now.saturating_sub(self.pool[slot].at) > self.settings.age_max {
                self.remove(slot);
            } else {
                slot += 1;
            }
        }
    }

    fn remove(&mut self, slot: usize) {
        self.pool.copy_within(slot + 1..self.held, slot);
        self.held -= 1;
    }
}

/// The position of a server that may have the request.
fn position(view: &View<'_>, index: u32) -> Option<usize> {
    let at = view.servers.binary_search_by_key(&index, |server| server.index).ok()?;
    view.open(at).then_some(at)
}
