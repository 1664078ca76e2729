//! Replicas' logs of dirty extents have a bound. However a head is fed, and in whatever order replicas get to their requests, a write
//! never waits for room that nobody would make.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use pan_model::mirror::{Change, Fill, Record};
use pan_model::{Lineage, Session, VolumeEpoch};
use pan_replica::{
    Answer, Clients, Conn, Content, DIRTY_MAX, Effect, Env, Event, Extent, Geometry, Head, Job, Member, Op, OpId, Replica, Reply, Request,
    Rules, Settings, Span, Standing, Verdict, arbiter,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

const GEOMETRY: Geometry = Geometry { size: 64, extent: 1 };
/// No write has more extents than `EXTENTS_MAX`, and a log twice as many.
const EXTENTS_MAX: u64 = 4;
const LOG: usize = 2 * EXTENTS_MAX as usize;

/// A storage host's part, as `pan-storage` does it.
struct Store {
    core: Replica,
    log: BTreeSet<Extent>,
    room: usize,
    requests: VecDeque<Request<char>>,
    /// Writes that wait for room until another request came.
    parked: Vec<(Request<char>, Span)>,
}

impl Store {
    fn new(left: BTreeSet<Extent>) -> Self {
        let standing = Standing {
            lineage: Lineage(1),
            epoch: VolumeEpoch(0),
            session: Session(0),
            flushed: (VolumeEpoch(0), pan_replica::Sequence(0)),
            fill: Fill::Whole,
        };
        let core = Replica::new(GEOMETRY, standing, (left.clone(), BTreeMap::new()), false, Rules::default());
        Self { core, log: left, room: LOG, requests: VecDeque::new(), parked: Vec::new() }
    }

    /// One that has room for whatever comes; with lineage zero, one that has nothing.
    fn of(geometry: Geometry, lineage: Lineage, left: BTreeSet<Extent>) -> Self {
        let standing = Standing { lineage, ..Standing::default() };
        let core = Replica::new(geometry, standing, (left.clone(), BTreeMap::new()), false, Rules::default());
        Self { core, log: left, room: usize::MAX, requests: VecDeque::new(), parked: Vec::new() }
    }

    /// Takes a request; the answers that there are then.
    fn take(&mut self) -> Vec<Reply<char>> {
        let Some(request) = self.requests.pop_front() else { return Vec::new() };
        let sequence = request.sequence;
        let verdict = self.core.admit(Conn(1), request.clone());
        let mut replies = Vec::new();
        for (request, span) in std::mem::take(&mut self.parked) {
            replies.extend(self.write(request, span));
        }
        replies.extend(match verdict {
            Verdict::Answer(answer) => Some(Reply { sequence, answer }),
            Verdict::Do(Job::Write { span, .. }) => self.write(request, span),
            Verdict::Do(Job::Read { .. }) => Some(Reply { sequence, answer: Answer::Read('x') }),
            Verdict::Do(Job::Fence { answer, .. }) => Some(Reply { sequence, answer: Answer::Fenced(answer) }),
            Verdict::Do(Job::Flush(flush)) => {
                self.strike(flush);
                Some(Reply { sequence, answer: Answer::Done })
            }
            Verdict::Do(Job::Note { .. } | Job::Snapshot(_)) => Some(Reply { sequence, answer: Answer::Done }),
        });
        replies
    }

    fn strike(&mut self, flush: pan_replica::Flush) {
        let (clean, _) = self.core.flushed(flush);
        self.log.retain(|extent| !clean.contains(extent));
    }

    /// As a storage host does after a write.
    fn make_room(&mut self) {
        if let Some(flush) = self.core.wants_flush(DIRTY_MAX / 2) {
            self.strike(flush);
        }
    }

    fn write(&mut self, request: Request<char>, span: Span) -> Option<Reply<char>> {
        loop {
            let mut log = self.log.clone();
            log.extend(GEOMETRY.extents(span));
            if log.len() <= self.room {
                self.log = log;
                return Some(Reply { sequence: request.sequence, answer: Answer::Done });
            }
            let Some(flush) = self.core.wants_flush(0) else {
                self.parked.push((request, span));
                return None;
            };
            self.strike(flush);
        }
    }
}

struct World {
    head: Head<char>,
    stores: BTreeMap<Member, Store>,
    done: BTreeSet<OpId>,
}

impl World {
    fn new(left: [&BTreeSet<Extent>; 2]) -> Self {
        let members = [Member(1), Member(2)];
        let settings = Settings {
            geometry: GEOMETRY,
            clients: Clients::New,
            operations_max: 1000,
            extents_max: EXTENTS_MAX,
            patience: Duration::from_secs(5),
            opening: Duration::from_secs(1),
            copies_max: 2,
        };
        let record = arbiter::claim(&arbiter::found(members), Session(1));
        let stores = members.into_iter().zip(left).map(|(member, left)| (member, Store::new(left.clone()))).collect();
        let mut world = Self { head: Head::new(settings, record, Rules::default()), stores, done: BTreeSet::new() };
        members.into_iter().for_each(|member| world.happens(Event::Connected(member)));
        world
    }

    /// Time stands still: patience helps nobody here.
    fn happens(&mut self, event: Event<char>) {
        for effect in self.head.handle(Env { now: Duration::ZERO, lease: true }, event) {
            match effect {
                Effect::Send(member, request) => self.stores.get_mut(&member).unwrap().requests.push_back(request),
                Effect::Done(op, outcome) => {
                    outcome.unwrap();
                    assert!(self.done.insert(op), "{op:?} was done before");
                }
                other @ (Effect::Disconnect(_) | Effect::Ask { .. } | Effect::Taken(..) | Effect::Over(_)) => panic!("{other:?}"),
            }
        }
    }

    /// One of the stores that have something to do takes its next request. Whether there was one.
    fn step(&mut self, choice: usize) -> bool {
        let busy: Vec<Member> = self.stores.iter().filter(|(_, store)| !store.requests.is_empty()).map(|(member, _)| *member).collect();
        let Some(member) = busy.get(choice % busy.len().max(1)).copied() else { return false };
        for reply in self.stores.get_mut(&member).unwrap().take() {
            self.happens(Event::Reply(member, reply));
        }
        true
    }
}

#[derive(Debug, Clone)]
enum Step {
    Write(u64, u64),
    Read(u64),
    Flush,
    Take(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..GEOMETRY.size - EXTENTS_MAX, 1..=EXTENTS_MAX).prop_map(|(at, length)| Step::Write(at, length)),
        1 => (0..GEOMETRY.size).prop_map(Step::Read),
        1 => Just(Step::Flush),
        4 => any::<usize>().prop_map(Step::Take),
    ];
    prop::collection::vec(step, 1..120)
}

/// What an earlier head left, as much as a log holds, and of which one replica has struck some.
fn left() -> impl Strategy<Value = (BTreeSet<Extent>, BTreeSet<Extent>)> {
    let all = prop::collection::btree_set((0..GEOMETRY.size).prop_map(Extent), 0..=LOG);
    (all, any::<u64>(), any::<bool>()).prop_map(|(all, keep, swap)| {
        let some = all.iter().copied().filter(|extent| keep >> extent.0 & 1 == 1).collect();
        if swap { (some, all) } else { (all, some) }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]
    #[test]
    fn every_operation_ends_without_anybodys_patience((first, second) in left(), steps in steps(), choices in prop::collection::vec(any::<usize>(), 64)) {
        let mut world = World::new([&first, &second]);
        let mut ops = 0;
        for step in steps {
            let op = match step {
                Step::Take(choice) => {
                    world.step(choice);
                    continue;
                }
                Step::Write(at, length) => Op::Write { span: Span { at, length }, content: Content::Data('y'), durable: false },
                Step::Read(at) => Op::Read { span: Span { at, length: 1 }, prefer: None },
                Step::Flush => Op::Flush,
            };
            ops += 1;
            world.happens(Event::Submit(OpId(ops), op));
        }
        let mut choices = choices.into_iter().cycle();
        while world.step(choices.next().unwrap()) {}
        prop_assert_eq!(world.done.len() as u64, ops, "parked: {:?}", world.stores.values().map(|store| store.parked.len()).collect::<Vec<_>>());
        prop_assert!(world.head.is_equal_everywhere());
    }
}

/// Copies everything to a member that is out, while nobody writes or flushes. The most extents that it had dirty.
fn joins(geometry: Geometry, extents_max: u64, mut record: Record, [first, second]: [Store; 2]) -> usize {
    let settings = Settings {
        geometry,
        clients: Clients::New,
        operations_max: 64,
        extents_max,
        patience: Duration::from_secs(5),
        opening: Duration::from_secs(1),
        copies_max: 8,
    };
    let mut head = Head::<char>::new(settings, record.clone(), Rules::default());
    let mut stores = BTreeMap::from([(Member(1), first), (Member(2), second)]);
    let mut events: VecDeque<Event<char>> = [Member(1), Member(2)].map(Event::Connected).into();
    let mut most = 0;
    while record.in_sync.len() < 2 {
        let event = events.pop_front().or_else(|| {
            let (member, store) = stores.iter_mut().find(|(_, store)| !store.requests.is_empty())?;
            let replies = store.take();
            events.extend(replies.into_iter().map(|reply| Event::Reply(*member, reply)));
            most = most.max(store.core.dirty().count());
            store.make_room();
            Some(events.pop_front().unwrap_or(Event::Tick))
        });
        for effect in head.handle(Env { now: Duration::ZERO, lease: true }, event.expect("something is under way")) {
            match effect {
                Effect::Send(member, request) => stores.get_mut(&member).unwrap().requests.push_back(request),
                Effect::Ask { change, expect, had } => {
                    record = arbiter::change(&record, record.writer(), expect, (change, had), Rules::default()).unwrap();
                    events.push_back(Event::Answered(record.clone()));
                }
                other @ (Effect::Disconnect(_) | Effect::Done(..) | Effect::Taken(..) | Effect::Over(_)) => panic!("{other:?}"),
            }
        }
    }
    most
}

/// A volume with more extents than a replica keeps account of is copied to a new member: nothing is refused on the way.
#[test]
fn a_new_member_gets_more_extents_than_it_keeps_account_of() {
    let geometry = Geometry { size: 3 * DIRTY_MAX as u64 + 7, extent: 1 };
    let record = arbiter::claim(&arbiter::with(&arbiter::found([Member(1)]), Member(2)), Session(1));
    let stores = [Store::of(geometry, Lineage(1), BTreeSet::new()), Store::of(geometry, Lineage(0), BTreeSet::new())];
    let most = joins(geometry, DIRTY_MAX as u64 / 2, record, stores);
    assert!(most > DIRTY_MAX / 2 && most <= DIRTY_MAX / 2 + 8, "{most}");
}

/// One that comes back with a log that is all but full, of which nothing may be struck before it is copied over.
#[test]
fn a_member_that_comes_back_with_a_full_log_gets_everything() {
    const ROOM: usize = 256;
    let geometry = Geometry { size: 2000, extent: 1 };
    for free in [0, 1, 60] {
        let record = arbiter::claim(&arbiter::found([Member(1), Member(2)]), Session(1));
        let record = arbiter::change(&record, record.writer(), record.changes, (Change::Evict(Member(2)), None), Rules::default()).unwrap();
        let left = (1000..1000 + (ROOM - free) as u64).map(Extent).collect();
        let second = Store { room: ROOM, ..Store::of(geometry, Lineage(1), left) };
        let most = joins(geometry, ROOM as u64 / 2, record, [Store::of(geometry, Lineage(1), BTreeSet::new()), second]);
        assert!(most <= ROOM + 8, "{most}");
    }
}
