//! The storage role's metrics: whether it follows, what heads asked of its replicas, and what its host's beat process counted.

use pan_api::beatcount::BeatCounts;
use pan_api::metrics::{Count, Family, Page};
use pan_replica::{Answer, Ask, Content, Fault};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const ROUNDS: Family =
    Family::counter("pan_storage_rounds_total", "Times this storage host made its routes those of its desired state", &[]);
const PROBLEMS: Family = Family::gauge("pan_storage_problems", "Things that are wrong on this storage host and tried again", &[]);
const CONNECTIONS: Family = Family::counter("pan_storage_connections_total", "Connections to replicas that were accepted", &[]);
const SESSIONS: Family = Family::gauge("pan_storage_sessions", "Heads that are connected with a good capability", &[]);
const TURNED_AWAY: Family = Family::counter(
    "pan_storage_capabilities_refused_total",
    "Connections that were turned away: without a certificate of the PAN, or without a capability for a volume that is here",
    &["reason"],
);
const REFUSED: Family =
    Family::counter("pan_storage_requests_refused_total", "Requests of a head that has lost its volume, none of which was done", &[]);
const REQUESTS: Family = Family::counter("pan_storage_requests_total", "Requests of heads", &["kind"]);
const BYTES: Family = Family::counter("pan_storage_bytes_total", "Bytes that heads read and wrote", &["direction"]);
const FAILED: Family = Family::counter("pan_storage_requests_failed_total", "Requests that the disk could not do", &["reason"]);
const ROTTEN: Family =
    Family::counter("pan_storage_rotten_bytes_total", "Bytes found by scrubbing that were not what had been written", &[]);

const NO_ROOM: Family = Family::counter(
    "pan_storage_connections_refused_total",
    "Connections to this storage host that were closed because there were too many, of one address or in all",
    &[],
);

/// The role's own families.
pub const FAMILIES: [Family; 11] =
    [ROUNDS, PROBLEMS, CONNECTIONS, SESSIONS, TURNED_AWAY, REFUSED, REQUESTS, BYTES, FAILED, ROTTEN, NO_ROOM];

/// What the role counts.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub rounds: Count,
    pub problems: AtomicU64,
    pub connections: Count,
    pub sessions: AtomicU64,
    pub turned_away: TurnedAway,
    pub refused: Count,
    pub requests: Requests,
    bytes_read: Count,
    failed: [Count; 3],
    pub rotten: AtomicU64,
    pub connections_refused: Arc<Count>,
}

/// Why a connection was turned away. It is not told: all are answered alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// It showed no certificate of the PAN, or did not prove that it has its key.
    Certificate,
    /// Its certificate is not one of a node.
    Role,
    /// It showed nothing that a controller signed for its host to write with, within the time of the keys that are good.
    Capability,
    /// What it showed is good, and the volume is not here, or not served at present.
    Volume,
    /// What it showed could not be checked: this host was booted a moment ago, and no keys were handed out to it since.
    Keyless,
}

impl Why {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [Self::Certificate, Self::Role, Self::Capability, Self::Volume, Self::Keyless];

    /// The word that metrics have for it.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Role => "role",
            Self::Capability => "capability",
            Self::Volume => "volume",
            Self::Keyless => "keyless",
        }
    }
}

/// Connections that were turned away.
#[derive(Debug, Default)]
pub(crate) struct TurnedAway([Count; 5]);

impl TurnedAway {
    /// One was.
    pub(crate) fn one(&self, why: Why) {
        self.0[why as usize].one();
    }

    fn of(&self, why: Why) -> u64 {
        self.0[why as usize].get()
    }

    /// Those that no head of a node makes that does what it is told.
    pub(crate) fn strangers(&self) -> u64 {
        [Why::Certificate, Why::Role, Why::Capability].into_iter().map(|why| self.of(why)).sum()
    }
}

/// What heads asked for.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    fences: Count,
    reads: Count,
    writes: Count,
    flushes: Count,
    notes: Count,
    bytes_written: Count,
}

impl Requests {
    pub(crate) fn of(&self, ask: &Ask<Vec<u8>>) {
        match ask {
            Ask::Fence { .. } => self.fences.one(),
            Ask::Read { .. } => self.reads.one(),
            Ask::Write { content, .. } => {
                self.writes.one();
                if let Content::Data(data) = content {
                    self.bytes_written.add(data.len() as u64);
                }
            }
            Ask::Flush { .. } | Ask::Snapshot { .. } => self.flushes.one(),
            Ask::Miss { .. } | Ask::Forget { .. } | Ask::Missed { .. } => self.notes.one(),
        }
    }
}

impl Counts {
    pub(crate) fn answered(&self, answer: &Answer<Vec<u8>>) {
        match answer {
            Answer::Read(data) => self.bytes_read.add(data.len() as u64),
            Answer::Refused { .. } | Answer::Strange => self.refused.one(),
            Answer::Failed(Fault::NoSpace) => self.failed[0].one(),
            Answer::Failed(Fault::Io) => self.failed[1].one(),
            Answer::Failed(Fault::Rotten) => self.failed[2].one(),
            Answer::Fenced(_) | Answer::Done | Answer::Hole | Answer::Missed(_) | Answer::Rotten(_) => {}
        }
    }
}

/// The page.
pub(crate) fn render(counts: &Counts, beat: Option<&BeatCounts>) -> String {
    let mut page = Page::default();
    page.number(&ROUNDS, counts.rounds.get());
    page.number(&PROBLEMS, counts.problems.load(Ordering::Relaxed));
    page.number(&CONNECTIONS, counts.connections.get());
    page.number(&SESSIONS, counts.sessions.load(Ordering::Relaxed));
    page.samples(&TURNED_AWAY, Why::ALL.map(|why| ([why.as_str()], counts.turned_away.of(why))));
    page.number(&REFUSED, counts.refused.get());
    let Requests { fences, reads, writes, flushes, notes, bytes_written } = &counts.requests;
    let kinds = [("fence", fences), ("read", reads), ("write", writes), ("flush", flushes), ("note", notes)];
    page.samples(&REQUESTS, kinds.map(|(kind, count)| ([kind], count.get())));
    page.samples(&BYTES, [(["read"], counts.bytes_read.get()), (["write"], bytes_written.get())]);
    let reasons = ["full", "io", "rotten"];
    page.samples(&FAILED, reasons.iter().zip(&counts.failed).map(|(reason, count)| ([*reason], count.get())));
    page.number(&ROTTEN, counts.rotten.load(Ordering::Relaxed));
    page.number(&NO_ROOM, counts.connections_refused.get());
    BeatCounts::show(beat, &mut page);
    page.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_every_family_and_can_be_read() {
        let counts = Counts::default();
        counts.rounds.one();
        let text = render(&counts, Some(&BeatCounts::default()));
        let samples = pan_api::metrics::read(&text).unwrap();
        for family in FAMILIES.iter().chain(&pan_api::beatcount::FAMILIES) {
            assert!(samples.iter().any(|sample| sample.family == family.name), "{} in\n{text}", family.name);
        }
    }
}
