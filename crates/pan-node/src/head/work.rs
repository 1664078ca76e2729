//! The worker: the head's core, and everything it says is to be done. One task owns it; whatever happens comes to it as an event. `links` has its
//! connections to members.

mod links;

use super::arbiter::Arbiter;
use super::error::HeadError;
use super::intake;
use super::lease::Lease;
use super::link::Told;
use super::message::{self, HeadOrder, Heard, Message, SAID_EVERY, Status};
use super::operation::{Asked, Pending};
use super::session;
use super::shelf::Shelf;
use super::snapshots::{self, Ended, Snapshots};
use bytes::Bytes;
use pan_api::ApiError;
use pan_api::volume::{Claim, HeadState, MemberPlace, VolumeAsk};
use pan_linux::fuse::{self, Inbox, Standing};
use pan_linux::realtime::{lock_memory, set_io_flusher, since_boot};
use pan_linux::seqpacket::Connection;
use pan_model::mirror::{Member, Writer};
use pan_model::{ByteSize, Code};
use pan_replica::{Clients, EXTENT, Effect, Env, Event, Geometry, Head, Mended, Op, OpId, Request, Rules, Settings, Trouble};
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Ends with this: it serves no more, and no other life of it will.
pub(super) const OVER: u8 = 3;
/// How often the core is told the time: a quarter of what is noticed by it soonest.
const TICK: Duration = Duration::from_millis(50);
/// How often it is told how much is still to be copied.
const TELL_EVERY: Duration = Duration::from_millis(250);
/// Before the leader is asked again that did not answer.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// How long a head may take to leave nothing dirty, when nobody uses it any more: two flushes.
pub(super) const REST_MAX: Duration = Duration::from_millis(500);

const fn settings(size: u64, standing: Standing) -> Settings {
    Settings {
        geometry: Geometry { size, extent: EXTENT },
        clients: match standing {
            Standing::First => Clients::New,
            Standing::Successor => Clients::Served,
        },
        operations_max: fuse::PENDING_MAX as usize,
        // Half of what a replica's log holds.
        extents_max: 128,
        // Far longer than a disk takes whose host is well: silence of a host ends its connection much sooner.
        patience: Duration::from_secs(5),
        // As long as it takes a storage host that died with the node to be missed.
        opening: Duration::from_millis(500),
        copies_max: 8,
    }
}

/// Runs it until the kernel ends the file system, the head is over, or the keeper is gone.
pub(super) fn run(folder: &Path, standing: Standing) -> ExitCode {
    // Both are for the day on which memory is short; without the right to they are done without.
    let _ = lock_memory();
    let _ = set_io_flusher();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&HeadError::Keeper { action: "start the runtime beside", source: error }),
    };
    match runtime.block_on(serve(folder, standing)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(HeadError::Over(why)) => {
            tracing::warn!(%why, "the head serves no more");
            ExitCode::from(OVER)
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &HeadError) -> ExitCode {
    tracing::error!("the head failed: {}", crate::error::chain(error));
    ExitCode::FAILURE
}

async fn serve(folder: &Path, standing: Standing) -> Result<(), HeadError> {
    let order = message::read_order(folder)?;
    let failed = |source| HeadError::Keeper { action: "reach", source };
    let keeper = Arc::new(Connection::to(&message::control(folder)).map_err(failed)?);
    message::say(&keeper, &Message::Take).map_err(failed)?;
    let session = fuse::take(&keeper, Duration::from_secs(5))?;
    let orders = listen(Arc::clone(&keeper));
    match begin(order, &keeper, session, standing).await {
        Ok(worker) => worker.work(orders).await,
        Err(error) => {
            let status = match &error {
                HeadError::Over(why) => Status { state: HeadState::Over(why.clone()), ..Status::opening() },
                // Whatever else it is that a worker cannot do before it has spoken to a replica is for want of something here.
                error => Status { unfit: Some(crate::error::chain(error)), ..Status::opening() },
            };
            let _ = message::say(&keeper, &Message::Status(Box::new(status)));
            Err(error)
        }
    }
}

async fn begin(order: HeadOrder, keeper: &Arc<Connection>, session: fuse::Session, standing: Standing) -> Result<Worker, HeadError> {
    let link = |error: pan_api::hostlink::LinkError| HeadError::Message(error.to_string());
    let arbiter = Arbiter::open(&order.host).map_err(link)?;
    let claim = claim(&order, &arbiter, standing).await?;
    let lease = Lease::open(&order.host)?;
    let inbox = intake::open(session, &order, standing)?;
    let head = Head::new(settings(order.volume.size.0, standing), claim.record.clone(), Rules::default());
    Ok(Worker::new(order, claim, head, arbiter, lease, Arc::clone(keeper), inbox))
}

/// The right to write that no earlier life of a head has used.
async fn claim(order: &HeadOrder, arbiter: &Arbiter, standing: Standing) -> Result<Claim, HeadError> {
    let volume = order.volume.volume;
    let take = |claim: &Claim| {
        let failed = |source| HeadError::File { action: "note the session in", path: order.host.state_dir.clone(), source };
        session::take(&order.host.state_dir, volume, claim.record.session).map_err(failed)
    };
    if let (Some(claim), Standing::First) = (&order.volume.claim, standing)
        && take(claim)?
    {
        return Ok(claim.clone());
    }
    loop {
        match arbiter.ask(order, VolumeAsk::Claim).await {
            Ok(claim) if take(&claim)? => return Ok(claim),
            Ok(_) => {}
            Err(ApiError { code: Code::Denied, message, .. }) => return Err(HeadError::Over(message)),
            Err(error) => tracing::debug!(%error, "the volume cannot be claimed yet"),
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// What the keeper says; the end of it is the end of the keeper.
fn listen(keeper: Arc<Connection>) -> mpsc::UnboundedReceiver<HeadOrder> {
    let (send, orders) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        loop {
            match message::hear(&keeper) {
                Heard::Message(Message::Order(order)) => drop(send.send(*order)),
                Heard::Message(_) | Heard::Noise(_) => {}
                Heard::End => return,
                Heard::Nothing => drop(keeper.wait(Duration::from_secs(1))),
            }
        }
    });
    orders
}

/// A connection to a member.
struct Link {
    life: u64,
    attempt: u32,
    requests: Option<mpsc::UnboundedSender<Request<Bytes>>>,
    task: JoinHandle<()>,
}

/// Both ends: tasks get the first, and the loop has the second. What is in it is bounded by what the head has under way.
type Channel<T> = (mpsc::UnboundedSender<T>, mpsc::UnboundedReceiver<T>);

struct Worker {
    order: HeadOrder,
    /// As whom this life writes.
    writer: Writer,
    capability: Vec<u8>,
    places: BTreeMap<Member, MemberPlace>,
    head: Head<Bytes>,
    arbiter: Arbiter,
    lease: Lease,
    keeper: Arc<Connection>,
    inbox: AsyncFd<Inbox>,
    links: BTreeMap<Member, Link>,
    lives: u64,
    shelf: Shelf,
    /// Extents of the volume.
    extents: Arc<AtomicU64>,
    news: Channel<Told>,
    answers: Channel<Result<Claim, ApiError>>,
    snapshots: Snapshots,
    /// What the leader says to what became of them.
    heeded: Channel<Result<Claim, ApiError>>,
    /// What the kernel asked for and the core does not take yet.
    waiting: VecDeque<Asked>,
    pending: Pending,
    over: Option<String>,
    /// Nobody uses it any more: until then it sees to it that nothing is left dirty.
    rests_until: Option<Instant>,
    told: Option<Status>,
    told_at: Instant,
}

impl Worker {
    fn new(
        order: HeadOrder,
        claim: Claim,
        head: Head<Bytes>,
        arbiter: Arbiter,
        lease: Lease,
        keeper: Arc<Connection>,
        inbox: AsyncFd<Inbox>,
    ) -> Self {
        let mut wanted = Snapshots::default();
        wanted.want(&claim.snapshots);
        let extents = Arc::new(AtomicU64::new(order.volume.size.0.div_ceil(EXTENT)));
        Self {
            writer: claim.record.writer(),
            capability: bytes(&claim.capability),
            places: places(&claim),
            order,
            head,
            arbiter,
            lease,
            keeper,
            inbox,
            links: BTreeMap::new(),
            lives: 0,
            shelf: Shelf::default(),
            extents,
            news: mpsc::unbounded_channel(),
            answers: mpsc::unbounded_channel(),
            snapshots: wanted,
            heeded: mpsc::unbounded_channel(),
            waiting: VecDeque::new(),
            pending: Pending::default(),
            over: None,
            rests_until: None,
            told: None,
            told_at: Instant::now(),
        }
    }

    async fn work(mut self, mut orders: mpsc::UnboundedReceiver<HeadOrder>) -> Result<(), HeadError> {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.follow_members();
        loop {
            tokio::select! {
                Some(told) = self.news.1.recv() => self.heard(told),
                ready = self.inbox.ready_mut(intake::WAITS), if self.rests_until.is_none() && self.inbox.get_ref().has_room() => {
                    let failed = |source| HeadError::Keeper { action: "take requests beside", source };
                    if !intake::gather(&mut ready.map_err(failed)?, &mut self.waiting).map_err(failed)? {
                        // The kernel has ended the file system.
                        self.rest();
                    }
                }
                Some(answer) = self.answers.1.recv() => self.answered(answer),
                Some(answer) = self.heeded.1.recv() => self.heeded(answer),
                order = orders.recv() => match order {
                    Some(order) => self.ordered(order),
                    None => return Err(HeadError::NotUp(Some("the keeper is gone".into()))),
                },
                _ = ticks.tick() => self.handle(Event::Tick),
            }
            self.feed();
            self.tell();
            if self.rests_until.is_some_and(|until| self.head.is_clean() || !self.can_clean() || until <= Instant::now()) {
                return Ok(());
            }
            if let Some(why) = self.over.take() {
                return Err(HeadError::Over(why));
            }
        }
    }

    /// Nobody uses it any more.
    fn rest(&mut self) {
        self.rests_until.get_or_insert_with(|| Instant::now() + REST_MAX);
        self.head.rest();
        self.handle(Event::Tick);
    }

    /// Whether there is anybody with whom it could leave less dirty than there is.
    fn can_clean(&self) -> bool {
        let is_up = |member| self.links.get(member).is_some_and(|link| link.requests.is_some());
        self.head.is_open() && self.head.record().in_sync.iter().any(is_up)
    }

    /// Gives the core as much as it takes.
    fn feed(&mut self) {
        if let Some(snapshot) = self.snapshots.next().filter(|_| self.head.is_open()) {
            let op = self.pending.own();
            self.snapshots.begin(op, snapshot);
            self.handle(Event::Submit(op, Op::Snapshot(snapshot)));
        }
        while self.head.accepts()
            && let Some(asked) = self.waiting.pop_front()
        {
            let (op, what) = self.pending.begin(asked);
            self.handle(Event::Submit(op, what));
        }
    }

    fn handle(&mut self, event: Event<Bytes>) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let now = since_boot();
            let env = Env { now, lease: self.lease.is_good(now) };
            for effect in self.head.handle(env, event) {
                events.extend(self.act(effect));
            }
        }
    }

    fn act(&mut self, effect: Effect<Bytes>) -> Option<Event<Bytes>> {
        match effect {
            Effect::Send(member, request) => {
                // One that is down says so itself, after this.
                if let Some(requests) = self.links.get(&member).and_then(|link| link.requests.as_ref()) {
                    let _ = requests.send(request);
                }
                None
            }
            Effect::Disconnect(member) => {
                self.connect(member);
                None
            }
            Effect::Ask { change, expect, had } => {
                self.ask(VolumeAsk::Change { writer: self.writer, expect, change, had }, self.answers.0.clone());
                None
            }
            Effect::Taken(op, by) => {
                self.snapshots.taken(op, by);
                None
            }
            Effect::Done(op, outcome) => self.done(op, outcome),
            Effect::Over(end) => {
                self.over = Some(end.to_string());
                None
            }
        }
    }

    /// Asks the leader. One that does not answer is asked again after a while by whoever gets to know that.
    fn ask(&self, ask: VolumeAsk, to: mpsc::UnboundedSender<Result<Claim, ApiError>>) {
        let (order, arbiter) = (self.order.clone(), self.arbiter.clone());
        tokio::spawn(async move {
            let answer = arbiter.ask(&order, ask).await;
            if answer.is_err() {
                tokio::time::sleep(ASK_AGAIN).await;
            }
            let _ = to.send(answer);
        });
    }

    fn tell_taken(&self, Ended { snapshot, members, trouble }: Ended) {
        self.ask(VolumeAsk::Taken { writer: self.writer, snapshot, members, trouble }, self.heeded.0.clone());
    }

    fn heeded(&mut self, answer: Result<Claim, ApiError>) {
        let knows = match answer {
            Ok(claim) => {
                self.snapshots.told(true);
                self.snapshots.want(&claim.snapshots);
                return;
            }
            // Nobody asks this head any more.
            Err(ApiError { code: Code::Denied, .. }) => true,
            Err(error) => {
                tracing::debug!(%error, "no answer from the leader");
                false
            }
        };
        if let Some(ended) = self.snapshots.told(knows) {
            self.tell_taken(ended);
        }
    }

    fn done(&mut self, op: OpId, outcome: Result<Option<Bytes>, Trouble>) -> Option<Event<Bytes>> {
        if let Some(ended) = self.snapshots.done(op, outcome.as_ref().err().map(snapshots::why)) {
            self.tell_taken(ended);
            return None;
        }
        self.pending.done(op, outcome).map(|(op, what)| Event::Submit(op, what))
    }

    fn answered(&mut self, answer: Result<Claim, ApiError>) {
        match answer {
            Ok(claim) => {
                self.places = places(&claim);
                let record = claim.record.clone();
                self.renew(&claim);
                self.handle(Event::Answered(record));
                self.follow_members();
            }
            Err(ApiError { code: Code::Denied, message, .. }) => self.over = Some(message),
            Err(error) => {
                tracing::debug!(%error, "no answer from the leader");
                self.handle(Event::Unanswered);
            }
        }
    }

    /// A newer order: other places, a record that somebody else changed, another size.
    fn ordered(&mut self, order: HeadOrder) {
        if order.volume.size > self.order.volume.size
            && let Err(error) = self.inbox.get_mut().set_size(order.volume.size.0)
        {
            tracing::warn!(%error, "the kernel does not take the new size");
        }
        self.extents.fetch_max(order.volume.size.0.div_ceil(EXTENT), Ordering::Relaxed);
        self.head.grow_to(order.volume.size.0);
        // Of another claim it says nothing about this life's.
        if let Some(claim) = order.volume.claim.as_ref().filter(|claim| claim.record.writer() == self.writer) {
            self.snapshots.want(&claim.snapshots);
        }
        if let Some(claim) = order.volume.claim.as_ref().filter(|claim| claim.record.changes > self.head.record().changes) {
            self.places = places(claim);
            self.renew(claim);
            self.handle(Event::Changed(claim.record.clone()));
        }
        self.order = order;
        self.follow_members();
    }

    /// Its capability may be signed with a newer key.
    fn renew(&mut self, claim: &Claim) {
        if claim.record.writer() == self.writer {
            self.capability = bytes(&claim.capability);
        }
    }

    /// Tells the keeper what is new, and now and then what is not: one that says nothing serves nobody. What it cannot take now it is told
    /// with the next event.
    fn tell(&mut self) {
        let state = match &self.over {
            Some(why) => HeadState::Over(why.clone()),
            None if self.head.is_open() => HeadState::Open,
            None => HeadState::Opening,
        };
        let behind = ByteSize(self.head.behind() * EXTENT);
        let Mended { extents: mended, lost: rotten } = self.head.mended();
        let status = Status { state, epoch: self.writer.epoch, behind, mended, rotten, ..Status::opening() };
        // How much is left changes with each copy, and nobody needs to know it that soon.
        let only_behind = self.told.as_ref().is_some_and(|told| (&told.state, told.epoch) == (&status.state, status.epoch));
        if only_behind && behind != ByteSize(0) && self.told_at.elapsed() < TELL_EVERY {
            return;
        }
        let is_due = self.told.as_ref() != Some(&status) || self.told_at.elapsed() >= SAID_EVERY;
        if is_due && message::say(&self.keeper, &Message::Status(Box::new(status.clone()))).is_ok() {
            (self.told, self.told_at) = (Some(status), Instant::now());
        }
    }
}

/// However it ends, another life of the head gets what it did not answer.
impl Drop for Worker {
    fn drop(&mut self) {
        self.pending.leave();
        self.waiting.drain(..).for_each(|(_, answer)| answer.leave());
    }
}

fn places(claim: &Claim) -> BTreeMap<Member, MemberPlace> {
    claim.members.iter().map(|place| (place.member, place.clone())).collect()
}

/// Hexadecimal digits; what is none gives a capability that nobody takes.
fn bytes(digits: &str) -> Vec<u8> {
    let pair = |pair: &[u8]| str::from_utf8(pair).ok().and_then(|text| u8::from_str_radix(text, 16).ok());
    digits.as_bytes().chunks(2).filter_map(pair).collect()
}
