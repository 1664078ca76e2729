//! Which images are on their way, who waits for them, and which of a partition's has its turn.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use pan_model::image::Image;
use tokio::sync::{Semaphore, watch};

use super::error::ImageError;
use super::store::Ready;

/// Images of one partition that are on their way at the same time. Others of the same partition wait; other partitions do not.
pub(super) const PARTITION_MAX: usize = 1;
/// Images of one partition that wait for those.
const WAITING_MAX: usize = 64;

/// An image of the partition with that network.
pub(super) type Key = (u32, Image);
/// What became of a job, once that is known.
pub(super) type Outcome = Option<Result<Ready, String>>;

/// A job that is to be done.
#[derive(Debug)]
pub(super) struct Begun {
    pub told: watch::Sender<Outcome>,
    /// Its partition's.
    pub turns: Arc<Semaphore>,
}

#[derive(Debug, Default)]
pub(super) struct Jobs {
    /// Who waits for a job is counted by its channel, so nothing here listens.
    running: BTreeMap<Key, watch::Sender<Outcome>>,
    /// A partition's is there as long as somebody has a turn or waits for one, be it a thread that goes on after its job was given up.
    turns: BTreeMap<u32, Weak<Semaphore>>,
}

impl Jobs {
    /// Waits for the job about an image; if there is none, there is one from now on.
    pub(super) fn join(&mut self, key: &Key) -> Result<(watch::Receiver<Outcome>, Option<Begun>), ImageError> {
        if let Some(running) = self.running.get(key) {
            return Ok((running.subscribe(), None));
        }
        if self.running.keys().filter(|(vni, _)| *vni == key.0).count() >= WAITING_MAX {
            return Err(ImageError::Busy);
        }
        let (told, outcome) = watch::channel(None);
        self.running.insert(key.clone(), told.clone());
        Ok((outcome, Some(Begun { told, turns: self.turns(key.0) })))
    }

    fn turns(&mut self, vni: u32) -> Arc<Semaphore> {
        if let Some(turns) = self.turns.get(&vni).and_then(Weak::upgrade) {
            return turns;
        }
        let turns = Arc::new(Semaphore::new(PARTITION_MAX));
        self.turns.insert(vni, Arc::downgrade(&turns));
        turns
    }

    /// A job is over, and whoever asks from now on is not told of it.
    pub(super) fn end(&mut self, key: &Key, told: &watch::Sender<Outcome>) {
        // Another about the same may have begun since.
        if self.running.get(key).is_some_and(|running| running.same_channel(told)) {
            self.running.remove(key);
        }
        self.turns.retain(|_, turns| turns.strong_count() > 0);
    }

    /// Ends a job that nobody waits for any more, and says whether it did: from then on nobody can wait for it.
    pub(super) fn end_unwanted(&mut self, key: &Key, told: &watch::Sender<Outcome>) -> bool {
        let is_unwanted = told.is_closed();
        if is_unwanted {
            self.end(key, told);
        }
        is_unwanted
    }

    #[cfg(test)]
    pub(super) fn is_running(&self, key: &Key) -> bool {
        self.running.contains_key(key)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty() && self.turns.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> Key {
        (7, format!("oci:r.example/{n}:1").parse().unwrap())
    }

    #[test]
    fn a_job_that_nobody_waits_for_ends_and_none_other() {
        let mut jobs = Jobs::default();
        let (first, begun) = jobs.join(&key(0)).unwrap();
        let told = begun.unwrap().told;
        let (second, begun) = jobs.join(&key(0)).unwrap();
        assert!(begun.is_none(), "one job for both");
        drop(first);
        assert!(!jobs.end_unwanted(&key(0), &told));
        drop(second);
        assert!(jobs.end_unwanted(&key(0), &told) && jobs.is_empty());
        // The next one is another, which the end of the first leaves alone.
        let (_third, begun) = jobs.join(&key(0)).unwrap();
        assert!(begun.is_some());
        jobs.end(&key(0), &told);
        assert!(jobs.is_running(&key(0)));
    }

    #[test]
    fn a_turn_is_taken_until_the_last_thread_of_its_job_ends() {
        let mut jobs = Jobs::default();
        let (outcome, begun) = jobs.join(&key(0)).unwrap();
        let Begun { told, turns } = begun.unwrap();
        let turn = turns.try_acquire_owned().unwrap();
        // It took too long, and its thread goes on.
        jobs.end(&key(0), &told);
        drop(outcome);
        let (_next, begun) = jobs.join(&key(1)).unwrap();
        let turns = begun.unwrap().turns;
        assert_eq!(turns.available_permits(), 0);
        drop(turn);
        assert_eq!(turns.available_permits(), PARTITION_MAX);
    }

    #[test]
    fn few_wait_at_the_same_time() {
        let mut jobs = Jobs::default();
        let waiting: Vec<_> = (0..WAITING_MAX).map(|n| jobs.join(&key(n)).unwrap()).collect();
        assert!(matches!(jobs.join(&key(WAITING_MAX)), Err(ImageError::Busy)));
        assert!(jobs.join(&(8, key(0).1)).is_ok() && jobs.join(&key(0)).is_ok());
        let (outcome, begun) = waiting.into_iter().next().unwrap();
        drop(outcome);
        assert!(jobs.end_unwanted(&key(0), &begun.unwrap().told));
        assert!(jobs.join(&key(WAITING_MAX)).is_ok());
    }
}
