//! Outlier ejection: a server that answers worse than the others is left alone for a while, longer each time.

use std::time::Duration;

/// When a server is ejected, and for how long. The defaults are Envoy's (outlier_detection.proto), but for how many may
/// be ejected: its 10 % would never eject one of nine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// So many failures in a row eject; 0 never does.
    pub failures_max: u32,
    /// How often success rates are compared.
    pub interval: Duration,
    /// Only of servers with so many requests in the interval.
    pub requests_min: u32,
    /// Only if so many servers have them.
    pub servers_min: u32,
    /// Ejected is who is below the mean by so many thousandths of the standard deviation; 0 compares nothing.
    pub deviations: u32,
    /// The first ejection lasts so long, the n-th n times that.
    pub base: Duration,
    /// None lasts longer.
    pub ejection_max: Duration,
    /// Of all servers, at most so many hundredths are ejected at a time, rounded down ...
    pub percent_max: u32,
    /// ... or so many, if that is more; but never all.
    pub count_max: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            failures_max: 5,
            interval: Duration::from_secs(10),
            requests_min: 100,
            servers_min: 5,
            deviations: 1900,
            base: Duration::from_secs(30),
            ejection_max: Duration::from_secs(300),
            percent_max: 30,
            count_max: 1,
        }
    }
}

impl Settings {
    /// The most that may be ejected at a time, of so many.
    #[must_use]
    pub fn cap(&self, servers: usize) -> usize {
        let share = servers * self.percent_max.min(100) as usize / 100;
        share.max(self.count_max as usize).min(servers.saturating_sub(1))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Record {
    index: u32,
    in_a_row: u32,
    answered: u64,
    failed: u64,
    /// Ejections that still count: one more each time, one less for each interval in peace.
    times: u32,
    until: Option<Duration>,
}

/// How servers, by position, have answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outliers {
    settings: Settings,
    records: Vec<Record>,
    compared: Duration,
}

impl Outliers {
    /// Without servers yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, records: Vec::new(), compared: Duration::ZERO }
    }

    /// Takes over a change of servers, sorted by number. If fewer may now be ejected, those whose time ends first
    /// come back.
    pub fn rebuild(&mut self, indices: impl Iterator<Item = u32>) {
        let known = |index: u32| self.records.binary_search_by_key(&index, |record| record.index).ok().map(|at| self.records[at]);
        self.records = indices.map(|index| known(index).unwrap_or(Record { index, ..Record::default() })).collect();
        while self.ejected_count() > self.settings.cap(self.records.len()) {
            let first = self.records.iter_mut().filter(|record| record.until.is_some()).min_by_key(|record| record.until);
            first.expect("more than none are ejected").until = None;
        }
    }

    /// The server at a position answered. O(1).
    pub fn answered(&mut self, at: usize) {
        let record = &mut self.records[at];
        record.in_a_row = 0;
        record.answered += 1;
    }

    /// The server at a position failed. Says whether that ejected it. O(1), O(servers) when it does.
    pub fn failed(&mut self, at: usize, now: Duration) -> bool {
        let record = &mut self.records[at];
        record.in_a_row = record.in_a_row.saturating_add(1);
        record.failed += 1;
        let most = self.settings.failures_max;
        most > 0 && record.in_a_row >= most && self.eject(at, now)
    }

    /// Lets servers back whose time is over, and compares success rates when it is time to. Says whether
    /// anything changed. O(servers); several times a second is enough.
    pub fn tick(&mut self, now: Duration) -> bool {
        let mut changed = false;
        for record in self.records.iter_mut().filter(|record| record.until.is_some_and(|until| until <= now)) {
            record.until = None;
            record.in_a_row = 0;
            changed = true;
        }
        if now.saturating_sub(self.compared) < self.settings.interval {
            return changed;
        }
        self.compared = now;
        let worst = self.worst_allowed();
        for at in 0..self.records.len() {
            let record = self.records[at];
            let low = worst.is_some_and(|worst| rate(&record, self.settings.requests_min).is_some_and(|rate| rate < worst));
            changed |= low && record.until.is_none() && self.eject(at, now);
            let record = &mut self.records[at];
            (record.answered, record.failed) = (0, 0);
            if record.until.is_none() {
                record.times = record.times.saturating_sub(1);
            }
        }
        changed
    }

    /// Until when the server at a position is left alone; nothing if it is not.
    #[must_use]
    pub fn ejected(&self, at: usize) -> Option<Duration> {
        self.records[at].until
    }

    /// How many are ejected.
    #[must_use]
    pub fn ejected_count(&self) -> usize {
        self.records.iter().filter(|record| record.until.is_some()).count()
    }

    fn eject(&mut self, at: usize, now: Duration) -> bool {
        let room = self.ejected_count() < self.settings.cap(self.records.len());
        let record = &mut self.records[at];
        if record.until.is_some() || !room {
            return false;
        }
        record.times = record.times.saturating_add(1);
        record.until = Some(now + self.settings.base.saturating_mul(record.times).min(self.settings.ejection_max));
        true
    }

    /// The success rate, in millionths, below which a server is an outlier: mean - factor × deviation, of the
    /// population. Whole numbers, rounded down.
    fn worst_allowed(&self) -> Option<u64> {
        let rates = || self.records.iter().filter_map(|record| rate(record, self.settings.requests_min));
        let count = rates().count() as u64;
        if self.settings.deviations == 0 || count < u64::from(self.settings.servers_min.max(1)) {
            return None;
        }
        let mean = rates().sum::<u64>() / count;
        let variance = rates().map(|rate| rate.abs_diff(mean).pow(2)).sum::<u64>() / count;
        Some(mean.saturating_sub(variance.isqrt() * u64::from(self.settings.deviations) / 1000))
    }
}

fn rate(record: &Record, requests_min: u32) -> Option<u64> {
    let all = record.answered + record.failed;
    (all >= u64::from(requests_min.max(1))).then(|| record.answered * 1_000_000 / all)
}
