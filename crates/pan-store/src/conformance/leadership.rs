//! A record that makes its writer the leader: of many who take it at once one gets it, and whoever lost it
//! can commit nothing.

use std::sync::Arc;

use tokio::sync::Barrier;

use super::basics::{commit, entries};
use super::watching::next;
use crate::{Change, CommitError, Compare, Revision, Store, Txn};

/// The leader's record.
const RECORD: &str = "pan/term";
/// What leaders write: who did it.
const WORK: &str = "work";

const TAKERS: usize = 4;
const ROUNDS: usize = 10;

pub(super) async fn run<S: Store>(make: &impl Fn() -> S) {
    one_of_many_takes_over(Arc::new(make())).await;
    a_deposed_leader_commits_nothing(&make()).await;
    leaders_never_overlap(Arc::new(make())).await;
}

/// The record's holder and revision.
async fn read(store: &impl Store) -> Option<(String, Revision)> {
    let found = entries(store, RECORD).await.into_iter().next()?;
    Some((String::from_utf8(found.value).expect("written by this test"), found.revision))
}

/// A leader's transaction: only if the record is as it was, and with the record in it.
fn guarded(seen: Option<Revision>, name: &str) -> Txn {
    let compares = vec![Compare { key: RECORD.to_owned(), revision: seen }];
    Txn { compares, ..Txn::new() }.put(RECORD, name)
}

async fn one_of_many_takes_over<S: Store>(store: Arc<S>) {
    for round in 0..ROUNDS {
        let all_have_read = Arc::new(Barrier::new(TAKERS));
        let mut takers = tokio::task::JoinSet::new();
        for taker in 0..TAKERS {
            let (store, all_have_read) = (Arc::clone(&store), Arc::clone(&all_have_read));
            takers.spawn(async move {
                let name = format!("{taker}:{round}");
                let seen = read(&*store).await.map(|(_, revision)| revision);
                all_have_read.wait().await;
                (name.clone(), seen, store.commit(&guarded(seen, &name)).await)
            });
        }
        let outcomes = takers.join_all().await;
        let winners: Vec<_> = outcomes.iter().filter_map(|(name, _, got)| got.as_ref().ok().map(|got| (name.clone(), *got))).collect();
        assert_eq!(winners.len(), 1, "round {round}: {outcomes:?}");
        let (_, won) = winners[0];
        assert_eq!(read(&*store).await.as_ref(), Some(&winners[0]), "round {round}");
        for (name, seen, got) in &outcomes {
            match got {
                Ok(_) => {}
                Err(CommitError::Conflict { key, expected, found }) => {
                    assert_eq!((key.as_str(), expected, found), (RECORD, seen, &Some(won)), "round {round}: {name}");
                }
                Err(error) => panic!("round {round}: {name} failed: {error}"),
            }
        }
    }
}

async fn a_deposed_leader_commits_nothing(store: &impl Store) {
    let first = commit(store, guarded(None, "old").put(WORK, "old")).await;
    let taken = commit(store, guarded(Some(first), "new")).await;
    for late in [guarded(Some(first), "old").put(WORK, "late"), guarded(Some(first), "old").delete(WORK), guarded(None, "old")] {
        match store.commit(&late).await {
            Err(CommitError::Conflict { key, found, .. }) => assert_eq!((key.as_str(), found), (RECORD, Some(taken))),
            other => panic!("{late:?} of a deposed leader gave {other:?}"),
        }
    }
    let then = commit(store, guarded(Some(taken), "new").put(WORK, "new")).await;
    assert_eq!(entries(store, WORK).await[0].value, b"new");
    assert_eq!(read(store).await, Some(("new".to_owned(), then)));
}

/// Everybody takes over, works until deposed, and takes over again. In the history, all work that follows the
/// start of a term is of that term.
async fn leaders_never_overlap<S: Store>(store: Arc<S>) {
    let start = store.list("").await.expect("listing works").revision;
    let mut leaders = tokio::task::JoinSet::new();
    for leader in 0..TAKERS {
        let store = Arc::clone(&store);
        leaders.spawn(async move {
            for round in 0..ROUNDS {
                lead(&*store, &format!("{leader}:{round}")).await;
            }
        });
    }
    leaders.join_all().await;
    let (mut watch, mut terms, mut works) = (store.watch("", start), Vec::<Vec<u8>>::new(), 0);
    let (_, end) = read(&*store).await.expect("somebody took it");
    loop {
        let batch = next(&mut watch).await;
        let value = |wanted: &str| {
            batch.changes.iter().find_map(|change| match change {
                Change::Put(entry) if entry.key == wanted => Some(entry.value.clone()),
                Change::Put(_) | Change::Deleted { .. } => None,
            })
        };
        let holder = value(RECORD).expect("every transaction writes the record");
        match value(WORK) {
            Some(worker) => {
                assert_eq!((terms.last(), &worker), (Some(&holder), &holder), "work of one who does not lead");
                works += 1;
            }
            None => {
                assert!(!terms.contains(&holder), "term {holder:?} began twice");
                terms.push(holder);
            }
        }
        if batch.revision == end {
            break;
        }
    }
    assert_eq!(terms.len(), TAKERS * ROUNDS, "every taker had its terms");
    assert!(works > 0, "no leader did anything");
}

/// One term: takes over, then works until somebody else did, or enough.
async fn lead(store: &impl Store, name: &str) {
    let mut mine = loop {
        let seen = read(store).await.map(|(_, revision)| revision);
        match store.commit(&guarded(seen, name)).await {
            Ok(revision) => break revision,
            Err(CommitError::Conflict { .. }) => {}
            Err(error) => panic!("{name} cannot take over: {error}"),
        }
    };
    for _ in 0..ROUNDS {
        match store.commit(&guarded(Some(mine), name).put(WORK, name)).await {
            Ok(revision) => mine = revision,
            Err(CommitError::Conflict { .. }) => return,
            Err(error) => panic!("{name} cannot work: {error}"),
        }
    }
}
