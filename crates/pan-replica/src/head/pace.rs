//! Members that answer, but far more slowly than the others: every write waits for the slowest. Judged by what all of them are asked for, writes
//! and flushes, and by the times of events. Who is slow is evicted like one that does not answer, and joins again after a while, a longer one
//! each time. So is one that answers that it cannot, such as a full disk: it would be back at once, and could not the next time either.

use super::Head;
use super::task::{Task, What};
use pan_model::mirror::Member;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::time::Duration;

/// For how long answers are counted before they are compared.
const PERIOD: Duration = Duration::from_millis(500);
/// Periods, one after the other, in which a member has to be slow: 2 s, longer than a disk takes to write out what it had put off.
const PERIODS: u32 = 4;
/// How many times slower than each of its peers.
const TIMES: u32 = 20;
/// Below this nobody is slow: a lost packet and a busy disk cost as much now and then.
const SLOW: Duration = Duration::from_millis(50);
/// How long one that was slow is left alone, at first and at most. Copying what it missed costs the others something, so one that stays
/// slow must not come and go all the time.
const AWAY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));

/// The same for one that could not: room is made soon, or by somebody.
const AWAY_REFUSING: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Latencies, by powers of two and quarters of them; in microseconds.
#[derive(Debug, Clone, Default)]
struct Counts {
    by_size: BTreeMap<u8, u32>,
    all: u32,
}

impl Counts {
    fn add(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(4);
        let power = micros.ilog2();
        let quarter = (micros >> (power - 2)) & 3;
        let size = u8::try_from(u64::from(power) * 4 + quarter).expect("a u64 has 64 powers of two");
        *self.by_size.entry(size).or_default() += 1;
        self.all += 1;
    }

    /// What all but one in a hundred are at least as quick as, to a quarter of a power of two. `None`: there were none.
    fn p99(&self) -> Option<Duration> {
        let mut slower = self.all;
        let found = self.by_size.iter().find(|(_, count)| {
            slower -= **count;
            slower * 100 <= self.all
        });
        found.map(|(size, _)| {
            let (power, quarter) = (u32::from(size / 4), u64::from(size % 4));
            Duration::from_micros((4 + quarter) << (power - 2))
        })
    }
}

/// One that was slow, or could not.
#[derive(Debug, Clone, Copy)]
struct Penance {
    why: Why,
    /// How often in a row.
    times: u32,
    /// It does not join before.
    until: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Slow,
    Refused,
}

/// See the module. Time stands still wherever heads are compared, so it is not part of what they are.
#[derive(Debug, Clone, Default)]
pub(super) struct Pace {
    since: Duration,
    counts: BTreeMap<Member, Counts>,
    /// For how many periods in a row.
    slow: BTreeMap<Member, u32>,
    penance: BTreeMap<Member, Penance>,
}

impl Pace {
    /// Something that all were asked for was done by a member, or is not yet.
    fn took(&mut self, member: Member, latency: Duration) {
        self.counts.entry(member).or_default().add(latency);
    }

    /// Whether it is time to judge.
    fn is_due(&self, now: Duration) -> bool {
        now.saturating_sub(self.since) >= PERIOD
    }

    /// Judges those in sync at the end of a period: the one that is too slow, if it was that for long.
    fn judge(&mut self, now: Duration, in_sync: &[Member]) -> Option<Member> {
        self.since = now;
        let counts = std::mem::take(&mut self.counts);
        let p99 = |member: &Member| counts.get(member).and_then(Counts::p99);
        let is_slow = |member: &Member| {
            let others: Option<Vec<Duration>> = in_sync.iter().filter(|other| *other != member).map(p99).collect();
            let slowest = others.and_then(|others| others.into_iter().max());
            let (Some(own), Some(slowest)) = (p99(member), slowest) else { return false };
            own >= SLOW && own > slowest * TIMES
        };
        // Slower than every other one: at most one is.
        let slow = in_sync.iter().copied().find(is_slow);
        let periods = slow.map(|member| (member, self.slow.get(&member).copied().unwrap_or(0) + 1));
        self.slow = periods.into_iter().collect();
        self.penance.retain(|member, penance| !in_sync.contains(member) || now.saturating_sub(penance.until) < AWAY.1);
        let (member, _) = periods.filter(|(_, periods)| *periods >= PERIODS)?;
        self.slow.clear();
        self.put_off(member, now, Why::Slow);
        Some(member)
    }

    /// It answered that it cannot write.
    pub fn refused(&mut self, member: Member, now: Duration) {
        self.put_off(member, now, Why::Refused);
    }

    fn put_off(&mut self, member: Member, now: Duration, why: Why) {
        let times = self.penance.get(&member).map_or(0, |penance| penance.times) + 1;
        let (first, most) = if why == Why::Slow { AWAY } else { AWAY_REFUSING };
        let away = first.saturating_mul(1 << (times - 1).min(16)).min(most);
        self.penance.insert(member, Penance { why, times, until: now + away });
    }

    /// Whether a member was slow, or could not write, and is not to join yet.
    pub fn holds_off(&self, member: Member, now: Duration) -> bool {
        self.penance.get(&member).is_some_and(|penance| now < penance.until)
    }

    /// Whether it is that because it was slow.
    pub fn is_slow(&self, member: Member, now: Duration) -> bool {
        self.holds_off(member, now) && self.penance.get(&member).is_some_and(|penance| penance.why == Why::Slow)
    }
}

impl<D: Clone> Head<D> {
    /// A member has done something of a task.
    pub(super) fn paced(&mut self, member: Member, task_since: Duration) {
        self.pace.took(member, self.now.saturating_sub(task_since));
    }

    /// Gives up who is too slow. What it has not answered counts as if it had been answered now.
    pub(super) fn judge_pace(&mut self, now: Duration) {
        if !self.open || !self.pace.is_due(now) {
            return;
        }
        let good = self.good();
        let asked_all = |task: &&Task<D>| matches!(task.what, What::Write { .. } | What::Flush { .. });
        for task in self.tasks.values().filter(asked_all) {
            task.waiting.iter().for_each(|member| self.pace.took(*member, now.saturating_sub(task.since)));
        }
        if let Some(member) = self.pace.judge(now, &good) {
            self.fail(member);
        }
    }
}

impl PartialEq for Pace {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Pace {}

impl Hash for Pace {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Member; 3] = [Member(1), Member(2), Member(3)];

    /// What comes of so many periods with these latencies, in milliseconds; zero: none.
    fn periods(pace: &mut Pace, count: u32, latencies: [u64; 3]) -> Option<Member> {
        let period = |pace: &mut Pace| {
            for (member, latency) in ALL.into_iter().zip(latencies).filter(|(_, latency)| *latency > 0) {
                (0..50).for_each(|_| pace.took(member, Duration::from_millis(latency)));
            }
            pace.judge(pace.since + PERIOD, &ALL)
        };
        (0..count).find_map(|_| period(pace))
    }

    #[test]
    fn who_is_far_slower_than_all_others_for_long_is_slow() {
        for (count, latencies, slow) in [
            (3, [1, 1, 100], None),
            (4, [1, 1, 100], Some(Member(3))),
            (9, [1, 100, 100], None),
            (9, [1, 1, 19], None),
            (9, [20, 20, 300], None),
            (9, [0, 0, 100], None),
            (4, [100, 1, 2], Some(Member(1))),
        ] {
            assert_eq!(periods(&mut Pace::default(), count, latencies), slow, "{count} times {latencies:?}");
        }
        let mut pace = Pace::default();
        for latencies in [[1, 1, 100], [1, 1, 1]] {
            assert_eq!(periods(&mut pace, 3, latencies), None, "it is quick in between");
        }
        assert_eq!(periods(&mut pace, 3, [1, 1, 100]), None);
    }

    #[test]
    fn one_that_is_slow_again_and_again_is_left_alone_for_longer_each_time() {
        let mut pace = Pace::default();
        for away in [10, 20, 40, 80, 160, 320, 600, 600] {
            assert_eq!(periods(&mut pace, 4, [1, 1, 100]), Some(Member(3)));
            let almost = pace.since + Duration::from_secs(away) - Duration::from_millis(1);
            assert!(pace.holds_off(Member(3), almost) && !pace.holds_off(Member(3), almost + Duration::from_millis(1)));
            pace.since = almost;
        }
        // Ten minutes in sync, and it is forgotten.
        periods(&mut pace, 1202, [1, 1, 1]);
        assert_eq!(periods(&mut pace, 4, [1, 1, 100]), Some(Member(3)));
        assert!(!pace.holds_off(Member(3), pace.since + Duration::from_secs(10)));
    }

    #[test]
    fn one_that_could_not_is_left_alone_for_a_second_at_first() {
        let mut pace = Pace::default();
        for away in [1, 2, 4, 8, 16, 32, 60, 60] {
            pace.refused(Member(3), pace.since);
            let almost = pace.since + Duration::from_secs(away) - Duration::from_millis(1);
            assert!(pace.holds_off(Member(3), almost) && !pace.holds_off(Member(3), almost + Duration::from_millis(1)), "{away}");
            assert!(!pace.is_slow(Member(3), almost));
            pace.since = almost;
        }
    }

    #[test]
    fn a_percentile_is_within_a_quarter() {
        let mut counts = Counts::default();
        assert_eq!(counts.p99(), None);
        for micros in (1..=1000).map(|number| number * 100) {
            counts.add(Duration::from_micros(micros));
        }
        let found = counts.p99().unwrap().as_micros();
        assert!((79_000..=99_000).contains(&found), "{found}");
        counts.add(Duration::MAX);
    }
}
