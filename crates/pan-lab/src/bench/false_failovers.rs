//! A PAN whose processors are all busy with something else: nobody has failed, so nobody may be taken for dead.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use pan_api::ApiError;
use pan_api::insight::Timeline;
use pan_api::node::Node;
use pan_linux::realtime::since_boot;

use super::cut::{CutTime, micros};
use super::demo::{Demo, READY_MAX};
use super::disturb::{FAILED_REQUESTS, FAILOVERS, PROBING_EXTRA, counted, failed, moved};
use super::error::BenchError;
use super::load::Load;
use super::report::RunDetail;
use super::suspected::Suspected;

/// What the load got of all processors, in percent.
pub(super) const LOAD: &str = "load, percent of all processors";

/// Between two looks at the timelines, of which a PAN keeps ten for each object: a host is not suspected ten times in
/// such a time.
const LOOK: Duration = Duration::from_secs(2);

/// One run: `length` of load under requests.
pub(super) fn run(demo: &mut Demo<'_>, length: Duration, servers: u32) -> Result<RunDetail, BenchError> {
    Load::require()?;
    let before = demo.servers()?;
    let suspected = Suspected::count(demo)?;
    let mut probing = demo.probe(length + PROBING_EXTRA)?;
    let mut found = Found::default();
    let cut = CutTime::of(|| Ok(()))?;
    let mut load = Load::start(&demo.room, length)?;
    let mut looked = Instant::now();
    demo.pan.pause(length, || {
        probing.seen()?;
        load.check()?;
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            // A busy PAN may be slow to answer this; the next look sees the same.
            let _ = found.look(demo, cut.wall);
        }
        Ok(())
    })?;
    let percent = load.percent()?;
    drop(load);
    demo.whole(servers)?;
    demo.wait_served(&mut probing, micros(since_boot()), READY_MAX)?;
    found.look(demo, cut.wall).map_err(|source| BenchError::Api { action: "read the timelines".to_owned(), source })?;
    let samples = probing.seen()?.since(cut.boot_us);
    let suspicions = suspected.end(demo)?;
    let counts = [(FAILED_REQUESTS, failed(&samples)), (FAILOVERS, moved(&before, &demo.servers()?)), (LOAD, percent)];
    let mut run = counted("", "", &cut, &samples, &counts);
    run.counts.extend(suspicions);
    run.timelines = found.timelines.into_values().collect();
    Ok(run)
}

/// Timelines that began since the load did, by object and beginning.
#[derive(Debug, Default)]
struct Found {
    timelines: BTreeMap<(String, String), Timeline>,
}

impl Found {
    fn look(&mut self, demo: &Demo<'_>, since: Timestamp) -> Result<(), ApiError> {
        let nodes: Vec<Node> = demo.pan.look("/v1/nodes")?;
        let servers: Vec<pan_api::server::Server> = demo.pan.look(super::demo::SERVERS)?;
        let nodes = nodes.into_iter().map(|node| format!("/v1/timelines/{}", node.name));
        let servers = servers.into_iter().map(|server| format!("/v1/timelines/{}?partition=demo", server.name));
        for path in nodes.chain(servers) {
            self.add(demo.pan.look(&path)?, since);
        }
        Ok(())
    }

    /// The newest state of each: one that had not ended may have by now.
    fn add(&mut self, timelines: Vec<Timeline>, since: Timestamp) {
        for timeline in timelines {
            let Some(first) = timeline.steps.first() else { continue };
            if first.at.parse::<Timestamp>().is_ok_and(|at| at >= since) {
                self.timelines.insert((timeline.object.clone(), first.at.clone()), timeline);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pan_api::insight::Step;

    fn timeline(object: &str, at: &str, finished: bool) -> Timeline {
        let step = Step { at: at.to_owned(), step: "suspect".into(), took_ms: 0, reason: "silent".into() };
        Timeline { object: object.to_owned(), epoch: None, finished, steps: vec![step], total_ms: 0 }
    }

    #[test]
    fn timelines_are_collected_once_and_in_their_newest_state() {
        let since = "2026-11-28T10:00:00Z".parse().unwrap();
        let mut found = Found::default();
        found.add(vec![timeline("n1", "2026-11-28T10:00:05.000001Z", false), timeline("n1", "2026-11-28T09:59:59.9Z", true)], since);
        found.add(vec![timeline("n1", "2026-11-28T10:00:05.000001Z", true), timeline("demo/web-1", "2026-11-28T10:00:05.1Z", true)], since);
        let all: Vec<(&str, bool)> = found.timelines.values().map(|one| (one.object.as_str(), one.finished)).collect();
        assert_eq!(all, [("demo/web-1", true), ("n1", true)]);
    }
}
