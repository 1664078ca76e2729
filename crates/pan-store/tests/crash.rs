//! The store under `kill -9`: what was acknowledged is there, and no transaction is there by half.
//!
//! The test starts itself again as the victim. A kill leaves the page cache intact, so this shows that the
//! order of writes and acknowledgements is right; that redb flushes is redb's own promise.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pan_store::{Embedded, Store, Txn};

const ROUNDS: u64 = 40;
const WRITERS: u64 = 4;
const FILE: &str = "PAN_STORE_CRASH_FILE";

/// Not a test by itself: the victim that the other one starts and kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the test below"]
async fn victim() {
    let Ok(path) = std::env::var(FILE) else {
        return;
    };
    let store = Arc::new(Embedded::open(Path::new(&path)).unwrap());
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let mut number = last_of(&*store, writer).await;
            loop {
                number += 1;
                let (value, slot) = (number.to_string(), number % 16);
                let txn = Txn::new()
                    .put(format!("w{writer}/last"), value.clone())
                    .put(format!("w{writer}/left/{slot:02}"), value.clone())
                    .put(format!("w{writer}/right/{slot:02}"), value)
                    .delete(format!("w{writer}/mark/{}", (number + 1) % 2))
                    .put(format!("w{writer}/mark/{}", number % 2), "here");
                store.commit(&txn).await.unwrap();
                println!("\nack {writer} {number}");
            }
        });
    }
    writers.join_all().await;
}

async fn last_of(store: &impl Store, writer: u64) -> u64 {
    let found = store.list(&format!("w{writer}/last")).await.unwrap().entries;
    found.first().map_or(0, |entry| number(&entry.value))
}

fn number(value: &[u8]) -> u64 {
    std::str::from_utf8(value).unwrap().parse().unwrap()
}

/// Kills the victim `delay` after its first acknowledgement; returns the highest number of each writer.
fn one_life(path: &Path, delay: Duration) -> BTreeMap<u64, u64> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["victim", "--exact", "--ignored", "--nocapture", "--test-threads=1"]).env(FILE, path);
    let mut victim = command.stdout(Stdio::piped()).spawn().unwrap();
    let output = BufReader::new(victim.stdout.take().unwrap());
    let (started, first_ack) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut acknowledged = BTreeMap::new();
        for line in output.lines() {
            let line = line.unwrap();
            let words: Vec<&str> = line.split(' ').collect();
            // The kill may have cut the last line short; a number cut short only makes the check weaker.
            if let ["ack", writer, number] = words[..]
                && let (Ok(writer), Ok(number)) = (writer.parse::<u64>(), number.parse::<u64>())
            {
                acknowledged.insert(writer, number);
                let _ = started.send(());
            }
        }
        acknowledged
    });
    first_ack.recv_timeout(Duration::from_secs(60)).expect("the victim commits");
    std::thread::sleep(delay);
    victim.kill().unwrap();
    victim.wait().unwrap();
    reader.join().unwrap()
}

async fn check(store: &impl Store, acknowledged: &BTreeMap<u64, u64>) {
    for (&writer, &acked) in acknowledged {
        let last = last_of(store, writer).await;
        assert!(last >= acked, "writer {writer}: {acked} was acknowledged, the store has {last}");
        let values = async |side| {
            let listed = store.list(&format!("w{writer}/{side}/")).await.unwrap().entries;
            listed.iter().map(|entry| number(&entry.value)).collect::<Vec<_>>()
        };
        let (left, right) = (values("left").await, values("right").await);
        assert_eq!(left, right, "writer {writer}: half a transaction");
        assert_eq!(left.iter().max(), Some(&last), "writer {writer}: half a transaction");
        let marks = store.list(&format!("w{writer}/mark/")).await.unwrap().entries;
        let marks: Vec<&str> = marks.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(marks, [format!("w{writer}/mark/{}", last % 2)], "half a transaction");
    }
}

#[tokio::test]
async fn killed_again_and_again_it_keeps_every_acknowledged_write() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
    let mut acknowledged = BTreeMap::new();
    for round in 0..ROUNDS {
        let delay = Duration::from_micros((seed ^ round.wrapping_mul(0x9e37_79b9_7f4a_7c15)) % 40_000);
        println!("round {round}: killed {delay:?} after the first acknowledgement");
        acknowledged.extend(one_life(&path, delay));
        check(&Embedded::open(&path).unwrap(), &acknowledged).await;
    }
    let committed: u64 = acknowledged.values().sum();
    println!("{committed} acknowledged transactions over {ROUNDS} kills");
    assert!(committed > ROUNDS, "the victims hardly wrote anything");
}
