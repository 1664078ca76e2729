//! The part of a server's task that is about its volumes: having them before it starts, and being rid of them when it goes.

use pan_api::desired::ServerOrder;
use pan_linux::blockdev::Hung;
use tokio::sync::watch::error::RecvError;

use super::life::{Attaching, Ended, Failed, Leftover, Life, Warm, binding};
use super::record::{Bound, Cable};
use super::task::{Flow, Task, Wanted, blocking, flow};
use crate::apply::{self, Rootfs};
use crate::clock;
use crate::decide::{self, Stand, Why, Wish, stand};
use crate::error::chain;
use crate::volume::decide::Users;
use crate::volume::{HEAD_LOST, NOT_LOOKED_AT, Standing};

impl Task {
    /// Tells the volumes what the server is doing, and hears what they are.
    pub(super) fn tend_volumes(&mut self, wish: Wish<'_>) {
        match &mut self.life {
            // None are wanted before there is an order to run it, and taking them away is a part of releasing it.
            Life::Nothing | Life::Warm(_) | Life::Leftover(_) => {}
            Life::Ended(ended) => {
                // One that is to go is released in a moment; a volume that was lost is not to be had anew before that.
                if stand(wish, binding(&ended.bound)) != Stand::Leaves {
                    self.volumes.want(&ended.bound.order, Users::None);
                }
                let lost = step(&ended.bound, "runc-started").and_then(|since| self.volumes.lost_since(since));
                ended.message = because(lost, Some(&ended.message)).unwrap_or_default();
            }
            Life::Failed(Failed { bound, .. }) => self.volumes.want(&bound.order, Users::None),
            Life::Stopping(stopping) => {
                let users = match (stopping.killed, stopping.why) {
                    (false, _) => Users::Leaving,
                    (true, Why::Orphan) => Users::Killed(Hung::Abort),
                    (true, Why::Unwanted | Why::Unhealthy | Why::HeadLost) => Users::Killed(Hung::Wait),
                };
                self.volumes.want(&stopping.bound.order, users);
            }
            Life::Running(running) => {
                self.volumes.want(&running.bound.order, Users::Some);
                if let Standing::Lost(why) = self.volumes.standing() {
                    running.lost = Some(why);
                }
            }
            Life::Attaching(attaching) => {
                self.volumes.want_ready(&attaching.bound.order);
                let lost = step(&attaching.bound, "ordered").and_then(|since| self.volumes.lost_since(since));
                attaching.complaint = because(lost, attaching.complaint.as_deref());
                attaching.waits = match self.volumes.standing() {
                    Standing::Ready => None,
                    Standing::Mounted => Some(NOT_LOOKED_AT.into()),
                    Standing::Waits(why) | Standing::Lost(why) => Some(why),
                    Standing::Unfit(why) => return self.cannot_be_here(why),
                };
            }
        }
    }

    /// A volume cannot be had on this host, which no restart here mends: the server is given up, so that it gets another place.
    fn cannot_be_here(&mut self, why: String) {
        let Life::Attaching(Attaching { bound, .. }) = self.take() else { return };
        tracing::warn!(server = %self.key, why, "cannot be had on this host");
        self.life = Life::Failed(Failed { bound, message: why });
        self.note();
    }

    /// Takes over from a new order of the same binding what it says about volumes: a newer record, a larger size. One that nothing
    /// runs of yet takes all of it.
    pub(super) fn refresh_volumes(&mut self, order: &ServerOrder, cable: Option<&Cable>) {
        let Some(bound) = self.life.bound_mut() else { return };
        if (bound.order.epoch, bound.order.incarnation) != (order.epoch, order.incarnation) {
            return;
        }
        let mut changed = false;
        for volume in &mut bound.order.volumes {
            if let Some(newer) = order.volumes.iter().find(|newer| newer.volume == volume.volume)
                && (&volume.claim, volume.size) != (&newer.claim, newer.size)
            {
                (volume.claim, volume.size, changed) = (newer.claim.clone(), newer.size, true);
            }
        }
        if let Life::Attaching(Attaching { bound, rootfs, .. }) = &mut self.life
            && (bound.order != *order || cable.is_some_and(|cable| bound.cable != *cable))
        {
            if !decide::serves(&bound.order, order) {
                *rootfs = None;
            }
            bound.order = order.clone();
            bound.cable = cable.cloned().unwrap_or_else(|| bound.cable.clone());
            changed = true;
        }
        if changed {
            self.note();
        }
    }

    /// Begins to wait for the volumes of a server that is to be started.
    pub(super) fn attach(&mut self, mut bound: Bound) {
        bound.steps = vec![("ordered".into(), clock::wall_micros())];
        self.parting = None;
        let (mut rootfs, mut complaint) = (None, None);
        match self.take() {
            Life::Warm(Warm { ready, rootfs: made, .. }) => {
                bound.steps.insert(0, ("made-ready".into(), ready));
                rootfs = made;
            }
            Life::Ended(ended) => {
                if ended.bound.ends > 0 {
                    bound.restarts += 1;
                    self.host.counts.restarts.one();
                }
                complaint = Some(ended.message);
            }
            Life::Nothing | Life::Attaching(_) | Life::Running(_) | Life::Stopping(_) | Life::Failed(_) | Life::Leftover(_) => {}
        }
        self.life = Life::Attaching(Attaching { bound, rootfs, waits: Some(NOT_LOOKED_AT.into()), complaint });
        self.note();
    }

    /// Something else is wanted while a start waits for its turn.
    pub(super) fn not_yet(&mut self, made: Option<Rootfs>, changed: Result<(), RecvError>) -> Flow {
        if let Life::Attaching(Attaching { rootfs, .. }) = &mut self.life {
            *rootfs = made;
        }
        flow(changed)
    }

    /// Removes everything of the server, its volumes after its processes. One that comes back under the same binding keeps those.
    pub(super) async fn release(&mut self, wanted: &Wanted) -> Flow {
        let before = self.take();
        let has_volumes = !matches!(before, Life::Warm(_));
        let (Life::Warm(Warm { bound, .. })
        | Life::Attaching(Attaching { bound, .. })
        | Life::Ended(Ended { bound, .. })
        | Life::Failed(Failed { bound, .. })
        | Life::Leftover(Leftover { bound, .. })) = before
        else {
            return Flow::Continue(());
        };
        let (host, gone) = (self.host.clone(), bound.clone());
        let mut released = blocking(move || apply::release(&host, &gone)).await.map_err(|error| chain(&error));
        if let (Ok(()), Wanted::Order(order, Some(cable))) = (&released, wanted)
            && has_volumes
            && decide::keeps_volumes(order, bound.order.epoch)
        {
            let order = ServerOrder::clone(order);
            self.attach(Bound { order, cable: cable.clone(), restarts: 0, ends: 0, steps: Vec::new() });
            return Flow::Continue(());
        }
        if released.is_ok() && has_volumes {
            // Somebody else may have the right to write them by now, and then nothing of what is left here can be written out.
            let hung = if decide::orphan(wanted.wish(), bound.order.epoch) { Hung::Abort } else { Hung::Wait };
            released = self.volumes.release(&bound.order, hung).await.map(|given_up| self.parting = given_up);
        }
        if released.is_ok() {
            let (host, key) = (self.host.clone(), self.key.clone());
            released = blocking(move || apply::forget_record(&host, &key)).await.map_err(|error| chain(&error));
        }
        if let Err(error) = released {
            let message = format!("cannot be removed, trying again: {error}");
            tracing::warn!(server = %self.key, message);
            self.life = Life::Leftover(Leftover { bound, at: clock::now(), message });
        }
        Flow::Continue(())
    }
}

/// When the latest start came to a step.
fn step(bound: &Bound, name: &str) -> Option<i64> {
    bound.steps.iter().find(|(known, _)| known == name).map(|(_, at)| *at)
}

/// Why a server does not run, if a volume of its was lost beside what is known already: that came of it.
fn because(lost: Option<String>, known: Option<&str>) -> Option<String> {
    match (lost, known) {
        (Some(lost), Some(known)) if !known.starts_with(HEAD_LOST) => Some(format!("{lost} ({known})")),
        (Some(lost), None) => Some(lost),
        (_, known) => known.map(str::to_owned),
    }
}
