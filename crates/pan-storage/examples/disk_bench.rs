//! What the pool costs: the same work on it and on a plain file of the same disk, one after the other.
//!
//! `cargo run --release -p pan-storage --example disk_bench -- DIRECTORY [SECONDS]`
#![allow(clippy::unwrap_used, reason = "a measurement that cannot be made ends")]

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pan_disk::faulty::Dice;
use pan_disk::{Durability, FlushMark, Layout, NewVolume, Pool, Source, Write};
use pan_model::{Lineage, Session, VolumeEpoch, VolumeId};
use pan_storage::files::Files;

const SIZE: u64 = 512 << 20;
const SMALL: usize = 4096;
const LARGE: usize = 1 << 20;
const VOLUME: VolumeId = VolumeId(1);

static WRITES: AtomicU64 = AtomicU64::new(0);

trait Target: Sync {
    fn write(&self, offset: u64, data: &[u8]);
    fn flush(&self);
    fn read(&self, offset: u64, into: &mut [u8]);
}

impl Target for File {
    fn write(&self, offset: u64, data: &[u8]) {
        self.write_all_at(data, offset).unwrap();
    }

    fn flush(&self) {
        self.sync_data().unwrap();
    }

    fn read(&self, offset: u64, into: &mut [u8]) {
        self.read_exact_at(into, offset).unwrap();
    }
}

impl Target for Pool<Files> {
    fn write(&self, offset: u64, data: &[u8]) {
        Self::write(self, VOLUME, Write { offset, data }, Durability::Flushed).unwrap();
        // A head says now and then what all replicas have.
        if WRITES.fetch_add(1, Ordering::Relaxed).is_multiple_of(16) {
            self.settle(VOLUME, &self.intents(VOLUME).unwrap()).unwrap();
        }
    }

    fn flush(&self) {
        Self::flush(self, VOLUME, FlushMark { epoch: VolumeEpoch(1), count: 1 }).unwrap();
    }

    fn read(&self, offset: u64, into: &mut [u8]) {
        Self::read(self, Source::Volume(VOLUME), offset, into).unwrap();
    }
}

/// Processor time of this process so far.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

fn measure(what: &str, bytes: usize, threads: u64, time: Duration, one: impl Fn(&mut Dice) + Sync) {
    let (begin, used) = (Instant::now(), cpu());
    let times: Vec<Vec<Duration>> = std::thread::scope(|scope| {
        let run = |thread: u64| {
            let (mut dice, mut times) = (Dice::new(thread), Vec::new());
            while begin.elapsed() < time {
                let before = Instant::now();
                one(&mut dice);
                times.push(before.elapsed());
            }
            times
        };
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (elapsed, used) = (begin.elapsed().as_secs_f64(), (cpu() - used).as_secs_f64());
    let mut times: Vec<Duration> = times.into_iter().flatten().collect();
    times.sort_unstable();
    let count = times.len() as f64;
    let at = |part: f64| times[((count - 1.0) * part) as usize].as_secs_f64() * 1e6;
    println!(
        "{what:<34} {:>8.0}/s {:>7.1} MB/s  p50 {:>6.0} us  p99 {:>7.0} us  max {:>8.0} us  cpu {:>5.1} us",
        count / elapsed,
        count * bytes as f64 / elapsed / 1e6,
        at(0.5),
        at(0.99),
        at(1.0),
        used * 1e6 / count
    );
}

fn all(name: &str, target: &impl Target, time: Duration) {
    let mut data = vec![0_u8; LARGE];
    let mut dice = Dice::new(7);
    data.iter_mut().for_each(|byte| *byte = dice.roll() as u8);
    let next = AtomicU64::new(0);
    let sequential = || next.fetch_add(LARGE as u64, Ordering::Relaxed) % SIZE;
    let write = |_: &mut Dice| {
        let offset = sequential();
        target.write(offset, &data);
        if offset % (32 << 20) == 0 {
            target.flush();
        }
    };
    measure(&format!("{name}: 1 MiB writes, sequential, new"), LARGE, 1, time, write);
    (0..SIZE).step_by(LARGE).for_each(|offset| target.write(offset, &data));
    target.flush();
    measure(&format!("{name}: 1 MiB writes, sequential, over"), LARGE, 1, time, write);
    let small = |dice: &mut Dice| dice.below(SIZE / SMALL as u64) * SMALL as u64;
    for threads in [1, 8] {
        let write = |dice: &mut Dice| {
            target.write(small(dice), &data[..SMALL]);
            target.flush();
        };
        measure(&format!("{name}: 4 KiB write+flush, {threads} thr."), SMALL, threads, time, write);
    }
    measure(&format!("{name}: 4 KiB reads, random"), SMALL, 1, time, |dice| target.read(small(dice), &mut [0; SMALL]));
    measure(&format!("{name}: 1 MiB reads, sequential"), LARGE, 1, time, |_| target.read(sequential(), &mut vec![0; LARGE]));
}

fn main() {
    let mut args = std::env::args().skip(1);
    let directory = args.next().expect("a directory to measure in");
    let time = Duration::from_secs(args.next().and_then(|text| text.parse().ok()).unwrap_or(3));
    let directory = Path::new(&directory);
    let files = Files::open(&directory.join("pool")).unwrap();
    let pool = Pool::format(files, Layout { salt: 1, half_bytes: Layout::HALF_BYTES }).unwrap();
    let (lineage, epoch, session) = (Lineage(1), VolumeEpoch(1), Session(1));
    pool.create(NewVolume { volume: VOLUME, lineage, epoch, session, size: SIZE }).unwrap();
    let plain = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(directory.join("plain")).unwrap();
    all("file", &plain, time);
    std::thread::scope(|scope| {
        scope.spawn(|| while pool.upkeep().unwrap() {});
        all("pool", &pool, time);
        pool.stop_upkeep();
    });
    pool.close().unwrap();
}
