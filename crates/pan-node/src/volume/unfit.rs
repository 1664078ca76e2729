//! Whether this host itself is in the way of a volume, so that its server is to be had elsewhere: a disk without room for the note of a
//! session, no device, no program for its file system. What the volume, its storage or its head is to blame for goes along to any host. Pure.

use std::time::Duration;

use pan_member::Tick;

/// How long a host may try in vain before a server goes elsewhere: some ten attempts. A disk that is full for moments has that long, and whoever
/// waits for the server does not wait for longer.
pub const UNFIT_MAX: Duration = Duration::from_secs(10);

/// What is in the way, and since when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unfit {
    /// Its heads cannot begin.
    head: Option<(Tick, String)>,
    /// Steps around its head do not work.
    step: Option<(Tick, String)>,
}

impl Unfit {
    /// A head could not begin.
    pub fn head_failed(&mut self, why: String, now: Tick) {
        add(&mut self.head, why, now);
    }

    /// One did.
    pub fn head_began(&mut self) {
        self.head = None;
    }

    /// A step failed.
    pub fn step_failed(&mut self, why: String, now: Tick) {
        add(&mut self.step, why, now);
    }

    /// What was in the way last, for people.
    #[must_use]
    pub fn why(&self) -> Option<&str> {
        self.head.as_ref().or(self.step.as_ref()).map(|(_, why)| why.as_str())
    }

    /// Whether it was for so long that another host should try.
    #[must_use]
    pub fn is_over(&self, now: Tick) -> bool {
        [&self.head, &self.step].into_iter().flatten().any(|(since, _)| now >= since.plus(UNFIT_MAX))
    }
}

fn add(to: &mut Option<(Tick, String)>, why: String, now: Tick) {
    let since = to.take().map_or(now, |(since, _)| since);
    *to = Some((since, why));
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
        assert!(!unfit.is_over(at(1000)) && unfit.why().is_none());
        for second in 3..13 {
            unfit.head_failed(format!("no space {second}"), at(second));
            assert!(!unfit.is_over(at(second)), "{second}");
        }
        assert!(unfit.is_over(at(13)));
        assert_eq!(unfit.why(), Some("no space 12"));
    }

    #[test]
    fn a_head_that_begins_ends_what_was_in_its_way_and_nothing_else() {
        let mut unfit = Unfit::default();
        unfit.head_failed("no space".into(), at(0));
        unfit.head_began();
        // It waits for its storage now, which no other host would have sooner.
        assert!(!unfit.is_over(at(60)));
        // Each attempt has a head that begins, and then no device.
        for second in 60..71 {
            unfit.head_began();
            unfit.step_failed("no device".into(), at(second));
        }
        assert!(unfit.is_over(at(70)) && unfit.why() == Some("no device"));
    }
}
