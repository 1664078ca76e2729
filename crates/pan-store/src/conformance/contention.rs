//! Many writers at once: nothing is lost, nothing is half done.

use std::sync::Arc;

use super::basics::{commit, entries};
use crate::{CommitError, Revision, Store, Txn};

const WRITERS: usize = 8;
const ROUNDS: usize = 25;

pub(super) async fn run<S: Store>(make: &impl Fn() -> S) {
    counts_every_increment(Arc::new(make())).await;
    shows_no_half_transaction(Arc::new(make())).await;
}

async fn counts_every_increment<S: Store>(store: Arc<S>) {
    commit(&*store, Txn::new().put("n", "0")).await;
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            for _ in 0..ROUNDS {
                increment(&*store).await;
            }
        });
    }
    writers.join_all().await;
    assert_eq!(number(&*store, "n").await.0, WRITERS * ROUNDS, "an increment was lost");
}

async fn increment(store: &impl Store) {
    loop {
        let (value, revision) = number(store, "n").await;
        let txn = Txn::new().expect("n", revision).put("n", (value + 1).to_string());
        match store.commit(&txn).await {
            Ok(committed) => {
                assert!(number(store, "n").await.1 >= committed, "a committed write is not visible");
                return;
            }
            Err(CommitError::Conflict { .. }) => {}
            Err(error) => panic!("incrementing failed: {error}"),
        }
    }
}

async fn number(store: &impl Store, key: &str) -> (usize, Revision) {
    let found = entries(store, key).await;
    let text = std::str::from_utf8(&found[0].value).expect("written by this test");
    (text.parse().expect("written by this test"), found[0].revision)
}

/// Writers move one unit between two accounts each; whoever looks must always see the same sum.
async fn shows_no_half_transaction<S: Store>(store: Arc<S>) {
    let all = (0..WRITERS).fold(Txn::new(), |txn, writer| txn.put(format!("l/{writer}"), "0"));
    commit(&*store, (0..WRITERS).fold(all, |txn, writer| txn.put(format!("r/{writer}"), ROUNDS.to_string()))).await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            for round in 1..=ROUNDS {
                let (left, right) = (round.to_string(), (ROUNDS - round).to_string());
                commit(&*store, Txn::new().put(format!("l/{writer}"), left).put(format!("r/{writer}"), right)).await;
            }
        });
    }
    while !writers.is_empty() {
        let values = entries(&*store, "").await;
        let parse = |value: &[u8]| std::str::from_utf8(value).ok().and_then(|text| text.parse::<usize>().ok());
        let sum: usize = values.iter().map(|entry| parse(&entry.value).expect("written by this test")).sum();
        assert_eq!(sum, WRITERS * ROUNDS, "a listing shows half a transaction");
        while let Some(joined) = writers.try_join_next() {
            joined.expect("the writer succeeds");
        }
    }
}
