//! Timelines: what happened in a failover or a move, step by step, with the time of each step.

use super::world::wall_text;
use pan_api::insight::{Step, Timeline};
use pan_model::Epoch;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Finished timelines kept per object: enough to compare, bounded because they are stored.
const KEPT_MAX: usize = 10;
/// Steps of one timeline: more would be a loop.
const STEPS_MAX: usize = 64;

/// A step as recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Wall clock, microseconds since 1970.
    pub wall: i64,
    /// What happened.
    pub step: String,
    /// Why.
    pub reason: String,
}

/// A timeline as recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Track {
    /// The epoch reached.
    pub epoch: Option<Epoch>,
    /// Its steps.
    pub marks: Vec<Mark>,
}

/// What is stored for an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Finished timelines, newest first.
    pub tracks: VecDeque<Track>,
}

/// All timelines, running and finished.
#[derive(Debug, Clone, Default)]
pub struct Timelines {
    open: BTreeMap<String, Track>,
    kept: BTreeMap<String, Kept>,
}

impl Timelines {
    /// Begins a timeline; one that runs goes on as it is.
    pub fn begin(&mut self, object: &str, wall: i64, step: &str, reason: impl Into<String>) {
        if !self.open.contains_key(object) {
            self.open.insert(object.to_owned(), Track::default());
            self.mark(object, wall, step, reason);
        }
    }

    /// Adds a step to a running timeline; without one, nothing. A step of the same name is recorded once.
    pub fn mark(&mut self, object: &str, wall: i64, step: &str, reason: impl Into<String>) {
        if let Some(track) = self.open.get_mut(object)
            && track.marks.len() < STEPS_MAX
            && !track.marks.iter().any(|mark| mark.step == step && mark.wall == wall)
        {
            track.marks.push(Mark { wall, step: step.to_owned(), reason: reason.into() });
        }
    }

    /// Notes the epoch that a running timeline leads to.
    pub fn set_epoch(&mut self, object: &str, epoch: Epoch) {
        if let Some(track) = self.open.get_mut(object) {
            track.epoch = Some(epoch);
        }
    }

    /// Whether a timeline runs.
    #[must_use]
    pub fn is_open(&self, object: &str) -> bool {
        self.open.contains_key(object)
    }

    /// Whether a running timeline has a step.
    #[must_use]
    pub fn has(&self, object: &str, step: &str) -> bool {
        self.open.get(object).is_some_and(|track| track.marks.iter().any(|mark| mark.step == step))
    }

    /// Ends a running timeline; true when there was one, which is then to be stored.
    pub fn finish(&mut self, object: &str, wall: i64, step: &str, reason: impl Into<String>) -> bool {
        self.mark(object, wall, step, reason);
        let Some(mut track) = self.open.remove(object) else { return false };
        track.marks.sort_by_key(|mark| mark.wall);
        let kept = self.kept.entry(object.to_owned()).or_default();
        kept.tracks.push_front(track);
        kept.tracks.truncate(KEPT_MAX);
        true
    }

    /// Drops a running timeline that led nowhere.
    pub fn forget_open(&mut self, object: &str) {
        self.open.remove(object);
    }

    /// Forgets an object.
    pub fn forget(&mut self, object: &str) {
        self.open.remove(object);
        self.kept.remove(object);
    }

    /// The finished timeline that an object got last.
    #[must_use]
    pub fn newest(&self, object: &str) -> Option<Timeline> {
        Some(show(object, self.kept.get(object)?.tracks.front()?, true))
    }

    /// What to store for an object.
    #[must_use]
    pub fn stored(&self, object: &str) -> Option<Kept> {
        self.kept.get(object).cloned()
    }

    /// Goes on with the running timelines of an earlier world.
    pub fn keep_open(&mut self, former: Self) {
        self.open = former.open;
        self.open.retain(|object, track| !self.kept.get(object).is_some_and(|kept| ended(track, kept)));
    }

    /// Takes what was stored. Whoever leads ends a timeline; it runs on here until that is known.
    pub fn restore(&mut self, object: String, kept: Kept) {
        if self.open.get(&object).is_some_and(|track| ended(track, &kept)) {
            self.open.remove(&object);
        }
        self.kept.insert(object, kept);
    }

    /// Every object's timelines as the API shows them, newest first.
    #[must_use]
    pub fn view(&self) -> BTreeMap<String, Vec<Timeline>> {
        let mut all: BTreeMap<String, Vec<Timeline>> = BTreeMap::new();
        for (object, track) in &self.open {
            all.entry(object.clone()).or_default().push(show(object, track, false));
        }
        for (object, kept) in &self.kept {
            all.entry(object.clone()).or_default().extend(kept.tracks.iter().map(|track| show(object, track, true)));
        }
        all
    }
}

/// Whether a running timeline is that which was finished last: it began before that was over.
fn ended(running: &Track, kept: &Kept) -> bool {
    let began = running.marks.iter().map(|mark| mark.wall).min();
    let over = kept.tracks.front().and_then(|track| track.marks.iter().map(|mark| mark.wall).max());
    over.is_some() && began <= over
}

/// Tells the reason of a step in words that users of the server's partition may read: they know no nodes, nor who else is on them, and how
/// many milliseconds it took is beside it.
pub fn within_partition(step: &mut Step) {
    let told = match step.step.as_str() {
        "last-heartbeat" => "of its node",
        "suspect" => "its node is silent",
        "fenced" => "its node may send no more",
        "dead" => "its node has been silent for too long",
        "alive-again" => "its node is heard again",
        "bound" => "to another node",
        "move-begins" => "moves to another node",
        // These say nothing of nodes.
        "failed" | "claimed" | "drained" | "stopped" | "running" | "in-tables" => return,
        // What its node's agent did.
        _ => "on its node",
    };
    told.clone_into(&mut step.reason);
}

/// Whole milliseconds from the first step to this one. Differences of these add up to the whole; lengths rounded one
/// by one would not.
fn offset(first: i64, at: i64) -> u64 {
    at.saturating_sub(first).max(0).unsigned_abs().saturating_add(500) / 1000
}

fn show(object: &str, track: &Track, finished: bool) -> Timeline {
    let mut marks = track.marks.clone();
    marks.sort_by_key(|mark| mark.wall);
    let first = marks.first().map_or(0, |mark| mark.wall);
    let mut total_ms = 0;
    let mut steps = Vec::with_capacity(marks.len());
    for mark in marks {
        let reached = offset(first, mark.wall);
        steps.push(Step { at: wall_text(mark.wall), step: mark.step, took_ms: reached - total_ms, reason: mark.reason });
        total_ms = reached;
    }
    Timeline { object: object.to_owned(), epoch: track.epoch, finished, steps, total_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_come_in_the_order_of_time_with_their_lengths() {
        let mut all = Timelines::default();
        all.begin("p/a-1", 1_000, "dead", "silent");
        all.mark("p/a-1", 5_800, "started", "");
        all.mark("p/a-1", 3_400, "committed", "");
        assert!(all.finish("p/a-1", 8_200, "healthy", ""));
        assert!(!all.finish("p/a-1", 8_300, "healthy", ""), "there is nothing left to finish");
        let shown = &all.view()["p/a-1"][0];
        let steps: Vec<_> = shown.steps.iter().map(|step| (step.step.as_str(), step.took_ms)).collect();
        assert_eq!(steps, [("dead", 0), ("committed", 2), ("started", 3), ("healthy", 2)]);
        assert_eq!(shown.total_ms, 7, "the steps' lengths add up");
    }

    #[test]
    fn whoever_follows_ends_a_timeline_when_it_hears_that_the_leader_did() {
        let (mut leader, mut follower) = (Timelines::default(), Timelines::default());
        // The clocks of two hosts are a little apart.
        leader.begin("p/a-1", 1_000, "dead", "silent");
        follower.begin("p/a-1", 1_400, "dead", "silent");
        leader.finish("p/a-1", 3_000, "healthy", "");
        follower.restore("p/a-1".into(), leader.stored("p/a-1").unwrap());
        assert_eq!(follower.view()["p/a-1"].len(), 1, "it is over");
        // The next one runs while what was stored of the first is heard, by another record of the same object or by a reading of the whole store.
        follower.begin("p/a-1", 9_000, "dead", "silent");
        follower.restore("p/a-1".into(), leader.stored("p/a-1").unwrap());
        let mut fresh = Timelines::default();
        fresh.restore("p/a-1".into(), leader.stored("p/a-1").unwrap());
        fresh.keep_open(follower);
        assert_eq!(fresh.view()["p/a-1"].len(), 2, "it runs on");
        leader.begin("p/a-1", 9_100, "dead", "silent");
        leader.finish("p/a-1", 9_900, "healthy", "");
        let mut again = Timelines::default();
        again.restore("p/a-1".into(), leader.stored("p/a-1").unwrap());
        again.keep_open(fresh);
        assert_eq!(again.view()["p/a-1"].len(), 2, "both are over");
    }
}
