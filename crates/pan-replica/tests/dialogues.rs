//! A head's conversations: what happens to it, and all that it does then.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use pan_model::{Lineage, Session, SnapshotId, VolumeEpoch};
use pan_replica::arbiter;
use pan_replica::{
    Answer, Ask, Change, Clients, Conn, Content, Dialect, Effect, End, Env, Event, Extent, Fault, Fenced, Geometry, Head, Hole, Job, Mark,
    Member, Op, OpId, Part, Record, Replica, Reply, Request, Rules, Runs, Sequence, Settings, Span, Standing, Verdict, Writer,
};
use std::fmt::Write;
use std::time::Duration;

struct Talk {
    head: Head<char>,
    record: Record,
    /// What was said last of whoever is to be evicted.
    had: Option<Mark>,
    seconds: u64,
    ops: u64,
}

fn settings() -> Settings {
    Settings {
        geometry: Geometry { size: 8, extent: 2 },
        clients: Clients::New,
        operations_max: 4,
        extents_max: 8,
        patience: Duration::from_secs(5),
        opening: Duration::from_secs(1),
        copies_max: 2,
    }
}

impl Talk {
    fn of(members: &[u32]) -> Self {
        let record = arbiter::claim(&arbiter::found(members.iter().copied().map(Member)), Session(1));
        Self::begin(settings(), record)
    }

    fn begin(settings: Settings, record: Record) -> Self {
        Self { head: Head::new(settings, record.clone(), Rules::default()), record, had: None, seconds: 0, ops: 0 }
    }

    /// One whose clients were served by an earlier head.
    fn served(members: &[u32]) -> Self {
        Self::begin(Settings { clients: Clients::Served, ..settings() }, Self::of(members).record)
    }

    fn happens(&mut self, event: Event<char>) -> String {
        let env = Env { now: Duration::from_secs(self.seconds), lease: true };
        let effects = self.head.handle(env, event);
        let mut said = effects.iter().filter_map(|effect| if let Effect::Ask { had, .. } = effect { Some(*had) } else { None });
        self.had = said.next_back().unwrap_or(self.had);
        effects.iter().map(|effect| format!("{}\n", told(effect))).collect()
    }

    /// One line: `+1` connected, `-1` gone, `1:5 done` an answer, `read 0+2`, `write 0+2 x`, `flush`, `changed`, `doubt`, `wait 2`.
    fn line(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [word] if word.starts_with('+') => self.happens(Event::Connected(member(&word[1..]))),
            [word] if word.starts_with('-') => self.happens(Event::Disconnected(member(&word[1..]))),
            ["read", place] => self.submit(Op::Read { span: span(place), prefer: None }),
            ["write", place, data] => {
                let content = Content::Data(data.chars().next().unwrap());
                self.submit(Op::Write { span: span(place), content, durable: false })
            }
            ["flush"] => self.submit(Op::Flush),
            ["snapshot", number] => self.submit(Op::Snapshot(SnapshotId(number.parse().unwrap()))),
            ["evicted", who] => self.decided(Change::Evict(member(who))),
            ["slow", who] => self.decided(Change::Slow(member(who))),
            ["added", who] => self.decided(Change::Add(member(who))),
            ["claimed"] => {
                self.record = arbiter::claim(&self.record, Session(2));
                self.happens(Event::Answered(self.record.clone()))
            }
            ["doubt"] => self.happens(Event::Unanswered),
            ["wait", seconds] => {
                self.seconds += seconds.parse::<u64>().unwrap();
                self.happens(Event::Tick)
            }
            [who, "has-rot", list] => {
                let answer = Answer::Rotten(extents(list));
                self.happens(Event::Reply(member(who), Reply { sequence: Sequence(0), answer }))
            }
            [at, rest @ ..] => {
                let (who, sequence) = at.split_once(':').unwrap();
                let sequence = Sequence(sequence.parse().unwrap());
                self.happens(Event::Reply(member(who), Reply { sequence, answer: answer(rest) }))
            }
            [] => String::new(),
        }
    }

    fn submit(&mut self, op: Op<char>) -> String {
        self.ops += 1;
        self.happens(Event::Submit(OpId(self.ops), op))
    }

    fn decided(&mut self, change: Change) -> String {
        let writer = pan_replica::Writer { epoch: self.record.epoch, session: self.record.session };
        self.record = arbiter::change(&self.record, writer, self.record.changes, (change, self.had), Rules::default()).unwrap();
        self.happens(Event::Answered(self.record.clone()))
    }
}

fn member(text: &str) -> Member {
    Member(text.parse().unwrap())
}

fn span(text: &str) -> Span {
    let (at, length) = text.split_once('+').unwrap();
    Span { at: at.parse().unwrap(), length: length.parse().unwrap() }
}

fn extents<T: FromIterator<Extent>>(text: &str) -> T {
    text.split(',').filter(|part| !part.is_empty()).map(|part| Extent(part.parse().unwrap())).collect()
}

fn answer(words: &[&str]) -> Answer<char> {
    match words {
        ["done"] => Answer::Done,
        ["fenced", flags @ ..] => {
            let list = flags.iter().find_map(|flag| flag.strip_prefix("dirty=")).unwrap_or_default();
            let (lossy, blank) = (flags.contains(&"lossy"), flags.contains(&"blank"));
            let flushed = flags.iter().find_map(|flag| flag.strip_prefix("flushed=")?.split_once(':'));
            let flushed = flushed.map(|(epoch, flush)| (epoch.parse().unwrap(), flush.parse().unwrap())).unwrap_or_default();
            Answer::Fenced(Fenced { flushed: (VolumeEpoch(flushed.0), Sequence(flushed.1)), dirty: extents(list), lossy, blank })
        }
        ["data", data] => Answer::Read(data.chars().next().unwrap()),
        ["hole"] => Answer::Hole,
        ["missed", "nothing-known"] => Answer::Missed(None),
        ["missed", list] => Answer::Missed(Some(extents(list))),
        ["refused", epoch] => Answer::Refused { epoch: VolumeEpoch(epoch.parse().unwrap()) },
        ["strange"] => Answer::Strange,
        ["full"] => Answer::Failed(Fault::NoSpace),
        ["rotten"] => Answer::Failed(Fault::Rotten),
        other => panic!("no answer: {other:?}"),
    }
}

fn told(effect: &Effect<char>) -> String {
    let mut text = String::new();
    match effect {
        Effect::Send(member, request) => {
            let _ = write!(text, "  {}:{} ", member.0, request.sequence);
            let list = |all: &Runs| all.clone().into_iter().map(|extent| extent.0.to_string()).collect::<Vec<_>>().join(",");
            let _ = match &request.ask {
                Ask::Fence { part: Part::Member { .. }, .. } => write!(text, "fence"),
                Ask::Fence { part: Part::Joiner, .. } => write!(text, "fence to join"),
                Ask::Read { span, copy } => write!(text, "{} {span}", if *copy { "copy from" } else { "read" }),
                Ask::Write { span, content: Content::Data(data), copy, .. } => {
                    write!(text, "{} {span} {data}", if *copy { "copy to" } else { "write" })
                }
                Ask::Write { span, content, copy, .. } => write!(text, "{} {span} {content:?}", if *copy { "copy to" } else { "write" }),
                Ask::Flush { whole } => write!(text, "flush{}", if *whole { ", and it is whole" } else { "" }),
                Ask::Snapshot { snapshot } => write!(text, "snapshot {snapshot}"),
                Ask::Miss { member, extents, .. } => write!(text, "note for {}: {}", member.0, list(extents)),
                Ask::Forget { member } => write!(text, "no more notes for {}", member.0),
                Ask::Missed { member, .. } => write!(text, "what did {} miss", member.0),
            };
        }
        Effect::Disconnect(member) => text = format!("  hang up on {}", member.0),
        Effect::Ask { change: Change::Evict(member), .. } => text = format!("  may {} be evicted", member.0),
        Effect::Ask { change: Change::Slow(member), .. } => text = format!("  may {} be evicted, for it is slow", member.0),
        Effect::Ask { change: Change::Add(member), .. } => text = format!("  may {} be added", member.0),
        Effect::Taken(op, by) => {
            let by: Vec<String> = by.iter().map(|member| member.0.to_string()).collect();
            text = format!("  operation {}: taken by {}", op.0, by.join(","));
        }
        Effect::Done(op, Ok(None)) => text = format!("  operation {} is done", op.0),
        Effect::Done(op, Ok(Some(data))) => text = format!("  operation {} is done: {data}", op.0),
        Effect::Done(op, Err(trouble)) => text = format!("  operation {}: {trouble}", op.0),
        Effect::Over(end) => text = format!("  over: {end}"),
    }
    text
}

/// Lines that do not begin with a space happen; those that do are what follows.
fn check(mut talk: Talk, text: &str) -> Talk {
    let mut found = String::new();
    for line in text.lines().filter(|line| !line.starts_with(' ') && !line.is_empty()) {
        let _ = writeln!(found, "{line}");
        found += &talk.line(line);
    }
    assert_eq!(found.trim(), text.trim(), "\n{found}");
    talk
}

fn open() -> Talk {
    check(
        Talk::of(&[1, 2]),
        "
+1
  1:1 fence
+2
  2:2 fence
1:1 fenced
2:2 fenced
",
    )
}

/// The second one is gone, evicted, and noted for.
fn alone() -> Talk {
    check(
        open(),
        "
-2
  1:3 flush
1:3 done
  may 2 be evicted
evicted 2
  1:4 note for 2: 
1:4 done
",
    )
}

#[test]
fn a_write_is_done_when_all_have_it_and_places_are_used_in_turn() {
    check(
        open(),
        "
write 0+2 x
  1:3 write 0+2 x
  2:3 write 0+2 x
write 1+1 y
read 1+1
read 4+1
  1:4 read 4+1
1:3 done
2:3 done
  operation 1 is done
  1:5 write 1+1 y
  2:5 write 1+1 y
2:5 done
1:5 done
  operation 2 is done
  2:6 read 1+1
2:6 data x
  operation 3 is done: x
flush
  1:7 flush
  2:7 flush
2:7 done
1:7 done
  operation 5 is done
read 7+2
  operation 6: outside of the volume
",
    );
}

#[test]
fn a_snapshot_is_between_two_operations_and_costs_no_member_its_place() {
    check(
        open(),
        "
write 0+2 x
  1:3 write 0+2 x
  2:3 write 0+2 x
snapshot 7
write 4+2 y
1:3 done
2:3 done
  operation 1 is done
  1:4 snapshot 7
  2:4 snapshot 7
1:4 done
2:4 full
  operation 2: no replica could do it
  1:5 write 4+2 y
  2:5 write 4+2 y
snapshot 7
-2
  1:6 flush
1:5 done
1:6 done
  may 2 be evicted
evicted 2
  1:7 note for 2: 0,2
1:7 done
  operation 3 is done
  1:8 snapshot 7
1:8 done
  operation 4: taken by 1
  operation 4 is done
",
    );
}

/// One that comes back while it is taken has it if it was asked, and one that goes away then has it if it said so.
#[test]
fn a_snapshot_is_where_it_was_taken_whoever_is_in_sync_by_then() {
    let out = "
snapshot 7
  1:3 snapshot 7
  2:3 snapshot 7
2:3 done
-2
  1:4 flush
1:4 done
  may 2 be evicted
evicted 2
  1:5 note for 2: 
1:5 done
1:3 done
  operation 1: taken by 1,2
  operation 1 is done
";
    let talk = check(open(), out);
    let back = "
+2
  2:6 fence to join
2:6 fenced
  1:7 what did 2 miss
1:7 missed 0
  1:8 copy from 0+2
1:8 data x
  2:9 copy to 0+2 x
snapshot 8
2:9 done
  2:10 flush, and it is whole
  1:11 snapshot 8
  2:11 snapshot 8
";
    check(talk, back);
}

/// The second one has done two flushes, and is sure to have noted the first; it is evicted, and comes back.
fn comes_back() -> Talk {
    check(
        open(),
        "
write 0+2 x
  1:3 write 0+2 x
  2:3 write 0+2 x
1:3 done
2:3 done
  operation 1 is done
flush
  1:4 flush
  2:4 flush
1:4 done
2:4 done
  operation 2 is done
write 2+2 y
  1:5 write 2+2 y
  2:5 write 2+2 y
1:5 done
2:5 done
  operation 3 is done
flush
  1:6 flush
  2:6 flush
1:6 done
2:6 done
  operation 4 is done
-2
  1:7 flush
1:7 done
  may 2 be evicted
evicted 2
  1:8 note for 2: 1
1:8 done
+2
  2:9 fence to join
",
    )
}

#[test]
fn one_that_comes_back_with_what_it_had_is_given_what_it_missed() {
    let missed = "
2:9 fenced flushed=1:4
  1:10 what did 2 miss
1:10 missed 1
  1:11 copy from 2+2
";
    check(comes_back(), missed);
}

/// What the first flush settled is in nobody's notes.
#[test]
fn one_that_comes_back_with_less_is_given_everything() {
    for (epoch, flush) in [(1, 3), (0, 90)] {
        let all = format!("2:9 fenced flushed={epoch}:{flush}\n  1:10 copy from 0+2\n  1:11 copy from 2+2\n");
        check(comes_back(), &all);
    }
}

#[test]
fn once_nobody_writes_everything_is_settled_and_struck() {
    check(
        open(),
        "
write 0+2 x
  1:3 write 0+2 x
  2:3 write 0+2 x
1:3 done
2:3 done
  operation 1 is done
wait 1
  1:4 flush
  2:4 flush
1:4 done
2:4 done
  1:5 flush
  2:5 flush
1:5 done
2:5 done
wait 1
write 0+2 y
  1:6 write 0+2 y
  2:6 write 0+2 y
wait 1
1:6 done
2:6 done
  operation 2 is done
  1:7 flush
  2:7 flush
",
    );
}

#[test]
fn what_an_earlier_head_left_unequal_is_made_equal_before_it_is_read() {
    check(
        Talk::of(&[1, 2]),
        "
read 2+1
flush
+1
  1:1 fence
1:1 fenced dirty=1 lossy
+2
  2:2 fence
2:2 fenced dirty=1
  2:3 copy from 2+2
2:3 data z
  1:4 copy to 2+2 z
1:4 done
  1:5 flush
  2:5 flush
  1:6 read 2+1
1:6 data z
  operation 1 is done: z
",
    );
}

#[test]
fn few_are_made_equal_at_a_time_and_first_what_somebody_waits_for() {
    check(
        Talk::of(&[1, 2]),
        "
+1
  1:1 fence
1:1 fenced dirty=0,1,2,3
+2
  2:2 fence
2:2 fenced
  1:3 copy from 0+2
  1:4 copy from 2+2
read 6+1
1:3 data a
  2:5 copy to 0+2 a
2:5 done
  1:6 copy from 6+2
  1:7 flush
  2:7 flush
",
    );
}

#[test]
fn nothing_is_acknowledged_without_a_member_that_is_not_out() {
    check(
        open(),
        "
write 0+2 x
  1:3 write 0+2 x
  2:3 write 0+2 x
2:3 done
-1
  2:4 flush
write 4+2 y
  2:5 write 4+2 y
2:5 done
2:4 done
  may 1 be evicted
doubt
  may 1 be evicted
evicted 1
  2:6 note for 1: 0,2
2:6 done
  operation 1 is done
  operation 2 is done
",
    );
}

#[test]
fn the_last_one_is_given_its_time_again_when_it_is_back() {
    let record = arbiter::claim(&arbiter::found([Member(1)]), Session(1));
    let mut talk = Talk::begin(settings(), record);
    for line in ["+1", "1:1 fenced"] {
        talk.line(line);
    }
    check(
        talk,
        "
write 0+2 x
  1:2 write 0+2 x
-1
wait 20
+1
  1:3 fence
1:3 fenced
  1:2 write 0+2 x
wait 4
1:2 done
  operation 1 is done
  1:4 flush
",
    );
}

#[test]
fn who_comes_back_gets_what_it_missed_and_what_is_written_meanwhile() {
    let talk = check(
        alone(),
        "
+2
  2:5 fence to join
2:5 fenced dirty=3
  1:6 what did 2 miss
write 0+1 a
  1:7 write 0+1 a
  2:7 write 0+1 a
1:7 done
  operation 1 is done
1:6 missed 0
  1:8 copy from 6+2
  1:9 copy from 0+2
1:8 data b
  2:10 copy to 6+2 b
2:10 done
1:9 data c
  2:11 copy to 0+2 c
2:11 done
2:7 done
  2:12 flush, and it is whole
write 4+1 d
  1:13 write 4+1 d
  2:13 write 4+1 d
1:13 done
2:12 done
  may 2 be added
doubt
  may 2 be added
2:13 done
  operation 2 is done
added 2
  1:14 no more notes for 2
",
    );
    assert_eq!(talk.head.record().in_sync.len(), 2);
}

#[test]
fn who_comes_back_begins_anew_when_it_has_a_write_that_failed() {
    check(
        alone(),
        "
+2
  2:5 fence to join
2:5 fenced
  1:6 what did 2 miss
write 0+1 a
  1:7 write 0+1 a
  2:7 write 0+1 a
2:7 done
1:7 full
  hang up on 2
  operation 1: no replica could do it
+2
  2:8 fence to join
2:8 fenced dirty=0
  1:9 what did 2 miss
1:9 missed 3
  1:10 copy from 0+2
  1:11 copy from 6+2
",
    );
}

#[test]
fn a_new_replica_gets_everything() {
    let mut talk = Talk::of(&[1]);
    talk.record = arbiter::with(&talk.record, Member(2));
    let record = talk.record.clone();
    let mut talk = check(talk, "\n+1\n  1:1 fence\n1:1 fenced\n");
    assert_eq!(talk.happens(Event::Changed(record)), "");
    check(
        talk,
        "
+2
  2:2 fence to join
2:2 fenced blank
  1:3 copy from 0+2
  1:4 copy from 2+2
",
    );
}

#[test]
fn what_is_rotten_is_read_elsewhere_and_mended() {
    check(
        open(),
        "
read 0+1
  1:3 read 0+1
1:3 rotten
  2:4 read 0+1
2:4 data x
  operation 1 is done: x
  2:5 copy from 0+2
2:5 data x
  1:6 copy to 0+2 x
1:6 done
",
    );
}

#[test]
fn what_a_member_says_to_be_rotten_is_mended_under_its_lock_so_much_at_a_time() {
    let talk = check(
        open(),
        "
write 2+1 x
  1:3 write 2+1 x
  2:3 write 2+1 x
1 has-rot 0,1,3,9
  2:4 copy from 0+2
1:3 done
2:4 data a
  1:5 copy to 0+2 a
2:3 done
  operation 1 is done
  2:6 copy from 2+2
flush
1:5 done
2:6 data b
  1:7 copy to 2+2 b
1:7 done
  1:8 flush
  2:8 flush
  2:9 copy from 6+2
2:9 hole
  1:10 copy to 6+2 Hole
1:10 done
",
    );
    assert_eq!((talk.head.mended().extents, talk.head.mended().lost, talk.head.is_mending()), (3, 0, false));
}

#[test]
fn what_nobody_has_whole_is_left_as_it_is_and_told() {
    let mut talk = check(
        open(),
        "
1 has-rot 0
  2:3 copy from 0+2
2:3 rotten
2 has-rot 0
  1:4 copy from 0+2
1:4 rotten
read 0+1
  1:5 read 0+1
1:5 rotten
  2:6 read 0+1
2:6 rotten
  operation 1: no replica could do it
  2:7 copy from 0+2
2:7 rotten
",
    );
    assert_eq!((talk.head.mended().extents, talk.head.mended().lost), (0, 1));
    talk = check(
        talk,
        "
write 0+2 n
  1:8 write 0+2 n
  2:8 write 0+2 n
1:8 done
2:8 done
  operation 2 is done
",
    );
    assert_eq!(talk.head.mended().lost, 0, "somebody wrote over it");
    let alone = check(
        Talk::of(&[1]),
        "
+1
  1:1 fence
1:1 fenced
1 has-rot 2
",
    );
    assert_eq!((alone.head.mended().extents, alone.head.mended().lost, alone.head.is_mending()), (0, 1, false));
}

#[test]
fn what_one_that_joins_says_to_be_rotten_waits_until_it_is_in_and_goes_with_it() {
    let talk = check(
        alone(),
        "
+2
  2:5 fence to join
2 has-rot 1
2:5 fenced
  1:6 what did 2 miss
1:6 missed 0
  1:7 copy from 0+2
1:7 hole
  2:8 copy to 0+2 Hole
2:8 done
  2:9 flush, and it is whole
2:9 done
  may 2 be added
added 2
  1:10 no more notes for 2
  1:11 copy from 2+2
1:11 data x
  2:12 copy to 2+2 x
2 has-rot 0,2
2:12 done
  1:13 copy from 0+2
  1:14 copy from 4+2
-2
  1:15 flush
",
    );
    assert!(!talk.head.is_mending(), "it says it again when it is back");
}

#[test]
fn a_replica_tells_whoever_it_obeys_and_understands_it() {
    let geometry = Geometry { size: 8, extent: 2 };
    let standing = Standing { lineage: Lineage(1), ..Standing::default() };
    let mut replica = Replica::new(geometry, standing, Default::default(), false, Rules::default());
    let fence = |epoch, dialect| Request::<char> {
        writer: Writer { epoch: VolumeEpoch(epoch), session: Session(epoch) },
        lineage: Lineage(1),
        sequence: Sequence(epoch),
        settled: Sequence(0),
        reconciled: true,
        ask: Ask::Fence { part: Part::Member { adopts: None }, dialect, out: None },
    };
    replica.found_rotten([Extent(1), Extent(3), Extent(4)].into_iter());
    assert_eq!(replica.tell_rotten(Conn(1)), [], "nobody is obeyed");
    replica.admit(Conn(1), fence(1, Dialect::First));
    assert_eq!(replica.tell_rotten(Conn(1)), [], "it would not understand");
    replica.admit(Conn(2), fence(2, Dialect::Second));
    assert_eq!(replica.tell_rotten(Conn(1)), [], "somebody else is obeyed");
    assert_eq!(replica.tell_rotten(Conn(2)), [Extent(1), Extent(3)], "what is not in the volume is nothing");
    assert_eq!(replica.tell_rotten(Conn(2)), []);
    let write = |at, length| {
        let span = Span { at, length };
        Request { ask: Ask::Write { span, content: Content::Data('x'), durable: true, copy: true }, ..fence(2, Dialect::Second) }
    };
    replica.admit(Conn(2), write(2, 2));
    replica.admit(Conn(2), write(6, 1));
    replica.admit(Conn(3), fence(3, Dialect::Second));
    assert_eq!(replica.tell_rotten(Conn(3)), [Extent(3)], "one was written anew, of the other one only a part");
    let copy = |copy| Request { ask: Ask::Read { span: Span { at: 0, length: 2 }, copy }, ..fence(3, Dialect::Second) };
    let hole = |verdict| match verdict {
        Verdict::Do(Job::Read { hole, .. }) => hole,
        other => panic!("{other:?}"),
    };
    assert_eq!(hole(replica.admit(Conn(3), copy(true))), Hole::Word);
    assert_eq!(hole(replica.admit(Conn(3), copy(false))), Hole::Zeros, "a client reads bytes");
    replica.admit(Conn(4), fence(4, Dialect::First));
    assert_eq!(hole(replica.admit(Conn(4), Request { writer: fence(4, Dialect::First).writer, ..copy(true) })), Hole::Zeros);
}

#[test]
fn one_that_takes_too_long_is_given_up_and_a_deposed_head_ends() {
    let talk = check(
        open(),
        "
write 0+2 x
  1:3 write 0+2 x
  2:3 write 0+2 x
1:3 done
wait 4
wait 1
  hang up on 2
  1:4 flush
1:4 done
  may 2 be evicted
claimed
  operation 1: this head serves the volume no more
  over: epoch 2 was claimed by somebody else
read 0+1
  operation 2: this head serves the volume no more
",
    );
    assert_eq!(talk.head.end(), Some(End::Deposed { found: VolumeEpoch(2) }));
}

#[test]
fn the_last_one_comes_back_unless_it_lost_what_was_promised() {
    let alone = || check(Talk::of(&[1]), "\n+1\n  1:1 fence\n1:1 fenced\nflush\n  1:2 flush\n1:2 done\n  operation 1 is done\n");
    check(
        alone(),
        "
write 0+2 x
  1:3 write 0+2 x
-1
read 4+1
+1
  1:5 fence
1:5 fenced lossy
  1:3 write 0+2 x
  1:6 read 4+1
1:3 done
  operation 2 is done
",
    );
    check(
        alone(),
        "
write 0+2 x
  1:3 write 0+2 x
1:3 done
  operation 2 is done
-1
+1
  1:4 fence
1:4 fenced lossy
  over: the only replica left, #1, was restarted and may have lost what was not flushed
",
    );
}

/// To those who begin with a head it is as after a loss of power. Those who were served by the one before would read what they had overwritten.
#[test]
fn whoever_goes_on_for_clients_does_not_do_so_without_what_was_acknowledged_to_them() {
    let lost = "over: the only replica left, #1, was restarted and may have lost what was not flushed";
    check(Talk::served(&[1]), &format!("\n+1\n  1:1 fence\n1:1 fenced lossy dirty=0\n  {lost}\n"));
    check(
        Talk::of(&[1]),
        "\n+1\n  1:1 fence\n1:1 fenced lossy dirty=0\n  1:2 flush\nread 0+2\n  1:3 read 0+2\n1:3 data a\n  operation 1 is done: a\n",
    );
    check(
        Talk::served(&[1]),
        "\n+1\n  1:1 fence\n1:1 fenced dirty=0\n  1:2 flush\nread 0+2\n  1:3 read 0+2\n1:3 data a\n  operation 1 is done: a\n",
    );
    // The other one has it, or does not come in time.
    check(
        Talk::served(&[1, 2]),
        "
+1
  1:1 fence
1:1 fenced lossy dirty=0
+2
  2:2 fence
2:2 fenced dirty=0
  2:3 copy from 0+2
2:3 data a
  1:4 copy to 0+2 a
",
    );
    check(Talk::served(&[1, 2]), &format!("\n+1\n  1:1 fence\n1:1 fenced lossy dirty=0\nwait 1\n  {lost}\n"));
}

#[test]
fn a_full_disk_is_evicted_and_the_last_full_one_says_so() {
    check(
        open(),
        "
write 0+2 x
  1:3 write 0+2 x
  2:3 write 0+2 x
1:3 full
  hang up on 1
  2:4 flush
2:3 done
2:4 done
  may 1 be evicted
evicted 1
  2:5 note for 1: 0
2:5 done
  operation 1 is done
+1
wait 1
  1:6 fence to join
  2:7 flush
-1
write 0+2 y
  2:8 write 0+2 y
2:8 full
  operation 2: no replica could do it
",
    );
}

#[test]
fn an_answer_of_another_kind_than_asked_ends_the_connection() {
    check(
        open(),
        "
read 0+1
  1:3 read 0+1
1:3 done
  hang up on 1
  2:4 read 0+1
  2:5 flush
2:4 data x
  operation 1 is done: x
2:5 done
  may 1 be evicted
",
    );
}

#[test]
fn one_that_is_far_slower_than_the_other_is_evicted_and_joins_after_a_while() {
    let mut talk = open();
    // At first for less than it takes: the one is a second behind the other, and what the head asks for by itself is done at once.
    for _ in 0..3 {
        let asked = talk.line("write 0+2 x");
        let (quick, slow) = asked.trim().split_once('\n').unwrap();
        let word = |line: &str| line.trim().split(' ').next().unwrap().to_owned();
        talk.line(&format!("{} done", word(quick)));
        assert_eq!(talk.line("wait 1"), "", "too soon");
        let mut more = talk.line(&format!("{} done", word(slow)));
        while let Some(at) = more.lines().find(|line| line.ends_with(" flush")).map(word) {
            let rest: Vec<&str> = more.lines().filter(|line| word(line) != at).collect();
            let rest = rest.join("\n");
            more = rest + "\n" + &talk.line(&format!("{at} done"));
        }
    }
    let talk = check(
        talk,
        "
write 0+2 x
  1:12 write 0+2 x
  2:12 write 0+2 x
1:12 done
wait 1
  hang up on 2
  1:13 flush
1:13 done
  may 2 be evicted, for it is slow
slow 2
  1:14 note for 2: 0
1:14 done
  operation 4 is done
  1:15 flush
1:15 done
  1:16 flush
1:16 done
+2
wait 9
wait 1
  2:17 fence to join
",
    );
    assert!(talk.head.record().out.contains_key(&Member(2)));
}
