//! What one instance used, from readings of what its control group and its port count. Pure.

use pan_api::usage::{Counters, Metered};
use pan_member::Tick;
use serde::{Deserialize, Serialize};

/// What is counted of an instance, and the last reading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Account {
    pub metered: Metered,
    pub running: bool,
    /// Which of its runs the control group is of.
    run: String,
    cpu_micros: u64,
    memory_kib: u64,
    port: (u64, u64),
    /// When that was read (boot clock, nanoseconds).
    at: u64,
}

/// A reading.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    pub at: Tick,
    /// Processor time in microseconds, and bytes of memory now; none when the group is gone.
    pub group: Option<(u64, u64)>,
    /// Bytes received and sent; none without a port.
    pub port: Option<(u64, u64)>,
}

/// What came on top; a count that is lower than before began anew.
const fn more(before: u64, now: u64) -> u64 {
    if now >= before { now - before } else { now }
}

impl Account {
    pub(super) const fn new(metered: Metered) -> Self {
        Self { metered, running: false, run: String::new(), cpu_micros: 0, memory_kib: 0, port: (0, 0), at: 0 }
    }

    /// A run of it begins, or goes on under another agent.
    pub(super) fn runs(&mut self, run: &str, now: Tick) {
        if self.run != run {
            run.clone_into(&mut self.run);
            (self.cpu_micros, self.memory_kib, self.at) = (0, 0, now.0);
        }
        self.running = true;
    }

    /// It ran until now and runs on: between two readings its memory was the mean of both.
    pub(super) fn goes_on(&mut self, reading: Reading) {
        let now = reading.group.map_or(self.memory_kib, |(_, bytes)| bytes >> 10);
        self.count(reading, self.memory_kib.midpoint(now), now);
    }

    /// It ran until now: what is left of its memory says little of what it had.
    pub(super) fn stops(&mut self, reading: Reading) {
        let now = reading.group.map_or(0, |(_, bytes)| bytes >> 10);
        self.count(reading, self.memory_kib.max(now), 0);
        self.running = false;
    }

    fn count(&mut self, Reading { at, group, port }: Reading, mean: u64, memory: u64) {
        let mut used = Counters::default();
        if self.running {
            let millis = at.0.saturating_sub(self.at) / 1_000_000;
            used.memory_kib_seconds = mean.saturating_mul(millis) / 1000;
            if let Some((cpu, _)) = group {
                used.cpu_micros = more(self.cpu_micros, cpu);
                self.cpu_micros = cpu;
            }
            (self.memory_kib, self.at) = (memory, at.0);
        }
        if let Some((received, sent)) = port {
            (used.received, used.sent) = (more(self.port.0, received), more(self.port.1, sent));
            self.port = (received, sent);
        }
        self.metered.used = self.metered.used.plus(used);
    }

    /// It is no more.
    pub(super) fn ended(self) -> Metered {
        Metered { ended: true, ..self.metered }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pan_api::usage::Instance;

    fn account() -> Account {
        let key = pan_model::ServerKey { partition: "p".parse().unwrap(), name: "web-1".parse().unwrap() };
        let instance = Instance { key, epoch: pan_model::Epoch(3), incarnation: 1 };
        Account::new(Metered { instance, cluster: "web".parse().unwrap(), began: 0, used: Counters::default(), ended: false })
    }

    fn at(seconds: u64, cpu: u64, kib: u64, port: (u64, u64)) -> Reading {
        Reading { at: Tick(seconds * 1_000_000_000), group: Some((cpu, kib << 10)), port: Some(port) }
    }

    fn used(cpu_micros: u64, memory_kib_seconds: u64, received: u64, sent: u64) -> Counters {
        Counters { cpu_micros, memory_kib_seconds, received, sent }
    }

    #[test]
    fn runs_of_an_instance_add_up() {
        let mut account = account();
        account.runs("one", Tick(0));
        account.goes_on(at(10, 100, 1000, (7, 5)));
        assert_eq!(account.metered.used, used(100, 5000, 7, 5));
        account.stops(at(12, 150, 0, (8, 5)));
        assert_eq!(account.metered.used, used(150, 7000, 8, 5), "it had its memory until it stopped");
        // Nothing runs: time passes for nothing.
        account.stops(Reading { at: Tick(50_000_000_000), group: None, port: Some((9, 5)) });
        assert_eq!(account.metered.used, used(150, 7000, 9, 5));
        account.runs("two", Tick(60_000_000_000));
        account.goes_on(at(70, 30, 2000, (2, 0)));
        assert_eq!(account.metered.used, used(180, 17_000, 11, 5), "group and port began anew");
    }

    #[test]
    fn another_agent_goes_on_where_the_last_one_wrote() {
        let mut account = account();
        account.runs("one", Tick(0));
        account.goes_on(at(10, 100, 1000, (7, 5)));
        let mut kept: Account = serde_json::from_slice(&serde_json::to_vec(&account).unwrap()).unwrap();
        account.goes_on(at(15, 140, 1000, (7, 5)));
        kept.runs("one", Tick(30_000_000_000));
        kept.goes_on(at(30, 300, 1000, (7, 9)));
        assert_eq!(kept.metered.used, used(300, 25_000, 7, 9), "nobody looked for twenty seconds, and nothing of them is lost");
        assert_eq!(account.metered.used.beyond(kept.metered.used), Counters::default(), "nothing that was told is taken back");
    }

    #[test]
    fn a_group_that_is_gone_says_nothing() {
        let mut account = account();
        account.runs("one", Tick(0));
        account.goes_on(at(10, 100, 1000, (7, 5)));
        account.stops(Reading { at: Tick(11_000_000_000), group: None, port: None });
        assert_eq!(account.metered.used, used(100, 6000, 7, 5));
        assert!(account.ended().ended);
    }
}
