//! A writer that is killed with signal 9 at any moment: what it said was flushed is there, and every block can be read.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use pan_disk::faulty::Dice;
use pan_disk::{BLOCK, Durability, FlushMark, Layout, NewVolume, Pool, Source, Span, Write};
use pan_model::{Lineage, Session, VolumeEpoch, VolumeId};
use pan_storage::files::Files;

const ROUNDS: u64 = 6;
const VOLUME: VolumeId = VolumeId(1);
const BLOCKS: u64 = 2048;
/// Steps from one flush to the next.
const STRIDE: u64 = 5;
const DIRECTORY: &str = "PAN_DISK_TEST_DIRECTORY";
const FIRST_STEP: &str = "PAN_DISK_TEST_FIRST_STEP";

/// What a step does: the same for whoever asks.
struct Step {
    first: u64,
    count: u64,
    zero: bool,
}

fn step(number: u64) -> Step {
    let mut dice = Dice::new(number);
    let count = 1 + if dice.once_in(5) { dice.below(300) } else { dice.below(6) };
    Step { first: dice.below(BLOCKS - count), count, zero: dice.once_in(8) }
}

fn content(number: u64) -> Vec<u8> {
    (0..BLOCK / 8).flat_map(|_| number.to_le_bytes()).collect()
}

fn open(directory: &Path) -> Pool<Files> {
    Pool::open(Files::open(directory).unwrap()).unwrap()
}

/// The process that is killed.
#[test]
#[ignore = "is started by the other test"]
fn writer() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let first: u64 = std::env::var(FIRST_STEP).unwrap().parse().unwrap();
    let pool = open(Path::new(&directory));
    std::thread::scope(|scope| {
        scope.spawn(|| while pool.upkeep().unwrap() {});
        for number in first.. {
            let Step { first, count, zero } = step(number);
            if zero {
                pool.zero(VOLUME, Span { offset: first * BLOCK, length: count * BLOCK }, Durability::Flushed).unwrap();
            } else {
                let data = content(number).repeat(count as usize);
                pool.write(VOLUME, Write { offset: first * BLOCK, data: &data }, Durability::Flushed).unwrap();
            }
            if number % STRIDE == 0 {
                pool.flush(VOLUME, FlushMark { epoch: VolumeEpoch(1), count: number }).unwrap();
                println!("flushed {number}");
            }
        }
    });
}

/// Runs the writer from a step on, kills it after so many flushes, and says the last one that it reported.
fn kill_after(directory: &Path, first: u64, flushes: u64) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["writer", "--exact", "--ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .env(FIRST_STEP, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut flushed = lines.map_while(Result::ok).filter_map(|line| line.split_once("flushed ")?.1.parse().ok());
    let mut last = flushed.by_ref().nth(flushes as usize).expect("the writer goes on until it is killed");
    child.kill().unwrap();
    child.wait().unwrap();
    last = flushed.last().unwrap_or(last);
    last
}

#[test]
fn a_killed_writer_loses_nothing_that_it_flushed() {
    let directory = tempfile::tempdir().unwrap();
    let pool = Pool::format(Files::open(directory.path()).unwrap(), Layout { salt: 3, half_bytes: 1 << 20 }).unwrap();
    let (lineage, epoch, session) = (Lineage(1), VolumeEpoch(1), Session(1));
    pool.create(NewVolume { volume: VOLUME, lineage, epoch, session, size: BLOCKS * BLOCK }).unwrap();
    drop(pool);
    let mut dice = Dice::new(11);
    let mut durable = vec![0; BLOCKS as usize];
    let mut next = 1;
    for round in 0..ROUNDS {
        let flushed = kill_after(directory.path(), next, dice.below(400));
        let pool = open(directory.path());
        assert!(pool.superblock(VOLUME).unwrap().last_flush >= FlushMark { epoch: VolumeEpoch(1), count: flushed }, "round {round}");
        for number in next..=flushed {
            let Step { first, count, zero } = step(number);
            durable[first as usize..(first + count) as usize].fill(if zero { 0 } else { number });
        }
        let mut bytes = vec![0; BLOCK as usize];
        let mut newest = flushed;
        for at in 0..BLOCKS {
            pool.read(Source::Volume(VOLUME), at * BLOCK, &mut bytes).unwrap();
            let found = u64::from_le_bytes(bytes[..8].try_into().unwrap());
            assert_eq!(bytes, content(found), "round {round}, block {at}");
            let wrote = |number: u64| (step(number).first..step(number).first + step(number).count).contains(&at);
            let later = |number: u64| number > flushed && number < flushed + 2 * STRIDE && wrote(number) && !step(number).zero;
            let zeroed = || (flushed + 1..flushed + 2 * STRIDE).any(|number| wrote(number) && step(number).zero);
            let before = durable[at as usize];
            assert!(found == before || later(found) || found == 0 && zeroed(), "round {round}, block {at}: {found} after {before}");
            newest = newest.max(found);
            durable[at as usize] = found;
        }
        next = newest + 1;
    }
}

#[test]
fn threads_share_a_pool() {
    let directory = tempfile::tempdir().unwrap();
    let pool = Pool::format(Files::open(directory.path()).unwrap(), Layout { salt: 3, half_bytes: 1 << 20 }).unwrap();
    let (lineage, epoch, session) = (Lineage(1), VolumeEpoch(1), Session(1));
    let part = BLOCKS / 4;
    pool.create(NewVolume { volume: VOLUME, lineage, epoch, session, size: BLOCKS * BLOCK }).unwrap();
    let write = |thread: u64| {
        let mut now = vec![0; part as usize];
        for number in (1..800).map(|number| number * 4 + thread) {
            let Step { first, count, zero } = step(number);
            let (first, count) = (first % part, count.min(part - first % part));
            let offset = (thread * part + first) * BLOCK;
            if zero {
                pool.zero(VOLUME, Span { offset, length: count * BLOCK }, Durability::Flushed).unwrap();
            } else {
                let data = content(number).repeat(count as usize);
                pool.write(VOLUME, Write { offset, data: &data }, Durability::Flushed).unwrap();
            }
            now[first as usize..(first + count) as usize].fill(if zero { 0 } else { number });
            if number % 7 == 0 {
                pool.flush(VOLUME, FlushMark { epoch: VolumeEpoch(1), count: number }).unwrap();
            }
            let mut bytes = vec![0; (count * BLOCK) as usize];
            pool.read(Source::Volume(VOLUME), offset, &mut bytes).unwrap();
            assert!(bytes == content(if zero { 0 } else { number }).repeat(count as usize), "thread {thread}, step {number}");
        }
        now
    };
    let expected: Vec<Vec<u64>> = std::thread::scope(|scope| {
        scope.spawn(|| while pool.upkeep().unwrap() {});
        let snapshots = scope.spawn(|| (1..6).for_each(|number| pool.snapshot(VOLUME, pan_disk::SnapshotId(number)).unwrap()));
        let write = &write;
        let threads: Vec<_> = (0..4).map(|thread| scope.spawn(move || write(thread))).collect();
        let expected = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        snapshots.join().unwrap();
        pool.stop_upkeep();
        expected
    });
    drop(pool);
    let pool = open(directory.path());
    let mut bytes = vec![0; BLOCK as usize];
    for (at, wanted) in (0..).zip(expected.into_iter().flatten()) {
        pool.read(Source::Volume(VOLUME), at * BLOCK, &mut bytes).unwrap();
        assert!(bytes == content(wanted), "block {at}");
    }
    (1..6).for_each(|number| pool.delete_snapshot(pan_disk::SnapshotId(number)).unwrap());
    assert!(matches!(Files::open(directory.path()), Err(pan_storage::files::FilesError::InUse(_))));
}
