//! Properties: any bytes in any pieces, and the crate's answers against slow and obvious ones.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod peer;

use pan_nbd::{BlockSizes, Listing, Piece, State, Stretch};
use peer::{AnyTicket, Event, Server, client, export};
use proptest::prelude::*;
use proptest::sample::{Index, select};

const SIZE: u64 = 64 << 10;

fn server() -> Server {
    let mut other = export("other", SIZE);
    other.blocks = BlockSizes::new(512, 4096, 64 << 10).unwrap();
    other.access = pan_nbd::Access::ReadOnly;
    Server::new(vec![export("disk", SIZE), other], Listing::Shown)
}

/// Everything that comes of a client's bytes, fed in the pieces that `cuts` makes of them.
fn events(bytes: &[u8], cuts: &[Index]) -> Vec<Event> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
    at.sort_unstable();
    let mut server = server();
    at.windows(2).for_each(|pair| server.feed(&bytes[pair[0]..pair[1]]));
    server.events
}

fn events_byte_by_byte(bytes: &[u8]) -> Vec<Event> {
    let mut server = server();
    bytes.iter().for_each(|byte| server.feed(&[*byte]));
    server.events
}

fn options() -> impl Strategy<Value = Vec<u8>> {
    let names = || select(vec!["disk", "other", "", "none"]);
    prop_oneof![
        Just(client::option(8, &[])),
        Just(client::option(3, &[])),
        Just(client::option(5, &[])),
        (names(), prop::collection::vec(0_u16..5, 0..4)).prop_map(|(name, asked)| client::go(6, name, &asked)),
        (9_u32..11, names(), prop::collection::vec(select(vec!["base:allocation", "base:", "x-a:b", "bad"]), 0..3))
            .prop_map(|(option, name, queries)| client::context(option, name, &queries)),
        (any::<u32>(), prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(option, data)| client::option(option, &data)),
    ]
}

fn choice() -> impl Strategy<Value = Vec<u8>> {
    let names = || select(vec!["disk", "other"]);
    prop_oneof![names().prop_map(|name| client::option(1, name.as_bytes())), names().prop_map(|name| client::go(7, name, &[3]))]
}

fn numbers() -> impl Strategy<Value = (u16, u16, u64, u32)> {
    let flags = prop_oneof![3 => Just(0), 2 => select(vec![1_u16, 2, 4, 8, 16, 18]), 1 => any::<u16>()];
    let offset = prop_oneof![4 => (0..=SIZE / 512).prop_map(|block| block * 512), 1 => 0..SIZE + 100, 1 => any::<u64>()];
    let length = prop_oneof![4 => (0..=6_u32).prop_map(|blocks| blocks * 512), 1 => 0..70_000_u32, 1 => any::<u32>()];
    (flags, 0_u16..9, offset, length)
}

fn requests() -> impl Strategy<Value = Vec<u8>> {
    (numbers(), any::<u64>()).prop_map(|((flags, command, offset, length), cookie)| {
        let mut bytes = client::request(flags, command, cookie, offset, length);
        if command == 1 {
            // A payload that is longer than this one is the mutation's business.
            bytes.extend((0..length.min(80_000)).map(|at| (at % 251) as u8));
        }
        bytes
    })
}

/// A client that makes sense, mostly.
fn dialogues() -> impl Strategy<Value = Vec<u8>> {
    (prop::collection::vec(options(), 0..6), choice(), prop::collection::vec(requests(), 0..8)).prop_map(|(options, choice, requests)| {
        let parts = std::iter::once(client::HELLO.to_vec()).chain(options).chain([choice]).chain(requests);
        parts.flatten().collect()
    })
}

#[derive(Debug, Clone)]
enum Mutation {
    Flip(Index, u8),
    Cut(Index),
    Insert(Index, Vec<u8>),
    Remove(Index),
}

fn mutations() -> impl Strategy<Value = Mutation> {
    // The first few hundred bytes are the handshake and heads: a mutation of payload changes nothing.
    prop_oneof![
        (any::<Index>(), 1..=255_u8).prop_map(|(at, bits)| Mutation::Flip(at, bits)),
        any::<Index>().prop_map(Mutation::Cut),
        (any::<Index>(), prop::collection::vec(any::<u8>(), 1..20)).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        any::<Index>().prop_map(Mutation::Remove),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutation: &Mutation) {
    let place = |at: &Index, length: usize| at.index(length.min(400));
    if bytes.is_empty() {
        return;
    }
    match mutation {
        Mutation::Flip(at, bits) => {
            let at = place(at, bytes.len());
            bytes[at] ^= bits;
        }
        Mutation::Cut(at) => bytes.truncate(at.index(bytes.len())),
        Mutation::Insert(at, new) => {
            let at = place(at, bytes.len());
            bytes.splice(at..at, new.iter().copied());
        }
        Mutation::Remove(at) => drop(bytes.remove(place(at, bytes.len()))),
    }
}

fn cuts() -> impl Strategy<Value = Vec<Index>> {
    prop::collection::vec(any::<Index>(), 0..20)
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_come_to_the_same(bytes in prop::collection::vec(any::<u8>(), 0..300), hello in any::<bool>(), cuts in cuts()) {
        let bytes = if hello { [&client::HELLO[..], &bytes].concat() } else { bytes };
        let whole = events(&bytes, &[]);
        prop_assert_eq!(&events(&bytes, &cuts), &whole);
        prop_assert_eq!(&events_byte_by_byte(&bytes), &whole);
    }

    #[test]
    fn mutated_dialogues_in_any_pieces_come_to_the_same(
        mut bytes in dialogues(),
        mutations in prop::collection::vec(mutations(), 0..4),
        cuts in cuts(),
    ) {
        mutations.iter().for_each(|mutation| mutate(&mut bytes, mutation));
        let whole = events(&bytes, &[]);
        prop_assert_eq!(&events(&bytes, &cuts), &whole);
        if bytes.len() < 4096 {
            prop_assert_eq!(&events_byte_by_byte(&bytes), &whole);
        }
    }

    #[test]
    fn every_request_is_either_asked_or_refused_as_the_specification_says(numbers in numbers(), context in any::<bool>(), cookie in any::<u64>()) {
        let (flags, command, offset, length) = numbers;
        if command == 2 {
            // Leaving is no request.
            return Ok(());
        }
        let mut server = server();
        server.feed(&client::HELLO);
        server.feed(&client::option(8, &[]));
        if context {
            server.feed(&client::context(10, "disk", &["base:allocation"]));
        }
        server.feed(&client::go(7, "disk", &[]));
        server.events.clear();
        server.feed(&client::request(flags, command, cookie, offset, length));
        let expected = reference(flags, command, offset, length, context);
        if command == 1 && expected.is_some() {
            // Nobody is told before the payload has passed, however long it says it is.
            prop_assert_eq!(server.events.len(), usize::from(length == 0));
            if length > 1 << 20 {
                return Ok(());
            }
            server.feed(&vec![0; length as usize]);
        }
        prop_assert_eq!(server.events.len(), 1);
        match (&server.events[0], expected) {
            (Event::Asked(_), None) => {}
            (Event::Sent(bytes), Some(code)) => {
                prop_assert_eq!(&bytes[8..16], &cookie.to_be_bytes());
                prop_assert_eq!(&bytes[20..24], &u32::to_be_bytes(code));
            }
            (found, expected) => prop_assert!(false, "{found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn what_was_read_arrives_whatever_its_pieces(
        lengths in prop::collection::vec((any::<bool>(), 1_u32..300), 1..8),
        structured in any::<bool>(),
        df in any::<bool>(),
        offset in 0_u64..100,
    ) {
        let pieces: Vec<Piece> = lengths.iter().map(|(data, length)| if *data { Piece::Data(*length) } else { Piece::Hole(*length) }).collect();
        let total: u32 = lengths.iter().map(|(_, length)| length).sum();
        let data: Vec<u8> = lengths.iter().flat_map(|(data, length)| vec![u8::from(*data) * 7; *length as usize]).collect();
        let mut server = server();
        server.feed(&client::HELLO);
        if structured {
            server.feed(&client::option(8, &[]));
        }
        server.feed(&client::go(7, "disk", &[]));
        server.feed(&client::request(if df && structured { 4 } else { 0 }, 0, 77, offset, total));
        let Some(Some(AnyTicket::Read(ticket))) = server.tickets.pop() else { panic!("no read") };
        let reply = ticket.pieces(&pieces);
        let bytes: Vec<u8> = reply.slices(&data).flatten().copied().collect();
        let (read, chunks) = if structured { reassemble(&bytes, offset, total) } else { (bytes[16..].to_vec(), 1) };
        prop_assert_eq!(read, data);
        prop_assert_eq!(chunks, if structured && !df { pieces.len() } else { 1 });
    }

    #[test]
    fn stretches_say_what_is_there(
        stretches in prop::collection::vec((0_u32..50, select(vec![State::Data, State::Zeroes, State::Hole])), 0..12),
        length in 1_u32..200,
        one in any::<bool>(),
    ) {
        let stretches: Vec<Stretch> = stretches.into_iter().map(|(length, state)| Stretch { length, state }).collect();
        let bits = |state| match state { State::Data => 0_u32, State::Zeroes => 2, State::Hole => 3 };
        let mut truth: Vec<u32> = stretches.iter().flat_map(|stretch| vec![bits(stretch.state); stretch.length as usize]).collect();
        truth.truncate(length as usize);
        if truth.is_empty() {
            truth = vec![0; length as usize];
        }
        let mut server = server();
        server.feed(&client::HELLO);
        server.feed(&client::option(8, &[]));
        server.feed(&client::context(10, "disk", &["base:allocation"]));
        server.feed(&client::go(7, "disk", &[]));
        server.feed(&client::request(if one { 8 } else { 0 }, 7, 1, 0, length));
        let Some(Some(AnyTicket::Status(ticket))) = server.tickets.pop() else { panic!("no status") };
        let bytes: Vec<u8> = ticket.stretches(&stretches).slices(&[]).flatten().copied().collect();
        let words: Vec<u32> = bytes[20..].chunks_exact(4).map(|word| u32::from_be_bytes(word.try_into().unwrap())).collect();
        let told: Vec<u32> = words[1..].chunks_exact(2).flat_map(|pair| vec![pair[1]; pair[0] as usize]).collect();
        prop_assert!(truth.starts_with(&told), "{told:?} is not how {truth:?} begins");
        prop_assert!(words[1..].chunks_exact(4).all(|pair| pair[1] != pair[3]), "neighbours of one state");
        if one {
            prop_assert_eq!(words.len(), 3);
        } else {
            prop_assert_eq!(told.len(), truth.len());
        }
    }
}

/// What the specification says about a request to an export of `SIZE` that can be written and has blocks of any size:
/// the error's number, if it is one.
fn reference(flags: u16, command: u16, offset: u64, length: u32, context: bool) -> Option<u32> {
    const EINVAL: Option<u32> = Some(22);
    let allowed = match command {
        0 => 0b00101,
        1 | 3 | 4 | 5 => 0b00001,
        6 => 0b10011,
        7 => 0b01001,
        _ => return EINVAL,
    };
    if flags & !allowed != 0 || (command == 7 && !context) {
        return EINVAL;
    }
    if command == 3 {
        return if offset == 0 && length == 0 { None } else { EINVAL };
    }
    if length == 0 {
        return EINVAL;
    }
    if command < 2 && length > 32 << 20 {
        return if flags & 4 != 0 { Some(75) } else { EINVAL };
    }
    if u128::from(offset) + u128::from(length) > u128::from(SIZE) {
        return if command == 1 || command == 6 { Some(28) } else { EINVAL };
    }
    None
}

/// A structured reply as a client reads it: the data, and how many chunks it came in.
fn reassemble(mut bytes: &[u8], offset: u64, length: u32) -> (Vec<u8>, usize) {
    let (mut data, mut chunks) = (vec![0xff; length as usize], 0);
    while !bytes.is_empty() {
        let (head, rest) = bytes.split_at(20);
        let payload = u32::from_be_bytes(head[16..20].try_into().unwrap()) as usize;
        let (payload, rest) = rest.split_at(payload);
        let at = usize::try_from(u64::from_be_bytes(payload[..8].try_into().unwrap()) - offset).unwrap();
        match head[7] {
            1 => data[at..at + payload.len() - 8].copy_from_slice(&payload[8..]),
            2 => data[at..at + u32::from_be_bytes(payload[8..].try_into().unwrap()) as usize].fill(0),
            other => panic!("chunk of type {other}"),
        }
        chunks += 1;
        assert_eq!(head[5] & 1 == 1, rest.is_empty(), "the last chunk, and no other, is marked");
        bytes = rest;
    }
    (data, chunks)
}
