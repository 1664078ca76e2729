//! What the datagrams look like, and what is refused.

use std::time::Duration;

use pan_model::host::Fabric;
use pan_model::{Admission, Epoch, HostName};
use proptest::prelude::*;

use super::*;
use crate::frame::{BootId, Key, host_key, lessor_key};
use crate::term::Term;

const PAN_KEY: Key = [7; 32];

fn host(name: &str) -> HostName {
    HostName::new(name).unwrap()
}

fn ack() -> Ack {
    Ack {
        lessor: host("s1"),
        term: Term(5),
        boot: BootId(0x0123_4567_89ab_cdef),
        sequence: 42,
        fabric: Fabric::B,
        admission: Admission(3),
        verdict: Verdict::Revoked,
    }
}

fn stand_in() -> StandIn {
    let unit = |vni, here| Stood { vni, epoch: Epoch(8), here };
    StandIn { director: host("d2"), boot: BootId(3), sequence: 42, units: vec![unit(100, true), unit(101, false)] }
}

#[test]
fn who_stands_in_is_read_by_the_host_it_goes_to_alone() {
    let key = host_key(&PAN_KEY, &host("n1"));
    let full = StandIn { units: vec![stand_in().units[0]; STOOD_MAX], director: host(&"d".repeat(63)), ..stand_in() };
    for said in [stand_in(), StandIn { units: Vec::new(), ..stand_in() }, full] {
        let mut out = [0; MESSAGE_BYTES_MAX];
        let length = encode_stand_in(&said, &key, &mut out);
        assert_eq!(decode_stand_in(&out[..length], &key.into()), Ok(said));
        let other = host_key(&PAN_KEY, &host("n2"));
        assert_eq!(decode_stand_in(&out[..length], &other.into()), Err(WireError::BadMac));
        assert!(decode_ack(&out[..length], &key.into()).is_err(), "an acknowledgement it is not");
        for cut in 0..length {
            assert!(decode_stand_in(&out[..cut], &key.into()).is_err());
        }
        for at in 0..length {
            let mut bent = out[..length].to_vec();
            bent[at] ^= 1;
            assert!(decode_stand_in(&bent, &key.into()).is_err(), "byte {at}");
        }
    }
}

/// One of each kind.
fn messages() -> Vec<Message> {
    let (us, leader, lessor, nonce, term) = (Duration::from_micros, host("c1"), host("s1"), Nonce(0x77), Term(5));
    vec![
        Message::Revoke(Revoke { leader: leader.clone(), term, nonce, host: host("n1"), through: Admission(3) }),
        Message::Revoked(Revoked {
            lessor: lessor.clone(),
            term,
            nonce,
            host: host("n1"),
            through: Admission(3),
            open: us(270_001),
            heard: us(280_002),
        }),
        Message::Refused(Refused { lessor: lessor.clone(), term, nonce, asked: Term(4) }),
        Message::Ask(Ask { leader: leader.clone(), term, nonce, hosts: vec![host("n1"), host("n2")] }),
        Message::Heard(Heard { lessor, term, nonce, ages: vec![us(1), us(2)] }),
        Message::LeaderBeat(LeaderBeat { leader: leader.clone(), term, sequence: 9 }),
        Message::PreVoteAsk(PreVoteAsk { candidate: leader.clone(), term, nonce }),
        Message::PreVoteSay(PreVoteSay { voter: leader, term, nonce, silent_for: us(150_000), vote: Vote::Yes }),
    ]
}

fn sealed(message: &Message) -> Vec<u8> {
    let mut out = vec![0; MESSAGE_BYTES_MAX];
    let length = encode(message, &lessor_key(&PAN_KEY), &mut out);
    out.truncate(length);
    out
}

fn sealed_ack(ack: &Ack) -> Vec<u8> {
    let mut out = vec![0; ACK_BYTES_MAX];
    let length = encode_ack(ack, &host_key(&PAN_KEY, &host("n1")), &mut out);
    out.truncate(length);
    out
}

fn read(datagram: &[u8]) -> Result<Message, WireError> {
    decode(datagram, &lessor_key(&PAN_KEY).into())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Everything before the hash, as of version 1; a change of any byte needs a new version.
const FIXTURES: [&str; 9] = [
    "504e4c4d0001004e0102733100000000000000050123456789abcdef000000000000002a00000000000000030101",
    "504e4c4d000100470202633100000000000000050000000000000077000000000000000302\
     6e31",
    "504e4c4d000100570a027331000000000000000500000000000000770000000000000003000000000004\
     1eb1000000000004\
     45c2026e31",
    "504e4c4d000100440402733100000000000000050000000000000077\
     0000000000000004",
    "504e4c4d000100430502633100000000000000050000000000000077\
     02026e31026e32",
    "504e4c4d0001004d0602733100000000000000050000000000000077\
     0200000000000000010000000000000002",
    "504e4c4d0001003c0702633100000000000000050000000000000009",
    "504e4c4d0001003c0802633100000000000000050000000000000077",
    "504e4c4d000100450902633100000000000000050000000000000077\
     00000000000249f001",
];

#[test]
fn the_layouts_are_the_documented_ones() {
    let mut found = vec![sealed_ack(&ack())];
    found.extend(messages().iter().map(sealed));
    let found: Vec<String> = found.iter().map(|bytes| hex(&bytes[..bytes.len() - 32])).collect();
    assert_eq!(found, FIXTURES);
}

#[test]
fn what_is_sent_is_what_is_read() {
    for message in messages() {
        assert_eq!(read(&sealed(&message)), Ok(message));
    }
    let key = host_key(&PAN_KEY, &host("n1"));
    assert_eq!(decode_ack(&sealed_ack(&ack()), &key.into()), Ok(ack()));
}

#[test]
fn keys_do_not_open_what_is_not_theirs() {
    assert_eq!(decode_ack(&sealed_ack(&ack()), &host_key(&PAN_KEY, &host("n2")).into()), Err(WireError::BadMac));
    assert_eq!(read(&sealed_ack(&ack())), Err(WireError::BadMac));
    // Under one key, a message still is no acknowledgement.
    let beat = sealed(&messages()[5]);
    assert_eq!(decode_ack(&beat, &lessor_key(&PAN_KEY).into()), Err(WireError::Kind { kind: 7 }));
}

#[test]
fn the_largest_fit() {
    let long = |number: usize| host(&format!("{}{number:02}", "n".repeat(61)));
    let hosts: Vec<HostName> = (0..ASKED_MAX).map(long).collect();
    let ask = Message::Ask(Ask { leader: long(99), term: Term(u64::MAX), nonce: Nonce(0), hosts });
    assert_eq!(read(&sealed(&ask)), Ok(ask));
    let ages = vec![Duration::from_secs(1); ASKED_MAX];
    let heard = Message::Heard(Heard { lessor: long(99), term: Term(u64::MAX), nonce: Nonce(0), ages });
    assert_eq!(read(&sealed(&heard)), Ok(heard));
    let widest = Ack { lessor: long(1), ..ack() };
    assert_eq!(sealed_ack(&widest).len(), ACK_BYTES_MAX);
}

#[test]
fn one_socket_tells_them_apart() {
    assert_eq!(family(&sealed_ack(&ack())), Some(Family::Ack));
    assert!(messages().iter().all(|message| family(&sealed(message)) == Some(Family::Message)));
    assert_eq!(family(b"PNLB00000"), Some(Family::Heartbeat));
    assert_eq!([family(b""), family(b"PNLM"), family(b"NOISEnoise")], [None; 3]);
}

#[test]
fn another_version_is_named() {
    let mut bytes = sealed(&messages()[0]);
    bytes[5] = 9;
    assert_eq!(read(&bytes), Err(WireError::Version { found: 9, known: 1 }));
}

/// Seals `body` rightly, as a program that is wrong would.
fn forge(body: &[u8]) -> Vec<u8> {
    let mut bytes = b"PNLM\0\x01\0\0".to_vec();
    bytes.extend(body);
    let total = u16::try_from(bytes.len() + 32).unwrap();
    bytes[6..8].copy_from_slice(&total.to_be_bytes());
    let mac = blake3::keyed_hash(&lessor_key(&PAN_KEY), &bytes);
    bytes.extend(mac.as_bytes());
    bytes
}

proptest! {
    #[test]
    fn any_changed_bit_is_refused(which in 0..8_usize, at: prop::sample::Index, bit in 0_u32..8) {
        let mut bytes = sealed(&messages()[which]);
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        prop_assert!(read(&bytes).is_err());
    }

    #[test]
    fn any_other_length_is_refused(which in 0..8_usize, length in 0..2 * MESSAGE_BYTES_MAX) {
        let mut bytes = sealed(&messages()[which]);
        prop_assume!(length != bytes.len());
        bytes.resize(length, 0);
        prop_assert!(read(&bytes).is_err());
    }

    #[test]
    fn noise_is_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(read(&bytes).is_err());
        let _ = family(&bytes);
    }

    /// Noise under a right hash: whatever is read was meant, and is written again as it was.
    #[test]
    fn wrong_programs_cause_no_panic(kind in 0..12_u8, name in "[a-z]{0,3}", rest in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut body = vec![kind, u8::try_from(name.len()).unwrap()];
        body.extend(name.as_bytes());
        body.extend(rest);
        let bytes = forge(&body);
        if let Ok(message) = read(&bytes) {
            prop_assert_eq!(&sealed(&message), &bytes);
        }
        let _ = decode_ack(&bytes, &lessor_key(&PAN_KEY).into());
    }
}
