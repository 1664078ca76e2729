//! Committing with a record that only the writer changes, so that a lost answer can be asked for again.

use tokio::time::{Duration, Instant};

use crate::error::{BoxError, CommitError, ReadError};
use crate::store::Store;
use crate::txn::{Entry, Revision, Txn, Write};

/// Commits `txn` as [`Store::commit`] does, and does not leave it in doubt as long as `patience` lasts.
///
/// `txn` must compare the record `guard` and write it: then however often it is sent, at most one copy can ever
/// be committed, and once `guard` has changed none can any more. After a lost answer it is sent again, and when
/// `guard` has changed by then and has the value that `txn` gives it, it was done. That value must be this writer's alone:
/// the leader's record with its name and term.
///
/// # Errors
/// As [`Store::commit`]; [`CommitError::InDoubt`] only when the store stays away, or when somebody else has written `guard` after an
/// answer was lost: they may have done so before `txn` or after it. Where the store stayed away `txn` may be committed even later,
/// until somebody else writes `guard`.
///
/// # Panics
/// When `txn` does not compare and write `guard`: nothing could be said about it.
pub async fn commit_guarded(store: &impl Store, guard: &str, txn: &Txn, patience: Duration) -> Result<Revision, CommitError> {
    let (expected, value) = halves(guard, txn).expect("a guarded transaction compares and writes its guard");
    let started = Instant::now();
    let mut doubted = false;
    loop {
        let source: BoxError = match store.commit(txn).await {
            Err(CommitError::InDoubt { source, settled: true }) => match look(store, guard).await {
                Ok(found) => return settled(found, expected, value, doubted, source),
                Err(error) => error.into(),
            },
            Err(CommitError::InDoubt { source, settled: false }) => source,
            Err(CommitError::Io { source }) if doubted => source,
            Err(conflict @ CommitError::Conflict { .. }) if doubted => match look(store, guard).await {
                Ok(Some(entry)) if entry.value == value && Some(entry.revision) != expected => return Ok(entry.revision),
                Ok(_) => return Err(in_doubt(conflict.into())),
                Err(error) => error.into(),
            },
            known => return known,
        };
        doubted = true;
        if started.elapsed() >= patience {
            return Err(in_doubt(source));
        }
    }
}

/// What became of a transaction that the store is through with, by what its guard is now. One that was `doubted` before
/// may have copies on their way.
fn settled(
    found: Option<Entry>,
    expected: Option<Revision>,
    value: &[u8],
    doubted: bool,
    source: BoxError,
) -> Result<Revision, CommitError> {
    match found {
        Some(entry) if entry.value == value && Some(entry.revision) != expected => Ok(entry.revision),
        unchanged if unchanged.as_ref().map(|entry| entry.revision) == expected && !doubted => Err(CommitError::Io { source }),
        _ => Err(in_doubt(source)),
    }
}

/// What `txn` expects of its guard, and what it makes of it.
fn halves<'txn>(guard: &str, txn: &'txn Txn) -> Option<(Option<Revision>, &'txn [u8])> {
    let compare = txn.compares.iter().find(|compare| compare.key == guard)?;
    let value = txn.writes.iter().find_map(|write| match write {
        Write::Put { key, value } if key == guard => Some(value.as_slice()),
        Write::Put { .. } | Write::Delete { .. } => None,
    })?;
    Some((compare.revision, value))
}

async fn look(store: &impl Store, key: &str) -> Result<Option<Entry>, ReadError> {
    let listing = store.list(key).await?;
    // Of all keys that start with it, it is the first itself.
    Ok(listing.entries.into_iter().next().filter(|entry| entry.key == key))
}

fn in_doubt(source: BoxError) -> CommitError {
    CommitError::InDoubt { source, settled: false }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::{Listing, Memory, Watch};

    const PATIENCE: Duration = Duration::from_secs(20);

    /// What a faulty store does with the next transactions.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Fault {
        /// Commits, and says nothing of it.
        AnswerLost,
        /// Does nothing, and says nothing of it.
        RequestLost,
        /// Does nothing, and somebody else writes the guard meanwhile.
        Overtaken,
        /// Commits, and somebody else writes the guard after it.
        Followed,
        /// Commits, and says that there is no room.
        LastRoom,
        /// Does nothing, and says that there is no room.
        NoRoom,
    }

    struct Faulty {
        store: Memory,
        faults: Mutex<Vec<Fault>>,
        commits: AtomicUsize,
    }

    impl Store for Faulty {
        async fn list(&self, prefix: &str) -> Result<Listing, ReadError> {
            self.store.list(prefix).await
        }

        async fn commit(&self, txn: &Txn) -> Result<Revision, CommitError> {
            self.commits.fetch_add(1, Ordering::Relaxed);
            let fault = self.faults.lock().unwrap().pop();
            match fault {
                None => return self.store.commit(txn).await,
                Some(Fault::AnswerLost | Fault::LastRoom) => drop(self.store.commit(txn).await),
                Some(Fault::RequestLost | Fault::NoRoom) => {}
                Some(Fault::Followed) => {
                    let _committed = self.store.commit(txn).await;
                    drop(self.store.commit(&Txn::new().put("term", "other")).await);
                }
                Some(Fault::Overtaken) => drop(self.store.commit(&Txn::new().put("term", "other")).await),
            }
            let settled = matches!(fault, Some(Fault::LastRoom | Fault::NoRoom));
            Err(CommitError::InDoubt { source: "lost".into(), settled })
        }

        fn watch(&self, prefix: &str, after: Revision) -> Watch {
            self.store.watch(prefix, after)
        }
    }

    /// The outcome of the second of two transactions of `me`, and how often `x` was written by it.
    async fn check(faults: &[Fault], wanted: Result<(), ()>, written: bool) {
        let store = Faulty { store: Memory::new(), faults: Mutex::default(), commits: AtomicUsize::new(0) };
        let term = store.commit(&Txn::new().expect_absent("term").put("term", "me").put("term2", "near")).await.unwrap();
        store.faults.lock().unwrap().extend(faults);
        let txn = Txn::new().expect("term", term).put("term", "me").put("x", "1");
        let got = commit_guarded(&store, "term", &txn, PATIENCE).await;
        assert_eq!(got.as_ref().map(|_| ()).map_err(|_| ()), wanted, "{faults:?}: {got:?}");
        // "Nothing was done" would be a lie where somebody else came after it.
        assert!(matches!(got, Ok(_) | Err(CommitError::InDoubt { .. })), "{faults:?}: {got:?}");
        let found = look(&store, "x").await.unwrap();
        assert_eq!(found.is_some(), written, "{faults:?}");
        if let (Ok(revision), Some(found)) = (got, found) {
            assert_eq!(found.revision, revision, "{faults:?}");
            assert_eq!(look(&store, "term").await.unwrap().unwrap().revision, revision, "{faults:?}");
        }
    }

    #[tokio::test]
    async fn a_lost_answer_is_asked_for_again() {
        use Fault::{AnswerLost, Followed, Overtaken, RequestLost};
        check(&[], Ok(()), true).await;
        check(&[RequestLost], Ok(()), true).await;
        check(&[AnswerLost], Ok(()), true).await;
        check(&[AnswerLost, RequestLost, AnswerLost, RequestLost], Ok(()), true).await;
        check(&[Overtaken], Err(()), false).await;
        check(&[Overtaken, RequestLost, RequestLost], Err(()), false).await;
        check(&[Followed], Err(()), true).await;
        check(&[Followed, RequestLost], Err(()), true).await;
    }

    #[tokio::test]
    async fn what_the_store_is_through_with_is_known_at_once() {
        use Fault::{LastRoom, NoRoom, RequestLost};
        check(&[LastRoom], Ok(()), true).await;
        check(&[LastRoom, RequestLost], Ok(()), true).await;
        // The lost copy may still come.
        check(&[NoRoom, RequestLost], Err(()), false).await;
        let store = Faulty { store: Memory::new(), faults: Mutex::new(vec![NoRoom]), commits: AtomicUsize::new(0) };
        let txn = Txn::new().expect_absent("term").put("term", "me");
        let got = commit_guarded(&store, "term", &txn, PATIENCE).await;
        assert!(matches!(got, Err(CommitError::Io { .. })), "{got:?}");
        assert_eq!(store.commits.load(Ordering::Relaxed), 1, "it is not asked again and again");
    }

    #[tokio::test]
    async fn a_store_that_stays_away_leaves_it_in_doubt() {
        let store = Faulty { store: Memory::new(), faults: Mutex::new(vec![Fault::RequestLost; 3]), commits: AtomicUsize::new(0) };
        let txn = Txn::new().expect_absent("term").put("term", "me");
        let got = commit_guarded(&store, "term", &txn, Duration::ZERO).await;
        assert!(matches!(got, Err(CommitError::InDoubt { .. })), "{got:?}");
        assert_eq!(store.commits.load(Ordering::Relaxed), 1);
    }
}
