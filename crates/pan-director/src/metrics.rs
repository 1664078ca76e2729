//! The director's metrics. What it does is counted where it is done; partitions and servers are never named.

use pan_api::beatcount::BeatCounts;
use pan_api::metrics::{Count, Family, Page};
use pan_linux::origin;
use pan_member::{FrameError, detector};
use pan_model::host::Fabric;
use pan_model::service::BackendState;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const ELEMENTS: Family = Family::counter(
    "pan_director_elements_changed_total",
    "Elements of nftables maps and sets (slots and marks) this director changed",
    &[],
);
const LOADS: Family = Family::counter("pan_director_ruleset_loads_total", "Rule sets this director loaded whole", &[]);
const BACKENDS: Family = Family::gauge("pan_director_backends", "Backends in this director's tables by state", &["state"]);
const TAKEOVERS: Family =
    Family::counter("pan_director_takeovers_total", "Times this director took the public addresses of a partition", &[]);
const STOOD_IN: Family = Family::counter(
    "pan_director_stand_ins_total",
    "Units of directors that fell silent: taken by this one, or left to a director that still answered clients",
    &["result"],
);
const FORGOTTEN: Family =
    Family::counter("pan_director_conntrack_deletions_total", "Tracked connections this director deleted", &["reason"]);
const RECEIVED: Family = Family::counter("pan_director_heartbeats_received_total", "Heartbeats this director heard", &["fabric"]);
const DROPPED: Family = Family::counter("pan_director_heartbeats_dropped_total", "Heartbeats this director dropped", &["reason"]);
const SUSPICIONS: Family = Family::counter("pan_director_suspicions_total", "Times this director suspected a host by itself", &[]);
const FRAMES: Family = Family::counter(
    "pan_director_frames_dropped_total",
    "Frames dropped on this director's fabrics: from a host that has lost their server, of a server nobody knows, or of a network that is not here",
    &["reason"],
);

const TURNED_AWAY: Family = Family::counter(
    "pan_director_connections_refused_total",
    "Connections to this director that were closed because there were too many, of one address or in all",
    &[],
);
const BEYOND: Family = Family::counter(
    "pan_director_packets_refused_total",
    "Packets with which servers began something beyond their network, of partitions whose gateway this director is",
    &[],
);

/// The role's own families.
pub const FAMILIES: [Family; 12] =
    [ELEMENTS, LOADS, BACKENDS, TAKEOVERS, STOOD_IN, FORGOTTEN, RECEIVED, DROPPED, SUSPICIONS, FRAMES, BEYOND, TURNED_AWAY];

const STATES: [(BackendState, &str); 4] =
    [(BackendState::Up, "up"), (BackendState::Down, "down"), (BackendState::Suspect, "suspect"), (BackendState::Draining, "draining")];

/// What the role counts.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub elements: Count,
    pub loads: Count,
    pub takeovers: Count,
    pub stood_in: Count,
    pub answered: Count,
    pub forgotten_dead: Count,
    pub forgotten_unanswered: Count,
    pub received: [Count; 2],
    pub dropped: Dropped,
    pub suspicions: Count,
    pub beyond: Count,
    pub connections_refused: Arc<Count>,
    frames_stale: AtomicU64,
    frames_unknown: AtomicU64,
    frames_foreign: AtomicU64,
    backends: [AtomicU64; STATES.len()],
}

/// Heartbeats dropped.
#[derive(Debug, Default)]
pub(crate) struct Dropped {
    forged: Count,
    unknown_format: Count,
    replayed: Count,
    late: Count,
}

impl Counts {
    /// The states of all backends in the tables.
    pub fn set_backends(&self, all: impl Iterator<Item = BackendState> + Clone) {
        for ((state, _), number) in STATES.iter().zip(&self.backends) {
            number.store(all.clone().filter(|other| other == state).count() as u64, Ordering::Relaxed);
        }
    }

    /// The frames that the kernel dropped so far.
    pub fn set_frames(&self, dropped: origin::Dropped) {
        let origin::Dropped { stale, unknown, foreign } = dropped;
        self.frames_stale.store(stale, Ordering::Relaxed);
        self.frames_unknown.store(unknown, Ordering::Relaxed);
        self.frames_foreign.store(foreign, Ordering::Relaxed);
    }

    /// A heartbeat that cannot be read.
    pub fn unreadable(&self, error: &FrameError) {
        match error {
            FrameError::BadMac { .. } | FrameError::UnknownHost { .. } => self.dropped.forged.one(),
            FrameError::BadMagic | FrameError::Version { .. } | FrameError::Length { .. } | FrameError::Malformed { .. } => {
                self.dropped.unknown_format.one();
            }
        }
    }

    /// A heartbeat that was read, and what the detector had dropped before and after it.
    pub fn heard(&self, fabric: Fabric, before: detector::Counters, after: detector::Counters) {
        match fabric {
            Fabric::A => self.received[0].one(),
            Fabric::B => self.received[1].one(),
        }
        self.dropped.replayed.add(after.replayed - before.replayed);
        self.dropped.late.add(after.retired_boots - before.retired_boots);
    }
}

/// The page.
pub(crate) fn render(counts: &Counts, beat: Option<&BeatCounts>) -> String {
    let mut page = Page::default();
    page.number(&ELEMENTS, counts.elements.get());
    page.number(&LOADS, counts.loads.get());
    let states = STATES.iter().zip(&counts.backends);
    page.samples(&BACKENDS, states.map(|((_, word), number)| ([*word], number.load(Ordering::Relaxed))));
    page.number(&TAKEOVERS, counts.takeovers.get());
    page.samples(&STOOD_IN, [(["taken"], counts.stood_in.get()), (["answered"], counts.answered.get())]);
    page.samples(&FORGOTTEN, [(["dead"], counts.forgotten_dead.get()), (["unanswered"], counts.forgotten_unanswered.get())]);
    page.samples(&RECEIVED, ["a", "b"].into_iter().zip(&counts.received).map(|(fabric, count)| ([fabric], count.get())));
    let Dropped { forged, unknown_format, replayed, late } = &counts.dropped;
    let reasons = [("forged", forged), ("unknown-format", unknown_format), ("replayed", replayed), ("late", late)];
    page.samples(&DROPPED, reasons.map(|(reason, count)| ([reason], count.get())));
    page.number(&SUSPICIONS, counts.suspicions.get());
    let frames = [("stale", &counts.frames_stale), ("unknown", &counts.frames_unknown), ("foreign", &counts.frames_foreign)];
    page.samples(&FRAMES, frames.map(|(reason, count)| ([reason], count.load(Ordering::Relaxed))));
    page.number(&BEYOND, counts.beyond.get());
    page.number(&TURNED_AWAY, counts.connections_refused.get());
    BeatCounts::show(beat, &mut page);
    page.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_every_family_and_can_be_read() {
        let counts = Counts::default();
        counts.set_backends([BackendState::Up, BackendState::Up, BackendState::Draining].into_iter());
        let text = render(&counts, Some(&BeatCounts::default()));
        let samples = pan_api::metrics::read(&text).unwrap();
        for family in FAMILIES.iter().chain(&pan_api::beatcount::FAMILIES) {
            assert!(samples.iter().any(|sample| sample.family == family.name), "{} in\n{text}", family.name);
        }
        assert!(text.contains("pan_director_backends{state=\"up\"} 2\n"), "{text}");
    }
}
