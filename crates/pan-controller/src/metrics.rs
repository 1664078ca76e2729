//! The controller's metrics: what its loop and its ear count, the world as it is now, and what its host's beat process
//! counted. Nothing in them names a partition, a server or a host: who collects them need not be told of tenants.

use crate::core::hosts::LifeChange;
use crate::handle::View;
use pan_api::beatcount::BeatCounts;
use pan_api::host::LeaseState;
use pan_api::insight::Timeline;
use pan_api::metrics::{Count, Family, Histogram, Page};
use pan_api::volume::VolumeState;
use pan_member::FrameError;
use pan_member::detector::Counters;
use pan_model::host::Fabric;
use pan_model::node::NodeState;
use pan_model::server::ServerState;
use pan_model::volume::{Access, COPIES_MAX};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const FAILOVER: Family =
    Family::histogram("pan_failover_seconds", "Failovers by step: each from the step before, `total` from the last heartbeat", &["step"]);
const COMMITS: Family = Family::histogram("pan_store_commit_seconds", "Rounds' writes to the store that were committed", &[]);
const COMMITS_FAILED: Family =
    Family::counter("pan_store_commit_failures_total", "Rounds' writes to the store that failed or are in doubt", &[]);
const SETTLED: Family =
    Family::histogram("pan_controller_settle_seconds", "Rounds of the controller's loop: deciding, without writing", &[]);
const PLANNED: Family =
    Family::histogram("pan_plan_seconds", "Rounds in which servers' places were planned anew: deciding, without writing", &[]);
const QUEUE: Family = Family::gauge("pan_controller_queue_length", "Messages that wait for the controller's loop", &[]);
const STREAMS: Family =
    Family::gauge("pan_watch_streams", "Streams of changes that somebody reads, desired states of hosts among them", &[]);
const TURNED_AWAY: Family = Family::counter(
    "pan_controller_connections_refused_total",
    "Connections to this controller that were closed because there were too many, of one address or in all",
    &[],
);
const LIMITED: Family = Family::counter("pan_requests_limited_total", "Requests refused for being too many, by what was used up", &["of"]);
const LEADS: Family = Family::gauge("pan_controller_leads", "1 while this controller leads, else 0", &[]);
const RECEIVED: Family = Family::counter("pan_heartbeats_received_total", "Heartbeats this controller heard and judged", &["fabric"]);
const DROPPED: Family = Family::counter("pan_heartbeats_dropped_total", "Datagrams this controller dropped", &["fabric", "reason"]);
const SUSPICIONS: Family = Family::counter("pan_suspicions_total", "Hosts that were silent for some periods", &[]);
const DEATHS: Family = Family::counter("pan_deaths_total", "Hosts that were silent for too long", &[]);
const FENCED: Family = Family::counter("pan_fenced_total", "Nodes of which a majority of lessors confirmed the revocation", &[]);
const BRAKES: Family = Family::counter("pan_mass_brakes_total", "Times so many hosts fell silent at once that nothing was moved", &[]);
const HOSTS: Family = Family::gauge("pan_hosts", "Hosts by state", &["state"]);
const SERVERS: Family = Family::gauge("pan_servers", "Servers by state", &["state"]);
const VOLUMES: Family = Family::gauge("pan_volumes", "Volumes by state", &["state"]);
const COPIES: Family = Family::gauge(
    "pan_volumes_by_copies",
    "Volumes by how many copies are wanted, and how many of them have everything",
    &["wanted", "in_sync"],
);
const NEIGHBOURS: Family = Family::gauge(
    "pan_neighbours",
    "Neighbours that all hosts on both fabrics take, and how many the kernel of this host keeps at most",
    &["of"],
);
const LEASES: Family = Family::gauge("pan_leases", "Nodes by the state of their lease", &["state"]);

/// The role's own families.
pub const FAMILIES: [Family; 22] = [
    FAILOVER,
    COMMITS,
    COMMITS_FAILED,
    SETTLED,
    PLANNED,
    QUEUE,
    STREAMS,
    LIMITED,
    TURNED_AWAY,
    LEADS,
    RECEIVED,
    DROPPED,
    SUSPICIONS,
    DEATHS,
    FENCED,
    BRAKES,
    HOSTS,
    SERVERS,
    VOLUMES,
    COPIES,
    LEASES,
    NEIGHBOURS,
];

/// The steps of a failover, in their order; a step of another name, such as a newer node's, counts as `other`.
const STEPS: [&str; 18] = [
    "suspect",
    "dead",
    "fenced",
    "bound",
    "ordered",
    "claimed",
    "opened",
    "attached",
    "mounted",
    "netns",
    "rootfs",
    "runc-started",
    "first-healthy",
    "running",
    "in-tables",
    "alive-again",
    "other",
    "total",
];
const OTHER: usize = 16;
const TOTAL: usize = 17;

/// Why a datagram was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It is of nobody who has the key.
    Forged,
    /// It came before.
    Replayed,
    /// Of a boot of the host that another one has followed.
    Late,
    /// It is of another format, or none.
    UnknownFormat,
    /// Its host has not joined.
    UnknownHost,
    /// Its host's death was decided.
    Revoked,
}

const REASONS: [(Reason, &str); 6] = [
    (Reason::Forged, "forged"),
    (Reason::Replayed, "replayed"),
    (Reason::Late, "late"),
    (Reason::UnknownFormat, "unknown-format"),
    (Reason::UnknownHost, "unknown-host"),
    (Reason::Revoked, "revoked"),
];
const FABRICS: [(Fabric, &str); 2] = [(Fabric::A, "a"), (Fabric::B, "b")];

/// What is counted since the process started. Any thread may count.
#[derive(Debug, Default)]
pub struct Metrics {
    failover: [Histogram; STEPS.len()],
    commits: Histogram,
    commits_failed: Count,
    settled: Histogram,
    planned: Histogram,
    received: [Count; 2],
    dropped: [[Count; REASONS.len()]; 2],
    suspicions: Count,
    deaths: Count,
    fenced: Count,
    brakes: Count,
    streams: Arc<AtomicU64>,
    limited: [Count; 2],
    pub(crate) connections_refused: Arc<Count>,
    queue: AtomicU64,
    neighbours: [AtomicU64; 2],
}

/// A stream of changes that is counted while this lives.
#[derive(Debug)]
pub(crate) struct Stream(Arc<AtomicU64>);

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// A round's writes were committed.
    pub fn committed(&self, took: Duration) {
        self.commits.observe(took);
    }

    /// A round's writes were not, or perhaps not.
    pub fn not_committed(&self) {
        self.commits_failed.one();
    }

    /// The world was settled.
    pub fn settled(&self, took: Duration, planned: bool) {
        self.settled.observe(took);
        if planned {
            self.planned.observe(took);
        }
    }

    /// So many messages wait for the loop.
    pub fn queued(&self, length: usize) {
        self.queue.store(length as u64, Ordering::Relaxed);
    }

    /// So many neighbours are needed at most, and so many the kernel keeps.
    pub(crate) fn neighbours(&self, needed: u32, kept: u32) {
        for (shown, count) in self.neighbours.iter().zip([needed, kept]) {
            shown.store(count.into(), Ordering::Relaxed);
        }
    }

    /// The ear noticed something.
    pub fn life<'a>(&self, changes: impl Iterator<Item = &'a LifeChange>) {
        for change in changes {
            match change {
                LifeChange::Suspect(..) => self.suspicions.one(),
                LifeChange::Dead(..) => self.deaths.one(),
                LifeChange::Fenced(..) => self.fenced.one(),
                LifeChange::Brake(_) => self.brakes.one(),
                LifeChange::Alive(..)
                | LifeChange::Fabric(..)
                | LifeChange::Rebooted(_)
                | LifeChange::Agent(..)
                | LifeChange::Quarantined(..)
                | LifeChange::Lease(..) => {}
            }
        }
    }

    /// A timeline ended and is kept. Only those of servers that begin with a silence are failovers; the others are moves
    /// somebody asked for, and the silences of hosts, whose steps are among those of their servers.
    pub fn ended(&self, timeline: &Timeline) {
        if !timeline.object.contains('/') || timeline.steps.first().is_none_or(|first| first.step != "last-heartbeat") {
            return;
        }
        for step in &timeline.steps[1..] {
            let at = STEPS[..OTHER].iter().position(|known| *known == step.step).unwrap_or(OTHER);
            self.failover[at].observe(Duration::from_millis(step.took_ms));
        }
        self.failover[TOTAL].observe(Duration::from_millis(timeline.total_ms));
    }

    /// A heartbeat was judged: what the detector had dropped before it, and after.
    pub(crate) fn heard(&self, fabric: Fabric, before: Counters, after: Counters) {
        self.received[index(fabric)].one();
        for (reason, more) in [
            (Reason::Replayed, after.replayed - before.replayed),
            (Reason::Late, after.retired_boots - before.retired_boots),
            (Reason::UnknownHost, after.unknown_hosts - before.unknown_hosts),
        ] {
            self.dropped[index(fabric)][reason as usize].add(more);
        }
    }

    /// A datagram that came in on a fabric was dropped.
    pub(crate) fn dropped(&self, fabric: Fabric, reason: Reason) {
        self.dropped[index(fabric)][reason as usize].one();
    }

    /// Counts a stream for as long as the answer lives.
    pub(crate) fn stream(&self) -> Stream {
        self.streams.fetch_add(1, Ordering::Relaxed);
        Stream(self.streams.clone())
    }

    /// A request was refused because there are too many: of one token, or of its partition.
    pub(crate) fn limited(&self, token: bool) {
        self.limited[usize::from(!token)].one();
    }

    /// The text.
    #[must_use]
    pub fn render(&self, view: &View, beat: Option<&BeatCounts>) -> String {
        let mut page = Page::default();
        page.histograms(&FAILOVER, STEPS.into_iter().zip(&self.failover).map(|(step, took)| ([step], took)));
        page.histograms(&COMMITS, [([], &self.commits)]);
        page.number(&COMMITS_FAILED, self.commits_failed.get());
        page.histograms(&SETTLED, [([], &self.settled)]);
        page.histograms(&PLANNED, [([], &self.planned)]);
        page.number(&QUEUE, self.queue.load(Ordering::Relaxed));
        page.number(&STREAMS, self.streams.load(Ordering::Relaxed));
        page.samples(&LIMITED, ["token", "partition"].into_iter().zip(&self.limited).map(|(of, count)| ([of], count.get())));
        page.number(&TURNED_AWAY, self.connections_refused.get());
        page.number(&LEADS, u64::from(view.leads));
        page.samples(&RECEIVED, FABRICS.map(|(fabric, word)| ([word], self.received[index(fabric)].get())));
        let dropped = FABRICS.iter().flat_map(|(fabric, word)| {
            REASONS.iter().map(|(reason, why)| ([*word, *why], self.dropped[index(*fabric)][*reason as usize].get()))
        });
        page.samples(&DROPPED, dropped);
        page.number(&SUSPICIONS, self.suspicions.get());
        page.number(&DEATHS, self.deaths.get());
        page.number(&FENCED, self.fenced.get());
        page.number(&BRAKES, self.brakes.get());
        states(&mut page, view);
        let neighbours = ["needed", "kept"].into_iter().zip(&self.neighbours);
        page.samples(&NEIGHBOURS, neighbours.map(|(of, count)| ([of], count.load(Ordering::Relaxed))));
        BeatCounts::show(beat, &mut page);
        page.text()
    }
}

const fn index(fabric: Fabric) -> usize {
    match fabric {
        Fabric::A => 0,
        Fabric::B => 1,
    }
}

/// Why a heartbeat that cannot be read is dropped.
pub(crate) fn unreadable(error: &FrameError) -> Reason {
    match error {
        FrameError::BadMac { .. } => Reason::Forged,
        FrameError::UnknownHost { .. } => Reason::UnknownHost,
        FrameError::BadMagic | FrameError::Version { .. } | FrameError::Length { .. } | FrameError::Malformed { .. } => {
            Reason::UnknownFormat
        }
    }
}

/// Every state has a number, also when it is zero: a state that vanishes from a page is none that ended.
fn states(page: &mut Page, view: &View) {
    let hosts = [
        (NodeState::Unknown, "unknown"),
        (NodeState::Joining, "joining"),
        (NodeState::Alive, "alive"),
        (NodeState::Suspect, "suspect"),
        (NodeState::Dead, "dead"),
    ];
    page.samples(&HOSTS, hosts.map(|(state, word)| ([word], view.hosts.values().filter(|host| host.state == state).count() as u64)));
    let servers = [
        (ServerState::Unknown, "unknown"),
        (ServerState::Pending, "pending"),
        (ServerState::Starting, "starting"),
        (ServerState::Running, "running"),
        (ServerState::Suspect, "suspect"),
        (ServerState::FailingOver, "failing-over"),
        (ServerState::Stopping, "stopping"),
        (ServerState::Stopped, "stopped"),
        (ServerState::Failed, "failed"),
    ];
    page.samples(
        &SERVERS,
        servers.map(|(state, word)| ([word], view.servers.values().filter(|server| server.state == state).count() as u64)),
    );
    let volumes = [
        (VolumeState::Making, "making"),
        (VolumeState::Ready, "ready"),
        (VolumeState::Degraded, "degraded"),
        (VolumeState::Deleting, "deleting"),
    ];
    let of = |state| view.volumes.values().filter(|volume| volume.state == state).count() as u64;
    page.samples(&VOLUMES, volumes.map(|(state, word)| ([word], of(state))));
    copies(page, view);
    let leases = [(LeaseState::None, "none"), (LeaseState::Held, "held"), (LeaseState::Expired, "expired"), (LeaseState::Fenced, "fenced")];
    let of = |state| view.hosts.values().filter(|host| host.lease.as_ref().is_some_and(|lease| lease.state == state)).count() as u64;
    page.samples(&LEASES, leases.map(|(state, word)| ([word], of(state))));
}

/// A number of copies as a label.
fn word(copies: u8) -> &'static str {
    const WORDS: [&str; COPIES_MAX as usize + 1] = ["0", "1", "2", "3"];
    WORDS[usize::from(copies)]
}

/// So that one sees how many volumes depend on one copy, though no volume is named. Volumes that are snapshots for many to read are
/// left out: they have no copies of their own.
fn copies(page: &mut Page, view: &View) {
    let own = || view.volumes.values().filter(|volume| volume.access == Access::One);
    let of = |wanted: u8, good: u8| {
        own().filter(|volume| (volume.copies, volume.in_sync.min(wanted.into())) == (wanted, u64::from(good))).count() as u64
    };
    let pairs = (1..=COPIES_MAX).flat_map(|wanted| (0..=wanted).map(move |good| (wanted, good)));
    page.samples(&COPIES, pairs.map(|(wanted, good)| ([word(wanted), word(good)], of(wanted, good))));
}

#[cfg(test)]
mod tests {
    use super::*;
    use pan_api::insight::Step;

    fn timeline(steps: &[(&str, u64)]) -> Timeline {
        let step =
            |(name, took_ms): &(&str, u64)| Step { at: String::new(), step: (*name).into(), took_ms: *took_ms, reason: String::new() };
        let total_ms = steps.iter().map(|(_, took)| took).sum();
        Timeline { object: "tenant/web-1".into(), epoch: None, finished: true, steps: steps.iter().map(step).collect(), total_ms }
    }

    #[test]
    fn a_page_has_every_family_can_be_read_and_names_no_tenant() {
        let metrics = Metrics::default();
        metrics.ended(&timeline(&[("last-heartbeat", 0), ("suspect", 60), ("dead", 210), ("quantum-leap", 20)]));
        metrics.ended(&timeline(&[("move-begins", 0), ("running", 400)]));
        metrics.dropped(Fabric::B, Reason::Forged);
        let before = Counters::default();
        metrics.heard(Fabric::A, before, Counters { replayed: 1, ..before });
        metrics.neighbours(4000, 1024);
        let stream = metrics.stream();
        let mut view = View::default();
        let volume = serde_json::json!({"partition": "tenant", "name": "quantum", "size": "1GiB", "copies": 2, "inSync": 1, "epoch": 1, "attachedTo": null,
            "state": "degraded", "filesystem": "ext4", "behind": 0});
        let key = pan_model::VolumeKey { partition: "tenant".parse().unwrap(), name: "quantum".parse().unwrap() };
        view.volumes.insert(key, serde_json::from_value(volume).unwrap());
        let text = metrics.render(&view, Some(&BeatCounts::default()));
        let samples = pan_api::metrics::read(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        for family in FAMILIES.iter().chain(&pan_api::beatcount::FAMILIES) {
            assert!(samples.iter().any(|sample| sample.family == family.name), "{} in\n{text}", family.name);
        }
        for line in [
            "pan_failover_seconds_count{step=\"dead\"} 1",
            "pan_failover_seconds_sum{step=\"dead\"} 0.21",
            "pan_failover_seconds_count{step=\"other\"} 1",
            "pan_failover_seconds_sum{step=\"total\"} 0.29",
            "pan_failover_seconds_count{step=\"running\"} 0",
            "pan_heartbeats_dropped_total{fabric=\"b\",reason=\"forged\"} 1",
            "pan_heartbeats_dropped_total{fabric=\"a\",reason=\"replayed\"} 1",
            "pan_watch_streams 1",
            "pan_neighbours{of=\"needed\"} 4000",
            "pan_neighbours{of=\"kept\"} 1024",
            "pan_volumes_by_copies{wanted=\"2\",in_sync=\"1\"} 1",
            "pan_volumes_by_copies{wanted=\"2\",in_sync=\"2\"} 0",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} in\n{text}");
        }
        assert!(!text.contains("tenant") && !text.contains("quantum"), "{text}");
        drop(stream);
        assert!(metrics.render(&View::default(), None).contains("pan_watch_streams 0\n"));
    }
}
