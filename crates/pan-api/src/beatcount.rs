//! What a host's beat process counted, handed over in a file of its `run_dir`: that process has nothing to do with
//! HTTP, so whichever role runs on the host shows these numbers among its own metrics.

use crate::metrics::{Family, Page};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

const FILE: &str = "beat-counts";
/// Format of the file: this number, then as many numbers as there are in [`BeatCount::ALL`], all big-endian.
const VERSION: u64 = 1;

const SENT: Family = Family::counter("pan_heartbeats_sent_total", "Rounds of heartbeats this host sent on a fabric", &["fabric"]);
const UNSENT: Family = Family::counter(
    "pan_heartbeats_unsent_total",
    "Rounds of heartbeats that could not be sent on a fabric, or not to everybody",
    &["fabric"],
);
const LEASE: Family = Family::counter("pan_lease_changes_total", "What became of this node's lease", &["change"]);
const ACKS: Family =
    Family::counter("pan_acknowledgements_received_total", "Lessors' acknowledgements that reached this node", &["result"]);
const ACKED: Family = Family::counter("pan_lessor_acknowledgements_total", "Heartbeats of nodes this lessor acknowledged", &["fabric"]);
const REFUSED: Family =
    Family::counter("pan_lessor_refusals_total", "Heartbeats of nodes this lessor did not acknowledge: the node is revoked", &["fabric"]);
const REVOKED: Family =
    Family::counter("pan_lessor_revocations_total", "Revocations this lessor confirmed, counting repeated answers", &[]);
const DROPPED: Family = Family::counter("pan_lessor_dropped_total", "Datagrams this lessor dropped", &["reason"]);
const DISK: Family = Family::counter("pan_lessor_disk_failures_total", "Revocations this lessor could not write down", &[]);

/// The families, in the order in which they are shown.
pub const FAMILIES: [Family; 9] = [SENT, UNSENT, LEASE, ACKS, ACKED, REFUSED, REVOKED, DROPPED, DISK];

/// One number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BeatCount {
    /// Rounds sent on fabric A.
    SentA,
    /// Rounds sent on fabric B.
    SentB,
    /// Rounds not sent on fabric A.
    UnsentA,
    /// Rounds not sent on fabric B.
    UnsentB,
    /// The lease was granted (again).
    LeaseGranted,
    /// The lease was renewed.
    LeaseRenewed,
    /// The lease was revoked.
    LeaseFenced,
    /// Acknowledgements that counted.
    AcksGood,
    /// Acknowledgements that were forged or broken.
    AcksBad,
    /// Acknowledged on fabric A.
    AckedA,
    /// Acknowledged on fabric B.
    AckedB,
    /// Not acknowledged on fabric A.
    RefusedA,
    /// Not acknowledged on fabric B.
    RefusedB,
    /// Revocations confirmed.
    Revoked,
    /// Dropped by the lessor: forged.
    DroppedForged,
    /// Dropped by the lessor: of another format.
    DroppedFormat,
    /// Revocations not written.
    DiskFailed,
}

impl BeatCount {
    /// All of them, in the order of the file; new ones come last.
    pub const ALL: [Self; 17] = [
        Self::SentA,
        Self::SentB,
        Self::UnsentA,
        Self::UnsentB,
        Self::LeaseGranted,
        Self::LeaseRenewed,
        Self::LeaseFenced,
        Self::AcksGood,
        Self::AcksBad,
        Self::AckedA,
        Self::AckedB,
        Self::RefusedA,
        Self::RefusedB,
        Self::Revoked,
        Self::DroppedForged,
        Self::DroppedFormat,
        Self::DiskFailed,
    ];

    const fn family(self) -> (Family, Option<&'static str>) {
        match self {
            Self::SentA => (SENT, Some("a")),
            Self::SentB => (SENT, Some("b")),
            Self::UnsentA => (UNSENT, Some("a")),
            Self::UnsentB => (UNSENT, Some("b")),
            Self::LeaseGranted => (LEASE, Some("granted")),
            Self::LeaseRenewed => (LEASE, Some("renewed")),
            Self::LeaseFenced => (LEASE, Some("fenced")),
            Self::AcksGood => (ACKS, Some("good")),
            Self::AcksBad => (ACKS, Some("forged")),
            Self::AckedA => (ACKED, Some("a")),
            Self::AckedB => (ACKED, Some("b")),
            Self::RefusedA => (REFUSED, Some("a")),
            Self::RefusedB => (REFUSED, Some("b")),
            Self::Revoked => (REVOKED, None),
            Self::DroppedForged => (DROPPED, Some("forged")),
            Self::DroppedFormat => (DROPPED, Some("unknown-format")),
            Self::DiskFailed => (DISK, None),
        }
    }
}

/// All the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BeatCounts([u64; BeatCount::ALL.len()]);

impl BeatCounts {
    /// One more.
    pub fn one(&mut self, count: BeatCount) {
        self.add(count, 1);
    }

    /// So many more.
    pub fn add(&mut self, count: BeatCount, more: u64) {
        self.0[count as usize] += more;
    }

    /// How many there are.
    #[must_use]
    pub fn get(&self, count: BeatCount) -> u64 {
        self.0[count as usize]
    }

    /// These and those.
    #[must_use]
    pub fn plus(mut self, others: &Self) -> Self {
        self.0.iter_mut().zip(others.0).for_each(|(own, other)| *own += other);
        self
    }

    /// What the host's beat process wrote last; `None` if none did since the boot, or one of another release.
    #[must_use]
    pub fn read(run_dir: &Path) -> Option<Self> {
        let mut bytes = [0; 8 * (BeatCount::ALL.len() + 1)];
        File::open(run_dir.join(FILE)).ok()?.read_exact_at(&mut bytes, 0).ok()?;
        let mut numbers = bytes.chunks_exact(8).map(|chunk| u64::from_be_bytes(chunk.try_into().expect("chunks of eight")));
        if numbers.next() != Some(VERSION) {
            return None;
        }
        Some(Self(std::array::from_fn(|_| numbers.next().expect("as many as there is room for"))))
    }

    /// Adds them to a page; nothing when there are none.
    pub fn show(counts: Option<&Self>, page: &mut Page) {
        for family in FAMILIES {
            let own = BeatCount::ALL.into_iter().filter(|count| count.family().0 == family);
            let numbers: Vec<_> =
                counts.into_iter().flat_map(|counts| own.clone().map(|count| (count.family().1, counts.get(count)))).collect();
            match family.labels.len() {
                0 => page.samples(&family, numbers.into_iter().map(|(_, number)| ([], number))),
                _ => page.samples(&family, numbers.into_iter().filter_map(|(label, number)| Some(([label?], number)))),
            }
        }
    }
}

/// Where the beat process writes them. The file is kept open and written in place: a reader may see two numbers of
/// different seconds, and a process that sends heartbeats waits for no disk.
#[derive(Debug)]
pub struct BeatCountFile(File);

impl BeatCountFile {
    /// Makes the file.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(run_dir: &Path) -> io::Result<Self> {
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o644).open(run_dir.join(FILE)).map(Self)
    }

    /// Writes them. A failure is none: the next second writes them all again.
    pub fn write(&self, counts: &BeatCounts) {
        let mut bytes = [0; 8 * (BeatCount::ALL.len() + 1)];
        let numbers = std::iter::once(VERSION).chain(counts.0);
        bytes.chunks_exact_mut(8).zip(numbers).for_each(|(chunk, number)| chunk.copy_from_slice(&number.to_be_bytes()));
        let _ = self.0.write_all_at(&bytes, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_shown() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(BeatCounts::read(dir.path()), None);
        let mut counts = BeatCounts::default();
        BeatCount::ALL.iter().enumerate().for_each(|(at, count)| (0..=at).for_each(|_| counts.one(*count)));
        let file = BeatCountFile::open(dir.path()).unwrap();
        file.write(&counts);
        assert_eq!(BeatCounts::read(dir.path()), Some(counts));
        let mut page = Page::default();
        BeatCounts::show(Some(&counts), &mut page);
        let text = page.text();
        let samples = crate::metrics::read(&text).unwrap();
        assert_eq!(samples.len(), BeatCount::ALL.len(), "{text}");
        let shown: Vec<f64> = samples.iter().map(|sample| sample.number).collect();
        assert_eq!(shown, (1..=17).map(f64::from).collect::<Vec<_>>(), "each is shown once");
    }

    #[test]
    fn a_file_of_another_release_is_none() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), [9; 8 * (BeatCount::ALL.len() + 1)]).unwrap();
        assert_eq!(BeatCounts::read(dir.path()), None);
    }
}
