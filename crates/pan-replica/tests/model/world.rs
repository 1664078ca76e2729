//! Heads, replicas and the arbiter, with everything between them that is under way; and all that can happen next.

use super::disk::{Disk, Value};
use super::judge::Judge;
use pan_model::{Lineage, Session};
use pan_replica::arbiter;
use pan_replica::{
    Answer, Ask, Change, Clients, Conn, Content, Effect, End, Env, Event, Geometry, Head, Job, Mark, Member, MemberState, Mutant, Op, OpId,
    Record, Reply, Request, Rules, Settings, Since, Span, Standing, Verdict, Writer,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// States of a disk to which it may go back.
const OLDER: usize = 12;

/// What may happen, and how often.
#[derive(Debug, Clone, Default)]
pub struct Budget {
    pub blocks: u64,
    /// Replicas in sync at the beginning, and further ones that are out.
    pub members: u32,
    pub outside: u32,
    pub heads: usize,
    /// Per head.
    pub writes: Vec<u8>,
    pub reads: Vec<u8>,
    pub flushes: Vec<u8>,
    /// Connections that break, machines that lose their power, answers of the arbiter that get lost.
    pub breaks: u8,
    pub crashes: u8,
    pub doubts: u8,
    /// Disks that are lost, and replaced by empty ones.
    pub replaced: u8,
    /// Disks of members that are out and go back to what was durable on them before.
    pub rollbacks: u8,
    pub rules: Rules,
    pub mutant: Option<Mutant>,
    /// Extents that may be unsettled; the heads flush by themselves from half of it on.
    pub room: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Link {
    conn: Conn,
    requests: VecDeque<Request<Value>>,
    replies: VecDeque<Reply<Value>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Side {
    head: Head<Value>,
    links: BTreeMap<Member, Link>,
    asks: VecDeque<(Change, u64, Option<Mark>)>,
    answers: VecDeque<Record>,
    writes: u8,
    reads: u8,
    flushes: u8,
    /// Its clients' operations: what each is.
    ops: BTreeMap<u64, Kind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Read,
    Write,
    Flush,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Store {
    core: pan_replica::Replica,
    disk: Disk,
    /// A standing that was answered for and is not on the disk: only without a rule.
    unsaved: Option<Standing>,
    /// Requests on connections that broke: they may still be read from the socket.
    orphans: Vec<(Conn, VecDeque<Request<Value>>)>,
    /// The newest epoch that it acknowledged a fence for.
    promised: u64,
    /// It lost its power and may have lost something, and was not made equal since.
    lossy: bool,
    /// What was durable on its disk, the oldest first, where that may come back.
    older: VecDeque<Disk>,
}

/// One state of everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    record: Record,
    sides: Vec<Side>,
    stores: BTreeMap<Member, Store>,
    judge: Judge,
    conns: u64,
    ops: u64,
    values: Value,
    breaks: u8,
    crashes: u8,
    doubts: u8,
    replaced: u8,
    rollbacks: u8,
}

/// Something that can happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Claim,
    Connect(usize, Member),
    Request(usize, Member),
    Reply(usize, Member),
    Orphan(Member, usize),
    Break(usize, Member),
    PowerLoss(Member, usize),
    NewDisk(Member),
    RollBack(Member, usize),
    Decide(usize),
    Answer(usize),
    LoseAnswer(usize),
    Tick(usize),
    Read(usize, u64, Option<Member>),
    Write(usize, u64),
    Flush(usize),
    Save(Member),
}

impl World {
    pub fn new(budget: &Budget) -> Self {
        let record = (0..budget.outside).fold(arbiter::found((1..=budget.members).map(Member)), |record, more| {
            arbiter::with(&record, Member(budget.members + 1 + more))
        });
        let geometry = Geometry { size: budget.blocks, extent: 1 };
        let store = |lineage: u64| {
            let standing = Standing { lineage: Lineage(lineage), ..Standing::default() };
            let core = pan_replica::Replica::new(geometry, standing, (BTreeSet::new(), BTreeMap::new()), false, budget.rules);
            let disk = Disk::new(budget.blocks, standing);
            Store { core, disk, unsaved: None, orphans: Vec::new(), promised: 0, lossy: false, older: VecDeque::new() }
        };
        let inside = (1..=budget.members).map(|member| (Member(member), store(1)));
        let outside = (1..=budget.outside).map(|member| (Member(budget.members + member), store(0)));
        let mut world = Self {
            record,
            sides: Vec::new(),
            stores: inside.chain(outside).collect(),
            judge: Judge::new(budget.blocks),
            conns: 0,
            ops: 0,
            values: 0,
            breaks: budget.breaks,
            crashes: budget.crashes,
            doubts: budget.doubts,
            replaced: budget.replaced,
            rollbacks: budget.rollbacks,
        };
        world.claim(budget);
        world
    }

    fn claim(&mut self, budget: &Budget) {
        let number = self.sides.len();
        self.record = arbiter::claim(&self.record, Session(number as u64 + 1));
        let settings = Settings {
            geometry: Geometry { size: budget.blocks, extent: 1 },
            // To every one of its heads' clients the end of the one before was a loss of power.
            clients: Clients::New,
            operations_max: 16,
            extents_max: budget.room.unwrap_or(16),
            patience: Duration::MAX,
            opening: Duration::ZERO,
            copies_max: 1,
        };
        self.sides.push(Side {
            head: Head::new(settings, self.record.clone(), budget.rules),
            links: BTreeMap::new(),
            asks: VecDeque::new(),
            answers: VecDeque::new(),
            writes: budget.writes[number],
            reads: budget.reads[number],
            flushes: budget.flushes[number],
            ops: BTreeMap::new(),
        });
    }

    /// All that can happen.
    pub fn steps(&self, budget: &Budget) -> Vec<Step> {
        let mut all = Vec::new();
        if self.sides.len() < budget.heads {
            all.push(Step::Claim);
        }
        for (number, side) in self.sides.iter().enumerate() {
            self.steps_of(number, side, &mut all);
        }
        for (member, store) in &self.stores {
            for (at, (_, requests)) in store.orphans.iter().enumerate() {
                if !requests.is_empty() {
                    all.push(Step::Orphan(*member, at));
                }
            }
            if self.crashes > 0 {
                all.extend((0..=store.disk.unflushed()).map(|kept| Step::PowerLoss(*member, kept)));
            }
            if self.replaced > 0 {
                all.push(Step::NewDisk(*member));
            }
            if self.rollbacks > 0 && self.is_away(*member) {
                all.extend((0..store.older.len()).map(|which| Step::RollBack(*member, which)));
            }
            if store.unsaved.is_some() {
                all.push(Step::Save(*member));
            }
        }
        all
    }

    fn steps_of(&self, number: usize, side: &Side, all: &mut Vec<Step>) {
        let over = side.head.end().is_some();
        for member in self.stores.keys() {
            match side.links.get(member) {
                None if !over => all.push(Step::Connect(number, *member)),
                None => {}
                Some(link) => {
                    if !link.requests.is_empty() {
                        all.push(Step::Request(number, *member));
                    }
                    if !link.replies.is_empty() && !over {
                        all.push(Step::Reply(number, *member));
                    }
                    if self.breaks > 0 && !over {
                        all.push(Step::Break(number, *member));
                    }
                }
            }
        }
        if !side.asks.is_empty() {
            all.push(Step::Decide(number));
        }
        if over {
            return;
        }
        if !side.answers.is_empty() {
            all.push(Step::Answer(number));
            if self.doubts > 0 {
                all.push(Step::LoseAnswer(number));
            }
        }
        if !side.head.is_open() {
            all.push(Step::Tick(number));
        }
        for block in 0..self.blocks() {
            if side.writes > 0 {
                all.push(Step::Write(number, block));
            }
            if side.reads > 0 {
                all.extend(self.stores.keys().map(|member| Step::Read(number, block, Some(*member))));
            }
        }
        if side.flushes > 0 {
            all.push(Step::Flush(number));
        }
    }

    /// Whether a member is out, and not on its way back.
    fn is_away(&self, member: Member) -> bool {
        let state = self.sides.last().and_then(|side| side.head.state(member));
        self.record.out.contains_key(&member) && state == Some(MemberState::Away)
    }

    fn blocks(&self) -> u64 {
        self.stores.values().next().map_or(0, |store| store.disk.all().len() as u64)
    }

    /// One of them happens.
    pub fn step(&mut self, budget: &Budget, step: &Step) -> Result<(), String> {
        match step {
            Step::Claim => self.claim(budget),
            Step::Connect(head, member) => {
                self.conns += 1;
                let link = Link { conn: Conn(self.conns), requests: VecDeque::new(), replies: VecDeque::new() };
                self.sides[*head].links.insert(*member, link);
                self.handle(*head, Event::Connected(*member))?;
            }
            Step::Request(head, member) => {
                let link = self.sides[*head].links.get_mut(member).unwrap();
                let (conn, request) = (link.conn, link.requests.pop_front().unwrap());
                let reply = self.execute(budget, *member, conn, request)?;
                if let Some(link) = self.sides[*head].links.get_mut(member) {
                    link.replies.push_back(reply);
                }
            }
            Step::Orphan(member, at) => {
                let (conn, requests) = &mut self.stores.get_mut(member).unwrap().orphans[*at];
                let (conn, request) = (*conn, requests.pop_front().unwrap());
                self.execute(budget, *member, conn, request)?;
                self.stores.get_mut(member).unwrap().orphans.retain(|(_, requests)| !requests.is_empty());
            }
            Step::Reply(head, member) => {
                let reply = self.sides[*head].links.get_mut(member).unwrap().replies.pop_front().unwrap();
                self.handle(*head, Event::Reply(*member, reply))?;
            }
            Step::Break(head, member) => {
                self.breaks -= 1;
                self.unlink(*head, *member);
                self.handle(*head, Event::Disconnected(*member))?;
            }
            Step::PowerLoss(member, kept) => {
                self.crashes -= 1;
                let store = self.stores.get_mut(member).unwrap();
                // Or may have lost something, as far as it knows itself: it is not believed then.
                store.lossy |= store.disk.unflushed() > 0 || !store.disk.now.dirty.is_empty();
                store.disk.lose_power(*kept);
                self.restart(budget, *member)?;
            }
            Step::NewDisk(member) => {
                self.replaced -= 1;
                let store = self.stores.get_mut(member).unwrap();
                (store.disk, store.lossy, store.promised) = (Disk::new(budget.blocks, Standing::default()), true, 0);
                self.restart(budget, *member)?;
            }
            Step::Decide(head) => self.decide(budget, *head),
            Step::Answer(head) => {
                let record = self.sides[*head].answers.pop_front().unwrap();
                self.handle(*head, Event::Answered(record))?;
            }
            Step::LoseAnswer(head) => {
                self.doubts -= 1;
                self.sides[*head].answers.pop_front();
                self.handle(*head, Event::Unanswered)?;
            }
            Step::RollBack(member, which) => {
                self.rollbacks -= 1;
                let store = self.stores.get_mut(member).unwrap();
                store.disk = store.older[*which].clone();
                store.promised = store.disk.standing().epoch.0;
                self.restart(budget, *member)?;
            }
            Step::Tick(head) => self.handle(*head, Event::Tick)?,
            Step::Save(member) => {
                let store = self.stores.get_mut(member).unwrap();
                let standing = store.unsaved.take().unwrap();
                store.disk.obey(standing);
            }
            Step::Read(..) | Step::Write(..) | Step::Flush(_) => self.submit(step)?,
        }
        self.forgive();
        Ok(())
    }

    fn submit(&mut self, step: &Step) -> Result<(), String> {
        self.ops += 1;
        let op = self.ops;
        let (head, kind, what) = match step {
            Step::Read(head, block, prefer) => {
                self.sides[*head].reads -= 1;
                // A head that may not answer any more is not asked to.
                if *head + 1 == self.sides.len() {
                    self.judge.read(op, *head, *block);
                }
                (*head, Kind::Read, Op::Read { span: Span { at: *block, length: 1 }, prefer: *prefer })
            }
            Step::Write(head, block) => {
                self.sides[*head].writes -= 1;
                self.values += 1;
                self.judge.write(op, *head, *block, self.values);
                let content = Content::Data(self.values);
                (*head, Kind::Write, Op::Write { span: Span { at: *block, length: 1 }, content, durable: false })
            }
            Step::Flush(head) => {
                self.sides[*head].flushes -= 1;
                self.judge.flush(op);
                (*head, Kind::Flush, Op::Flush)
            }
            _ => unreachable!("no operation of a client"),
        };
        self.sides[head].ops.insert(op, kind);
        self.handle(head, Event::Submit(OpId(op), what))
    }

    fn handle(&mut self, number: usize, event: Event<Value>) -> Result<(), String> {
        let lease = number + 1 == self.sides.len();
        let env = Env { now: Duration::ZERO, lease };
        for effect in self.sides[number].head.handle(env, event) {
            match effect {
                Effect::Send(member, request) => {
                    if let Some(link) = self.sides[number].links.get_mut(&member) {
                        link.requests.push_back(request);
                    }
                }
                Effect::Disconnect(member) => self.unlink(number, member),
                Effect::Ask { change, expect, had } => self.sides[number].asks.push_back((change, expect, had)),
                Effect::Done(op, outcome) => self.done(number, op.0, outcome.map_err(|_| ()))?,
                Effect::Over(End::Lost { .. }) => {
                    // What was not flushed may be lost, unless somebody kept its power. Reads after the last loss do not settle that.
                    if self.record.in_sync.iter().all(|member| self.stores[member].lossy) {
                        self.judge.all_lost();
                    }
                }
                Effect::Taken(..) | Effect::Over(End::Deposed { .. } | End::Strange { .. }) => {}
            }
        }
        Ok(())
    }

    fn done(&mut self, number: usize, op: u64, outcome: Result<Option<Value>, ()>) -> Result<(), String> {
        let kind = self.sides[number].ops.remove(&op).expect("an operation ends once");
        match (kind, outcome) {
            (Kind::Write, Ok(_)) => self.judge.written(op),
            (Kind::Read, Ok(Some(value))) => self.judge.was_read(op, value),
            (Kind::Read, Ok(None)) => Err("a read without a value".into()),
            (Kind::Flush, Ok(_)) => {
                self.judge.flushed(op);
                Ok(())
            }
            (_, Err(())) => {
                self.judge.abandoned(op);
                Ok(())
            }
        }
    }

    fn unlink(&mut self, number: usize, member: Member) {
        if let Some(link) = self.sides[number].links.remove(&member)
            && !link.requests.is_empty()
        {
            self.stores.get_mut(&member).unwrap().orphans.push((link.conn, link.requests));
        }
    }

    fn restart(&mut self, budget: &Budget, member: Member) -> Result<(), String> {
        let store = self.stores.get_mut(&member).unwrap();
        store.unsaved = None;
        store.orphans.clear();
        let geometry = Geometry { size: budget.blocks, extent: 1 };
        let saved = (store.disk.now.dirty.clone(), store.disk.now.notes.clone());
        store.core = pan_replica::Replica::new(geometry, store.disk.standing(), saved, true, budget.rules);
        if self.record.in_sync.iter().all(|member| self.stores[member].lossy) {
            self.judge.all_lost();
        }
        for number in 0..self.sides.len() {
            if self.sides[number].links.remove(&member).is_some() && self.sides[number].head.end().is_none() {
                self.handle(number, Event::Disconnected(member))?;
            }
        }
        Ok(())
    }

    /// Whoever was made equal since it lost something has lost nothing any more.
    fn forgive(&mut self) {
        let Some(side) = self.sides.last() else { return };
        if !side.head.is_open() || side.head.behind() > 0 {
            return;
        }
        for (member, store) in &mut self.stores {
            store.lossy &= side.head.state(*member) != Some(MemberState::InSync);
        }
    }

    fn decide(&mut self, budget: &Budget, number: usize) {
        let side = &mut self.sides[number];
        let (change, expect, had) = side.asks.pop_front().unwrap();
        let writer = Writer { epoch: pan_model::VolumeEpoch(number as u64 + 1), session: Session(number as u64 + 1) };
        if let Ok(next) = arbiter::change(&self.record, writer, expect, (change, had), budget.rules) {
            self.record = next;
            let equal = self.sides[number].head.is_equal_everywhere();
            if !equal && self.record.in_sync.iter().all(|member| self.stores[member].lossy) {
                // What was kept by one that cannot be reached, and never seen by anybody since.
                self.judge.all_lost();
            }
        }
        let side = &mut self.sides[number];
        let mut told = self.record.clone();
        if budget.mutant == Some(Mutant::NoCompareAndSwap) {
            // An arbiter that does not look who asks does not say either.
            (told.epoch, told.session) = (writer.epoch, writer.session);
        }
        side.answers.push_back(told);
    }

    fn execute(&mut self, budget: &Budget, member: Member, conn: Conn, request: Request<Value>) -> Result<Reply<Value>, String> {
        let (sequence, epoch) = (request.sequence, request.writer.epoch.0);
        let copy = matches!(request.ask, Ask::Write { copy: true, .. });
        let store = self.stores.get_mut(&member).unwrap();
        let answer = match store.core.admit(conn, request) {
            Verdict::Answer(answer) => answer,
            Verdict::Do(job) => {
                let changes = matches!(job, Job::Write { .. });
                if changes && epoch < store.promised {
                    let promised = store.promised;
                    let what = if copy { "a copy" } else { "a write" };
                    return Err(format!("{what} of epoch {epoch} changed replica {member}, which had been fenced for {promised}"));
                }
                if matches!(job, Job::Fence { .. }) {
                    store.promised = store.promised.max(epoch);
                }
                store.run(job, conn, budget)
            }
        };
        Ok(Reply { sequence, answer })
    }

    /// What matters of a state, for people.
    pub fn brief(&self) -> String {
        let Record { epoch, in_sync, out, changes, .. } = &self.record;
        let mut text = format!("  record: epoch {epoch}, in {in_sync:?}, out {out:?}, {changes} changes\n");
        for (number, side) in self.sides.iter().enumerate() {
            let states: Vec<_> = self.stores.keys().map(|member| side.head.state(*member)).collect();
            let (open, behind) = (side.head.is_open(), side.head.behind());
            text += &format!("  head {number}: open {open}, behind {behind}, end {:?}, {states:?}\n", side.head.end());
            for (member, link) in &side.links {
                text += &format!("    to {member}: {:?}\n    from {member}: {:?}\n", link.requests, link.replies);
            }
        }
        for (member, store) in &self.stores {
            text += &format!("  replica {member}: {:?}, lossy {}\n", store.disk, store.lossy);
        }
        text + &format!("  {:?}\n", self.judge)
    }

    /// What goes on by itself does, but for one connection; until something is so, or nothing goes on.
    fn goes_on(&mut self, budget: &Budget, but: &Step, until: impl Fn(&Self) -> bool) -> Result<(), String> {
        for _ in 0..500 {
            let next =
                |step: &Step| matches!(step, Step::Connect(..) | Step::Request(..) | Step::Reply(..) | Step::Decide(_) | Step::Answer(_));
            let step = self.steps(budget).into_iter().find(|step| next(step) && step != but);
            let Some(step) = step.filter(|_| !until(self)) else { return Ok(()) };
            self.step(budget, &step)?;
        }
        Err("it does not come to rest".into())
    }

    /// A member is evicted and added again; nobody but the arbiter knows of that, and its connection breaks. Something is written, and the others'
    /// logs are emptied of it; then another head comes, and reads from that member.
    pub fn joins_in_doubt(budget: &Budget) -> Result<(), String> {
        let (mut world, other) = (Self::new(budget), Member(2));
        let (nothing, connect) = (Step::Claim, Step::Connect(0, other));
        world.goes_on(budget, &nothing, |_| false)?;
        world.step(budget, &Step::Break(0, other))?;
        world.goes_on(budget, &connect, |_| false)?;
        world.goes_on(budget, &nothing, |world| !world.sides[0].answers.is_empty())?;
        world.step(budget, &Step::LoseAnswer(0))?;
        world.step(budget, &Step::Break(0, other))?;
        world.goes_on(budget, &connect, |_| false)?;
        for step in [Step::Write(0, 0), Step::Flush(0), Step::Flush(0), Step::Claim, Step::Read(1, 0, Some(other))] {
            world.step(budget, &step)?;
            world.goes_on(budget, &connect, |_| false)?;
        }
        if world.sides[1].head.is_open() { Ok(()) } else { Err("the other head does not open".into()) }
    }

    /// A member has what was flushed twice, and is evicted; its disk goes back to what it was before, and it joins again.
    pub fn goes_back(budget: &Budget) -> Result<(), String> {
        let (mut world, other) = (Self::new(budget), Member(2));
        let (nothing, connect) = (Step::Claim, Step::Connect(0, other));
        world.goes_on(budget, &nothing, |_| false)?;
        for step in [Step::Write(0, 0), Step::Flush(0), Step::Write(0, 1), Step::Flush(0)] {
            world.step(budget, &step)?;
            world.goes_on(budget, &nothing, |_| false)?;
        }
        world.step(budget, &Step::Break(0, other))?;
        world.goes_on(budget, &connect, |_| false)?;
        world.step(budget, &Step::RollBack(other, 0))?;
        world.goes_on(budget, &nothing, |_| false)?;
        if world.record.in_sync.len() < 2 {
            return Err("it does not come back".into());
        }
        world.step(budget, &Step::Read(0, 0, Some(other)))?;
        world.goes_on(budget, &nothing, |_| false)
    }

    /// Everything that is under way ends, and everybody can be reached: then all replicas have the same, and it is what it may be.
    pub fn heal(&mut self, budget: &Budget) -> Result<(), String> {
        (self.breaks, self.crashes, self.doubts, self.replaced, self.rollbacks) = (0, 0, 0, 0, 0);
        for side in &mut self.sides {
            (side.writes, side.reads, side.flushes) = (0, 0, 0);
        }
        let last = self.sides.len() - 1;
        let still = Budget { heads: 0, ..budget.clone() };
        for round in 1..=5_000 {
            let over = self.sides[last].head.end().is_some();
            // Somebody whose head ended gets another one.
            if over {
                return Ok(());
            }
            // Time goes by, slower than messages.
            let (ticks, others): (Vec<Step>, Vec<Step>) = self.steps(&still).into_iter().partition(|step| matches!(step, Step::Tick(_)));
            let due = ticks.into_iter().last().filter(|_| round % 100 == 0);
            // Everybody has his turn.
            let next = due.or_else(|| (!others.is_empty()).then(|| others[round % others.len()].clone()));
            let Some(step) = next else { return self.converged(last) };
            self.step(&still, &step)?;
        }
        Err("it does not come to rest".into())
    }

    fn converged(&self, last: usize) -> Result<(), String> {
        let side = &self.sides[last];
        if !side.head.is_open() || side.head.behind() > 0 || !side.ops.is_empty() {
            return Err(format!("at rest, and not done: {:?}", side.head));
        }
        if self.record.in_sync.len() != self.stores.len() {
            return Err(format!("at rest, and only {:?} are in sync: {:?}", self.record.in_sync, side.head));
        }
        let all: BTreeSet<Vec<Value>> = self.stores.values().map(|store| store.disk.all()).collect();
        let [one] = all.iter().collect::<Vec<_>>()[..] else { return Err(format!("at rest, and replicas differ: {all:?}")) };
        match one.iter().zip(0..).find(|(value, block)| !self.judge.allows(*block, **value)) {
            Some((value, block)) => Err(format!("at rest, and block {block} has {value}, which cannot be")),
            None => Ok(()),
        }
    }
}

impl Store {
    /// Keeps what is durable, if that is something new.
    fn remember(&mut self) {
        let mut durable = self.disk.clone();
        durable.lose_power(0);
        if self.older.back() != Some(&durable) {
            self.older.push_back(durable);
            self.older.drain(..self.older.len().saturating_sub(OLDER));
        }
    }

    fn run(&mut self, job: Job<Value>, conn: Conn, budget: &Budget) -> Answer<Value> {
        let mutant = budget.mutant;
        if budget.rollbacks > 0 {
            self.remember();
        }
        match job {
            Job::Fence { standing, answer } => {
                self.orphans.retain(|(other, _)| *other == conn || mutant == Some(Mutant::NoFence));
                let noted: BTreeMap<Member, Since> = self.core.noted().collect();
                if self.disk.now.notes.iter().any(|(member, notes)| noted.get(member) != Some(&notes.since)) {
                    self.disk.note(|all| all.retain(|member, notes| noted.get(member) == Some(&notes.since)));
                }
                match mutant == Some(Mutant::FenceBeforeDurable) {
                    true => self.unsaved = Some(standing),
                    false => self.disk.obey(standing),
                }
                Answer::Fenced(answer)
            }
            Job::Read { span, .. } => Answer::Read(self.disk.read(span.at)),
            Job::Write { span, content, durable, .. } => {
                let durable = durable || !(self.disk.is_anchored() || mutant == Some(Mutant::FirstMarkVolatile));
                self.disk.write(span, &content);
                if durable {
                    self.disk.flush();
                }
                Answer::Done
            }
            Job::Flush(flush) => {
                self.disk.flush();
                let (clean, standing) = self.core.flushed(flush);
                self.disk.strike(clean, standing.flushed);
                if flush.is_whole() && self.unsaved.is_none() {
                    self.disk.obey(standing);
                }
                Answer::Done
            }
            Job::Snapshot(_) => unreachable!("no client of this world asks for any"),
            Job::Note { forget, all } => {
                self.disk.note(|kept| {
                    forget.into_iter().for_each(|member| _ = kept.remove(&member));
                    all.into_iter().for_each(|(member, all)| kept.entry(member).or_default().add(&all));
                });
                Answer::Done
            }
        }
    }
}
