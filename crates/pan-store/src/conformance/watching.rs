//! The rules of watches.

use std::time::Duration;

use super::basics::commit;
use crate::{Batch, Change, Entry, Revision, Store, Txn, Watch};

/// A change that was committed must show up long before this; on a loaded machine too.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) async fn run<S: Store>(make: &impl Fn() -> S) {
    tells_what_happened_in_order(&make()).await;
    wakes_up_for_what_happens(&make()).await;
}

/// The next batch, which must come.
pub(super) async fn next(watch: &mut Watch) -> Batch {
    let waited = tokio::time::timeout(PATIENCE, watch.next()).await;
    waited.expect("a committed change reaches the watch").expect("the watch goes on")
}

fn put(key: &str, value: &str, revision: Revision) -> Change {
    Change::Put(Entry { key: key.to_owned(), value: value.as_bytes().to_vec(), revision })
}

async fn tells_what_happened_in_order(store: &impl Store) {
    let start = store.list("").await.expect("listing works").revision;
    let first = commit(store, Txn::new().put("a/1", "x").put("b/1", "x").put("a/2", "x")).await;
    commit(store, Txn::new().put("b/1", "y")).await;
    let refused = store.commit(&Txn::new().expect_absent("a/1").put("a/3", "never")).await;
    assert!(refused.is_err(), "the comparison does not hold");
    let third = commit(store, Txn::new().delete("a/1").delete("a/none").put("a/2", "z")).await;

    let mut all = store.watch("a/", start);
    let changes = vec![put("a/1", "x", first), put("a/2", "x", first)];
    assert_eq!(next(&mut all).await, Batch { revision: first, changes });
    let changes = vec![Change::Deleted { key: "a/1".to_owned() }, put("a/2", "z", third)];
    assert_eq!(next(&mut all).await, Batch { revision: third, changes: changes.clone() });

    let mut later = store.watch("a/", first);
    assert_eq!(next(&mut later).await, Batch { revision: third, changes }, "a watch starts after its revision");
}

async fn wakes_up_for_what_happens(store: &impl Store) {
    let start = store.list("").await.expect("listing works").revision;
    let mut watch = store.watch("k", start);
    let quiet = tokio::time::timeout(Duration::from_millis(20), watch.next()).await;
    assert!(quiet.is_err(), "nothing happened, yet the watch said {quiet:?}");
    let follow = async { next(&mut watch).await };
    let write = async { commit(store, Txn::new().put("k", "v")).await };
    let (seen, revision) = tokio::join!(follow, write);
    assert_eq!(seen, Batch { revision, changes: vec![put("k", "v", revision)] });
}
