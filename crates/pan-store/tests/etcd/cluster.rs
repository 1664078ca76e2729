//! Three members, of which one at a time dies or hangs while a leader writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pan_store::{CommitError, Etcd, EtcdOptions, Pace, Pulse, Revision, Store, Timing, Txn, commit_guarded};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::kit::{self, Cluster};

const RECORD: &str = "pan/term";

/// Longer than writes may stay away on a machine busy with something else.
const PATIENCE: Duration = Duration::from_secs(60);

/// Acknowledged writes between two faults.
const BETWEEN: usize = 20;

/// One acknowledged write.
#[derive(Debug, Clone, Copy)]
struct Acknowledged {
    begun: Instant,
    ended: Instant,
    revision: Revision,
}

/// A leader that writes one thing after the other: number `n` is the entry `log/n`.
struct Writer {
    acknowledged: watch::Receiver<Vec<Acknowledged>>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Writer {
    async fn start(cluster: &Cluster, options: EtcdOptions) -> Self {
        let store = cluster.store(options).await;
        let listing = store.list(RECORD).await.unwrap();
        let txn = match listing.entries.first() {
            Some(entry) => Txn::new().expect(RECORD, entry.revision),
            None => Txn::new().expect_absent(RECORD),
        };
        let name = format!("writer after {}", listing.revision);
        let term = commit_guarded(&store, RECORD, &txn.put(RECORD, name.as_str()), PATIENCE).await.unwrap();
        let (sender, acknowledged) = watch::channel(Vec::new());
        let stop = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(write(store, name, term, sender, Arc::clone(&stop)));
        Self { acknowledged, stop, task }
    }

    /// Waits for `number` writes that began after `instant`; returns when the first of them was acknowledged.
    async fn writes_after(&mut self, instant: Instant, number: usize) -> Instant {
        let enough = |all: &Vec<Acknowledged>| all.iter().rev().take_while(|one| one.begun >= instant).count() >= number;
        let all = tokio::time::timeout(PATIENCE, self.acknowledged.wait_for(enough)).await.expect("writes resume");
        let all = all.expect("the writer goes on");
        all.iter().find(|one| one.begun >= instant).expect("there are enough").ended
    }

    /// Ends it, and checks that everything acknowledged is there, as it was acknowledged.
    async fn check(self, cluster: &Cluster, options: EtcdOptions) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        let acknowledged = self.acknowledged.borrow().clone();
        let entries = cluster.store(options).await.list("log/").await.unwrap().entries;
        for (number, one) in acknowledged.iter().enumerate() {
            let found = entries.iter().find(|entry| entry.key == format!("log/{number:06}"));
            let found = found.unwrap_or_else(|| panic!("write {number} was acknowledged and is lost"));
            assert_eq!(found.revision, one.revision, "write {number} was committed twice");
        }
        assert_eq!(entries.len(), acknowledged.len(), "something was written that was not acknowledged");
        acknowledged.len()
    }
}

async fn write(store: Etcd, name: String, mut term: Revision, out: watch::Sender<Vec<Acknowledged>>, stop: Arc<AtomicBool>) {
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let begun = Instant::now();
        let txn = Txn::new().expect(RECORD, term).put(RECORD, name.as_str()).expect_absent(format!("log/{number:06}"));
        let txn = txn.put(format!("log/{number:06}"), number.to_string());
        term = commit_guarded(&store, RECORD, &txn, PATIENCE).await.unwrap();
        let ended = Instant::now();
        out.send_modify(|all| all.push(Acknowledged { begun, ended, revision: term }));
    }
}

fn print(what: &str, mut took: Vec<Duration>) {
    took.sort();
    println!("{what}: writes resumed after {took:?}");
}

/// The members, beginning with `first`.
fn order(first: usize) -> [usize; 3] {
    [first, (first + 1) % 3, (first + 2) % 3]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_resume_when_the_leading_member_dies() {
    if !kit::available() {
        return;
    }
    let mut cluster = Cluster::start(3, Pace::LAN, &[]).await;
    cluster.store(cluster.options(&[0, 1, 2], Timing::LAN)).await;
    let mut took = [Vec::new(), Vec::new()];
    for round in 0..6 {
        let leader = cluster.leader().await;
        // The writer speaks to the leading member, or to another.
        let side = round % 2;
        let mut writer = Writer::start(&cluster, cluster.options(&order((leader + side) % 3), Timing::LAN)).await;
        writer.writes_after(Instant::now(), BETWEEN).await;
        cluster.kill(leader);
        let killed = Instant::now();
        let resumed = writer.writes_after(killed, BETWEEN).await;
        took[side].push(resumed - killed);
        cluster.start_member(leader);
        writer.writes_after(Instant::now(), BETWEEN).await;
        writer.check(&cluster, cluster.options(&[leader], Timing::LAN)).await;
        let store = cluster.store(cluster.options(&[leader], Timing::SHARED)).await;
        clear(&store).await;
    }
    let [own, other] = took;
    print("leading member killed, connected to it", own);
    print("leading member killed, connected to another", other);
}

/// Removes the log, so that the next writer can begin anew.
async fn clear(store: &Etcd) {
    let begun = Instant::now();
    loop {
        let log = store.list("log/").await.unwrap().entries;
        if log.is_empty() {
            return;
        }
        let txn = log.iter().take(1000).fold(Txn::new(), |txn, entry| txn.delete(entry.key.as_str()));
        match store.commit(&txn).await {
            // Deleting once more does no harm.
            Ok(_) | Err(CommitError::InDoubt { .. } | CommitError::Io { .. }) => assert!(begun.elapsed() < PATIENCE),
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_killed_again_and_again_costs_no_acknowledged_write() {
    if !kit::available() {
        return;
    }
    let mut cluster = Cluster::start(3, Pace::LAN, &[]).await;
    let follower = cluster.store(cluster.options(&[0, 1, 2], Timing::LAN)).await;
    let mut watch = follower.watch("log/", follower.list("").await.unwrap().revision);
    let mut writer = Writer::start(&cluster, cluster.options(&[0, 1, 2], Timing::LAN)).await;
    for round in 0..12 {
        // The one the writer speaks to, as often as the others; whether it leads is left to chance.
        let victim = round % 3;
        writer.writes_after(Instant::now(), round % 7 + 1).await;
        cluster.kill(victim);
        writer.writes_after(Instant::now(), round % 5 + 1).await;
        cluster.start_member(victim);
        // Two of three have to agree with each other again before the next one goes.
        cluster.store(cluster.options(&[victim], Timing::SHARED)).await;
    }
    let acknowledged = writer.acknowledged.clone();
    let written = writer.check(&cluster, cluster.options(&[0, 1, 2], Timing::SHARED)).await;
    let acknowledged: Vec<Revision> = acknowledged.borrow().iter().map(|one| one.revision).collect();
    for (number, &revision) in acknowledged.iter().enumerate() {
        let batch = tokio::time::timeout(PATIENCE, watch.next()).await.expect("the watch goes on").unwrap();
        assert_eq!((batch.revision, batch.changes.len()), (revision, 1), "write {number} as a follower was told of it");
    }
    println!("{written} acknowledged writes over 12 kills");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_member_neither_stops_writes_nor_tells_the_past() {
    if !kit::available() {
        return;
    }
    let cluster = Cluster::start(3, Pace::LAN, &[]).await;
    cluster.store(cluster.options(&[0, 1, 2], Timing::LAN)).await;
    let mut took = Vec::new();
    for _ in 0..3 {
        let leader = cluster.leader().await;
        let only = cluster.store(cluster.options(&[leader], Timing::SHARED)).await;
        let mut writer = Writer::start(&cluster, cluster.options(&order(leader), Timing::LAN)).await;
        writer.writes_after(Instant::now(), BETWEEN).await;
        cluster.signal(leader, "STOP");
        let frozen = Instant::now();
        let resumed = writer.writes_after(frozen, BETWEEN).await;
        took.push(resumed - frozen);
        let now = writer.acknowledged.borrow().last().expect("it writes").revision;
        cluster.signal(leader, "CONT");
        // It may still take itself for the leader, and must not answer from what it has.
        let told = only.list(RECORD).await.unwrap().entries[0].revision;
        assert!(told >= now, "a thawed member told revision {told}, after {now} was acknowledged");
        writer.check(&cluster, cluster.options(&order(leader), Timing::SHARED)).await;
        clear(&only).await;
    }
    print("leading member frozen, connected to it", took);
}

/// Without a majority nothing is committed, and the answer says so in time; what was in doubt is decided later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_nothing_is_committed() {
    if !kit::available() {
        return;
    }
    let mut cluster = Cluster::start(3, Pace::LAN, &[]).await;
    let store = cluster.store(cluster.options(&[0, 1, 2], Timing::LAN)).await;
    let take = Txn::new().expect_absent(RECORD).put(RECORD, "me");
    let term = commit_guarded(&store, RECORD, &take, PATIENCE).await.unwrap();
    let survivor = cluster.leader().await;
    let [_, second, third] = order(survivor);
    cluster.kill(second);
    cluster.kill(third);
    let txn = Txn::new().expect(RECORD, term).put(RECORD, "me").put("x", "1");
    let patience = Timing::LAN.patience;
    let begun = Instant::now();
    let refused = commit_guarded(&store, RECORD, &txn, patience).await;
    assert!(matches!(refused, Err(CommitError::InDoubt { .. } | CommitError::Io { .. })), "{refused:?}");
    assert!(begun.elapsed() < 3 * patience + Duration::from_secs(5), "it took {:?}", begun.elapsed());
    assert!(store.list("").await.is_err(), "a member without a majority must not answer reads");

    cluster.start_member(second);
    let store = cluster.store(cluster.options(&[0, 1, 2], Timing::SHARED)).await;
    // Somebody else takes over. What is under way may come first, but not after.
    let record = loop {
        let record = store.list(RECORD).await.unwrap().entries[0].revision;
        match commit_guarded(&store, RECORD, &Txn::new().expect(RECORD, record).put(RECORD, "other"), PATIENCE).await {
            Ok(_) => break record,
            Err(CommitError::Conflict { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
    };
    let late = commit_guarded(&store, RECORD, &txn, PATIENCE).await;
    assert!(matches!(&late, Err(CommitError::Conflict { key, .. }) if key == RECORD), "{late:?}");
    let written = store.list("x").await.unwrap().entries.len();
    assert_eq!(written, usize::from(record > term), "the transaction is there exactly if the record had changed");
}

/// Which of e1, e2 and e3 answer, once it is as wanted; and what is said of those that do not.
async fn felt(pulse: &mut Pulse, wanted: [bool; 3]) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let signs = pulse.feel().await;
        let told: Vec<_> = signs.iter().map(|sign| (sign.member.as_str(), sign.silence.is_none())).collect();
        if told == [("e1", wanted[0]), ("e2", wanted[1]), ("e3", wanted[2])] {
            return signs.into_iter().filter_map(|sign| sign.silence).collect();
        }
        assert!(begun.elapsed() < PATIENCE, "{signs:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_member_is_asked_whether_it_answers() {
    if !kit::available() {
        return;
    }
    let mut cluster = Cluster::start(3, Pace::LAN, &[]).await;
    let store = cluster.store(cluster.options(&[0, 1, 2], Timing::LAN)).await;
    let mut pulse = store.pulse();
    felt(&mut pulse, [true; 3]).await;
    cluster.kill(1);
    assert!(felt(&mut pulse, [true, false, true]).await[0].contains("cannot be reached"));
    // Whoever asks for the first time has its name from the others.
    felt(&mut store.pulse(), [true, false, true]).await;
    // One without the others is of no use.
    cluster.kill(0);
    let why = felt(&mut pulse, [false; 3]).await;
    assert!(why[2].contains("no leader"), "{why:?}");
    cluster.start_member(0);
    cluster.start_member(1);
    felt(&mut pulse, [true; 3]).await;
    cluster.signal(2, "STOP");
    assert!(felt(&mut pulse, [true, true, false]).await[0].contains("did not answer"));
}
