//! Frames there and back, damaged, made up, and as they were in this release.

use super::*;
use crate::geometry::Extent;
use crate::runs::Runs;
use proptest::prelude::*;

const MOST: u64 = 1 << 40;

fn extents_strategy<T: FromIterator<Extent> + std::fmt::Debug>() -> impl Strategy<Value = T> {
    prop::collection::btree_set(0..MOST, 0..40).prop_map(|all| all.into_iter().map(Extent).collect())
}

fn span() -> impl Strategy<Value = Span> {
    (any::<u64>(), 0..PAYLOAD_MAX as u64).prop_map(|(at, length)| Span { at, length })
}

fn dialect() -> impl Strategy<Value = Dialect> {
    prop_oneof![Just(Dialect::First), Just(Dialect::Second)]
}

fn out() -> impl Strategy<Value = Option<std::collections::BTreeMap<Member, Since>>> {
    prop::option::of(prop::collection::btree_map(any::<u32>().prop_map(Member), any::<u64>().prop_map(Since), 0..9))
}

fn ask() -> impl Strategy<Value = Ask<Vec<u8>>> {
    let absence = || (any::<u32>().prop_map(Member), any::<u64>().prop_map(Since));
    prop_oneof![
        (prop::option::of(any::<u64>().prop_map(Lineage)), dialect(), out()).prop_map(|(adopts, dialect, out)| Ask::Fence {
            part: Part::Member { adopts },
            dialect,
            out
        }),
        dialect().prop_map(|dialect| Ask::Fence { part: Part::Joiner, dialect, out: None }),
        (span(), any::<bool>()).prop_map(|(span, copy)| Ask::Read { span, copy }),
        (any::<u64>(), prop::collection::vec(any::<u8>(), 0..200), any::<bool>(), any::<bool>()).prop_map(|(at, data, durable, copy)| {
            let span = Span { at, length: data.len() as u64 };
            Ask::Write { span, content: Content::Data(data), durable, copy }
        }),
        (span(), any::<bool>()).prop_map(|(span, hole)| Ask::Write {
            span,
            content: if hole { Content::Hole } else { Content::Zeros },
            durable: false,
            copy: false
        }),
        any::<bool>().prop_map(|whole| Ask::Flush { whole }),
        (absence(), extents_strategy()).prop_map(|((member, since), extents)| Ask::Miss { member, since, extents }),
        absence().prop_map(|(member, since)| Ask::Missed { member, since }),
        any::<u64>().prop_map(|snapshot| Ask::Snapshot { snapshot: SnapshotId(snapshot) }),
        any::<u32>().prop_map(|member| Ask::Forget { member: Member(member) }),
    ]
}

fn requests() -> impl Strategy<Value = Request<Vec<u8>>> {
    (ask(), any::<[u64; 5]>(), any::<bool>()).prop_map(|(ask, [lineage, epoch, session, sequence, settled], reconciled)| Request {
        writer: Writer { epoch: VolumeEpoch(epoch), session: Session(session) },
        lineage: Lineage(lineage),
        sequence: Sequence(sequence),
        settled: Sequence(settled),
        reconciled,
        ask,
    })
}

fn replies() -> impl Strategy<Value = Reply<Vec<u8>>> {
    let answers = prop_oneof![
        (any::<[u64; 2]>(), extents_strategy(), any::<bool>(), any::<bool>()).prop_map(|([epoch, sequence], dirty, lossy, blank)| {
            Answer::Fenced(Fenced { flushed: (VolumeEpoch(epoch), Sequence(sequence)), dirty, lossy, blank })
        }),
        prop::collection::vec(any::<u8>(), 0..200).prop_map(Answer::Read),
        Just(Answer::Done),
        Just(Answer::Hole),
        extents_strategy().prop_map(Answer::Rotten),
        prop::option::of(extents_strategy()).prop_map(Answer::Missed),
        any::<u64>().prop_map(|epoch| Answer::Refused { epoch: VolumeEpoch(epoch) }),
        Just(Answer::Strange),
        prop_oneof![Just(Fault::NoSpace), Just(Fault::Io), Just(Fault::Rotten)].prop_map(Answer::Failed),
    ];
    (any::<u64>(), answers).prop_map(|(sequence, answer)| Reply { sequence: Sequence(sequence), answer })
}

proptest! {
    #[test]
    fn what_is_sent_is_what_is_read(volume in any::<u64>(), sent in requests(), back in replies()) {
        let (head, payload) = request(VolumeId(volume), sent.clone()).unwrap();
        prop_assert_eq!(request_behind(&head).unwrap().length, payload.bytes().len());
        prop_assert_eq!(read_request(&head, payload.bytes().to_vec(), MOST), Ok((VolumeId(volume), sent)));
        let (head, payload) = reply(back.clone()).unwrap();
        prop_assert_eq!(reply_behind(&head).unwrap().length, payload.bytes().len());
        prop_assert_eq!(read_reply(&head, payload.bytes().to_vec(), MOST), Ok(back));
    }

    /// Every bit counts.
    #[test]
    fn what_was_damaged_is_refused(sent in requests(), bit in any::<prop::sample::Index>()) {
        let (head, payload) = request(VolumeId(1), sent).unwrap();
        let mut bytes = [&head[..], payload.bytes()].concat();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let (head, payload) = bytes.split_first_chunk::<REQUEST_HEAD>().unwrap();
        prop_assert!(read_request(head, payload.to_vec(), MOST).is_err());
    }

    #[test]
    fn noise_is_refused_without_a_panic(mut head in any::<[u8; 32]>(), rest in prop::collection::vec(any::<u8>(), REQUEST_HEAD..400), sealed in any::<bool>()) {
        head[..3].copy_from_slice(&[MAGIC[0], MAGIC[1], VERSION]);
        let bytes = [&head[..], &rest].concat();
        let (first, payload) = bytes.split_first_chunk::<REQUEST_HEAD>().unwrap();
        let mut first = *first;
        if sealed {
            // As if somebody meant it.
            first = Out(first).seal(payload, (at::CHECKSUM, at::HEAD));
        }
        let _ = read_request(&first, payload.to_vec(), 1000);
        let (first, payload) = bytes.split_first_chunk::<REPLY_HEAD>().unwrap();
        let first = if sealed { Out(*first).seal(payload, (at::reply::CHECKSUM, at::reply::HEAD)) } else { *first };
        let _ = read_reply(&first, payload.to_vec(), 1000);
    }
}

/// What a list takes that was read: runs, and extents one by one.
fn held_by(ask: &Ask<Vec<u8>>) -> (usize, usize) {
    if let Ask::Miss { extents, .. } = ask { (extents.ranges().len(), 0) } else { (0, 0) }
}

fn held(answer: &Answer<Vec<u8>>) -> (usize, usize) {
    match answer {
        Answer::Fenced(fenced) => (0, fenced.dirty.len()),
        Answer::Rotten(extents) => (0, extents.len()),
        Answer::Missed(missed) => (missed.as_ref().map_or(0, |missed| missed.ranges().len()), 0),
        Answer::Read(_) | Answer::Hole | Answer::Done | Answer::Refused { .. } | Answer::Strange | Answer::Failed(_) => (0, 0),
    }
}

proptest! {
    /// Whoever sends lists as it likes, about a volume as large as it likes, makes nobody hold more than it sent, and 4096 extents.
    #[test]
    fn no_list_costs_more_than_its_length(
        pairs in prop::collection::vec((0u64..1 << 20, prop_oneof![1u64..9, 1u64..1 << 36]), 0..60),
        kind in prop_oneof![Just(kind::FENCED), Just(kind::LIST), Just(kind::ROTTEN)],
    ) {
        let (mut bytes, mut at) = (Vec::new(), 0);
        for (gap, count) in &pairs {
            at += gap;
            bytes.extend([at.to_le_bytes(), count.to_le_bytes()].concat());
            at += count;
        }
        let back = Out::<REPLY_HEAD>::new(kind, flag::KNOWN).seal(&bytes, (at::reply::CHECKSUM, at::reply::HEAD));
        if let Ok(reply) = read_reply(&back, bytes.clone(), 1 << 44) {
            let (runs, extents) = held(&reply.answer);
            prop_assert!(runs * RUN <= bytes.len() && extents <= 4096, "{} bytes: {runs} runs, {extents} extents", bytes.len());
        }
        let sent = Out::<REQUEST_HEAD>::new(super::kind::MISS, 0).seal(&bytes, (at::CHECKSUM, at::HEAD));
        let (_, asked) = read_request(&sent, bytes.clone(), 1 << 44).unwrap();
        prop_assert!(held_by(&asked.ask).0 * RUN <= bytes.len());
    }
}

#[test]
fn a_list_too_long_for_a_frame_is_no_list() {
    let every_other: Runs = (0..=RUNS_MAX as u64).map(|number| Extent(number * 2)).collect();
    let (head, payload) = reply::<Vec<u8>>(Reply { sequence: Sequence(1), answer: Answer::Missed(Some(every_other.clone())) }).unwrap();
    assert_eq!(read_reply(&head, payload.bytes().to_vec(), MOST).unwrap().answer, Answer::Missed(None));
    let writer = Writer { epoch: VolumeEpoch(1), session: Session(1) };
    let ask = Ask::Miss { member: Member(1), since: Since(1), extents: every_other };
    let sent = Request::<Vec<u8>> { writer, lineage: Lineage(1), sequence: Sequence(1), settled: Sequence(0), reconciled: true, ask };
    assert!(matches!(request(VolumeId(1), sent), Err(WireError::Length { .. })));
}

/// An older storage host takes the fence of this release for what it knows, and this release does not tell an older head what it would not
/// understand: all that differs is a flag that was always nought.
#[test]
fn a_dialect_is_a_flag_that_older_releases_do_not_look_at() {
    let fence = |dialect| {
        let writer = Writer { epoch: VolumeEpoch(3), session: Session(4) };
        let ask = Ask::Fence { part: Part::Member { adopts: None }, dialect, out: None };
        let (sequence, settled) = (Sequence(5), Sequence(4));
        request::<Vec<u8>>(VolumeId(1), Request { writer, lineage: Lineage(2), sequence, settled, reconciled: true, ask }).unwrap().0
    };
    let (first, second) = (fence(Dialect::First), fence(Dialect::Second));
    let differ: Vec<_> = (0..at::HEAD).filter(|at| first[*at] != second[*at]).collect();
    assert_eq!((differ, first[at::FLAGS], second[at::FLAGS]), (vec![at::FLAGS], flag::RECONCILED, flag::RECONCILED | flag::DIALECT));
}

/// Who is out is behind a fence, where older releases do not look.
#[test]
fn a_fence_says_who_is_out_if_that_is_few() {
    let fence = |out| {
        let ask = Ask::Fence { part: Part::Member { adopts: None }, dialect: Dialect::Second, out };
        let writer = Writer { epoch: VolumeEpoch(3), session: Session(4) };
        let sent = Request { writer, lineage: Lineage(2), sequence: Sequence(5), settled: Sequence(4), reconciled: true, ask };
        let (head, payload) = request::<Vec<u8>>(VolumeId(1), sent).unwrap();
        (head[at::FLAGS] & flag::OUT != 0, head, payload.bytes().to_vec())
    };
    let many = |count| Some((1..=count).map(|number| (Member(number), Since(9))).collect());
    let (said, head, behind) = fence(Some(std::collections::BTreeMap::from([(Member(7), Since(0x0102))])));
    assert_eq!((said, behind), (true, vec![7, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0]));
    assert!(request_behind(&head).is_ok());
    assert_eq!((fence(None).0, fence(many(0)).0, fence(many(64)).0, fence(many(65)).0), (false, true, true, false));
    let made_up = |length: usize| {
        let behind = vec![1; length];
        let head = Out::<REQUEST_HEAD>::new(kind::FENCE, flag::OUT).seal(&behind, (at::CHECKSUM, at::HEAD));
        read_request(&head, behind, MOST)
    };
    assert!(made_up(12).is_ok() && made_up(13).is_err() && made_up(12 * 65).is_err());
}

/// Frames of this release, kept for later ones.
#[test]
fn the_layout_is_the_documented_one() {
    let writer = Writer { epoch: VolumeEpoch(3), session: Session(4) };
    let ask = Ask::Write { span: Span { at: 4096, length: 2 }, content: Content::Data(b"hi".to_vec()), durable: true, copy: false };
    let sent = Request { writer, lineage: Lineage(2), sequence: Sequence(5), settled: Sequence(4), reconciled: true, ask };
    let (head, payload) = request(VolumeId(1), sent).unwrap();
    let hex: String = head.iter().chain(payload.bytes()).map(|byte| format!("{byte:02x}")).collect();
    let wanted = concat!(
        "705201030501000000000000020000000500000000000000040000000000000001000000000000000200000000000000",
        "0300000000000000040000000000000000100000000000000200000000000000000000000000000000000000",
    );
    assert_eq!(hex[..wanted.len()], *wanted);
    assert!(hex.ends_with("6869"));
}
