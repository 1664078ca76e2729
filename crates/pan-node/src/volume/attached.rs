//! The volumes of one server, as its task holds them: each has a task of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pan_api::desired::ServerOrder;
use pan_linux::blockdev::Hung;
use pan_model::{ServerKey, VolumeId, VolumeName};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use super::decide::Users;
use super::standing::{self, Seen, Stage, Standing};
use super::task::{State, Task, Told, Whose};
use crate::host::Host;

/// How long a server's task waits for its volumes to be gone before it says that they are not, and does something else: an idle
/// one takes 50 ms, one with much in memory as long as its storage needs to take that.
const GONE_MAX: Duration = Duration::from_secs(5);

/// A server's volumes.
#[derive(Debug)]
pub(crate) struct Attached {
    /// Whose; `None`: of a server that is not here.
    server: Option<ServerKey>,
    host: Arc<Host>,
    wake: Arc<Notify>,
    all: BTreeMap<VolumeId, One>,
    /// What was given up of those that were let go last, in words.
    given_up: BTreeMap<VolumeId, String>,
}

#[derive(Debug)]
struct One {
    told: watch::Sender<Told>,
    seen: watch::Receiver<Seen>,
}

impl One {
    /// Its task has ended.
    fn is_over(&self) -> bool {
        self.seen.has_changed().is_err()
    }

    fn is_wanted(&self) -> bool {
        matches!(*self.told.borrow(), Told::Attached(..))
    }
}

impl Attached {
    pub(crate) fn none(server: ServerKey, host: Arc<Host>) -> Self {
        Self::of(Some(server), host)
    }

    fn of(server: Option<ServerKey>, host: Arc<Host>) -> Self {
        Self { server, host, wake: Arc::default(), all: BTreeMap::new(), given_up: BTreeMap::new() }
    }

    /// Volumes of servers that are not here, which are taken away.
    pub(crate) fn strays(host: &Arc<Host>, strays: &[VolumeId]) -> Self {
        let mut all = Self::of(None, host.clone());
        for volume in strays {
            tracing::info!(%volume, "taking away a volume of a server that is not here");
            let name = VolumeName::new(format!("id-{volume}")).expect("letters and digits are a name");
            all.tell(*volume, &name, Told::Gone(Hung::Abort));
        }
        all
    }

    /// Lets the volumes of an order be here, and no others; `users` says whether processes may have them open.
    pub(crate) fn want(&mut self, order: &ServerOrder, users: Users) {
        let Some(server) = self.server.clone() else { return };
        for volume in &order.volumes {
            self.host.volumes.belongs(volume.volume, &server);
            let whose = Arc::new(Whose { server: server.clone(), binding: order.epoch, order: volume.clone() });
            self.tell(volume.volume, &volume.name, Told::Attached(whose, users));
        }
        let wanted = |id: &VolumeId| order.volumes.iter().any(|volume| volume.volume == *id);
        for one in self.all.iter().filter(|(id, one)| !wanted(id) && one.is_wanted()).map(|(_, one)| one) {
            one.told.send_replace(Told::Gone(Hung::Wait));
        }
        self.all.retain(|id, one| wanted(id) || !one.is_over());
    }

    /// The same before anybody may have them open. Once all are mounted they are told that they will be used; until they have heard that
    /// they are not ready, because one that was lost in between would be taken away.
    pub(crate) fn want_ready(&mut self, order: &ServerOrder) {
        let mounted = |one: &One| one.seen.borrow().stage == Stage::Mounted;
        let all = order.volumes.iter().all(|volume| self.all.get(&volume.volume).is_some_and(mounted));
        self.want(order, if all { Users::Some } else { Users::None });
    }

    fn tell(&mut self, volume: VolumeId, name: &VolumeName, told: Told) {
        if let Some(one) = self.all.get(&volume).filter(|one| !one.is_over()) {
            one.told.send_if_modified(|old| {
                let changed = *old != told;
                *old = told;
                changed
            });
            return;
        }
        self.note_given_up(volume);
        let stage = Stage::UnderWay("is looked at".to_owned());
        let (seen, seen_by) =
            watch::channel(Seen { name: name.clone(), stage, users: Users::None, steps: Vec::new(), lost: None, given_up: None });
        let (told, told_to) = watch::channel(told);
        let (at, host, wake) = (self.host.volumes.place(volume), self.host.clone(), self.wake.clone());
        tokio::spawn(Task { at, host, told: told_to, seen, wake, here: State::default() }.run());
        self.all.insert(volume, One { told, seen: seen_by });
    }

    /// What they mean for the server.
    pub(crate) fn standing(&self) -> Standing {
        standing::standing(&self.seen())
    }

    /// Which of them was lost since then, and why.
    pub(crate) fn lost_since(&self, since: i64) -> Option<String> {
        standing::lost_since(&self.seen(), since)
    }

    /// Steps of a start so far, and those that they made since its first one.
    pub(crate) fn steps_after(&self, before: &[(String, i64)]) -> Vec<(String, i64)> {
        let ordered = before.iter().find(|(name, _)| name == "ordered").map_or(i64::MAX, |(_, at)| *at);
        [before, &standing::steps(&self.seen(), ordered)].concat()
    }

    fn seen(&self) -> Vec<Seen> {
        self.all.values().filter(|one| one.is_wanted()).map(|one| one.seen.borrow().clone()).collect()
    }

    /// Completes when one of them has changed since the last time.
    pub(crate) async fn changed(&self) {
        self.wake.notified().await;
    }

    /// Has all of them, and those of `order`, taken away. Nobody may have them open. Says what was given up of them, if anything was.
    ///
    /// # Errors
    /// One is still here after a while; in words. It goes on being taken away.
    pub(crate) async fn release(&mut self, order: &ServerOrder, hung: Hung) -> Result<Option<String>, String> {
        // Also those that an earlier agent may have left.
        for volume in &order.volumes {
            self.tell(volume.volume, &volume.name, Told::Gone(hung));
        }
        for one in self.all.values() {
            one.told.send_replace(Told::Gone(hung));
        }
        let deadline = Instant::now() + GONE_MAX;
        for one in self.all.values() {
            let mut seen = one.seen.clone();
            // The end of its task is the end of the channel, also for one that was lost half-way.
            let in_time = timeout_at(deadline, seen.wait_for(|_| false)).await.is_ok();
            let seen = seen.borrow();
            match &seen.stage {
                Stage::Gone if in_time => {}
                Stage::UnderWay(what) | Stage::Unfit(what) => return Err(format!("volume {} {what}", seen.name)),
                Stage::Gone | Stage::Mounted | Stage::Lost(_) => return Err(format!("volume {} is still here", seen.name)),
            }
        }
        let all: Vec<VolumeId> = self.all.keys().copied().collect();
        all.into_iter().for_each(|volume| self.note_given_up(volume));
        self.all.clear();
        let given_up: Vec<String> = std::mem::take(&mut self.given_up).into_values().collect();
        Ok((!given_up.is_empty()).then(|| given_up.join("; ")))
    }

    fn note_given_up(&mut self, volume: VolumeId) {
        let Some(seen) = self.all.get(&volume).map(|one| one.seen.borrow()) else { return };
        if let Some(why) = &seen.given_up {
            self.given_up.insert(volume, format!("volume {}: {why}", seen.name));
        }
    }

    /// Whether none is left. Of those that are gone nothing is remembered.
    pub(crate) fn is_empty(&mut self) -> bool {
        self.all.retain(|_, one| !one.is_over());
        self.all.is_empty()
    }
}
