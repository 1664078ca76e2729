//! One server on a node: the agent's task around [`pan_node::decide`], and what the kernel makes of it.

use crate::host::Instance;
use crate::time::MS;
use pan_api::desired::ServerOrder;
use pan_api::report::{Phase, ServerReport};
use pan_member::Tick;
use pan_model::{Generation, ServerKey};
use pan_node::decide::{self, Action, Binding, Here, Stand, Why, Wish};

/// What is here of a server, as its task knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Nothing,
    /// Made ready, or about to be at a point of true time.
    Warm {
        until: u64,
    },
    /// What was made ready is being removed, until a point of true time.
    Cooling {
        until: u64,
    },
    /// Being made, until a point of true time; nothing can stop that.
    Making {
        binding: Binding,
        until: u64,
    },
    Running {
        binding: Binding,
        healthy_at: Tick,
    },
    /// Its process ends at a point of true time.
    Stopping {
        binding: Binding,
        orphan: bool,
        kill_at: Tick,
        dead_at: u64,
    },
    Ended {
        binding: Binding,
        at: Tick,
    },
    Failed {
        binding: Binding,
    },
    /// Being removed.
    Releasing {
        binding: Binding,
        until: u64,
    },
}

/// What a task does besides changing its own state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    Nothing,
    Started(Instance),
    Ended,
}

/// Time as a task sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) now: u64,
    pub(crate) tick: Tick,
    /// A random number.
    pub(crate) roll: u64,
}

impl Life {
    fn binding(&self) -> Option<Binding> {
        match *self {
            Self::Nothing | Self::Warm { .. } | Self::Cooling { .. } => None,
            Self::Making { binding, .. }
            | Self::Running { binding, .. }
            | Self::Stopping { binding, .. }
            | Self::Ended { binding, .. }
            | Self::Failed { binding }
            | Self::Releasing { binding, .. } => Some(binding),
        }
    }

    /// One step towards what is wanted.
    pub(crate) fn step(&mut self, wish: Wish<'_>, moment: Moment) -> Done {
        let Moment { now, tick, roll } = moment;
        match *self {
            Self::Making { binding, until } if now >= until => {
                let healthy_at = Tick(tick.0 + MS * (1 + roll % 300));
                *self = Self::Running { binding, healthy_at };
                let (epoch, incarnation) = (binding.epoch, binding.incarnation);
                return Done::Started(Instance { epoch, incarnation, since: now });
            }
            Self::Stopping { binding, dead_at, .. } if now >= dead_at => {
                *self = Self::Ended { binding, at: tick };
                return Done::Ended;
            }
            Self::Releasing { until, .. } | Self::Cooling { until } if now >= until => *self = Self::Nothing,
            Self::Stopping { binding, orphan: false, dead_at, .. } if decide::orphan(wish, binding.epoch) => {
                *self = Self::Stopping { binding, orphan: true, kill_at: tick, dead_at };
            }
            _ => {}
        }
        let here = match *self {
            Self::Nothing => Here::Nothing,
            Self::Running { binding, .. } => Here::Running { binding, hopeless: None, lost: false },
            Self::Stopping { kill_at, .. } => Here::Stopping { kill_at },
            Self::Ended { binding, at } => Here::Ended { binding, at },
            Self::Failed { binding } => Here::Failed { binding },
            // The simulator never changes what a server is made of.
            Self::Warm { until } if now >= until => Here::Warm { fits: true },
            Self::Warm { .. } | Self::Cooling { .. } | Self::Making { .. } | Self::Releasing { .. } => return Done::Nothing,
        };
        self.act(decide::next(wish, here, tick), wish, moment);
        Done::Nothing
    }

    fn act(&mut self, action: Action, wish: Wish<'_>, Moment { now, tick, roll }: Moment) {
        match action {
            Action::Rest { .. } => {}
            Action::Warm => *self = Self::Warm { until: now + MS * (10 + (roll >> 8) % 150) },
            Action::Start => {
                let Some(binding) = fresh(wish, self.binding()) else { return };
                // Once in a while a start hangs for a moment.
                let takes = if roll % 32 == 0 { 3000 } else { 150 };
                let takes = if matches!(self, Self::Warm { .. }) { takes / 5 } else { takes };
                *self = Self::Making { binding, until: now + MS * (10 + (roll >> 8) % takes) };
            }
            Action::Ask(why) => {
                let Some(binding) = self.binding() else { return };
                let orphan = why == Why::Orphan;
                let grace = if orphan { 0 } else { grace_of(wish) };
                // One in eight does not care about being asked.
                let dead_at = if roll % 8 == 0 { u64::MAX } else { now + MS * (2 + (roll >> 8) % 400) };
                *self = Self::Stopping { binding, orphan, kill_at: Tick(tick.0 + grace), dead_at };
            }
            Action::Kill => {
                if let Self::Stopping { kill_at, dead_at, .. } = self {
                    *kill_at = tick.plus(decide::RELEASE_AGAIN);
                    *dead_at = (*dead_at).min(now + MS / 2 + MS * (roll % 30));
                }
            }
            Action::Release if matches!(self, Self::Warm { .. }) => *self = Self::Cooling { until: now + MS * (1 + roll % 60) },
            Action::Release => {
                let Some(binding) = self.binding() else { return };
                *self = Self::Releasing { binding, until: now + MS * (1 + roll % 60) };
            }
            Action::GiveUp => {
                let Some(binding) = self.binding() else { return };
                *self = Self::Failed { binding };
            }
        }
    }

    /// Its process ended, and nobody had asked for that.
    pub(crate) fn ended(&mut self, tick: Tick) {
        if let Self::Running { binding, healthy_at } = *self {
            let ends = decide::ends_after(binding.ends, (tick >= healthy_at).then_some(healthy_at), tick);
            *self = Self::Ended { binding: Binding { ends, ..binding }, at: tick };
        }
    }

    /// When the task has something to do if nothing happens, in true time; `reaches` says when the clock shows something.
    pub(crate) fn next(&self, wish: Wish<'_>, tick: Tick, reaches: impl Fn(Tick) -> u64) -> u64 {
        match *self {
            Self::Making { until, .. } | Self::Releasing { until, .. } | Self::Cooling { until } => until,
            Self::Warm { until } if until > reaches(tick) => until,
            Self::Stopping { kill_at, dead_at, .. } => dead_at.min(reaches(kill_at)),
            Self::Running { healthy_at, .. } if healthy_at > tick => reaches(healthy_at),
            Self::Ended { binding, at } => match decide::next(wish, Here::Ended { binding, at }, tick) {
                Action::Rest { until: Some(until) } => reaches(until),
                _ => u64::MAX,
            },
            Self::Nothing | Self::Warm { .. } | Self::Running { .. } | Self::Failed { .. } => u64::MAX,
        }
    }

    /// What the node says about it; `None` when it is neither wanted nor here.
    pub(crate) fn report(&self, key: &ServerKey, wish: Wish<'_>, tick: Tick) -> Option<ServerReport> {
        let leaves = |binding| decide::stand(wish, binding) == Stand::Leaves;
        let phase = match *self {
            Self::Nothing | Self::Warm { .. } | Self::Cooling { .. } => Phase::Absent,
            Self::Making { .. } => Phase::Starting,
            Self::Running { healthy_at, .. } if tick >= healthy_at => Phase::Healthy,
            Self::Running { .. } => Phase::Starting,
            Self::Ended { binding, .. } if !leaves(binding) => Phase::Restarting,
            Self::Failed { binding } if !leaves(binding) => Phase::Failed,
            Self::Stopping { .. } | Self::Ended { .. } | Self::Failed { .. } | Self::Releasing { .. } => Phase::Stopping,
        };
        let (epoch, incarnation) = match (self.binding(), wish) {
            (Some(binding), _) => (binding.epoch, binding.incarnation),
            (None, Wish::Order(order)) => (order.epoch, order.incarnation),
            (None, Wish::Unknown | Wish::Gone | Wish::Warm(_)) => return None,
        };
        let (instance, restarts, message, steps) = (None, 0, None, Vec::new());
        let followed = Generation::default();
        Some(ServerReport {
            key: key.clone(),
            epoch,
            incarnation,
            phase,
            followed,
            instance,
            restarts,
            message,
            steps,
            volumes: Vec::new(),
        })
    }
}

/// Under what it is started: a local restart follows the newest order of its binding, if there is one.
fn fresh(wish: Wish<'_>, here: Option<Binding>) -> Option<Binding> {
    let of = |order: &ServerOrder, ends| {
        let (epoch, incarnation) = (order.epoch, order.incarnation);
        Binding { epoch, incarnation, ends, ends_max: order.restart_attempts }
    };
    match (here, wish) {
        (Some(binding), Wish::Order(order)) if order.epoch == binding.epoch => Some(of(order, binding.ends)),
        (Some(binding), _) => Some(binding),
        (None, Wish::Order(order)) => Some(of(order, 0)),
        (None, Wish::Unknown | Wish::Gone | Wish::Warm(_)) => None,
    }
}

fn grace_of(wish: Wish<'_>) -> u64 {
    match wish {
        Wish::Order(order) => crate::dice::nanos(order.stop.grace.0),
        Wish::Unknown | Wish::Gone | Wish::Warm(_) => 1000 * MS,
    }
}
