//! What a replica holds in memory for a head that means no good, or has lost its mind: it has a capability, and may say what it likes.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use pan_model::{Lineage, Session, VolumeEpoch};
use pan_replica::wire::RUNS_MAX;
use pan_replica::{
    ABSENT_MAX, Answer, Ask, Conn, Content, DIRTY_MAX, Dialect, Extent, Fault, Geometry, Job, Member, Part, Replica, Request, Rules, Runs,
    Sequence, Since, Span, Standing, Verdict, Writer,
};

/// 16 TiB.
const GEOMETRY: Geometry = Geometry { size: 1 << 44, extent: 128 << 10 };

struct Head {
    replica: Replica,
    sequence: u64,
}

impl Head {
    fn obeyed() -> Self {
        let standing = Standing { lineage: Lineage(1), ..Standing::default() };
        let mut head = Self { replica: Replica::new(GEOMETRY, standing, Default::default(), false, Rules::default()), sequence: 0 };
        head.ask(Ask::Fence { part: Part::Member { adopts: None }, dialect: Dialect::Second, out: None });
        head
    }

    fn ask(&mut self, ask: Ask<u8>) -> Verdict<u8> {
        self.sequence += 1;
        let writer = Writer { epoch: VolumeEpoch(1), session: Session(1) };
        let (lineage, sequence, settled) = (Lineage(1), Sequence(self.sequence), Sequence(0));
        self.replica.admit(Conn(1), Request { writer, lineage, sequence, settled, reconciled: true, ask })
    }

    fn miss(&mut self, member: u32, since: u64, extents: Runs) -> Verdict<u8> {
        self.ask(Ask::Miss { member: Member(member), since: Since(since), extents })
    }

    fn missed(&mut self, member: u32, since: u64) -> Option<Runs> {
        match self.ask(Ask::Missed { member: Member(member), since: Since(since) }) {
            Verdict::Answer(Answer::Missed(missed)) => missed,
            other => panic!("{other:?}"),
        }
    }

    fn zero(&mut self, at: u64, length: u64) -> Verdict<u8> {
        self.ask(Ask::Write { span: Span { at, length }, content: Content::Zeros, durable: false, copy: false })
    }
}

#[test]
fn notes_are_runs_however_much_was_missed() {
    let mut head = Head::obeyed();
    let all = Runs::from_iter([GEOMETRY.all()]);
    assert!(matches!(head.miss(1, 1, all.clone()), Verdict::Do(Job::Note { forget: None, all: Some(_) })));
    assert_eq!(head.missed(1, 1), Some(all));
    assert_eq!(head.missed(1, 2), None, "of another absence");
}

/// Every third extent, from frames as long as they can be and then by writing: more than an answer has room for.
#[test]
fn notes_fit_into_an_answer_and_lack_nothing() {
    let mut head = Head::obeyed();
    let third = |from: u64| (from..from + 200_000).map(|number| number * 3..number * 3 + 1).collect::<Runs>();
    head.miss(1, 1, third(0));
    let Verdict::Do(Job::Note { all: Some((_, noted)), .. }) = head.miss(1, 1, third(200_000)) else { panic!("not noted") };
    assert!(noted.extents.ranges().len() <= 1024, "no job holds more");
    assert!((0..400_000).all(|number| noted.extents.contains(Extent(number * 3))), "also what the disk may not have had before");
    assert!(matches!(head.zero(GEOMETRY.size - GEOMETRY.extent, GEOMETRY.extent), Verdict::Do(_)));
    let missed = head.missed(1, 1).unwrap();
    assert!(missed.ranges().len() <= RUNS_MAX);
    assert!((0..400_000).all(|number| missed.contains(Extent(number * 3))));
    assert!(missed.contains(Extent(GEOMETRY.all().end - 1)) && !missed.contains(Extent(GEOMETRY.all().end - 2)));
}

#[test]
fn so_many_are_absent_and_then_the_oldest_absence_is_forgotten() {
    let mut head = Head::obeyed();
    let most = u32::try_from(ABSENT_MAX).unwrap();
    for member in 1..=most {
        assert!(matches!(head.miss(member, u64::from(member), Runs::default()), Verdict::Do(Job::Note { forget: None, .. })));
    }
    // One that is known already takes nobody's place.
    assert!(matches!(head.miss(1, 100, Runs::default()), Verdict::Do(Job::Note { forget: None, .. })));
    let Verdict::Do(Job::Note { forget, all: Some((member, _)) }) = head.miss(50, 101, Runs::default()) else { panic!("not noted") };
    assert_eq!((forget, member), (Some(Member(2)), Member(50)));
    assert_eq!((head.missed(2, 2), head.missed(1, 100)), (None, Some(Runs::default())));
}

#[test]
fn so_much_is_dirty_and_then_there_is_no_room() {
    let mut head = Head::obeyed();
    let full = Verdict::Answer(Answer::Failed(Fault::NoSpace));
    assert_eq!(head.zero(0, GEOMETRY.size), full, "of one request, whatever it costs to say");
    let step = 100 * GEOMETRY.extent;
    for at in 0..DIRTY_MAX as u64 / 100 {
        assert!(matches!(head.zero(at * step, step), Verdict::Do(_)));
    }
    assert_eq!(head.zero(1 << 40, step), full);
    assert!(matches!(head.zero(50, step), Verdict::Do(_)), "there it is dirty anyway");
    assert!(head.replica.dirty().count() <= DIRTY_MAX);
}
