//! Whether this host itself is in the way of a volume, so that its server is to be had elsewhere: a disk without room for the note of a
//! session, no device, no program for its file system. What the volume, its storage or its head is to blame for goes along to any host. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use pan_member::Tick;

/// How long a host may try in vain before a server goes elsewhere: some ten attempts. A disk that is full for moments has that long, and whoever
/// waits for the server does not wait for longer.
pub const UNFIT_MAX: Duration = Duration::from_secs(10);

/// How long may lie between two failures that belong together: with the next attempt nobody waits for longer than 10 s (`decide::back_off`), and
/// it clears away what was there and begins a head. What failed before that says nothing about now.
const APART_MAX: Duration = Duration::from_secs(60);

/// What can be in the way of a volume, each of which fails and works by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hurdle {
    /// A head that cannot begin.
    Head,
    /// The process that keeps it.
    Keeper,
    /// The device.
    Device,
    /// The file system on it.
    Filesystem,
}

/// Attempts in a row that failed for the same hurdle.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Failing {
    first: Tick,
    last: Tick,
    why: String,
}

/// What is in the way, and for how long.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unfit {
    failing: BTreeMap<Hurdle, Failing>,
    /// How often the head had been started when it was heard of last that it cannot begin.
    starts: Option<u64>,
}

impl Unfit {
    /// A head said that it cannot begin, having been started again so often: whether that was not heard of before.
    pub fn is_news(&mut self, starts: u64) -> bool {
        self.starts.replace(starts) != Some(starts)
    }

    /// A head says nothing like that.
    pub const fn head_tries(&mut self) {
        self.starts = None;
    }

    /// An attempt failed; `leased`: the node has a lease. Without one nothing that is read is handed out, so whatever fails then says nothing
    /// about the host.
    pub fn failed(&mut self, hurdle: Hurdle, why: String, leased: bool, now: Tick) {
        if !leased {
            return;
        }
        let before = self.failing.get(&hurdle).filter(|failing| now.since(failing.last) <= APART_MAX);
        let first = before.map_or(now, |failing| failing.first);
        self.failing.insert(hurdle, Failing { first, last: now, why });
    }

    /// One worked.
    pub fn worked(&mut self, hurdle: Hurdle) {
        self.failing.remove(&hurdle);
    }

    /// What was in the way last, for people.
    #[must_use]
    pub fn why(&self) -> Option<String> {
        let (hurdle, failing) = self.failing.iter().max_by_key(|(_, failing)| failing.last)?;
        Some(match hurdle {
            Hurdle::Head => format!("its head cannot begin: {}", failing.why),
            // Whoever failed says what it was about.
            Hurdle::Keeper | Hurdle::Device | Hurdle::Filesystem => failing.why.clone(),
        })
    }

    /// Whether it was for so long that another host should try. What failed counts, not the time since: a volume that waits for something else
    /// is not tried.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.failing.values().any(|failing| failing.last >= failing.first.plus(UNFIT_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick(0).plus(Duration::from_secs(seconds))
    }

    #[test]
    fn a_host_that_tries_in_vain_gives_up_in_time() {
        let mut unfit = Unfit::default();
        assert!(!unfit.is_over() && unfit.why().is_none());
        for second in 3..13 {
            unfit.failed(Hurdle::Head, format!("no space {second}"), true, at(second));
            assert!(!unfit.is_over(), "{second}");
        }
        unfit.failed(Hurdle::Head, "no space 13".into(), true, at(13));
        assert!(unfit.is_over());
        assert_eq!(unfit.why().unwrap(), "its head cannot begin: no space 13");
    }

    #[test]
    fn a_head_that_begins_ends_what_was_in_its_way_and_nothing_else() {
        let mut unfit = Unfit::default();
        unfit.failed(Hurdle::Head, "no space".into(), true, at(0));
        unfit.worked(Hurdle::Head);
        // It waits for its storage now, which no other host would have sooner.
        unfit.failed(Hurdle::Head, "no space".into(), true, at(60));
        assert!(!unfit.is_over());
        // Each attempt has a head that begins, and then no device.
        for second in 60..=70 {
            unfit.worked(Hurdle::Head);
            unfit.failed(Hurdle::Device, "no device".into(), true, at(second));
        }
        assert!(unfit.is_over() && unfit.why().unwrap() == "no device", "that is not about a head");
    }

    /// One failure, then a long wait for the storage or for the right to write, in which nothing is tried: when that ends, the host has one more
    /// chance, and as many as any other.
    #[test]
    fn a_failure_long_ago_is_no_host_that_tries_in_vain() {
        let mut unfit = Unfit::default();
        assert!(unfit.is_news(0));
        unfit.failed(Hurdle::Head, "no space".into(), true, at(0));
        // The same word is read again each time that something else is looked at.
        assert!(!unfit.is_news(0) && !unfit.is_over());
        unfit.failed(Hurdle::Head, "no space".into(), true, at(3600));
        assert!(!unfit.is_over(), "it was tried once since");
        assert!(unfit.is_news(1) && !unfit.is_news(1));
        unfit.failed(Hurdle::Head, "no space".into(), true, at(3611));
        assert!(unfit.is_over());
        unfit.head_tries();
        assert!(unfit.is_news(1), "another head");
    }

    #[test]
    fn a_node_without_a_lease_is_not_to_blame() {
        let mut unfit = Unfit::default();
        for second in 0..60 {
            unfit.failed(Hurdle::Device, "Input/output error".into(), false, at(second));
        }
        assert!(!unfit.is_over() && unfit.why().is_none());
    }

    /// A device that can be had time and again is no help for a program that is missing.
    #[test]
    fn a_step_that_works_ends_what_was_in_its_own_way() {
        let mut unfit = Unfit::default();
        unfit.failed(Hurdle::Device, "no device".into(), true, at(0));
        for second in 1..=11 {
            unfit.worked(Hurdle::Device);
            assert!(!unfit.is_over());
            unfit.failed(Hurdle::Filesystem, "no mkfs".into(), true, at(second));
        }
        assert!(unfit.is_over());
        unfit.worked(Hurdle::Filesystem);
        assert!(!unfit.is_over() && unfit.why().is_none());
    }
}
