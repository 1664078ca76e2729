//! The embedded store against the common suite, across reopening, and its backups.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::cell::RefCell;

use pan_store::{BackupError, Embedded, Store, Txn, WatchError};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms() {
    let dirs = RefCell::new(Vec::new());
    pan_store::conformance::run(|| {
        let dir = tempfile::tempdir().unwrap();
        let store = Embedded::open(&dir.path().join("store.redb")).unwrap();
        dirs.borrow_mut().push(dir);
        store
    })
    .await;
}

#[tokio::test]
async fn reopening_keeps_entries_and_revisions() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let store = Embedded::open(&path).unwrap();
    store.commit(&Txn::new().put("k", "1").put("l", "1")).await.unwrap();
    store.commit(&Txn::new().delete("l")).await.unwrap();
    let before = store.list("").await.unwrap();
    drop(store);

    let store = Embedded::open(&path).unwrap();
    assert_eq!(store.list("").await.unwrap(), before);
    let after = store.commit(&Txn::new().put("k", "2")).await.unwrap();
    assert!(after > before.revision);
    let mut watch = store.watch("", before.revision);
    assert_eq!(watch.next().await.unwrap().revision, after);
    let mut stale = store.watch("", before.entries[0].revision);
    assert!(matches!(stale.next().await, Err(WatchError::Compacted { .. })), "history begins at the opening");
}

#[tokio::test]
async fn a_backup_is_a_store_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("store.redb"), dir.path().join("copy.redb"));
    let store = Embedded::open(&path).unwrap();
    store.commit(&Txn::new().put("k", "1")).await.unwrap();
    let before = store.list("").await.unwrap();
    store.backup(&copy).await.unwrap();
    assert!(matches!(store.backup(&copy).await, Err(BackupError::Exists { .. })));
    store.commit(&Txn::new().put("k", "2")).await.unwrap();
    assert_eq!(Embedded::open(&copy).unwrap().list("").await.unwrap(), before);
}
