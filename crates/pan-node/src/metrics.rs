//! The node's metrics: what its agent counts, its servers and gate as they are now, and what its beat process counted.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pan_api::beatcount::BeatCounts;
use pan_api::metrics::{Count, Family, Page};
use pan_api::report::{GateReport, Phase, RefusedWhy, ServerReport};
use pan_linux::origin::Dropped;

use crate::network::Refusals;

const SERVERS: Family = Family::gauge("pan_node_servers", "Servers on this node by what they are doing", &["phase"]);
const STARTS: Family = Family::counter("pan_server_starts_total", "Starts of servers on this node", &["result"]);
const RESTARTS: Family =
    Family::counter("pan_server_restarts_total", "Starts of servers on this node that came after an end nobody asked for", &[]);
const HEADS_LOST: Family =
    Family::counter("pan_volume_heads_lost_total", "Volumes on this node that were lost under a server, which was started again", &[]);
const CHECKS: Family = Family::counter("pan_health_checks_total", "Health checks of servers on this node", &["result"]);
const LEFT: Family = Family::gauge("pan_lease_remaining_seconds", "What is left of this node's lease; none without lessors", &[]);
const HELD_BACK: Family = Family::counter("pan_gate_dropped_packets_total", "Packets of servers that the shut gate held back", &[]);
const FRAMES: Family = Family::counter(
    "pan_node_frames_dropped_total",
    "Frames dropped on this node's fabrics: from a host that has lost their server, of a server nobody knows, or of a network that is not here",
    &["reason"],
);

const REFUSED: Family = Family::counter(
    "pan_node_frames_refused_total",
    "Frames that servers of this node sent and may not send: from or for others than they are, or of a kind that is nobody's business; \
     uninvited: what was begun by others than the cluster of the server it was for allows",
    &["reason"],
);

const TURNED_AWAY: Family = Family::counter(
    "pan_node_connections_refused_total",
    "Connections to this node's agent that were closed because there were too many, of one address or in all",
    &[],
);

/// The agent's own families.
pub const FAMILIES: [Family; 10] = [SERVERS, STARTS, RESTARTS, HEADS_LOST, CHECKS, LEFT, HELD_BACK, FRAMES, REFUSED, TURNED_AWAY];

/// What the agent counts.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub started: Count,
    pub not_started: Count,
    pub restarts: Count,
    pub heads_lost: Count,
    pub checks_passed: Count,
    pub checks_failed: Count,
    pub connections_refused: Arc<Count>,
}

/// What is looked up when somebody asks.
pub(crate) struct Now<'a> {
    pub servers: &'a [Phase],
    pub gate: Option<GateReport>,
    /// Packets the gate dropped.
    pub dropped: Option<u64>,
    /// Frames that came from a wrong host.
    pub frames: Option<Dropped>,
    /// Frames of servers that were refused at their ports.
    pub refused: Refusals,
    pub beat: Option<BeatCounts>,
}

const PHASES: [(Phase, &str); 7] = [
    (Phase::Starting, "starting"),
    (Phase::Healthy, "healthy"),
    (Phase::Unhealthy, "unhealthy"),
    (Phase::Stopping, "stopping"),
    (Phase::Restarting, "restarting"),
    (Phase::Failed, "failed"),
    (Phase::Absent, "absent"),
];

/// The page.
pub(crate) fn render(counts: &Counts, now: &Now<'_>) -> String {
    let mut page = Page::default();
    let of = |phase: Phase| now.servers.iter().filter(|other| **other == phase).count() as u64;
    page.samples(&SERVERS, PHASES.map(|(phase, word)| ([word], of(phase))));
    page.samples(&STARTS, [(["ok"], counts.started.get()), (["failed"], counts.not_started.get())]);
    page.number(&RESTARTS, counts.restarts.get());
    page.number(&HEADS_LOST, counts.heads_lost.get());
    page.samples(&CHECKS, [(["passed"], counts.checks_passed.get()), (["failed"], counts.checks_failed.get())]);
    page.seconds(&LEFT, now.gate.as_ref().map(|gate| Duration::from_millis(gate.left_ms)));
    page.samples(&HELD_BACK, now.dropped.map(|dropped| ([], dropped)));
    let of_frames = |Dropped { stale, unknown, foreign }| [(["stale"], stale), (["unknown"], unknown), (["foreign"], foreign)];
    page.samples(&FRAMES, now.frames.into_iter().flat_map(of_frames));
    page.samples(&REFUSED, RefusedWhy::AT_PORTS.map(|(why, word)| ([word], now.refused.total.get(&why).copied().unwrap_or(0))));
    page.number(&TURNED_AWAY, counts.connections_refused.get());
    BeatCounts::show(now.beat.as_ref(), &mut page);
    page.text()
}

impl crate::host::Host {
    /// The page as of now. May ask the kernel, so it may block for a moment.
    pub(crate) fn metrics(&self, servers: &[ServerReport], run_dir: &Path) -> String {
        let phases: Vec<Phase> = servers.iter().map(|server| server.phase).collect();
        let dropped = self.checks.gate.as_ref().and_then(|gate| gate.dropped().ok());
        let frames = self.checks.origins.as_ref().map(|origins| origins.dropped());
        let beat = BeatCounts::read(run_dir);
        let refused = self.network.status().borrow().refusals.clone();
        render(&self.counts, &Now { servers: &phases, gate: self.gate_report(), dropped, frames, refused, beat })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_every_family_and_can_be_read() {
        let counts = Counts::default();
        counts.restarts.one();
        let gate = GateReport { bpf_refused: None, left_ms: 170 };
        let now = Now {
            servers: &[Phase::Healthy, Phase::Healthy, Phase::Failed],
            gate: Some(gate),
            dropped: Some(4),
            frames: Some(Dropped { stale: 7, unknown: 0, foreign: 3 }),
            refused: Refusals { total: [(RefusedWhy::Arp, 9)].into(), ..Refusals::default() },
            beat: Some(BeatCounts::default()),
        };
        let text = render(&counts, &now);
        let samples = pan_api::metrics::read(&text).unwrap();
        for family in FAMILIES.iter().chain(&pan_api::beatcount::FAMILIES) {
            assert!(samples.iter().any(|sample| sample.family == family.name), "{} in\n{text}", family.name);
        }
        for line in [
            "pan_node_servers{phase=\"healthy\"} 2",
            "pan_node_servers{phase=\"failed\"} 1",
            "pan_server_restarts_total 1",
            "pan_lease_remaining_seconds 0.17",
            "pan_node_frames_dropped_total{reason=\"stale\"} 7",
            "pan_node_frames_refused_total{reason=\"arp\"} 9",
            "pan_node_frames_refused_total{reason=\"host\"} 0",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} in\n{text}");
        }
        let nothing =
            render(&counts, &Now { servers: &[], gate: None, dropped: None, frames: None, refused: Refusals::default(), beat: None });
        assert!(!nothing.contains("pan_lease_remaining_seconds 0"), "no lease is not one that is over:\n{nothing}");
        pan_api::metrics::read(&nothing).unwrap();
    }
}
