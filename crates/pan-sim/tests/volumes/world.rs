//! Heads, storage hosts, the arbiter's record, one client, and everything that goes wrong between them.

use crate::blocks::Blocks;
use crate::store::{Heard, Store};
use bytes::Bytes;
use pan_disk::faulty::Dice;
use pan_model::mirror::{Member, Record};
use pan_model::{Session, SnapshotId};
use pan_replica::{
    Change, Clients, Content, EXTENT, Effect, Env, Event, Geometry, Head, Mark, MemberState, Op, OpId, Reply, Request, Rules, Settings,
    Span, arbiter,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const BLOCK: u64 = 4096;
const EXTENTS: u64 = 12;
const SIZE: u64 = EXTENTS * EXTENT;
/// Blocks that are worked on: some to an extent, so that operations meet.
const BLOCKS: u64 = 36;
/// How long faults go on, and how long everything may take to be well after them.
const TROUBLE: u64 = 20_000_000;
const HEALING: u64 = 60_000_000;
/// Silence that ends a connection.
const SILENCE: u64 = 250_000;

enum Ev {
    ToStore {
        store: usize,
        conn: u64,
        request: Request<Bytes>,
    },
    ToHead {
        conn: u64,
        reply: Reply<Bytes>,
    },
    Connect {
        head: usize,
        member: Member,
    },
    /// One end notices that a connection is no more.
    Lost {
        conn: u64,
        by_head: bool,
    },
    Answered {
        head: usize,
        record: Option<Record>,
    },
    Tick {
        head: usize,
    },
    Client,
    Fault,
    Back {
        store: usize,
    },
    Mend {
        store: usize,
    },
    Quick {
        store: usize,
    },
    Thaw {
        head: usize,
    },
    Takeover,
    /// A disk has room again.
    Room {
        store: usize,
    },
    /// What is rotten is looked for again.
    Scrub,
}

/// What is wrong with a copy, and which other one has everything until it was mended: nothing happens to that one.
#[derive(Clone, Copy)]
struct Rot {
    at: usize,
    guard: usize,
}

/// What may go wrong besides what always does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Extra {
    #[default]
    None,
    /// What is rotten is answered as if it was what was written.
    RotAsData,
    /// A copy whose disk lied, and then lost its power, goes on with what is left.
    LiarKept,
}

struct HeadSim {
    head: Head<Bytes>,
    /// Gone for good.
    dead: bool,
    frozen: bool,
    conns: BTreeMap<Member, u64>,
    lease: bool,
}

struct Link {
    head: usize,
    member: Member,
    store: usize,
    /// When the last message arrives, each way: they keep their order.
    last: [u64; 2],
    /// Something was lost, each way; both ends find out by silence.
    broken: [bool; 2],
}

enum Asked {
    Write(u64, u64),
    Read(u64),
    Flush,
    Snapshot(SnapshotId),
}

pub struct World {
    dice: Dice,
    rules: Rules,
    now: u64,
    queue: BTreeMap<(u64, u64), Ev>,
    order: u64,
    record: Record,
    sessions: u64,
    stores: Vec<Store>,
    /// Links of the present head's node to storage hosts that carry nothing: from it, to it.
    cut: Vec<[bool; 2]>,
    /// How much longer a storage host takes for everything.
    slow: Vec<u64>,
    heads: Vec<HeadSim>,
    links: BTreeMap<u64, Link>,
    conns: u64,
    blocks: Blocks,
    asked: BTreeMap<OpId, Asked>,
    /// Of them, those that a replica may have done before it lost power: writes that may be gone, and reads of what may be gone.
    shaky: BTreeSet<OpId>,
    ops: u64,
    values: u64,
    flushing: bool,
    counts: BTreeMap<&'static str, u64>,
    healing: bool,
    told: bool,
    extra: Extra,
    rot: Option<Rot>,
    /// Which disk lies, as long as there is one.
    liar: Option<usize>,
    full: BTreeSet<usize>,
    snapshots: u64,
    /// Who has the one that a head is just done with.
    taken_by: BTreeSet<usize>,
    /// Who got another disk since a snapshot was asked for: it may have taken it before, and has it no more.
    emptied: BTreeSet<usize>,
    /// The last one that was taken, what it holds, and who has it.
    kept: Option<(SnapshotId, Vec<u8>, BTreeSet<usize>)>,
}

impl World {
    pub fn new(seed: u64, rules: Rules, told: bool, extra: Extra) -> Self {
        let mut dice = Dice::new(seed);
        let copies = 2 + u32::from(dice.once_in(4));
        let record = arbiter::found((1..=copies).map(Member));
        let stores = (0..copies).map(|_| Store::new(SIZE, extra == Extra::RotAsData)).collect();
        let mut world = Self {
            dice,
            rules,
            now: 0,
            queue: BTreeMap::new(),
            order: 0,
            record,
            sessions: 0,
            stores,
            cut: vec![[false; 2]; copies as usize],
            slow: vec![0; copies as usize],
            heads: Vec::new(),
            links: BTreeMap::new(),
            conns: 0,
            blocks: Blocks::default(),
            asked: BTreeMap::new(),
            shaky: BTreeSet::new(),
            ops: 0,
            values: 0,
            flushing: false,
            counts: BTreeMap::new(),
            healing: false,
            told,
            extra,
            rot: None,
            liar: None,
            full: BTreeSet::new(),
            snapshots: 0,
            taken_by: BTreeSet::new(),
            emptied: BTreeSet::new(),
            kept: None,
        };
        world.claim(Clients::New);
        world.after(0, Ev::Client);
        world.after(500_000, Ev::Fault);
        world
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
        self.tell(what);
    }

    fn tell(&self, what: impl std::fmt::Display) {
        if self.told {
            println!("{:>10} {what}", self.now);
        }
    }

    fn after(&mut self, delay: u64, ev: Ev) {
        self.order += 1;
        self.queue.insert((self.now + delay, self.order), ev);
    }

    /// Another head, wherever it runs; or there, under those who were served by the one before.
    fn claim(&mut self, clients: Clients) {
        self.sessions += 1;
        self.record = arbiter::claim(&self.record, Session(self.sessions));
        let settings = Settings {
            geometry: Geometry { size: SIZE, extent: EXTENT },
            clients,
            operations_max: 32,
            // Few, so that heads flush by themselves.
            extents_max: 8,
            patience: Duration::from_secs(5),
            opening: Duration::from_millis(500),
            copies_max: 2,
        };
        let head = Head::new(settings, self.record.clone(), self.rules);
        // Whoever served before serves nobody any more: what it was asked for is in doubt.
        for asked in std::mem::take(&mut self.asked).into_values() {
            if let Asked::Write(at, value) = asked {
                self.blocks.doubtful(at, value);
            }
        }
        if clients == Clients::New {
            self.blocks.clients_lost();
        }
        self.flushing = false;
        for former in &mut self.heads {
            former.lease = false;
        }
        self.heads.push(HeadSim { head, dead: false, frozen: false, conns: BTreeMap::new(), lease: true });
        let number = self.heads.len() - 1;
        for member in self.record.members().collect::<Vec<_>>() {
            self.after(1_000, Ev::Connect { head: number, member });
        }
        self.after(20_000, Ev::Tick { head: number });
    }

    fn newest(&self) -> usize {
        self.heads.len() - 1
    }

    fn store_of(member: Member) -> usize {
        member.0 as usize - 1
    }

    fn handle(&mut self, number: usize, event: Event<Bytes>) {
        let it = &mut self.heads[number];
        if it.dead {
            return;
        }
        let env = Env { now: Duration::from_micros(self.now), lease: it.lease };
        for effect in it.head.handle(env, event) {
            self.act(number, effect);
        }
    }

    fn act(&mut self, number: usize, effect: Effect<Bytes>) {
        match effect {
            Effect::Send(member, request) => {
                let Some(conn) = self.heads[number].conns.get(&member).copied() else { return };
                let store = Self::store_of(member);
                if let Some(at) = self.travel(conn, 0) {
                    self.queue.insert(at, Ev::ToStore { store, conn, request });
                }
            }
            Effect::Disconnect(member) => {
                self.drop_conn(number, member);
                self.after(20_000, Ev::Connect { head: number, member });
            }
            Effect::Ask { change, expect, had } => self.ask(number, (change, had), expect),
            Effect::Taken(_, by) => self.taken_by = by.into_iter().map(Self::store_of).collect(),
            Effect::Done(op, outcome) => self.done(number, op, outcome.map_err(|_| ())),
            Effect::Over(end) => {
                self.tell(format_args!("head {number} is over: {end}"));
                self.heads[number].dead = true;
                if number == self.newest() {
                    self.after(100_000, Ev::Takeover);
                }
            }
        }
    }

    /// When a message arrives; never, where the way is cut.
    fn travel(&mut self, conn: u64, way: usize) -> Option<(u64, u64)> {
        let delay = 100 + self.dice.below(400) + if self.dice.once_in(50) { self.dice.below(20_000) } else { 0 };
        let newest = self.newest();
        let link = self.links.get_mut(&conn)?;
        // A stream has no gaps: what comes after something that was lost does not arrive either.
        link.broken[way] |= link.head == newest && self.cut[link.store][way];
        if link.broken[way] {
            return None;
        }
        let slow = if way == 1 { self.slow[link.store] } else { 0 };
        link.last[way] = link.last[way].max(self.now + delay + slow);
        self.order += 1;
        Some((link.last[way], self.order))
    }

    fn drop_conn(&mut self, head: usize, member: Member) {
        if let Some(conn) = self.heads[head].conns.remove(&member) {
            self.after(300, Ev::Lost { conn, by_head: false });
        }
    }

    /// One transaction of the arbiter; its answer may be late or lost.
    fn ask(&mut self, head: usize, (change, had): (Change, Option<Mark>), expect: u64) {
        let writer = self.heads[head].head.record().writer();
        let lost = !self.healing && self.dice.once_in(8);
        // The question itself got lost, or its answer.
        let record = if lost && self.dice.once_in(2) {
            None
        } else {
            if let Ok(next) = arbiter::change(&self.record, writer, expect, (change, had), self.rules) {
                self.record = next;
                self.count(match change {
                    Change::Evict(_) => "evictions",
                    Change::Slow(_) => "slow copies evicted",
                    Change::Add(_) => "additions",
                });
            }
            Some(self.record.clone()).filter(|_| !lost)
        };
        let delay = 1_000 + self.dice.below(5_000) + if lost { 50_000 } else { 0 };
        self.after(delay, Ev::Answered { head, record });
    }

    fn done(&mut self, head: usize, op: OpId, outcome: Result<Option<Bytes>, ()>) {
        if head != self.newest() {
            return;
        }
        self.tell(format_args!("{op:?} is done{}", if outcome.is_ok() { "" } else { ", or not" }));
        match (self.asked.remove(&op), outcome) {
            (Some(Asked::Write(at, value)), Ok(_)) if self.shaky.remove(&op) => self.blocks.shaky(at, value),
            (Some(Asked::Write(at, value)), Ok(_)) => self.blocks.acknowledged(at, value),
            (Some(Asked::Write(at, value)), Err(())) => self.blocks.doubtful(at, value),
            (Some(Asked::Read(at)), Ok(Some(data))) => {
                let value = u64::from_le_bytes(data[..8].try_into().unwrap());
                assert!(data.chunks(8).all(|word| word == value.to_le_bytes()), "block {at} is torn");
                self.tell(format_args!("block {at} is read: {value}"));
                match self.shaky.remove(&op) {
                    true => self.blocks.read_shaky(at, value),
                    false => self.blocks.read(at, value),
                }
            }
            (Some(Asked::Flush), Ok(_)) => {
                self.count("flushes");
                self.flushing = false;
                self.blocks.flushed();
            }
            (Some(Asked::Flush), Err(())) => self.flushing = false,
            (Some(Asked::Snapshot(snapshot)), Ok(_)) => self.taken(snapshot),
            (Some(Asked::Read(_) | Asked::Snapshot(_)), _) | (None, _) => {}
        }
    }

    fn submit(&mut self, asked: Asked, op: Op<Bytes>) {
        self.ops += 1;
        let id = OpId(self.ops);
        match &asked {
            Asked::Write(at, value) => self.tell(format_args!("{id:?}: block {at} is to be {value}")),
            Asked::Read(at) => self.tell(format_args!("{id:?}: block {at} is asked for")),
            Asked::Flush => self.tell(format_args!("{id:?}: flush")),
            Asked::Snapshot(snapshot) => self.tell(format_args!("{id:?}: snapshot {snapshot}")),
        }
        self.asked.insert(id, asked);
        self.handle(self.newest(), Event::Submit(id, op));
    }

    /// The client: some blocks at a time, each once; now and then a flush, for which it waits.
    fn client(&mut self) {
        let it = &self.heads[self.newest()];
        let busy: BTreeSet<u64> = self
            .asked
            .values()
            .filter_map(|asked| match asked {
                Asked::Write(at, _) | Asked::Read(at) => Some(*at),
                Asked::Flush | Asked::Snapshot(_) => None,
            })
            .collect();
        if it.dead || it.frozen || self.flushing || !it.head.accepts() {
            return;
        }
        if self.dice.once_in(12) {
            self.flushing = true;
        }
        if self.flushing {
            return;
        }
        // While something is written, so that it has to wait for that.
        if self.dice.once_in(40) && busy.len() >= 3 && !self.asked.values().any(|asked| matches!(asked, Asked::Snapshot(_))) {
            self.snapshots += 1;
            self.emptied.clear();
            let snapshot = SnapshotId(self.snapshots);
            return self.submit(Asked::Snapshot(snapshot), Op::Snapshot(snapshot));
        }
        let at = self.dice.below(BLOCKS);
        if busy.contains(&at) || busy.len() >= 8 {
            return;
        }
        if self.dice.once_in(3) {
            let span = span(at);
            self.submit(Asked::Read(at), Op::Read { span, prefer: None });
        } else {
            self.values += 1;
            let (value, zeros) = (self.values, self.dice.once_in(8));
            let content = if zeros { Content::Hole } else { Content::Data(Bytes::from(value.to_le_bytes().repeat(512))) };
            let durable = self.dice.once_in(10);
            self.submit(Asked::Write(at, if zeros { 0 } else { value }), Op::Write { span: span(at), content, durable });
        }
    }

    fn flush_when_idle(&mut self) {
        if self.flushing && self.asked.is_empty() && !self.heads[self.newest()].dead {
            self.submit(Asked::Flush, Op::Flush);
        }
    }

    fn fault(&mut self) {
        let store = self.dice.below(self.stores.len() as u64) as usize;
        let long = 50_000 + self.dice.below(1_500_000);
        let (newest, kind) = (self.newest(), self.dice.below(14));
        if self.rot.is_some_and(|rot| rot.guard == store) && matches!(kind, 3..=7 | 9 | 11 | 12) {
            return;
        }
        match kind {
            0 => {
                self.count("takeovers");
                self.heads[newest].dead = true;
                self.claim(Clients::New);
            }
            1 => self.head_crash(),
            2 if !self.heads[newest].dead => {
                self.count("frozen heads");
                self.heads[newest].frozen = true;
                self.claim(Clients::New);
                self.after(long, Ev::Thaw { head: newest });
            }
            // One that lied is worth nothing then, so it must not be the only one.
            3 if self.stores[store].is_up() && (self.liar != Some(store) || self.guard_of(store).is_some()) => {
                self.power_loss(store);
                self.down(store, long);
            }
            4 if self.stores[store].is_up() => {
                self.count("crashes");
                self.stores[store].crash();
                self.down(store, long);
            }
            // Long enough to be noticed, or not.
            7 | 11 | 12 => {
                self.count("slow disks");
                self.slow[store] = 100_000;
                let long = 1_000_000 + self.dice.below(4_000_000);
                self.after(long, Ev::Quick { store });
            }
            5 | 6 => {
                self.count("cuts");
                let both = self.dice.once_in(2);
                let way = self.dice.below(2) as usize;
                self.cut[store] = if both { [true; 2] } else { [way == 0, way == 1] };
                let conns: Vec<u64> =
                    self.links.iter().filter(|(_, link)| link.head == newest && link.store == store).map(|(conn, _)| *conn).collect();
                for conn in conns {
                    // Whoever hears nothing any more; the other end hears of that, or nothing in its turn.
                    self.after(SILENCE, Ev::Lost { conn, by_head: true });
                    self.after(SILENCE, Ev::Lost { conn, by_head: false });
                }
                self.after(long, Ev::Mend { store });
            }
            8 => self.begin_rot(store),
            9 if self.full.is_empty() => {
                self.count("full disks");
                self.full.insert(store);
                let left = self.dice.below(1 << 20);
                self.stores[store].fill_up(left);
                self.after(long, Ev::Room { store });
            }
            10 if self.liar.is_none() && self.stores[store].is_up() => {
                self.count("lying disks");
                self.liar = Some(store);
                self.stores[store].lie();
            }
            13 if self.rot.is_none() && self.liar.is_none() => {
                self.count("rooms without power");
                for store in 0..self.stores.len() {
                    if self.stores[store].is_up() {
                        self.power_loss(store);
                        let long = 50_000 + self.dice.below(1_500_000);
                        self.down(store, long);
                    }
                }
                self.head_crash();
            }
            _ => {}
        }
    }

    /// The head ends, and another one goes on for its clients, if they are still there.
    fn head_crash(&mut self) {
        self.count("head crashes");
        let newest = self.newest();
        let there = !self.heads[newest].dead;
        self.heads[newest].dead = true;
        self.claim(if there { Clients::Served } else { Clients::New });
    }

    fn power_loss(&mut self, store: usize) {
        self.count("power losses");
        let lied = self.liar == Some(store);
        self.stores[store].lose_power(&mut self.dice);
        self.blocks.power_lost();
        self.shaky.extend(self.asked.keys());
        self.full.remove(&store);
        if lied {
            self.liar = None;
            if self.extra != Extra::LiarKept {
                self.replaced(store);
            }
        }
    }

    /// Whoever runs the storage host gives it another disk.
    fn replaced(&mut self, store: usize) {
        self.count("liars replaced");
        self.stores[store].replace_disk();
        self.emptied.insert(store);
        self.rot = self.rot.filter(|rot| rot.at != store);
        self.kept.iter_mut().for_each(|(_, _, who)| _ = who.remove(&store));
    }

    /// Another one that has everything, and that nothing is wrong with.
    fn guard_of(&self, at: usize) -> Option<usize> {
        let head = &self.heads[self.newest()];
        let well = |store: &usize| {
            let member = Member(*store as u32 + 1);
            let steady = self.is_steady(member);
            let sound = self.stores[*store].is_up() && self.slow[*store] == 0 && self.cut[*store] == [false; 2];
            let whole = head.head.state(member) == Some(MemberState::InSync) && self.record.in_sync.contains(&member);
            *store != at && steady && sound && whole && !self.full.contains(store) && self.liar != Some(*store)
        };
        (0..self.stores.len()).find(well).filter(|_| !head.dead && !head.frozen && head.head.is_equal_everywhere())
    }

    /// Whether the newest head has a connection to a copy that will last: what was lost it may not know of yet.
    fn is_steady(&self, member: Member) -> bool {
        self.heads[self.newest()].conns.get(&member).is_some_and(|conn| {
            self.links[conn].broken == [false; 2]
                && !self.queue.values().any(|ev| matches!(ev, Ev::Lost { conn: lost, .. } if lost == conn))
        })
    }

    fn begin_rot(&mut self, at: usize) {
        if self.rot.is_some() || self.full.contains(&at) {
            return;
        }
        if let Some(guard) = self.guard_of(at)
            && self.stores[at].rot(&mut self.dice)
        {
            self.count("rot");
            self.rot = Some(Rot { at, guard });
            self.kept.iter_mut().for_each(|(_, _, who)| _ = who.remove(&at));
            self.say_untold(at);
            self.after(300_000, Ev::Scrub);
        }
    }

    /// Looks whether it is mended, and tells the head if not.
    fn scrub(&mut self) {
        let Some(Rot { at, .. }) = self.rot else { return };
        if self.stores[at].is_up() && !self.stores[at].scrub() {
            self.count("rot mended");
            self.rot = None;
            return;
        }
        self.say_untold(at);
        self.after(300_000, Ev::Scrub);
    }

    fn say_untold(&mut self, store: usize) {
        for (conn, reply) in self.stores[store].untold() {
            if let Some(at) = self.travel(conn, 1) {
                self.queue.insert(at, Ev::ToHead { conn, reply });
            }
        }
    }

    /// A snapshot is on all copies of which its head says so, the same on all of them, and what the volume was at a moment at which nothing was under way: everything that was asked for
    /// before it is in it, as far as it happened, and nothing after.
    fn taken(&mut self, snapshot: SnapshotId) {
        self.count("snapshots");
        self.judge_kept();
        // One that rots has something else, and says so; one that lies may have lost it, and one that was replaced has; and one that is away now is
        // looked at another time.
        let lost = |store: &usize| self.liar == Some(*store) || self.emptied.contains(store);
        let sound = |store: &usize| self.rot.is_none_or(|rot| rot.at != *store) && !lost(store) && self.stores[*store].is_up();
        let has = |store: usize| (store, self.stores[store].snapshot(snapshot).expect("its head says that it is there"));
        let taken: Vec<(usize, Vec<u8>)> = std::mem::take(&mut self.taken_by).into_iter().filter(sound).map(has).collect();
        let Some((_, content)) = taken.first().cloned() else { return };
        assert!(taken.iter().all(|(_, other)| *other == content), "snapshot {snapshot} is not the same on all copies");
        if taken.len() > 1 {
            self.count("snapshots on several copies");
        }
        let who = taken.iter().map(|(store, _)| *store).collect();
        for at in 0..BLOCKS {
            let from = usize::try_from(span(at).at).unwrap();
            let value = u64::from_le_bytes(content[from..from + 8].try_into().unwrap());
            assert!(self.blocks.may_hold(at, value), "block {at} of snapshot {snapshot} holds {value}, which was not there at that moment");
        }
        self.stores.iter().for_each(|store| store.forget_snapshots(snapshot));
        self.kept = Some((snapshot, content, who));
    }

    /// What was kept is what it was, whatever happened to the volume and its copies since.
    fn judge_kept(&self) {
        let Some((snapshot, content, who)) = &self.kept else { return };
        for store in who {
            // One that is away has its turn another time.
            if self.stores[*store].is_up() {
                let now = self.stores[*store].snapshot(*snapshot);
                assert!(now.as_ref() == Some(content), "snapshot {snapshot} became another one, or none");
            }
        }
    }

    /// Connections to a storage host end with its process.
    fn down(&mut self, store: usize, long: u64) {
        self.tell(format_args!("copy {store} is away for {long}"));
        let conns: Vec<u64> = self.links.iter().filter(|(_, link)| link.store == store).map(|(conn, _)| *conn).collect();
        for conn in conns {
            let delay = 300 + self.dice.below(SILENCE);
            self.after(delay, Ev::Lost { conn, by_head: true });
        }
        self.after(long, Ev::Back { store });
    }

    fn happen(&mut self, ev: Ev) {
        match ev {
            Ev::ToStore { store, conn, request } => {
                if !self.stores[store].conns.contains(&conn) {
                    return;
                }
                let mut refused = 0;
                let Heard { mut said, ended, failed } = self.stores[store].hear(conn, request, &mut refused);
                *self.counts.entry("stale requests refused").or_default() += refused;
                for other in ended {
                    self.stores[store].close(other);
                    self.after(300, Ev::Lost { conn: other, by_head: true });
                }
                said.extend(self.stores[store].untold());
                for (conn, reply) in said {
                    if let Some(at) = self.travel(conn, 1) {
                        self.queue.insert(at, Ev::ToHead { conn, reply });
                    }
                }
                if failed {
                    self.disk_failed(store);
                }
            }
            Ev::ToHead { conn, reply } => {
                let Some(link) = self.links.get(&conn) else { return };
                let (head, member) = (link.head, link.member);
                if self.heads[head].conns.get(&member) == Some(&conn) {
                    self.when_awake(head, Event::Reply(member, reply));
                }
            }
            Ev::Connect { head, member } => self.connect(head, member),
            Ev::Lost { conn, by_head } => self.lost(conn, by_head),
            Ev::Answered { head, record } => self.when_awake(head, record.map_or(Event::Unanswered, Event::Answered)),
            Ev::Tick { head } => {
                if !self.heads[head].dead {
                    if !self.heads[head].frozen {
                        self.handle(head, Event::Tick);
                    }
                    self.after(20_000, Ev::Tick { head });
                }
            }
            Ev::Client => {
                self.client();
                self.flush_when_idle();
                if !self.healing {
                    let delay = 200 + self.dice.below(3_000);
                    self.after(delay, Ev::Client);
                }
            }
            Ev::Fault => {
                if !self.healing {
                    self.fault();
                    let delay = 100_000 + self.dice.below(1_500_000);
                    self.after(delay, Ev::Fault);
                }
            }
            Ev::Back { store } => {
                if !self.stores[store].is_up() {
                    self.stores[store].start();
                }
            }
            Ev::Quick { store } => self.slow[store] = 0,
            Ev::Room { store } => {
                self.full.remove(&store);
                self.stores[store].make_room();
            }
            Ev::Scrub => self.scrub(),
            Ev::Mend { store } => self.cut[store] = [false; 2],
            Ev::Thaw { head } => self.heads[head].frozen = false,
            Ev::Takeover => {
                if self.heads[self.newest()].dead {
                    self.claim(Clients::New);
                }
            }
        }
    }

    /// It is opened anew, and may have lost what was not synced.
    fn disk_failed(&mut self, store: usize) {
        self.count("failed disks");
        self.stores[store].crash();
        self.blocks.power_lost();
        self.shaky.extend(self.asked.keys());
        self.down(store, 500_000);
    }

    /// One that stands still hears it later.
    fn when_awake(&mut self, head: usize, event: Event<Bytes>) {
        if !self.heads[head].frozen {
            return self.handle(head, event);
        }
        // Its sockets keep what arrives, in order, until it runs again: told as lost, which it finds out then as well.
        if let Event::Reply(member, _) = event {
            self.drop_conn(head, member);
        }
    }

    fn connect(&mut self, head: usize, member: Member) {
        let store = Self::store_of(member);
        if self.heads[head].dead || self.heads[head].conns.contains_key(&member) {
            return;
        }
        let cut = head == self.newest() && self.cut[store].contains(&true);
        if cut || !self.stores[store].is_up() || self.heads[head].frozen {
            return self.after(50_000, Ev::Connect { head, member });
        }
        self.conns += 1;
        self.links.insert(self.conns, Link { head, member, store, last: [0; 2], broken: [false; 2] });
        self.stores[store].conns.insert(self.conns);
        self.heads[head].conns.insert(member, self.conns);
        self.handle(head, Event::Connected(member));
    }

    fn lost(&mut self, conn: u64, by_head: bool) {
        let Some(link) = self.links.get(&conn) else { return };
        let (head, member, store) = (link.head, link.member, link.store);
        if !by_head {
            return self.stores[store].close(conn);
        }
        if self.heads[head].conns.get(&member) == Some(&conn) {
            self.heads[head].conns.remove(&member);
            self.stores[store].close(conn);
            if !self.heads[head].frozen {
                self.handle(head, Event::Disconnected(member));
            }
            self.after(20_000, Ev::Connect { head, member });
        }
    }

    fn run_until(&mut self, end: u64, done: impl Fn(&Self) -> bool) -> bool {
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > end {
                break;
            }
            let ((at, _), ev) = entry.remove_entry();
            self.now = at;
            self.happen(ev);
            if done(self) {
                return true;
            }
        }
        self.now = end;
        false
    }

    /// All of it: trouble, healing, and the reckoning.
    pub fn run(mut self) -> BTreeMap<&'static str, u64> {
        self.run_until(TROUBLE, |_| false);
        self.healing = true;
        self.tell("all heals");
        self.cut = vec![[false; 2]; self.stores.len()];
        self.slow = vec![0; self.stores.len()];
        self.full.clear();
        for store in &mut self.stores {
            store.make_room();
            if !store.is_up() {
                store.start();
            }
        }
        if self.heads[self.newest()].dead || self.heads[self.newest()].frozen {
            self.claim(Clients::New);
        }
        let whole = |world: &Self| {
            let head = &world.heads[world.newest()].head;
            world.asked.is_empty()
                && head.is_equal_everywhere()
                && head.behind() == 0
                && !head.is_mending()
                && world.rot.is_none()
                && world.record.out.is_empty()
                && world.record.in_sync.iter().all(|member| world.is_steady(*member))
                && head.record() == &world.record
        };
        let healed = self.run_until(TROUBLE + HEALING, whole);
        let head = &self.heads[self.newest()].head;
        assert!(healed, "it does not heal: {:?}, behind {}, {} operations wait", self.record, head.behind(), self.asked.len());
        for at in self.blocks.all() {
            self.submit(Asked::Read(at), Op::Read { span: span(at), prefer: None });
            let read = self.run_until(self.now + HEALING, |world| world.asked.is_empty());
            assert!(read, "block {at} cannot be read");
        }
        self.judge_kept();
        let contents: Vec<Vec<u8>> = self.stores.iter().map(Store::content).collect();
        for (number, other) in contents.iter().enumerate().skip(1) {
            let first = contents[0].iter().zip(other).position(|(one, other)| one != other);
            assert_eq!(first, None, "copies 0 and {number} differ from this byte on");
        }
        self.counts
    }
}

fn span(at: u64) -> Span {
    // A third of the blocks to every third extent: what is in one extent is not far apart.
    Span { at: at % EXTENTS * EXTENT + at / EXTENTS * BLOCK, length: BLOCK }
}
