//! One member.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pan_store::{Batch, Change, CommitError, ConnectError, Etcd, EtcdOptions, Pace, Store, Timing, Txn, Watch, WatchError, commit_guarded};
use tokio::task::JoinSet;

use super::kit::{self, Cluster};

async fn next(watch: &mut Watch) -> Result<Batch, WatchError> {
    tokio::time::timeout(Duration::from_secs(30), watch.next()).await.expect("the watch says something")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms() {
    if !kit::available() {
        return;
    }
    let cluster = Cluster::start(1, Pace::SHARED, &[]).await;
    let options = cluster.options(&[0], Timing::SHARED);
    cluster.store(options.clone()).await;
    let stores = Cell::new(0);
    // Each store has a prefix of its own, before and after which there are keys of others.
    let make = || {
        stores.set(stores.get() + 1);
        let options = EtcdOptions { prefix: format!("store{:03}/", stores.get()), ..options.clone() };
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(Etcd::connect(options)).unwrap())
    };
    pan_store::conformance::run(make).await;
    assert!(stores.get() > 10, "the suite made {} stores", stores.get());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_listings_come_in_pages() {
    if !kit::available() {
        return;
    }
    let cluster = Cluster::start(1, Pace::SHARED, &[]).await;
    let store = cluster.store(cluster.options(&[0], Timing::SHARED)).await;
    for number in 0..9 {
        store.commit(&Txn::new().put(format!("large/{number}"), vec![number; 4_000_000])).await.unwrap();
    }
    let small = (0..2500).fold(Txn::new(), |txn, number| txn.put(format!("small/{number:04}"), "v"));
    let last = store.commit(&small).await.unwrap();
    let listing = store.list("").await.unwrap();
    assert_eq!((listing.revision, listing.entries.len()), (last, 2509));
    assert!(listing.entries.is_sorted_by(|one, other| one.key < other.key));
    assert!(listing.entries[..9].iter().zip(0..).all(|(entry, number)| entry.value == vec![number; 4_000_000]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_with_other_flags_are_refused_with_the_flag() {
    if !kit::available() {
        return;
    }
    for (flag, advice) in [
        ("--max-txn-ops=128", "start every member with --max-txn-ops=4096"),
        ("--max-request-bytes=1572864", "start every member with --max-request-bytes=10485760"),
    ] {
        let cluster = Cluster::start(1, Pace::SHARED, &[flag]).await;
        cluster.leader().await;
        match Etcd::connect(cluster.options(&[0], Timing::SHARED)).await {
            Err(ConnectError::Limits { source }) => assert!(source.to_string().ends_with(advice), "{flag}: {source}"),
            other => panic!("{flag}: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_certificates_of_the_authority_are_good() {
    if !kit::available() {
        return;
    }
    let cluster = Cluster::start(1, Pace::SHARED, &[]).await;
    let options = cluster.options(&[0], Timing { patience: Duration::ZERO, ..Timing::SHARED });
    cluster.store(options.clone()).await;
    let other = kit::Authority::create();
    for (who, tls) in [
        ("a stranger", cluster.authority().stranger()),
        ("somebody of another authority", other.client()),
        ("a host that has no business with the store", cluster.authority().other_host()),
    ] {
        let refused = Etcd::connect(EtcdOptions { tls, ..options.clone() }).await;
        assert!(matches!(refused, Err(ConnectError::Unreachable { .. })), "{who}: {refused:?}");
    }
}

/// What a full disk quota does: refused with advice, and never denied where it was done after all. Several write at once, for
/// etcd looks before a request takes its turn and once more when it has carried it out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_store_denies_nothing_that_it_wrote() {
    if !kit::available() {
        return;
    }
    let cluster = Cluster::start(1, Pace::SHARED, &["--quota-backend-bytes=20000000"]).await;
    let store = Arc::new(cluster.store(cluster.options(&[0], Timing::SHARED)).await);
    let mut writers = JoinSet::new();
    for key in (0..8).map(|one| format!("k{one}")) {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let mut written = None;
            loop {
                match store.commit(&Txn::new().put(&key, vec![0; 500_000])).await {
                    Ok(revision) => written = Some(revision),
                    Err(error) => return (key, written, error),
                }
            }
        });
    }
    let ends = writers.join_all().await;
    let entries = store.list("").await.unwrap().entries;
    let mut after_all = 0;
    for (key, written, error) in ends {
        let CommitError::InDoubt { source, settled: true } = &error else { panic!("{error:?}") };
        assert!(source.to_string().contains("--quota-backend-bytes"), "{source}");
        let found = entries.iter().find(|entry| entry.key == key).map(|entry| entry.revision);
        assert!(found >= written, "{key}: {found:?}, and {written:?} was acknowledged");
        after_all += u32::from(found != written);
    }
    println!("{after_all} of 8 that heard there is no room were written");

    // By a record of the writer's own it is known.
    let txn = Txn::new().expect_absent("term").put("term", "me").put("more", vec![0; 500_000]);
    let refused = commit_guarded(&*store, "term", &txn, Duration::from_secs(60)).await;
    assert!(matches!(refused, Err(CommitError::Io { .. })), "{refused:?}");
    assert_eq!(store.list("").await.unwrap().entries, entries, "nothing was written");
}

/// Changes are told again from where a watch stopped, or it says that they are gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_resumes_or_says_what_it_lost() {
    if !kit::available() {
        return;
    }
    // The test compacts by way of the JSON gateway, which shows its own member no certificate with a name.
    let flags = ["--enable-grpc-gateway=true", "--client-cert-allowed-hostname="];
    let mut cluster = Cluster::start(1, Pace::SHARED, &flags).await;
    let store = cluster.store(cluster.options(&[0], Timing::SHARED)).await;
    let start = store.list("").await.unwrap().revision;
    let mut watch = store.watch("k/", start);
    let first = store.commit(&Txn::new().put("k/1", "1").put("other", "1")).await.unwrap();
    assert_eq!(next(&mut watch).await.unwrap().revision, first);

    cluster.kill(0);
    cluster.start_member(0);
    let again = cluster.store(cluster.options(&[0], Timing::SHARED)).await;
    let second = again.commit(&Txn::new().delete("k/1").put("k/2", "2")).await.unwrap();
    let batch = next(&mut watch).await.unwrap();
    assert_eq!((batch.revision, batch.changes.len()), (second, 2), "the watch went on by itself: {batch:?}");
    drop(watch);

    let deleted = again.commit(&Txn::new().delete("k/2")).await.unwrap();
    cluster.compact(deleted);
    let mut early = again.watch("k/", first);
    match next(&mut early).await {
        Err(WatchError::Compacted { after, oldest }) => assert_eq!((after, oldest), (first, deleted)),
        other => panic!("{other:?}"),
    }
    assert!(matches!(next(&mut early).await, Err(WatchError::Closed)), "a watch that ended stays so");
    // The deletion at the compacted revision itself must not get lost between the two.
    let mut just_before = again.watch("k/", second);
    assert!(matches!(next(&mut just_before).await, Err(WatchError::Compacted { .. })));
    let mut late = again.watch("k/", deleted);
    let third = again.commit(&Txn::new().put("k/3", "3")).await.unwrap();
    let batch = next(&mut late).await.unwrap();
    assert!(batch.revision == third && matches!(&batch.changes[..], [Change::Put(entry)] if entry.key == "k/3"), "{batch:?}");
}

/// Who follows slowly gets everything, in whole transactions, however large.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_follower_misses_nothing() {
    if !kit::available() {
        return;
    }
    let cluster = Cluster::start(1, Pace::SHARED, &[]).await;
    let store = cluster.store(cluster.options(&[0], Timing::SHARED)).await;
    let start = store.list("").await.unwrap().revision;
    let mut watch = store.watch("", start);
    let mut revisions = Vec::new();
    for number in 0..300 {
        let values = (0..20).fold(Txn::new(), |txn, n| txn.put(format!("{n}"), vec![b'v'; 2000]).delete(format!("gone/{n}")));
        revisions.push(store.commit(&values.put("number", number.to_string())).await.unwrap());
    }
    let large = (0..4096).fold(Txn::new(), |txn, n| txn.put(format!("{n}"), vec![b'v'; 1000]));
    revisions.push(store.commit(&large).await.unwrap());
    for (index, &revision) in revisions.iter().enumerate() {
        let batch = next(&mut watch).await.unwrap();
        let changes = if index == 300 { 4096 } else { 21 };
        assert_eq!((batch.revision, batch.changes.len()), (revision, changes), "transaction {index}");
    }
}

/// Not a promise; printed for docs/decisions/0007-etcd-client.md.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn latency_is_printed() {
    if !kit::available() {
        return;
    }
    let cluster = Cluster::start(1, Pace::SHARED, &[]).await;
    let store = cluster.store(cluster.options(&[0], Timing::SHARED)).await;
    let mut revision = store.commit(&Txn::new().put("pan/term", "me")).await.unwrap();
    let mut took = Vec::new();
    for number in 0..500 {
        let begun = Instant::now();
        let txn = Txn::new().expect("pan/term", revision).put("pan/term", "me").put(format!("k/{}", number % 50), vec![b'v'; 1000]);
        revision = store.commit(&txn).await.unwrap();
        took.push(begun.elapsed());
    }
    took.sort();
    println!("guarded transaction of 1 kB, one member: p50 {:?}, p99 {:?}", took[250], took[495]);
    let begun = Instant::now();
    for _ in 0..500 {
        store.list("pan/term").await.unwrap();
    }
    println!("linearizable read of one key: mean {:?}", begun.elapsed() / 500);
}
