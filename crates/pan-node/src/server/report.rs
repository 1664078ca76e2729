//! What a server's task tells the agent, in the words of the wire; the agent adds which desired state it is about. Pure.

use pan_api::desired::ServerOrder;
use pan_api::report::{Phase, ServerReport};
use pan_model::{Generation, ServerKey};

use super::life::{Attaching, Life};
use crate::decide::{Stand, Why, Wish, stand};
use crate::health::Health;

/// The report about a server; `None` when it is neither wanted nor here.
pub(crate) fn report(key: &ServerKey, wish: Wish<'_>, life: &Life) -> Option<ServerReport> {
    // What is only made ready is nobody's business but this host's.
    let Some(bound) = life.bound().filter(|_| !matches!(life, Life::Warm(_))) else {
        return match wish {
            Wish::Order(order) => Some(absent(order)),
            Wish::Unknown | Wish::Gone | Wish::Warm(_) => None,
        };
    };
    let (phase, message) = describe(wish, life);
    let instance = match life {
        Life::Running(running) => Some(running.container.instance.clone()),
        Life::Stopping(stopping) => Some(stopping.container.instance.clone()),
        Life::Nothing | Life::Warm(_) | Life::Attaching(_) | Life::Ended(_) | Life::Failed(_) | Life::Leftover(_) => None,
    };
    Some(ServerReport {
        key: key.clone(),
        epoch: bound.order.epoch,
        incarnation: bound.order.incarnation,
        phase,
        followed: Generation::default(),
        instance,
        restarts: bound.restarts,
        message: message.or_else(|| refusal(wish, life)),
        steps: bound.steps.clone(),
        volumes: Vec::new(),
    })
}

/// The report about a server that is being made.
pub(crate) fn starting(order: &ServerOrder, restarts: u64, message: Option<String>) -> ServerReport {
    ServerReport { phase: Phase::Starting, restarts, message, ..absent(order) }
}

/// Why an order is not followed, if it is older than what is here.
pub(crate) fn refusal(wish: Wish<'_>, life: &Life) -> Option<String> {
    let (Wish::Order(order), Some(bound)) = (wish, life.bound()) else { return None };
    match stand(wish, super::life::binding(bound)) {
        Stand::Refused => Some(format!("refused an order of epoch {}: epoch {} is here", order.epoch, bound.order.epoch)),
        Stand::Keep | Stand::Leave | Stand::Leaves => None,
    }
}

fn absent(order: &ServerOrder) -> ServerReport {
    ServerReport {
        key: order.key.clone(),
        epoch: order.epoch,
        incarnation: order.incarnation,
        phase: Phase::Absent,
        followed: Generation::default(),
        instance: None,
        restarts: 0,
        message: None,
        steps: Vec::new(),
        volumes: Vec::new(),
    }
}

fn describe(wish: Wish<'_>, life: &Life) -> (Phase, Option<String>) {
    let leaves = |bound| matches!(stand(wish, super::life::binding(bound)), Stand::Leaves);
    match life {
        Life::Nothing | Life::Warm(_) => (Phase::Absent, None),
        Life::Attaching(attaching) if leaves(&attaching.bound) => (Phase::Stopping, None),
        Life::Attaching(Attaching { waits, complaint, .. }) => {
            let words: Vec<&str> = complaint.iter().chain(waits).map(String::as_str).collect();
            (Phase::Starting, (!words.is_empty()).then(|| words.join("; ")))
        }
        Life::Running(running) => (phase_of(running.health), running.complaint.clone()),
        Life::Stopping(stopping) => match stopping.why {
            Why::Unwanted | Why::Orphan => (Phase::Stopping, None),
            Why::Unhealthy => (Phase::Restarting, stopping.complaint.clone().or_else(|| Some("it does not get healthy".into()))),
            Why::HeadLost => (Phase::Restarting, stopping.complaint.clone()),
        },
        Life::Ended(ended) if leaves(&ended.bound) => (Phase::Stopping, Some(ended.message.clone())),
        Life::Ended(ended) => (Phase::Restarting, Some(ended.message.clone())),
        Life::Failed(failed) if leaves(&failed.bound) => (Phase::Stopping, Some(failed.message.clone())),
        Life::Failed(failed) => (Phase::Failed, Some(failed.message.clone())),
        Life::Leftover(left) => (Phase::Stopping, Some(left.message.clone())),
    }
}

const fn phase_of(health: Health) -> Phase {
    match health {
        Health::Starting { .. } => Phase::Starting,
        Health::Healthy { .. } => Phase::Healthy,
        Health::Unhealthy { .. } => Phase::Unhealthy,
    }
}
