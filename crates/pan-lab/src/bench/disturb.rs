//! Disturbances that nobody should notice: how many requests failed, and what the PAN did about it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pan_api::server::Server;
use pan_linux::realtime::since_boot;

use super::cut::{CutTime, Victim, detail, micros};
use super::demo::{Demo, READY_MAX};
use super::error::BenchError;
use super::report::RunDetail;
use crate::name::{HostKind, LabHost};
use crate::prober::{Outcome, Sample};

/// Requests that got no answer or a wrong one.
pub(super) const FAILED_REQUESTS: &str = "failed requests";
/// Servers that have another node or another epoch than before, or were started again.
pub(super) const FAILOVERS: &str = "servers moved or restarted";
/// Times that a node became suspect.
pub(super) const SUSPICIONS: &str = "suspicions";
/// Replies from the instance that had lost its server, after one of its successor.
pub(super) const LATE_REPLIES: &str = "replies of the old instance";

/// How often the agent is killed.
pub(super) const AGENT_KILLS: u32 = 20;
/// So long may an agent run between two kills: enough for taking over its servers.
const AGENT_LIFE: Duration = Duration::from_secs(1);
/// An agent that ends at once is started again ever later, up to 5 s.
const AGENT_BACK_MAX: Duration = Duration::from_secs(30);
/// Besides the disturbance itself: until it is steady, until all is whole again, and some.
const PROBING_EXTRA: Duration = Duration::from_secs(180);
/// Until a frozen node's server answers from elsewhere.
const TAKEOVER_MAX: Duration = Duration::from_secs(15);

/// All controllers lose their power for some time.
pub(super) fn controllers_killed(demo: &mut Demo<'_>, outage: Duration, servers: u32) -> Result<RunDetail, BenchError> {
    let before = demo.servers()?;
    let controllers: Vec<LabHost> =
        demo.room.hosts()?.into_iter().map(|host| host.name).filter(|host| host.kind() == HostKind::Controller).collect();
    let mut probing = demo.probe(outage + PROBING_EXTRA)?;
    let cut = CutTime::of(|| Ok(controllers.iter().try_for_each(|host| demo.room.kill(*host))?))?;
    demo.pan.pause(outage, || probing.seen().map(|_| ()))?;
    controllers.iter().try_for_each(|host| demo.room.start(*host))?;
    demo.pan.wait_for_api(READY_MAX)?;
    demo.whole(servers)?;
    demo.wait_served(&mut probing, micros(since_boot()), READY_MAX)?;
    let samples = probing.seen()?.since(cut.boot_us);
    let names: Vec<String> = controllers.iter().map(ToString::to_string).collect();
    let counts = [(FAILED_REQUESTS, failed(&samples)), (FAILOVERS, moved(&before, &demo.servers()?))];
    Ok(counted(&names.join(" "), "", &cut, &samples, &counts))
}

/// The agent of a node with a server is killed again and again.
pub(super) fn agent_killed(demo: &mut Demo<'_>, servers: u32) -> Result<RunDetail, BenchError> {
    let before = demo.servers()?;
    let (server, node) = demo.victim()?;
    let host = demo.host(&node)?;
    let suspicions = demo.pan.count_suspicions()?;
    let mut probing = demo.probe(AGENT_KILLS * AGENT_BACK_MAX + PROBING_EXTRA)?;
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
    demo.whole(servers)?;
    demo.wait_served(&mut probing, micros(since_boot()), READY_MAX)?;
    let samples = probing.seen()?.since(cut.boot_us);
    let suspicions = suspicions.end()?;
    let counts =
        [(FAILED_REQUESTS, failed(&samples)), (SUSPICIONS, suspicions.values().sum()), (FAILOVERS, moved(&before, &demo.servers()?))];
    let mut run = counted(&node, server.name.as_str(), &cut, &samples, &counts);
    // Whose: those of other nodes are the machine's doing rather than the agent's.
    run.counts.extend(suspicions.into_iter().map(|(host, count)| (format!("{SUSPICIONS} of {host}"), count)));
    Ok(run)
}

/// The node of the only server stands still, and goes on as soon as another one has taken over. Its kernel
/// goes on all the time and keeps what clients ask meanwhile.
pub(super) fn node_frozen(demo: &mut Demo<'_>, servers: u32) -> Result<RunDetail, BenchError> {
    let (server, node) = demo.victim()?;
    let host = demo.host(&node)?;
    let mut probing = demo.probe(TAKEOVER_MAX + READY_MAX + PROBING_EXTRA)?;
    let old = probing.seen()?.answer().map(ToOwned::to_owned).ok_or_else(|| BenchError::Surprise("nobody answers".to_owned()))?;
    let cut = CutTime::of(|| Ok(demo.room.freeze(host)?))?;
    let taken = demo.pan.wait("another instance answering", TAKEOVER_MAX, || match probing.seen() {
        Ok(seen) => successor(seen.samples(), &old).map(Ok).ok_or_else(|| seen.trouble()),
        Err(error) => Ok(Err(error)),
    });
    // Whatever became of it: a frozen host cannot even be removed in good order.
    demo.room.thaw(host)?;
    let taken_us = match taken {
        Ok(taken_us) => Some(taken_us?),
        Err(BenchError::TimedOut { .. }) => None,
        Err(error) => return Err(error),
    };
    demo.settle(&node, servers)?;
    demo.wait_served(&mut probing, micros(since_boot()), READY_MAX)?;
    let samples = probing.seen()?.since(cut.boot_us);
    let to = demo.servers()?.into_iter().find(|now| now.name == server.name).and_then(|now| now.node);
    let counts = taken_us.map(|taken_us| (LATE_REPLIES, replies(&samples, &old, taken_us)));
    let mut run = counted(&node, server.name.as_str(), &cut, &samples, counts.as_slice());
    run.to = to.filter(|_| taken_us.is_some());
    Ok(run)
}

fn counted(node: &str, server: &str, cut: &CutTime, samples: &[Sample], counts: &[(&'static str, u64)]) -> RunDetail {
    let run = detail(Victim { server, node, to: None }, cut, samples, None);
    let counts: BTreeMap<String, u64> = counts.iter().map(|(what, count)| ((*what).to_owned(), *count)).collect();
    RunDetail { counts, ..run }
}

fn failed(samples: &[Sample]) -> u64 {
    samples.iter().filter(|sample| sample.outcome != Outcome::Ok).count() as u64
}

/// Servers that are not what they were, those that are gone and new ones included.
fn moved(before: &[Server], after: &[Server]) -> u64 {
    let key = |server: &Server| (server.name.to_string(), server.node.clone(), server.epoch, server.restarts);
    let (before, after): (BTreeSet<_>, BTreeSet<_>) = (before.iter().map(key).collect(), after.iter().map(key).collect());
    let names: BTreeSet<&String> = before.symmetric_difference(&after).map(|(name, ..)| name).collect();
    names.len() as u64
}

/// When the first answer of another instance was there.
fn successor(samples: &[Sample], old: &str) -> Option<u64> {
    let others = samples.iter().filter(|sample| sample.outcome == Outcome::Ok && sample.answer != old);
    others.map(ended_us).min()
}

/// Answers of the old instance that were there after `taken_us`.
fn replies(samples: &[Sample], old: &str, taken_us: u64) -> u64 {
    let late = |sample: &&Sample| sample.outcome == Outcome::Ok && sample.answer == old && ended_us(sample) > taken_us;
    samples.iter().filter(late).count() as u64
}

fn ended_us(sample: &Sample) -> u64 {
    sample.boot_us + sample.latency_us
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prober::sample_of;

    fn answer(boot_us: u64, latency_us: u64, outcome: Outcome, answer: &str) -> Sample {
        Sample { answer: answer.to_owned(), ..sample_of(boot_us, outcome, latency_us) }
    }

    #[test]
    fn what_the_old_instance_says_after_its_successor_is_counted() {
        use Outcome::{Bad, Ok, Timeout};
        let samples = [
            answer(10, 5, Ok, "web-1 old"),
            answer(20, 500, Ok, "web-1 old"), // waited, was answered at 520
            answer(30, 1000, Timeout, ""),
            answer(400, 10, Bad, "web-1 new"),
            answer(410, 10, Ok, "web-1 new"),
            answer(415, 10, Ok, "web-1 old"),
        ];
        assert_eq!(successor(&samples, "web-1 old"), Some(420));
        assert_eq!(replies(&samples, "web-1 old", 420), 2);
        assert_eq!(successor(&samples[..3], "web-1 old"), None);
        assert_eq!(failed(&samples), 2);
    }
}
