//! A node that stands still and goes on after its server was taken over: nothing of the old instance may be heard by then.
//! Its kernel goes on all the time, keeps what clients ask meanwhile and answers for the server as far as it can by itself.

use std::collections::BTreeMap;
use std::time::Duration;

use pan_linux::realtime::since_boot;

use super::counter::HELD_BACK;
use super::cut::{CutTime, micros};
use super::demo::{Demo, READY_MAX};
use super::disturb::{PROBING_EXTRA, counted};
use super::error::BenchError;
use super::report::RunDetail;
use crate::frames::FrameCount;
use crate::name::LabHost;
use crate::prober::{Outcome, Sample};

/// Replies from the instance that had lost its server, after one of its successor.
pub(super) const LATE_REPLIES: &str = "replies of the old instance";
/// Frames of that instance on the fabrics, after its successor's first reply: what nobody sees nobody can accept.
pub(super) const LATE_FRAMES: &str = "frames of the old instance";
/// What that instance tried to send and its host's gate held back. Without any, the two above prove nothing.
pub(super) const ATTEMPTS: &str = "packets held back";

/// Until a frozen node's server answers from elsewhere.
const TAKEOVER_MAX: Duration = Duration::from_secs(15);
/// How long it is watched after it goes on: many times what an agent takes to find out that it has lost its servers.
const WATCHED: Duration = Duration::from_secs(3);

/// One run: freezes the node of the only server, and thaws it as soon as another one has taken over.
pub(super) fn run(demo: &mut Demo<'_>, servers: u32) -> Result<RunDetail, BenchError> {
    let (server, node) = demo.victim()?;
    let host = demo.host(&node)?;
    let mut probing = demo.probe(TAKEOVER_MAX + WATCHED + READY_MAX + PROBING_EXTRA)?;
    let old = probing.seen()?.answer().map(ToOwned::to_owned).ok_or_else(|| BenchError::Surprise("nobody answers".to_owned()))?;
    let attempts_before = demo.count(HELD_BACK, Some(host))?;
    let mut frames = Readings::begin(demo, host, server.mac.0)?;
    let cut = CutTime::of(|| Ok(demo.room.freeze(host)?))?;
    let taken = demo.pan.wait("another instance answering", TAKEOVER_MAX, || {
        let seen = frames.take().and_then(|()| probing.seen());
        match seen {
            Ok(seen) => successor(seen.samples(), &old).map(Ok).ok_or_else(|| seen.trouble()),
            Err(error) => Ok(Err(error)),
        }
    });
    // Whatever became of it: a frozen host cannot even be removed in good order.
    demo.room.thaw(host)?;
    let taken_us = match taken {
        Ok(taken_us) => Some(taken_us?),
        Err(BenchError::TimedOut { .. }) => None,
        Err(error) => return Err(error),
    };
    demo.pan.pause(WATCHED, || probing.seen().map(|_| ()))?;
    let attempts = demo.count(HELD_BACK, Some(host))?.saturating_sub(attempts_before);
    let late_frames = taken_us.map(|taken_us| frames.since(taken_us)).transpose()?;
    demo.settle(&node, servers)?;
    demo.wait_served(&mut probing, micros(since_boot()), READY_MAX)?;
    let samples = probing.seen()?.since(cut.boot_us);
    let to = demo.servers()?.into_iter().find(|now| now.name == server.name).and_then(|now| now.node);
    let mut counts = vec![(ATTEMPTS, attempts)];
    counts.extend(taken_us.map(|taken_us| (LATE_REPLIES, replies(&samples, &old, taken_us))));
    counts.extend(late_frames.map(|frames| (LATE_FRAMES, frames)));
    let mut run = counted(&node, server.name.as_str(), &cut, &samples, &counts);
    run.to = to.filter(|_| taken_us.is_some());
    Ok(run)
}

/// How many frames there were by when.
struct Readings {
    count: FrameCount,
    /// By the boot clock just after reading, in microseconds.
    taken: BTreeMap<u64, u64>,
}

impl Readings {
    fn begin(demo: &Demo<'_>, host: LabHost, mac: [u8; 6]) -> Result<Self, BenchError> {
        let mut begun = Self { count: FrameCount::begin(&demo.room, host, mac)?, taken: BTreeMap::new() };
        begun.take()?;
        Ok(begun)
    }

    fn take(&mut self) -> Result<(), BenchError> {
        let frames = self.count.read()?;
        self.taken.insert(micros(since_boot()), frames);
        Ok(())
    }

    /// Those since some moment, and perhaps some just before it: never too few.
    ///
    /// # Errors
    /// There were none before either: whatever served until then was not counted, and none afterwards would mean nothing.
    fn since(&self, boot_us: u64) -> Result<u64, BenchError> {
        match before(&self.taken, boot_us) {
            0 => Err(BenchError::Surprise("no frame was counted while the server was served from there".to_owned())),
            earlier => Ok(self.count.read()?.saturating_sub(earlier)),
        }
    }
}

/// The last count known before some moment.
fn before(taken: &BTreeMap<u64, u64>, boot_us: u64) -> u64 {
    taken.range(..boot_us).next_back().map_or(0, |(_, frames)| *frames)
}

/// When the first answer of another instance was there.
fn successor(samples: &[Sample], old: &str) -> Option<u64> {
    let others = samples.iter().filter(|sample| sample.outcome == Outcome::Ok && sample.answer != old);
    others.map(ended_us).min()
}

/// Answers of the old instance that were there after `taken_us`.
fn replies(samples: &[Sample], old: &str, taken_us: u64) -> u64 {
    let late = |sample: &&Sample| sample.outcome == Outcome::Ok && sample.answer == old && ended_us(sample) > taken_us;
    samples.iter().filter(late).count() as u64
}

fn ended_us(sample: &Sample) -> u64 {
    sample.boot_us + sample.latency_us
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prober::sample_of;

    fn answer(boot_us: u64, latency_us: u64, outcome: Outcome, answer: &str) -> Sample {
        Sample { answer: answer.to_owned(), ..sample_of(boot_us, outcome, latency_us) }
    }

    #[test]
    fn what_the_old_instance_says_after_its_successor_is_counted() {
        use Outcome::{Bad, Ok, Timeout};
        let samples = [
            answer(10, 5, Ok, "web-1 old"),
            answer(20, 500, Ok, "web-1 old"), // waited, was answered at 520
            answer(30, 1000, Timeout, ""),
            answer(400, 10, Bad, "web-1 new"),
            answer(410, 10, Ok, "web-1 new"),
            answer(415, 10, Ok, "web-1 old"),
        ];
        assert_eq!(successor(&samples, "web-1 old"), Some(420));
        assert_eq!(replies(&samples, "web-1 old", 420), 2);
        assert_eq!(successor(&samples[..3], "web-1 old"), None);
    }

    #[test]
    fn a_count_begins_with_the_last_one_known_before() {
        let taken = BTreeMap::from([(100, 3), (150, 8), (200, 8), (250, 9)]);
        assert_eq!([90, 100, 101, 200, 201, 999].map(|at| before(&taken, at)), [0, 0, 3, 8, 8, 9]);
    }
}
