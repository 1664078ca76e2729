//! Disturbances that nobody should notice: how many requests failed, and what the PAN did about it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pan_api::server::Server;
use pan_linux::realtime::since_boot;

use super::cut::{CutTime, Victim, detail, micros};
use super::demo::{Demo, READY_MAX};
use super::error::BenchError;
use super::report::RunDetail;
use super::suspected::Suspected;
use crate::name::{HostKind, LabHost};
use crate::prober::{Outcome, Sample};
use crate::view::{HostView, Power};

/// Requests that got no answer or a wrong one.
pub(super) const FAILED_REQUESTS: &str = "failed requests";
/// Servers that have another node or another epoch than before, or were started again.
pub(super) const FAILOVERS: &str = "servers moved or restarted";

/// How often the agent is killed.
pub(super) const AGENT_KILLS: u32 = 20;
/// So long may an agent run between two kills: enough for taking over its servers.
const AGENT_LIFE: Duration = Duration::from_secs(1);
/// An agent that ends at once is started again ever later, up to 5 s.
const AGENT_BACK_MAX: Duration = Duration::from_secs(30);
/// A replaced agent and replaced heartbeats take some seconds.
const UPGRADED_MAX: Duration = Duration::from_secs(60);
/// Besides the disturbance itself: until it is steady, until all is whole again, and some.
pub(super) const PROBING_EXTRA: Duration = Duration::from_secs(180);

/// All controllers lose their power for some time: each process is ended by SIGKILL, and nobody answers in their place.
pub(super) fn controllers_killed(demo: &mut Demo<'_>, outage: Duration, servers: u32) -> Result<RunDetail, BenchError> {
    let before = demo.servers()?;
    let controllers = demo.controllers()?;
    let mut probing = demo.probe(outage + PROBING_EXTRA)?;
    let cut = CutTime::of(|| Ok(controllers.iter().try_for_each(|host| demo.room.kill(*host))?))?;
    demo.pan.pause(outage, || probing.seen().map(|_| ()))?;
    require_dead(demo)?;
    controllers.iter().try_for_each(|host| demo.room.start(*host))?;
    demo.pan.wait_for_api(READY_MAX)?;
    demo.whole(servers)?;
    demo.wait_served(&mut probing, micros(since_boot()), READY_MAX)?;
    let samples = probing.seen()?.since(cut.boot_us);
    let names: Vec<String> = controllers.iter().map(ToString::to_string).collect();
    let counts = [(FAILED_REQUESTS, failed(&samples)), (FAILOVERS, moved(&before, &demo.servers()?))];
    Ok(counted(&names.join(" "), "", &cut, &samples, &counts))
}

/// An outage in which a controller ran would show nothing.
fn require_dead(demo: &Demo<'_>) -> Result<(), BenchError> {
    let alive = |host: &HostView| host.name.kind() == HostKind::Controller && !(host.power == Power::Off && host.pids.is_empty());
    match demo.room.hosts()?.iter().find(|host| alive(host)) {
        None => Ok(()),
        Some(host) => Err(BenchError::Surprise(format!("{} runs although it was killed", host.name))),
    }
}

/// The agent of a node with a server is killed again and again; then the node's program is replaced, so that agent and
/// heartbeats start anew from another file.
pub(super) fn agent_killed(demo: &mut Demo<'_>, servers: u32) -> Result<RunDetail, BenchError> {
    let before = demo.servers()?;
    let (server, node) = demo.victim()?;
    let host = demo.host(&node)?;
    let suspected = Suspected::count(demo)?;
    let mut probing = demo.probe(AGENT_KILLS * AGENT_BACK_MAX + UPGRADED_MAX + PROBING_EXTRA)?;
    let cut = CutTime::of(|| Ok(()))?;
    for _ in 0..AGENT_KILLS {
        let killed = demo.room.kill_role(host, "node")?;
        demo.pan.wait("the agent being started again", AGENT_BACK_MAX, || match demo.room.role_pid(host, "node") {
            Ok(pid) if pid != killed => Ok(()),
            Ok(_) => Err("it has not ended yet".to_owned()),
            Err(error) => Err(error.to_string()),
        })?;
        demo.pan.pause(AGENT_LIFE, || probing.seen().map(|_| ()))?;
    }
    demo.room.upgrade(host, Some(&demo.exe))?;
    demo.pan.wait("agent and heartbeats of the new program", UPGRADED_MAX, || upgraded(demo, host))?;
    demo.pan.pause(AGENT_LIFE, || probing.seen().map(|_| ()))?;
    demo.whole(servers)?;
    demo.wait_served(&mut probing, micros(since_boot()), READY_MAX)?;
    let samples = probing.seen()?.since(cut.boot_us);
    let suspicions = suspected.end(demo)?;
    let counts = [(FAILED_REQUESTS, failed(&samples)), (FAILOVERS, moved(&before, &demo.servers()?))];
    let mut run = counted(&node, server.name.as_str(), &cut, &samples, &counts);
    run.counts.extend(suspicions);
    Ok(run)
}

fn upgraded(demo: &Demo<'_>, host: LabHost) -> Result<(), String> {
    let old = demo.room.outdated(host, &["beat", "node"]).map_err(|error| error.to_string())?;
    if old.is_empty() { Ok(()) } else { Err(format!("{} of the old one", old.join(" and "))) }
}

pub(super) fn counted(node: &str, server: &str, cut: &CutTime, samples: &[Sample], counts: &[(&'static str, u64)]) -> RunDetail {
    let run = detail(Victim { server, node, to: None }, cut, samples, None);
    let counts: BTreeMap<String, u64> = counts.iter().map(|(what, count)| ((*what).to_owned(), *count)).collect();
    RunDetail { counts, ..run }
}

pub(super) fn failed(samples: &[Sample]) -> u64 {
    samples.iter().filter(|sample| sample.outcome != Outcome::Ok).count() as u64
}

/// Servers that are not what they were, those that are gone and new ones included.
pub(super) fn moved(before: &[Server], after: &[Server]) -> u64 {
    let key = |server: &Server| (server.name.to_string(), server.node.clone(), server.epoch, server.restarts);
    let (before, after): (BTreeSet<_>, BTreeSet<_>) = (before.iter().map(key).collect(), after.iter().map(key).collect());
    let names: BTreeSet<&String> = before.symmetric_difference(&after).map(|(name, ..)| name).collect();
    names.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prober::sample_of;

    #[test]
    fn only_a_whole_answer_is_none_that_failed() {
        use Outcome::{Bad, Ok, Refused, Reset, Timeout};
        let samples = [Ok, Refused, Reset, Timeout, Bad, Ok].map(|outcome| sample_of(10, outcome, 5));
        assert_eq!(failed(&samples), 4);
        assert_eq!(failed(&samples[..1]), 0);
    }
}
