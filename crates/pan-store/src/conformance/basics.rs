//! The rules of one transaction, one by one.

use crate::{BYTES_MAX, CommitError, Entry, KEY_BYTES_MAX, OPERATIONS_MAX, Refusal, Revision, Store, Txn};

pub(super) async fn run<S: Store>(make: &impl Fn() -> S) {
    starts_empty(&make()).await;
    lists_in_order_by_prefix(&make()).await;
    compares_before_writing(&make()).await;
    changes_nothing_without_a_change(&make()).await;
    refuses_what_can_never_work(&make()).await;
}

/// Commits what must succeed.
pub(super) async fn commit(store: &impl Store, txn: Txn) -> Revision {
    match store.commit(&txn).await {
        Ok(revision) => revision,
        Err(error) => panic!("{txn:?} failed: {error}"),
    }
}

/// Everything under `prefix`.
pub(super) async fn entries(store: &impl Store, prefix: &str) -> Vec<Entry> {
    store.list(prefix).await.expect("listing works").entries
}

fn entry(key: &str, value: &str, revision: Revision) -> Entry {
    Entry { key: key.to_owned(), value: value.as_bytes().to_vec(), revision }
}

async fn starts_empty(store: &impl Store) {
    assert_eq!(entries(store, "").await, [], "a new store is empty");
}

async fn lists_in_order_by_prefix(store: &impl Store) {
    let first = commit(store, Txn::new().put("p/b/x", "2").put("p/a/x", "1").put("q", "3").put("p/b", "0")).await;
    let second = commit(store, Txn::new().put("p/b/ü", "4").put("p/ba", "5").put("p/a/x", "1")).await;
    assert!(second > first, "revisions grow: {first}, then {second}");
    let under = [entry("p/b/x", "2", first), entry("p/b/ü", "4", second)];
    assert_eq!(entries(store, "p/b/").await, under, "a prefix is a string, not a path");
    let keys: Vec<String> = entries(store, "").await.into_iter().map(|entry| entry.key).collect();
    assert_eq!(keys, ["p/a/x", "p/b", "p/b/x", "p/b/ü", "p/ba", "q"], "listings come in byte order");
    let rewritten = entries(store, "p/a/x").await;
    assert_eq!(rewritten, [entry("p/a/x", "1", second)], "writing the same value again is a write");
    assert_eq!(store.list("none").await.expect("listing works").revision, second, "a listing says its revision");
}

async fn compares_before_writing(store: &impl Store) {
    let first = commit(store, Txn::new().expect_absent("k").put("k", "1").put("other", "1")).await;
    check_conflict(store, Txn::new().expect_absent("k").put("k", "2"), ("k", None, Some(first))).await;
    let second = commit(store, Txn::new().expect("k", first).put("k", "2")).await;
    let stale = Txn::new().expect("other", first).expect("k", first).put("other", "2").delete("k").put("new", "2");
    check_conflict(store, stale, ("k", Some(first), Some(second))).await;
    let missing = Txn::new().expect("gone", first).put("k", "3");
    check_conflict(store, missing, ("gone", Some(first), None)).await;
    let expected = [entry("k", "2", second), entry("other", "1", first)];
    assert_eq!(entries(store, "").await, expected, "a refused transaction writes nothing");

    commit(store, Txn::new().expect("k", second).delete("k")).await;
    check_conflict(store, Txn::new().expect("k", second).put("k", "4"), ("k", Some(second), None)).await;
    let again = commit(store, Txn::new().expect_absent("k").put("k", "5")).await;
    assert!(again > second, "a key that comes back has a new revision, so an old comparison cannot fit it");
}

type Conflict = (&'static str, Option<Revision>, Option<Revision>);

async fn check_conflict(store: &impl Store, txn: Txn, wanted: Conflict) {
    match store.commit(&txn).await {
        Err(CommitError::Conflict { key, expected, found }) => {
            assert_eq!((key.as_str(), expected, found), wanted, "{txn:?}");
        }
        other => panic!("{txn:?}: expected a conflict over {wanted:?}, got {other:?}"),
    }
}

async fn changes_nothing_without_a_change(store: &impl Store) {
    let first = commit(store, Txn::new().put("k", "1")).await;
    let nothing = [Txn::new(), Txn::new().expect("k", first).expect_absent("l"), Txn::new().expect("k", first).delete("l")];
    for txn in nothing {
        assert_eq!(commit(store, txn.clone()).await, first, "{txn:?} makes no revision");
    }
    check_conflict(store, Txn::new().expect_absent("k"), ("k", None, Some(first))).await;
}

async fn refuses_what_can_never_work(store: &impl Store) {
    let written = |number: usize| (0..number).fold(Txn::new(), |txn, n| txn.put(format!("k/{n}"), "v"));
    let compared = |number: usize| (0..number).fold(Txn::new(), |txn, n| txn.expect_absent(format!("k/{n}")));
    let too_large = |what, found, max| Refusal::TooLarge { what, found, max };
    let (long, longer) = ("k".repeat(KEY_BYTES_MAX), "k".repeat(KEY_BYTES_MAX + 1));
    let refused = [
        (Txn::new().put("a", "1").delete("a"), Refusal::WrittenTwice { key: "a".to_owned() }),
        (Txn::new().put("", "1"), Refusal::EmptyKey),
        (Txn::new().expect_absent(""), Refusal::EmptyKey),
        (written(OPERATIONS_MAX + 1), too_large("writes", OPERATIONS_MAX + 1, OPERATIONS_MAX)),
        (compared(OPERATIONS_MAX + 1), too_large("comparisons", OPERATIONS_MAX + 1, OPERATIONS_MAX)),
        (Txn::new().put("k", vec![0; BYTES_MAX]), too_large("bytes", BYTES_MAX + 1, BYTES_MAX)),
        (Txn::new().delete(&longer), too_large("bytes of one key", KEY_BYTES_MAX + 1, KEY_BYTES_MAX)),
    ];
    for (txn, wanted) in refused {
        match store.commit(&txn).await {
            Err(CommitError::Refused(found)) => assert_eq!(found, wanted),
            other => panic!("expected {wanted:?}, got {other:?}"),
        }
    }
    assert_eq!(entries(store, "").await, [], "a refused transaction writes nothing");
    commit(store, written(OPERATIONS_MAX)).await;
    commit(store, Txn::new().put("k", vec![0; BYTES_MAX - 1])).await;
    commit(store, Txn::new().put(long, "")).await;
}
