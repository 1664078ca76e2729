//! Replicas on a disk that fails: what was promised to heads is kept.
#![allow(clippy::unwrap_used)]

use pan_disk::faulty::{Dice, Faults, FaultyDisk};
use pan_disk::{Condition, Layout, Name, Pool};
use pan_model::mirror::{Fill, Member, Since, Writer};
use pan_model::{ByteSize, Lineage, Session, VolumeEpoch, VolumeId};
use pan_replica::{Answer, Ask, Conn, Content, Dialect, EXTENT, Extent, Fault, Fenced, Part, Request, Runs, Sequence, Span};
use pan_storage::vault::{Admitted, Loss, Outcome, Vault, Work};
use std::collections::{BTreeMap, BTreeSet};

const VOLUME: VolumeId = VolumeId(1);
const BLOCK: u64 = 4096;
const EXTENTS: u64 = 300;

fn make(disk: &FaultyDisk) -> Vault<FaultyDisk> {
    let pool = Pool::format(disk.clone(), Layout { salt: 1, half_bytes: 1 << 20 }).unwrap();
    let vault = Vault::over(pool, Loss::None).unwrap();
    vault.found(VOLUME, ByteSize(EXTENTS * EXTENT), Lineage(1)).unwrap();
    vault
}

/// A head, and the vault it speaks to.
struct Head {
    vault: Vault<FaultyDisk>,
    conn: Conn,
    epoch: u64,
    sequence: u64,
    settled: u64,
    reconciled: bool,
}

type Admission = Admitted<Vec<u8>>;

impl Head {
    fn new(vault: Vault<FaultyDisk>) -> Self {
        Self { vault, conn: Conn(0), epoch: 0, sequence: 0, settled: 0, reconciled: false }
    }

    fn admit(&mut self, ask: Ask<Vec<u8>>) -> Admission {
        self.sequence += 1;
        let request = Request {
            writer: Writer { epoch: VolumeEpoch(self.epoch), session: Session(self.epoch) },
            lineage: Lineage(1),
            sequence: Sequence(self.sequence),
            settled: Sequence(self.settled),
            reconciled: self.reconciled,
            ask,
        };
        self.vault.replica(VOLUME).unwrap().admit(self.conn, request)
    }

    fn perform(&self, work: Work<Vec<u8>>) -> Outcome<Vec<u8>> {
        self.vault.perform(&self.vault.replica(VOLUME).unwrap(), work)
    }

    fn work(&mut self, ask: Ask<Vec<u8>>) -> Work<Vec<u8>> {
        match self.admit(ask) {
            Admitted::Work(work) => work,
            Admitted::Answer(answer) => panic!("{answer:?}"),
        }
    }

    fn ask(&mut self, ask: Ask<Vec<u8>>) -> Answer<Vec<u8>> {
        match self.admit(ask) {
            Admitted::Answer(answer) => answer,
            Admitted::Work(work) => match self.perform(work) {
                Outcome::Answer(answer) => answer,
                other => panic!("{other:?}"),
            },
        }
    }

    /// The next head, on a connection of its own.
    fn fence(&mut self) -> Answer<Vec<u8>> {
        (self.conn, self.epoch) = (Conn(self.conn.0 + 1), self.epoch + 1);
        (self.settled, self.reconciled) = (0, false);
        self.ask(Ask::Fence { part: Part::Member { adopts: None }, dialect: Dialect::Second, out: None })
    }

    fn fenced(&mut self) -> Fenced {
        match self.fence() {
            Answer::Fenced(fenced) => fenced,
            other => panic!("{other:?}"),
        }
    }
}

const fn span(extent: u64) -> Span {
    Span { at: extent * EXTENT, length: BLOCK }
}

fn write(extent: u64, value: u64) -> Ask<Vec<u8>> {
    let content = if value == 0 { Content::Hole } else { Content::Data(value.to_le_bytes().repeat(512)) };
    Ask::Write { span: span(extent), content, durable: false, copy: false }
}

const fn read(extent: u64) -> Ask<Vec<u8>> {
    Ask::Read { span: span(extent), copy: false }
}

const FLUSH: Ask<Vec<u8>> = Ask::Flush { whole: false };

/// What the first block of an extent may be.
#[derive(Clone)]
struct Block {
    /// From what is on the disk for certain to what was written last.
    may: Vec<u64>,
    /// What was acknowledged last.
    acknowledged: u64,
    /// When the extent was not dirty.
    clean: u64,
    /// When a member went.
    left: u64,
}

/// A replica's promises, over losses of power.
struct World {
    head: Head,
    disk: FaultyDisk,
    dice: Dice,
    blocks: Vec<Block>,
    value: u64,
    fenced: u64,
    flushed: (u64, u64),
    /// The absence that is noted, if that is certain.
    away: Option<Since>,
    absences: u64,
}

const AWAY: Member = Member(3);

impl World {
    fn new(seed: u64) -> Self {
        let disk = FaultyDisk::default();
        let head = Head::new(make(&disk));
        let blocks = vec![Block { may: vec![0], acknowledged: 0, clean: 0, left: 0 }; 40];
        Self { head, disk, dice: Dice::new(seed), blocks, value: 0, fenced: 0, flushed: (0, 0), away: None, absences: 0 }
    }

    /// One operation; `false`: the disk is gone.
    fn step(&mut self) -> bool {
        self.head.reconciled |= self.dice.once_in(10);
        let before = self.head.sequence;
        let answer = match self.dice.below(20) {
            0..=11 => {
                let extent = self.dice.below(self.blocks.len() as u64);
                self.value += 1;
                let value = if self.dice.once_in(6) { 0 } else { self.value };
                self.blocks[extent as usize].may.push(value);
                let answer = self.head.ask(write(extent, value));
                if answer == Answer::Done {
                    self.blocks[extent as usize].acknowledged = value;
                }
                answer
            }
            12..=14 => self.flush(),
            15..=16 => {
                let extent = self.dice.below(self.blocks.len() as u64);
                let answer = self.head.ask(read(extent));
                let expected = *self.blocks[extent as usize].may.last().unwrap();
                if let Answer::Read(data) = &answer {
                    assert_eq!(*data, expected.to_le_bytes().repeat(512));
                }
                answer
            }
            17 => self.note(),
            18 => self.head.vault.pool().checkpoint().map_or(Answer::Failed(Fault::Io), |()| Answer::Done),
            _ => self.fence(),
        };
        let dirty = self.dirty();
        for (extent, block) in (0..).zip(&mut self.blocks).filter(|(extent, _)| !dirty.contains(&Extent(*extent))) {
            let now = *block.may.last().unwrap();
            assert!(extent < EXTENTS);
            (block.may, block.clean) = (vec![now], now);
        }
        match answer {
            Answer::Failed(Fault::Io) => false,
            Answer::Done | Answer::Read(_) | Answer::Fenced(_) => {
                if !self.dice.once_in(3) {
                    self.head.settled = before;
                }
                true
            }
            other => panic!("{other:?}"),
        }
    }

    fn dirty(&self) -> BTreeSet<Extent> {
        self.head.vault.replica(VOLUME).unwrap().dirty().into_iter().collect()
    }

    fn flush(&mut self) -> Answer<Vec<u8>> {
        let answer = self.head.ask(FLUSH);
        if answer == Answer::Done {
            self.blocks.iter_mut().for_each(|block| _ = block.may.drain(..block.may.len() - 1));
            self.flushed = (self.head.epoch, self.head.sequence);
        }
        answer
    }

    fn note(&mut self) -> Answer<Vec<u8>> {
        if self.away.take().is_some() {
            return self.head.ask(Ask::Forget { member: AWAY });
        }
        self.absences += 1;
        let since = Since(self.absences);
        let answer = self.head.ask(Ask::Miss { member: AWAY, since, extents: Runs::from_iter([Extent(self.absences % EXTENTS)]) });
        if answer == Answer::Done {
            self.away = Some(since);
            self.blocks.iter_mut().for_each(|block| block.left = *block.may.last().unwrap());
        }
        answer
    }

    fn fence(&mut self) -> Answer<Vec<u8>> {
        let dirty = self.dirty();
        let answer = self.head.fence();
        if let Answer::Fenced(fenced) = &answer {
            assert_eq!(fenced.dirty.iter().copied().collect::<BTreeSet<_>>(), dirty);
            self.fenced = self.head.epoch;
        }
        answer
    }

    /// Power is lost and comes back, and the next head comes.
    fn reopen(&mut self) {
        self.disk.lose_power(&mut self.dice);
        self.head.vault = Vault::over(Pool::open(self.disk.clone()).unwrap(), Loss::Possible).unwrap();
        let kept = self.head.vault.replica(VOLUME).unwrap();
        let standing = kept.standing();
        assert!((self.fenced..=self.head.epoch).contains(&standing.epoch.0), "{standing:?}");
        assert!(standing.flushed <= (VolumeEpoch(self.head.epoch), Sequence(self.head.sequence)));
        // Whoever was fenced before is refused, on whatever connection.
        let now = std::mem::replace(&mut self.head.epoch, standing.epoch.0.saturating_sub(1));
        if standing.epoch.0 > 0 {
            let refused = self.head.ask(Ask::Fence { part: Part::Member { adopts: None }, dialect: Dialect::Second, out: None });
            assert_eq!(refused, Answer::Refused { epoch: standing.epoch });
        }
        self.head.epoch = now;
        let fenced = self.head.fenced();
        self.fenced = self.head.epoch;
        assert_eq!((fenced.lossy, fenced.blank), (!fenced.dirty.is_empty(), false));
        let missed = self.away.map(|since| match self.head.ask(Ask::Missed { member: AWAY, since }) {
            Answer::Missed(Some(extents)) => extents,
            other => panic!("a note was lost: {other:?}"),
        });
        for extent in 0..self.blocks.len() as u64 {
            let Answer::Read(data) = self.head.ask(read(extent)) else { panic!("extent {extent} cannot be read") };
            let found = u64::from_le_bytes(data[..8].try_into().unwrap());
            assert_eq!(data, found.to_le_bytes().repeat(512), "half a block");
            let block = &mut self.blocks[extent as usize];
            assert!(block.may.contains(&found), "extent {extent} is {found}, not one of {:?}", block.may);
            let noted = missed.as_ref().is_none_or(|missed| missed.contains(Extent(extent)));
            assert!(found == block.left || noted, "extent {extent} was written while a member was away");
            assert!(found == block.clean || fenced.dirty.contains(&Extent(extent)), "extent {extent} may differ and is not dirty");
            let tried = *block.may.last().unwrap();
            assert!(found == block.acknowledged || found == tried || fenced.lossy, "extent {extent} lost {}, untold", block.acknowledged);
            (block.may, block.acknowledged) = (vec![found], found);
        }
    }
}

/// The power goes at any moment, again and again.
#[test]
fn promises_outlive_losses_of_power() {
    let given = std::env::var("VAULT_SEED").ok().map(|seed| seed.parse().unwrap());
    for seed in given.map_or(0..150, |seed: u64| seed..seed + 1) {
        let outcome = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            world.head.fenced();
            world.fenced = 1;
            for _ in 0..4 {
                let power_for = Some(world.dice.below(400));
                world.disk.set(Faults { power_for, ..Faults::NONE });
                while world.step() {}
                world.reopen();
            }
        });
        assert!(outcome.is_ok(), "VAULT_SEED={seed}");
    }
}

#[test]
fn what_was_not_begun_when_another_head_came_is_never_done() {
    let mut head = Head::new(make(&FaultyDisk::default()));
    head.fenced();
    assert_eq!(head.ask(write(0, 1)), Answer::Done);
    let late = head.work(write(0, 2));
    let note = head.work(Ask::Miss { member: AWAY, since: Since(4), extents: Runs::default() });
    let behind = head.work(write(1, 3));
    head.fenced();
    for work in [behind, late, note] {
        assert!(matches!(head.perform(work), Outcome::Dropped));
    }
    assert_eq!(head.ask(read(0)), Answer::Read(1_u64.to_le_bytes().repeat(512)));
}

/// Nobody ever says that these are in again, or gone for good.
#[test]
fn the_oldest_absence_makes_room_for_one_more() {
    let disk = FaultyDisk::default();
    let mut head = Head::new(make(&disk));
    head.fenced();
    for absence in 1..=12 {
        let miss = Ask::Miss { member: Member(absence), since: Since(u64::from(absence)), extents: Runs::from_iter([Extent(0)]) };
        assert_eq!(head.ask(miss), Answer::Done, "absence {absence}: the replica that takes the notes is well");
    }
    assert_eq!(head.ask(write(7, 1)), Answer::Done);
    let missed = |head: &mut Head, member| head.ask(Ask::Missed { member: Member(member), since: Since(u64::from(member)) });
    assert_eq!(missed(&mut head, 12), Answer::Missed(Some(Runs::from_iter([Extent(0), Extent(7)]))));
    assert_eq!(missed(&mut head, 4), Answer::Missed(None), "it is given everything");
    let on_disk: Vec<u64> = head.vault.pool().absent(VOLUME).unwrap().iter().map(|(member, _)| member.0).collect();
    assert_eq!(on_disk, (5..=12).collect::<Vec<_>>());
}

/// Nobody ever says so by itself: whoever was to say it ended, or its connection did.
#[test]
fn whoever_is_not_out_any_more_is_forgotten_with_the_next_fence() {
    let disk = FaultyDisk::default();
    let mut head = Head::new(make(&disk));
    head.fenced();
    for absence in 1..=3 {
        head.ask(Ask::Miss { member: Member(absence), since: Since(u64::from(absence)), extents: Runs::default() });
    }
    let fence = |head: &mut Head, out| {
        (head.conn, head.epoch) = (Conn(head.conn.0 + 1), head.epoch + 1);
        let fenced = head.ask(Ask::Fence { part: Part::Member { adopts: None }, dialect: Dialect::Second, out });
        assert!(matches!(fenced, Answer::Fenced(_)));
        head.vault.pool().absent(VOLUME).unwrap().iter().map(|(member, _)| member.0).collect::<Vec<_>>()
    };
    assert_eq!(fence(&mut head, None), [1, 2, 3], "a head of an earlier release");
    let out = BTreeMap::from([(Member(2), Since(2)), (Member(3), Since(4)), (Member(9), Since(5))]);
    assert_eq!(fence(&mut head, Some(out)), [2], "3 came back and is out again, which nobody noted");
    assert_eq!(head.ask(write(7, 1)), Answer::Done);
    let missed = |head: &mut Head, member, since| head.ask(Ask::Missed { member: Member(member), since: Since(since) });
    assert_eq!(missed(&mut head, 2, 2), Answer::Missed(Some(Runs::from_iter([Extent(7)]))));
    assert_eq!((missed(&mut head, 1, 1), missed(&mut head, 3, 3)), (Answer::Missed(None), Answer::Missed(None)));
}

#[test]
fn a_fence_waits_for_what_was_begun_and_what_follows_a_note_for_the_note() {
    for _ in 0..50 {
        let mut head = Head::new(make(&FaultyDisk::default()));
        head.fenced();
        let note = head.work(Ask::Miss { member: AWAY, since: Since(4), extents: Runs::default() });
        let after = head.work(write(5, 1));
        std::thread::scope(|scope| {
            let written = scope.spawn(|| head.perform(after));
            assert!(matches!(head.perform(note), Outcome::Answer(Answer::Done)));
            assert!(matches!(written.join().unwrap(), Outcome::Answer(Answer::Done)));
        });
        let missed = head.vault.pool().missed(VOLUME, pan_disk::Member(3)).unwrap();
        assert_eq!(missed.iter().map(|span| span.offset).collect::<Vec<_>>(), [5 * EXTENT]);
        let racing = head.work(write(6, 2));
        (head.conn, head.epoch) = (Conn(9), 9);
        std::thread::scope(|scope| {
            let vault = &head.vault;
            let written = scope.spawn(move || vault.perform(&vault.replica(VOLUME).unwrap(), racing));
            let fence = Request {
                writer: Writer { epoch: VolumeEpoch(9), session: Session(9) },
                lineage: Lineage(1),
                sequence: Sequence(1),
                settled: Sequence(0),
                reconciled: false,
                ask: Ask::Fence { part: Part::Member { adopts: None }, dialect: Dialect::Second, out: None },
            };
            let kept = vault.replica(VOLUME).unwrap();
            let Admitted::Work(fence) = kept.admit::<Vec<u8>>(Conn(9), fence) else { panic!("a newer head is refused") };
            assert!(matches!(vault.perform(&kept, fence), Outcome::Answer(Answer::Fenced(_))));
            let mut now = vec![0; BLOCK as usize];
            vault.pool().read(pan_disk::Source::Volume(VOLUME), 6 * EXTENT, &mut now).unwrap();
            let done = matches!(written.join().unwrap(), Outcome::Answer(_));
            assert_eq!(now[0] == 2, done, "done before the fence was answered, or never");
        });
    }
}

#[test]
fn a_log_of_dirty_extents_that_is_full_is_emptied_by_what_is_settled() {
    let mut head = Head::new(make(&FaultyDisk::default()));
    head.fenced();
    for extent in 0..256 {
        assert_eq!(head.ask(write(extent, 1)), Answer::Done);
    }
    let work = head.work(write(256, 1));
    let Outcome::Later(work) = head.perform(work) else { panic!("there is no room, and nothing is settled") };
    head.settled = 200;
    assert!(matches!(head.ask(read(0)), Answer::Read(_)));
    assert!(matches!(head.perform(work), Outcome::Answer(Answer::Done)));
    let dirty = head.fenced().dirty;
    // The first request was the fence.
    assert_eq!((dirty.first(), dirty.len()), (Some(&Extent(199)), 58));
    let logged = head.vault.pool().intents(VOLUME).unwrap();
    assert_eq!(logged.iter().map(|extent| Extent(extent.0)).collect::<Vec<_>>(), dirty);
}

/// What makes room before it is needed fails for want of space: that is no fault of the write before it, which was done.
#[test]
fn a_write_that_was_done_is_answered_whatever_comes_of_making_room() {
    let disk = FaultyDisk::default();
    let mut head = Head::new(make(&disk));
    head.vault.grow(VOLUME, ByteSize(2100 * EXTENT)).unwrap();
    head.fenced();
    assert_eq!(head.ask(write(0, 1)), Answer::Done);
    for extent in 1..2048 {
        assert_eq!(head.ask(write(extent, 0)), Answer::Done);
    }
    let dirty = |head: &Head| head.vault.replica(VOLUME).unwrap().dirty().len();
    assert_eq!(dirty(&head), 2048);
    head.settled = head.sequence;
    disk.set(Faults { full_for: Some((0, u64::MAX)), ..Faults::NONE });
    let before = disk.changes();
    assert_eq!(head.ask(write(2048, 0)), Answer::Done);
    assert!(disk.changes() > before, "it was tried to make room");
    disk.set(Faults::NONE);
    head.vault.pool().tidy().unwrap();
    head.ask(read(0));
    for extent in 2049..2060 {
        assert_eq!(head.ask(write(extent, 0)), Answer::Done);
    }
    assert!(dirty(&head) < 20, "there is room again");
}

#[test]
fn what_an_earlier_head_left_is_struck_once_it_is_equal_and_on_all_disks() {
    let mut head = Head::new(make(&FaultyDisk::default()));
    head.fenced();
    for extent in 0..256 {
        assert_eq!(head.ask(write(extent, 1)), Answer::Done);
    }
    assert_eq!(head.fenced().dirty.len(), 256);
    let work = head.work(write(256, 1));
    let Outcome::Later(work) = head.perform(work) else { panic!("nobody knows yet whether others have the same") };
    head.reconciled = true;
    assert!(matches!(head.ask(read(0)), Answer::Read(_)));
    let Outcome::Later(work) = head.perform(work) else { panic!("others may not have it on their disks") };
    head.settled = head.sequence;
    assert!(matches!(head.ask(read(0)), Answer::Read(_)));
    assert!(matches!(head.perform(work), Outcome::Answer(Answer::Done)));
}

/// Whatever else is lost: a replica that answered a write knows afterwards that it may have lost something. One sync is enough for that.
#[test]
fn who_lost_something_knows_it() {
    for seed in 0..40 {
        let (disk, mut dice) = (FaultyDisk::default(), Dice::new(seed));
        let mut head = Head::new(make(&disk));
        head.fenced();
        for round in 0..4 {
            for extent in 0..3 {
                assert_eq!(head.ask(write(3 * round + extent, 1)), Answer::Done);
            }
            if round < seed % 4 {
                // All that was written is settled, and struck with the next flush.
                assert_eq!(head.ask(FLUSH), Answer::Done);
                head.settled = head.sequence;
                assert_eq!(head.ask(FLUSH), Answer::Done);
            }
        }
        disk.lose_power(&mut dice);
        head.vault = Vault::over(Pool::open(disk).unwrap(), Loss::Possible).unwrap();
        let fenced = head.fenced();
        assert!(fenced.lossy && !fenced.dirty.is_empty(), "seed {seed}: {fenced:?}");
    }
}

#[test]
fn a_replica_that_joins_is_partial_until_it_is_whole() {
    let disk = FaultyDisk::default();
    let mut head = Head::new(make(&disk));
    head.vault.found(VolumeId(2), ByteSize(EXTENT), Lineage(0)).unwrap();
    let ask = |vault: &Vault<FaultyDisk>, epoch: u64, ask| {
        let kept = vault.replica(VolumeId(2)).unwrap();
        let writer = Writer { epoch: VolumeEpoch(epoch), session: Session(1) };
        let (lineage, sequence, settled) = (Lineage(4), Sequence(1), Sequence(0));
        match kept.admit::<Vec<u8>>(Conn(epoch), Request { writer, lineage, sequence, settled, reconciled: false, ask }) {
            Admitted::Answer(answer) => answer,
            Admitted::Work(work) => match vault.perform(&kept, work) {
                Outcome::Answer(answer) => answer,
                other => panic!("{other:?}"),
            },
        }
    };
    let member = || Ask::Fence { part: Part::Member { adopts: None }, dialect: Dialect::Second, out: None };
    assert_eq!(ask(&head.vault, 1, member()), Answer::Strange);
    let Answer::Fenced(fenced) = ask(&head.vault, 1, Ask::Fence { part: Part::Joiner, dialect: Dialect::Second, out: None }) else {
        panic!("not fenced")
    };
    assert!(fenced.blank);
    head.vault = Vault::over(Pool::open(disk.clone()).unwrap(), Loss::None).unwrap();
    assert_eq!(ask(&head.vault, 2, member()), Answer::Strange, "it was not given everything");
    let Answer::Fenced(fenced) = ask(&head.vault, 2, Ask::Fence { part: Part::Joiner, dialect: Dialect::Second, out: None }) else {
        panic!("not fenced")
    };
    assert!(fenced.blank);
    assert_eq!(ask(&head.vault, 2, Ask::Flush { whole: true }), Answer::Done);
    head.vault = Vault::over(Pool::open(disk.clone()).unwrap(), Loss::None).unwrap();
    assert!(matches!(ask(&head.vault, 3, member()), Answer::Fenced(fenced) if !fenced.blank && !fenced.lossy));
    // What was out and joins again has everything of one moment until then, and not while it is given what it missed.
    let fill = |head: &Head| head.vault.replica(VolumeId(2)).unwrap().standing().fill;
    assert_eq!(fill(&head), Fill::Whole);
    ask(&head.vault, 4, Ask::Fence { part: Part::Joiner, dialect: Dialect::Second, out: None });
    head.vault = Vault::over(Pool::open(disk.clone()).unwrap(), Loss::None).unwrap();
    assert_eq!(fill(&head), Fill::CatchingUp);
    let Answer::Fenced(fenced) = ask(&head.vault, 5, Ask::Fence { part: Part::Joiner, dialect: Dialect::Second, out: None }) else {
        panic!("not fenced")
    };
    assert!(!fenced.blank, "only what it missed");
    assert_eq!(ask(&head.vault, 5, Ask::Flush { whole: true }), Answer::Done);
    assert_eq!(fill(&head), Fill::Whole);
}

#[test]
fn a_disk_that_is_full_or_rotten_or_fails_says_which() {
    let disk = FaultyDisk::default();
    let mut head = Head::new(make(&disk));
    head.fenced();
    assert_eq!(head.ask(write(0, 7)), Answer::Done);
    head.vault.pool().tidy().unwrap();
    disk.set(Faults { capacity: disk.used(), ..Faults::NONE });
    let mut answers = BTreeMap::new();
    let large = |extent: u64| {
        let content = Content::Data(vec![1; EXTENT as usize]);
        Ask::Write { span: Span { at: extent * EXTENT, length: EXTENT }, content, durable: false, copy: false }
    };
    for extent in 1..40 {
        *answers.entry(format!("{:?}", head.ask(large(extent)))).or_insert(0) += 1;
    }
    assert_eq!(answers.keys().map(String::as_str).collect::<Vec<_>>(), ["Failed(NoSpace)"]);
    assert_eq!(head.ask(read(0)), Answer::Read(7_u64.to_le_bytes().repeat(512)), "reading goes on");
    disk.set(Faults::NONE);
    assert_eq!(head.ask(large(1)), Answer::Done);
    for bit in 0..8 {
        disk.flip(Name::Data, 100, bit);
    }
    assert_eq!(head.ask(read(0)), Answer::Failed(Fault::Rotten));
    assert_eq!(head.vault.replica(VOLUME).unwrap().rotten(), 1);
    assert_eq!(head.ask(write(0, 8)), Answer::Done);
    assert_eq!(head.ask(read(0)), Answer::Read(8_u64.to_le_bytes().repeat(512)), "written anew, it is good again");
    disk.set(Faults { works_for: Some(0), ..Faults::NONE });
    assert_eq!(head.ask(FLUSH), Answer::Failed(Fault::Io));
    assert!(matches!(head.vault.pool().condition(), Condition::Failed(_)));
    assert_eq!(head.ask(read(0)), Answer::Failed(Fault::Io));
}

/// Two replicas, of which the second is given what the first one has, as a head does it.
#[test]
fn a_copy_of_a_thin_volume_is_thin() {
    let (mut from, mut to) = (Head::new(make(&FaultyDisk::default())), Head::new(make(&FaultyDisk::default())));
    from.fenced();
    to.fenced();
    for extent in [3, 200] {
        assert_eq!(from.ask(write(extent, 7)), Answer::Done);
    }
    let mut holes = 0;
    for extent in 0..EXTENTS {
        let span = Span { at: extent * EXTENT, length: EXTENT };
        let content = match from.ask(Ask::Read { span, copy: true }) {
            Answer::Hole => Content::Hole,
            Answer::Read(data) => Content::Data(data),
            other => panic!("{other:?}"),
        };
        holes += u64::from(content == Content::Hole);
        assert_eq!(to.ask(Ask::Write { span, content, durable: false, copy: true }), Answer::Done);
        (to.settled, to.reconciled) = (to.sequence, true);
        assert_eq!(to.ask(FLUSH), Answer::Done);
    }
    assert_eq!(holes, EXTENTS - 2);
    to.vault.pool().tidy().unwrap();
    let used = to.vault.pool().used(VOLUME).unwrap();
    assert!(0 < used && used <= 2 * EXTENT, "{used} bytes for two extents");
    assert_eq!(to.ask(read(3)), Answer::Read(7_u64.to_le_bytes().repeat(512)));
    assert_eq!(to.ask(Ask::Read { span: span(4), copy: false }), Answer::Read(vec![0; 4096]), "a client reads bytes");
}
