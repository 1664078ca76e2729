//! What heartbeats look like, and what is refused.

use std::time::Duration;

use pan_model::host::{Fabric, Role};
use pan_model::{Admission, ByteSize, HostName};

use super::codec::{GATES, LEASES, MAGIC};
use crate::profile::{Gate, Tenure};
use crate::term::Term;

use super::*;
use proptest::prelude::*;

const PAN_KEY: Key = [7; 32];

fn frame(name: &str) -> Frame {
    Frame {
        host: HostName::new(name).unwrap(),
        roles: [Role::Node, Role::Director].into_iter().collect(),
        fabric: Fabric::B,
        boot: BootId(0x0123_4567_89ab_cdef),
        sequence: 42,
        admission: Admission(3),
        term: Term(5),
        agent_age: Duration::from_millis(17),
        acknowledged: [Some(Duration::from_millis(9)), None],
        lag: Duration::from_micros(120),
        load: Load { cpu: Permille(250), memory: ByteSize(1 << 30), pressure: None },
        lease: LeaseState::Held,
        gate: GateState::Present(Gate::Absolute),
        period: None,
        lease_length: None,
    }
}

fn key_of(name: &str) -> Option<Key> {
    Some(host_key(&PAN_KEY, &HostName::new(name).ok()?))
}

fn encode(frame: &Frame) -> Vec<u8> {
    let mut out = vec![0; FRAME_BYTES_MAX];
    let length = frame.encode(&host_key(&PAN_KEY, &frame.host), &mut out);
    out.truncate(length);
    out
}

/// The bytes of release 0.1; a change of any of them needs a new version.
const FIXTURE: &str = "504e4c42\
    0002006b\
    0123456789abcdef\
    000000000000002a\
    0000000000000003\
    0000000000000005\
    0000000040000000\
    00000011\
    00000009ffffffff\
    00000078\
    00faffff\
    0a010101\
    026e31\
    bd8bbbea32c067c02b103fe2d67e39f1055296bfa568598e893a29a5d166d06a";

#[test]
fn the_layout_is_the_documented_one() {
    let bytes = encode(&frame("n1"));
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, FIXTURE);
}

#[test]
fn a_period_makes_it_version_3_and_comes_before_the_name() {
    let bytes = encode(&Frame { period: Some(Duration::from_micros(35_300)), ..frame("n1") });
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let old = &FIXTURE[16..144];
    assert!(hex.starts_with(&format!("504e4c420003006f{old}000089e4026e31")), "{hex}");
    let never = encode(&Frame { period: Some(Duration::ZERO), ..frame("n1") });
    assert_eq!(Frame::decode(&never, key_of), Err(FrameError::Malformed { what: "a period" }));
}

#[test]
fn the_length_of_a_lease_makes_it_version_4_and_is_no_longer_than_any() {
    let of = |period, length| Frame { period, lease_length: Some(length), ..frame("n1") };
    let hex = |frame: &Frame| encode(frame).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let old = &FIXTURE[16..144];
    let found = hex(&of(None, Duration::from_micros(239_001)));
    assert!(found.starts_with(&format!("504e4c4200040073{old}00000000000000f0026e31")), "{found}: rounded up");
    let found = hex(&of(Some(Duration::from_micros(35_300)), Duration::from_millis(240)));
    assert!(found.starts_with(&format!("504e4c4200040073{old}000089e4000000f0026e31")), "{found}");
    for wrong in [Duration::ZERO, Duration::from_millis(3201)] {
        let refused = Frame::decode(&encode(&of(None, wrong)), key_of);
        assert_eq!(refused, Err(FrameError::Malformed { what: "a lease's length" }));
    }
    // What is not said is taken for the longest.
    assert_eq!(of(None, Duration::from_millis(240)).tenure().lease, Duration::from_millis(240));
    assert_eq!(frame("n1").tenure(), Tenure { gate: Gate::Absolute, ..Tenure::LONGEST });
    assert_eq!(Frame { gate: GateState::None, ..frame("n1") }.tenure(), Tenure::LONGEST);
}

#[test]
fn another_hosts_key_does_not_open_it() {
    let mut bytes = vec![0; FRAME_BYTES_MAX];
    let length = frame("n1").encode(&key_of("n2").unwrap(), &mut bytes);
    let refused = Frame::decode(&bytes[..length], key_of);
    assert_eq!(refused, Err(FrameError::BadMac { host: "n1".to_owned() }));
    let refused = Frame::decode(&bytes[..length], |_| None::<Key>);
    assert_eq!(refused, Err(FrameError::UnknownHost { host: "n1".to_owned() }));
}

#[test]
fn another_version_is_named() {
    let mut bytes = encode(&frame("n1"));
    bytes[5] = 9;
    assert_eq!(Frame::decode(&bytes, key_of), Err(FrameError::Version { found: 9, known: VERSION }));
    bytes[0] = b'X';
    assert_eq!(Frame::decode(&bytes, key_of), Err(FrameError::BadMagic));
}

#[test]
fn roles_are_a_set() {
    let roles: Roles = [Role::Node, Role::Storage, Role::Node].into_iter().collect();
    let found: Vec<Role> = Role::ALL.into_iter().filter(|role| roles.has(*role)).collect();
    assert_eq!(found, [Role::Node, Role::Storage]);
}

proptest! {
    #[test]
    fn what_is_sent_is_what_is_read(
        name in "[a-z]([a-z0-9-]{0,61}[a-z0-9])?", boot: u64, sequence: u64, admission: u64, term: u64,
        age in 0..u32::MAX, a: Option<u16>, b: Option<u16>, lag in 0..u32::MAX, cpu: u16, memory: u64, pressure in prop::option::of(0..u16::MAX),
        roles in 0_u8..16, on_a: bool, lease in prop::sample::select(&LEASES), gate in prop::sample::select(&GATES),
        period in prop::option::of(1..u32::MAX), lease_length in prop::option::of(1..=3200_u64),
    ) {
        let sent = Frame {
            host: HostName::new(name).unwrap(),
            roles: Roles(roles),
            fabric: if on_a { Fabric::A } else { Fabric::B },
            boot: BootId(boot),
            sequence,
            admission: Admission(admission),
            term: Term(term),
            agent_age: Duration::from_millis(age.into()),
            acknowledged: [a, b].map(|age| age.map(|age| Duration::from_millis(age.into()))),
            lag: Duration::from_micros(lag.into()),
            load: Load { cpu: Permille(cpu), memory: ByteSize(memory), pressure: pressure.map(Permille) },
            lease,
            gate,
            period: period.map(|micros| Duration::from_micros(micros.into())),
            lease_length: lease_length.map(Duration::from_millis),
        };
        prop_assert_eq!(Frame::decode(&encode(&sent), key_of), Ok(sent));
    }

    #[test]
    fn any_changed_bit_is_refused(at: prop::sample::Index, bit in 0_u32..8) {
        let mut bytes = encode(&frame("n1"));
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        prop_assert!(Frame::decode(&bytes, key_of).is_err());
    }

    #[test]
    fn any_other_length_is_refused(length in 0..2 * FRAME_BYTES_MAX) {
        let mut bytes = encode(&frame("n1"));
        prop_assume!(length != bytes.len());
        bytes.resize(length, 0);
        prop_assert!(Frame::decode(&bytes, key_of).is_err());
    }

    #[test]
    fn noise_is_refused_without_a_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200), with_magic: bool,
    ) {
        if with_magic && bytes.len() >= 6 {
            bytes[..4].copy_from_slice(&MAGIC);
            bytes[4..6].copy_from_slice(&VERSION.to_be_bytes());
        }
        prop_assert!(Frame::decode(&bytes, key_of).is_err());
    }
}
