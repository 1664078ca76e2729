//! What an earlier agent left of servers that nobody knows, and that could not be ended: it may still speak, so it is tried again until it is
//! gone, and the node takes no new number before that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Pause between two attempts, as with servers that are known.
const AGAIN: Duration = crate::decide::RELEASE_AGAIN;

/// By id, why it is still here. At most what was found at the start.
pub(super) struct Leftovers {
    left: Arc<Mutex<BTreeMap<String, String>>>,
    trying: Option<JoinHandle<()>>,
    /// What the last attempt was about.
    tried: BTreeSet<String>,
    due: Instant,
}

impl Leftovers {
    pub(super) fn new(left: BTreeMap<String, String>) -> Self {
        Self { left: Arc::new(Mutex::new(left)), trying: None, tried: BTreeSet::new(), due: Instant::now() + AGAIN }
    }

    fn left(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anything is.
    pub(super) fn is_any(&self) -> bool {
        !self.left().is_empty()
    }

    /// In words for the controller.
    pub(super) fn problems(&self) -> Vec<String> {
        let one = |(id, why): (&String, &String)| {
            format!("what is left of an unknown server ({id}) cannot be ended, and this node takes part again only when it is: {why}")
        };
        self.left().iter().map(one).collect()
    }

    /// Whether it is being tried just now: nothing of that server may be begun before it is known how that went.
    pub(super) fn is_being_ended(&self, id: &str) -> bool {
        self.tried.contains(id) && self.trying.as_ref().is_some_and(|trying| !trying.is_finished())
    }

    /// Tries again, in a thread of its own and one attempt at a time. What is `tended` by now is its server's own matter, which ends or
    /// takes over whatever is there. `end` says what is in the way.
    pub(super) fn again(&mut self, tended: &BTreeSet<String>, end: impl Fn(&str) -> Result<(), String> + Send + 'static) {
        self.left().retain(|id, _| !tended.contains(id));
        if !self.is_any() || Instant::now() < self.due || self.trying.as_ref().is_some_and(|trying| !trying.is_finished()) {
            return;
        }
        self.due = Instant::now() + AGAIN;
        let left = self.left.clone();
        let ids: BTreeSet<String> = self.left().keys().cloned().collect();
        self.tried.clone_from(&ids);
        self.trying = Some(tokio::task::spawn_blocking(move || {
            for id in ids {
                let outcome = end(&id);
                let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
                match outcome {
                    Ok(()) => {
                        tracing::info!(id, "what an unknown server left is ended");
                        left.remove(&id);
                    }
                    Err(why) => {
                        left.entry(id).and_modify(|old| *old = why);
                    }
                }
            }
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn of(ids: &[&str]) -> Leftovers {
        Leftovers::new(ids.iter().map(|id| ((*id).to_owned(), "busy".to_owned())).collect())
    }

    #[tokio::test(start_paused = true)]
    async fn they_are_tried_again_until_they_are_gone() {
        let (mut left, tries) = (of(&["a", "b"]), Arc::new(AtomicU32::new(0)));
        assert!(left.is_any() && left.problems()[0].contains("(a)") && left.problems()[1].contains("busy"), "{:?}", left.problems());
        for attempt in 1..=3 {
            tokio::time::advance(AGAIN).await;
            let counted = tries.clone();
            left.again(&BTreeSet::new(), move |id| {
                counted.fetch_add(1, Ordering::Relaxed);
                if id == "a" || attempt == 3 { Ok(()) } else { Err(format!("still there, {attempt}")) }
            });
            // Before the next attempt is due nothing is tried.
            left.again(&BTreeSet::new(), |_| panic!("twice at a time"));
            left.trying.take().unwrap().await.unwrap();
            assert_eq!(left.is_any(), attempt < 3, "{:?}", left.problems());
        }
        assert_eq!(tries.load(Ordering::Relaxed), 2 + 1 + 1);
    }

    #[tokio::test]
    async fn nothing_of_a_server_may_begin_while_what_is_left_of_it_is_being_ended() {
        let mut left = of(&["a"]);
        left.due = Instant::now();
        let (go, gone) = std::sync::mpsc::channel();
        let gone = Mutex::new(gone);
        left.again(&BTreeSet::new(), move |_| gone.lock().unwrap().recv().map_err(|error| error.to_string()));
        assert!(left.is_being_ended("a") && !left.is_being_ended("b"));
        go.send(()).unwrap();
        while left.is_being_ended("a") {
            tokio::task::yield_now().await;
        }
        assert!(!left.is_any());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_wanted_here_again_is_its_servers_matter() {
        let mut left = of(&["a"]);
        tokio::time::advance(AGAIN).await;
        left.again(&BTreeSet::from(["a".to_owned()]), |_| panic!("it is looked after"));
        assert!(!left.is_any() && left.trying.is_none());
    }
}
