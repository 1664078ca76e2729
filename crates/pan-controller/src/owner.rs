//! The controller's loop: one task that owns the world. Events in; settle; commit; only then publish and answer.
//!
//! It leads or it follows. Who follows observes what hosts say and takes over what the leader commits, so that it
//! can lead from one moment to the next; it decides nothing and publishes nothing.

mod commit;
mod publish;
mod standing;
#[cfg(test)]
mod tests;

use crate::core::hosts as hosts_core;
use crate::core::world::{Now, World};
use crate::core::{audit, members, place, settle};
use crate::ear::{Asker, Ear};
use crate::handle::{Handle, Message};
use crate::run::RunError;
use commit::Failed;
pub(crate) use commit::chain;
use pan_api::ApiError;
use pan_api::desired::Desired;
use pan_api::report::Hello;
use pan_member::Tick;
use pan_model::{Code, HostName};
use pan_store::{AnyStore, Batch, Revision, Watch, WatchError};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};

/// Messages taken in one round: enough to absorb a burst, few enough to commit soon.
const BATCH_MAX: usize = 512;
/// Time limits of the core are of seconds; this is how soon they are noticed.
const TICK: Duration = Duration::from_millis(100);
/// A host may take this long to be heard after a controller took over, before it counts as silent.
pub(crate) const GRACE: Duration = Duration::from_secs(3);

/// With more records than this to be committed, no request goes along: its own are not to be parted where a round is cut.
const MUCH: usize = 512;

/// The time for the core.
pub(crate) fn now() -> Now {
    Now { wall: jiff::Timestamp::now().as_microsecond(), boot: Tick(pan_linux::datagram::boot_clock()) }
}

/// The answers to give once the round is committed.
enum Answer {
    Request(oneshot::Sender<Result<crate::core::request::Reply, ApiError>>, Result<crate::core::request::Reply, ApiError>),
    Host(oneshot::Sender<Result<(), ApiError>>, Result<(), ApiError>),
}

impl Answer {
    fn give(self) {
        // A caller that went away meanwhile does not need its answer.
        match self {
            Self::Request(to, answer) => drop(to.send(answer)),
            Self::Host(to, answer) => drop(to.send(answer)),
        }
    }

    /// The round came to nothing: a yes would be a lie, and a no may be one too, if somebody else leads by now.
    fn fail(self, failed: &ApiError) {
        let refused = || ApiError::new(Code::NotLeading, "this controller leads no more, and what it would have refused was not done");
        let instead = |answer: Option<ApiError>| answer.map_or_else(|| failed.clone(), |_| refused());
        match self {
            Self::Request(to, answer) => drop(to.send(Err(instead(answer.err())))),
            Self::Host(to, answer) => drop(to.send(Err(instead(answer.err())))),
        }
    }
}

/// The loop's state.
pub(crate) struct Owner {
    me: HostName,
    /// Random, drawn by this process.
    instance: u64,
    pub world: World,
    store: Arc<AnyStore>,
    /// The leader's record as this controller knows it; every transaction is conditional on it.
    record: Option<Revision>,
    /// What the leader commits, while another one leads.
    watch: Option<Watch>,
    ear: Ear,
    inbox: Inbox,
    record_asker: Asker,
    handle: Handle,
    changed: watch::Sender<u64>,
    step: u64,
    /// The last term that this controller led in.
    led: u64,
    started: Instant,
    warm: bool,
    latest: BTreeMap<HostName, Desired>,
    /// Signs what they say of volumes.
    sealer: crate::seal::Sealer,
    /// The lists of hosts in them.
    rosters: crate::core::roster::Rosters,
    revision: u64,
    /// What the ear was told last of hosts.
    told: BTreeMap<HostName, crate::ear::Known>,
    /// And of the periods of keys.
    told_keys: Option<(u64, u64)>,
}

/// What ties the loop to everything else.
pub(crate) struct Links {
    pub store: Arc<AnyStore>,
    pub ear: Ear,
    pub inbox: Inbox,
    /// Has the leader's record read for the ear.
    pub record_asker: Asker,
    pub handle: Handle,
    pub changed: watch::Sender<u64>,
}

/// What others tell the loop.
pub(crate) struct Inbox {
    /// The ear, whose word comes first: however many call, deaths are heard of.
    pub heard: mpsc::Receiver<Message>,
    /// Hosts and callers.
    pub asked: mpsc::Receiver<Message>,
    /// What the ear said while the store was waited for.
    pub kept: VecDeque<Message>,
}

impl Inbox {
    /// `None`: nobody can ask any more.
    async fn next(&mut self) -> Option<Message> {
        if let Some(kept) = self.kept.pop_front() {
            return Some(kept);
        }
        tokio::select! {
            biased;
            Some(message) = self.heard.recv() => Some(message),
            message = self.asked.recv() => message,
        }
    }

    /// What is there already.
    fn ready(&mut self) -> Option<Message> {
        let kept = self.kept.pop_front();
        kept.or_else(|| self.heard.try_recv().or_else(|_| self.asked.try_recv()).ok())
    }

    /// Waits for the ear's word to step down, and why. It is kept, as is what comes before it; the ear keeps what is more than a round's.
    async fn deposed(&mut self) -> String {
        if let Some(reason) = self.kept.iter().find_map(deposes) {
            return reason;
        }
        while self.kept.len() < BATCH_MAX {
            let Some(message) = self.heard.recv().await else { break };
            let reason = deposes(&message);
            self.kept.push_back(message);
            if let Some(reason) = reason {
                return reason;
            }
        }
        std::future::pending().await
    }

    /// Takes that word out of what is kept.
    fn take_deposed(&mut self) -> Option<String> {
        let at = self.kept.iter().position(|message| deposes(message).is_some())?;
        self.kept.remove(at).as_ref().and_then(deposes)
    }
}

/// Why it tells this controller to step down, if it does.
fn deposes(message: &Message) -> Option<String> {
    if let Message::StepDown { reason } = message { Some(reason.clone()) } else { None }
}

/// What woke the loop.
enum Wake {
    Message(Message),
    Followed(Result<Batch, WatchError>),
    Tick,
    Over,
}

impl Owner {
    /// Of a controller that has read nothing yet; `instance` is drawn by this process.
    pub fn new(me: HostName, instance: u64, world: World, links: Links, sealer: crate::seal::Sealer) -> Self {
        let Links { store, ear, inbox, record_asker, handle, changed } = links;
        Self {
            me,
            instance,
            world,
            store,
            record: None,
            watch: None,
            ear,
            inbox,
            record_asker,
            handle,
            changed,
            step: 0,
            led: 0,
            started: Instant::now(),
            warm: false,
            latest: BTreeMap::new(),
            sealer,
            rosters: crate::core::roster::Rosters::default(),
            revision: 0,
            told: BTreeMap::new(),
            told_keys: None,
        }
    }

    /// Works until nobody can send anything any more.
    ///
    /// # Errors
    /// [`RunError`]: a record cannot be used, or the store is of no use.
    pub async fn work(mut self) -> Result<(), RunError> {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let followed = async {
                match &mut self.watch {
                    Some(watch) => watch.next().await,
                    None => std::future::pending().await,
                }
            };
            let wake = tokio::select! {
                message = self.inbox.next() => message.map_or(Wake::Over, Wake::Message),
                batch = followed => Wake::Followed(batch),
                _ = ticks.tick() => Wake::Tick,
            };
            let mut answers = Vec::new();
            match wake {
                Wake::Over => return Ok(()),
                Wake::Followed(batch) => self.follow(batch).await?,
                Wake::Message(message) => self.hear(message, &mut answers).await?,
                Wake::Tick => {}
            }
            for _ in 1..BATCH_MAX {
                let Some(message) = self.inbox.ready() else { break };
                self.hear(message, &mut answers).await?;
            }
            self.round(answers).await?;
        }
    }

    /// What changes who decides comes between rounds: nothing that was decided before may be lost with it untold.
    async fn hear(&mut self, message: Message, answers: &mut Vec<Answer>) -> Result<(), RunError> {
        match message {
            Message::Take { expected, term } => {
                self.round(std::mem::take(answers)).await?;
                self.take_over(expected, term).await
            }
            Message::Lead { term } => {
                self.round(std::mem::take(answers)).await?;
                self.found_leading(term);
                Ok(())
            }
            Message::ReadRecord => {
                self.record_asker.ask();
                Ok(())
            }
            Message::StepDown { reason } => {
                // Put back, so that the round does not wait for a store that says nothing. One that did has stepped down.
                self.inbox.kept.push_front(Message::StepDown { reason });
                self.round(std::mem::take(answers)).await?;
                match self.inbox.take_deposed() {
                    Some(reason) => self.step_down(Failed::Deposed(reason)).await,
                    None => Ok(()),
                }
            }
            Message::Request(_, ref request, _) if request.is_large() => {
                if !self.world.dirty.is_empty() {
                    self.round(std::mem::take(answers)).await?;
                }
                answers.extend(self.take(message));
                let decided = self.decide_by_itself().await;
                self.end_round(decided, std::mem::take(answers)).await
            }
            other => {
                if matches!(other, Message::Request(..)) && self.world.dirty.len() > MUCH {
                    self.round(std::mem::take(answers)).await?;
                }
                answers.extend(self.take(other));
                Ok(())
            }
        }
    }

    async fn round(&mut self, answers: Vec<Answer>) -> Result<(), RunError> {
        let decided = self.decide().await;
        self.end_round(decided, answers).await
    }

    /// Others learn of what was decided, if it is committed.
    async fn end_round(&mut self, decided: Result<(), Failed>, answers: Vec<Answer>) -> Result<(), RunError> {
        match decided {
            Ok(()) => {
                self.publish();
                answers.into_iter().for_each(Answer::give);
            }
            Err(failed) => {
                self.handle.metrics.not_committed();
                let told = self.refusal(&failed);
                tracing::error!(%failed, "stepping down");
                answers.into_iter().for_each(|answer| answer.fail(&told));
                self.step_down(failed).await?;
                self.publish();
            }
        }
        Ok(())
    }

    async fn decide(&mut self) -> Result<(), Failed> {
        let (before, planned_for) = (Instant::now(), self.world.seen.snapshot.clone());
        self.settle();
        let planned = !Arc::ptr_eq(&planned_for, &self.world.seen.snapshot);
        self.handle.metrics.settled(before.elapsed(), planned);
        self.commit().await
    }

    /// What was asked for is a transaction of its own: what follows from it may be as much again.
    async fn decide_by_itself(&mut self) -> Result<(), Failed> {
        self.commit().await?;
        self.decide().await.map_err(Failed::after_a_part)
    }

    fn refusal(&self, failed: &Failed) -> ApiError {
        match failed.in_doubt() {
            true => ApiError::new(Code::InDoubt, format!("{failed}; whether it was done is not known")),
            false => ApiError::new(Code::NotLeading, format!("{failed}; nothing was changed")),
        }
    }

    fn take(&mut self, message: Message) -> Option<Answer> {
        let now = now();
        match message {
            Message::Request(actor, request, answer) => {
                tracing::debug!(principal = actor.name, "request");
                if !self.world.leading {
                    return Some(Answer::Request(answer, Err(self.not_leading())));
                }
                let periodic = request.is_periodic();
                let reply = audit::request(&mut self.world, now, &actor, request);
                if !periodic {
                    crate::core::standing::answers(&mut self.world);
                }
                Some(Answer::Request(answer, reply))
            }
            Message::Refused(told, answer) => {
                let (actor, attempt, code) = *told;
                if !self.world.leading {
                    return Some(Answer::Host(answer, Err(self.not_leading())));
                }
                audit::refused(&mut self.world, now, &actor, &attempt, code);
                Some(Answer::Host(answer, Ok(())))
            }
            Message::Inside(told, answer) => {
                let (actor, what) = *told;
                if !self.world.leading {
                    return Some(Answer::Host(answer, Err(self.not_leading())));
                }
                Some(Answer::Host(answer, audit::inside(&mut self.world, now, &actor, what)))
            }
            Message::Hello(hello, answer) => Some(Answer::Host(answer, self.hello(now, &hello))),
            Message::Report(report, answer) => Some(Answer::Host(answer, hosts_core::report(&mut self.world, now, *report))),
            Message::Liveness(changes) => {
                self.handle.metrics.life(changes.iter().map(|(_, change)| change));
                for (noticed, change) in changes {
                    hosts_core::life(&mut self.world, now, change.after(now.boot.since(noticed)));
                }
                None
            }
            Message::Members(answers) => {
                members::asked(&mut self.world, now, answers);
                None
            }
            // Those that change who decides are seen to before.
            Message::Take { .. } | Message::Lead { .. } | Message::ReadRecord | Message::StepDown { .. } => None,
        }
    }

    /// Who follows takes a host's word for what it is only once the leader has.
    fn hello(&mut self, now: Now, hello: &Hello) -> Result<(), ApiError> {
        if self.world.leading || hosts_core::is_known(&self.world, hello) {
            return hosts_core::hello(&mut self.world, now, hello);
        }
        Err(self.not_leading())
    }

    fn not_leading(&self) -> ApiError {
        let who = self.world.pan.leader.as_ref().filter(|leader| **leader != self.me);
        let text = match who {
            Some(leader) => format!("controller {} follows; {leader} leads", self.me),
            None => format!("controller {} does not lead, and it knows of no other that does", self.me),
        };
        ApiError::new(Code::NotLeading, text)
    }

    /// Nothing is decided or published before every host has had the time to say what it runs: a controller that
    /// was just started must not take what it has not heard of for gone. One that followed has heard everybody.
    fn settle(&mut self) {
        if !self.world.leading {
            place::survey(&mut self.world, now());
            return;
        }
        if !self.warm {
            let grace = GRACE + Duration::from_secs(1);
            self.warm = self.world.hosts.keys().all(|name| hosts_core::has_spoken(&self.world, name)) || self.started.elapsed() >= grace;
        }
        if self.warm {
            settle::settle(&mut self.world, now());
        }
    }
}
