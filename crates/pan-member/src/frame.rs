//! The heartbeat datagram: what a host says of itself, authenticated.
//!
//! ```text
//!  0 magic "PNLB"   4 version u16    6 length u16     8 boot u64      16 sequence u64
//! 24 agent age ms u32   28 cpu permille u16   30 roles u8   31 fabric u8   32 memory u64
//! 40 name length u8     41 name               then 32 bytes: BLAKE3 keyed with the host's key
//! ```
//! Numbers are big-endian. The hash covers everything before it. The version comes before anything that
//! may change, so that an unknown one can be named; whatever else is wrong with a datagram, it is not
//! looked at further until its hash is right.

use std::time::Duration;

use pan_model::host::{Fabric, Role};
use pan_model::{ByteSize, HostName};

/// The version this release sends and reads.
pub const VERSION: u16 = 1;

/// Largest datagram: a buffer of this size takes every frame.
pub const FRAME_BYTES_MAX: usize = HEAD_BYTES + NAME_BYTES_MAX + MAC_BYTES;

const MAGIC: [u8; 4] = *b"PNLB";
const HEAD_BYTES: usize = 41;
const NAME_BYTES_MAX: usize = 63;
const MAC_BYTES: usize = 32;

/// A host's heartbeat key, of which the controllers can make any with the PAN's key.
pub type Key = [u8; 32];

/// The heartbeat key of `host`, derived from the PAN's key (BLAKE3 in its key derivation mode).
#[must_use]
pub fn host_key(pan_key: &Key, host: &HostName) -> Key {
    let mut hasher = blake3::Hasher::new_derive_key("panloom 2026-11 heartbeat key of one host");
    hasher.update(pan_key);
    hasher.update(host.as_str().as_bytes());
    *hasher.finalize().as_bytes()
}

/// Random number a host draws at each boot of its beat process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootId(pub u64);

/// Thousandths of the whole host; 1000 is all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Permille(pub u16);

/// The set of a host's roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Roles(u8);

impl Roles {
    const fn bit(role: Role) -> u8 {
        match role {
            Role::Controller => 1,
            Role::Node => 2,
            Role::Storage => 4,
            Role::Director => 8,
        }
    }

    /// Whether `role` is among them.
    #[must_use]
    pub const fn has(self, role: Role) -> bool {
        self.0 & Self::bit(role) != 0
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        Self(roles.into_iter().fold(0, |bits, role| bits | Self::bit(role)))
    }
}

/// How busy a host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Share of its processors in use.
    pub cpu: Permille,
    /// Memory in use.
    pub memory: ByteSize,
}

/// One heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub host: HostName,
    pub roles: Roles,
    /// The fabric it was sent over.
    pub fabric: Fabric,
    pub boot: BootId,
    /// Grows with every period within a boot; the copies on both fabrics carry the same number.
    pub sequence: u64,
    /// How long the host's agent has given no sign of life; whole milliseconds travel.
    pub agent_age: Duration,
    pub load: Load,
}

/// A datagram is no heartbeat of this PAN.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("not a heartbeat: wrong magic number")]
    BadMagic,
    #[error("heartbeat of format version {found}; this release knows {known}")]
    Version { found: u16, known: u16 },
    #[error("heartbeat of {found} bytes where it should have {expected}")]
    Length { found: usize, expected: usize },
    #[error("heartbeat of unknown host {host:?}")]
    UnknownHost { host: String },
    #[error("heartbeat that claims to be from {host:?}, but its hash is wrong")]
    BadMac { host: String },
    #[error("heartbeat with {what} that has no meaning")]
    Malformed { what: &'static str },
}

impl Frame {
    /// Writes the datagram into `out` and returns its length. Allocates nothing.
    ///
    /// # Panics
    /// `out` must hold [`FRAME_BYTES_MAX`] bytes.
    #[must_use = "the rest of the buffer is not part of the datagram"]
    pub fn encode(&self, key: &Key, out: &mut [u8]) -> usize {
        let name = self.host.as_str().as_bytes();
        assert!(name.len() <= NAME_BYTES_MAX, "host names have at most 63 bytes");
        let signed = HEAD_BYTES + name.len();
        let total = signed + MAC_BYTES;
        let age_ms = u32::try_from(self.agent_age.as_millis()).unwrap_or(u32::MAX);
        let mut writer = Writer { out: &mut out[..total], at: 0 };
        writer.put(&MAGIC);
        writer.put(&VERSION.to_be_bytes());
        writer.put(&u16::try_from(total).expect("at most 136").to_be_bytes());
        writer.put(&self.boot.0.to_be_bytes());
        writer.put(&self.sequence.to_be_bytes());
        writer.put(&age_ms.to_be_bytes());
        writer.put(&self.load.cpu.0.to_be_bytes());
        writer.put(&[self.roles.0, fabric_byte(self.fabric)]);
        writer.put(&self.load.memory.0.to_be_bytes());
        writer.put(&[u8::try_from(name.len()).expect("at most 63")]);
        writer.put(name);
        let mac = blake3::keyed_hash(key, &out[..signed]);
        out[signed..total].copy_from_slice(mac.as_bytes());
        total
    }

    /// Reads a datagram. `key_of` finds a host's key; `None` says that the host is unknown.
    ///
    /// # Errors
    /// [`FrameError`]; the datagram is then to be dropped and counted.
    pub fn decode(datagram: &[u8], key_of: impl FnOnce(&str) -> Option<Key>) -> Result<Self, FrameError> {
        let mut reader = Reader { rest: datagram, total: datagram.len() };
        if reader.take::<4>()? != MAGIC {
            return Err(FrameError::BadMagic);
        }
        let found = u16::from_be_bytes(reader.take()?);
        if found != VERSION {
            return Err(FrameError::Version { found, known: VERSION });
        }
        let expected = usize::from(u16::from_be_bytes(reader.take()?));
        let name_length = usize::from(*datagram.get(HEAD_BYTES - 1).ok_or_else(|| reader.short())?);
        if datagram.len() != expected || expected != HEAD_BYTES + name_length + MAC_BYTES {
            return Err(FrameError::Length { found: datagram.len(), expected });
        }
        let (signed, mac) = datagram.split_at(expected - MAC_BYTES);
        let name = std::str::from_utf8(&signed[HEAD_BYTES..]);
        let name = name.map_err(|_| FrameError::Malformed { what: "a name" })?;
        let key = key_of(name).ok_or_else(|| FrameError::UnknownHost { host: name.to_owned() })?;
        // The comparison of two `blake3::Hash` takes the same time whatever they are.
        let right = blake3::keyed_hash(&key, signed);
        let given = blake3::Hash::from_bytes(mac.try_into().expect("split off with this length"));
        if right != given {
            return Err(FrameError::BadMac { host: name.to_owned() });
        }
        Self::read(reader, name)
    }

    /// Reads what stands after the length, its hash being right.
    fn read(mut reader: Reader<'_>, name: &str) -> Result<Self, FrameError> {
        let boot = BootId(u64::from_be_bytes(reader.take()?));
        let sequence = u64::from_be_bytes(reader.take()?);
        let agent_age = Duration::from_millis(u32::from_be_bytes(reader.take()?).into());
        let cpu = Permille(u16::from_be_bytes(reader.take()?));
        let [roles, fabric] = reader.take()?;
        let memory = ByteSize(u64::from_be_bytes(reader.take()?));
        let known = Role::ALL.into_iter().collect::<Roles>();
        if roles & !known.0 != 0 {
            return Err(FrameError::Malformed { what: "roles" });
        }
        let host = HostName::new(name).map_err(|_| FrameError::Malformed { what: "a name" })?;
        let fabric = fabric_from(fabric)?;
        Ok(Self { host, roles: Roles(roles), fabric, boot, sequence, agent_age, load: Load { cpu, memory } })
    }
}

const fn fabric_byte(fabric: Fabric) -> u8 {
    match fabric {
        Fabric::A => 0,
        Fabric::B => 1,
    }
}

fn fabric_from(byte: u8) -> Result<Fabric, FrameError> {
    let known = Fabric::BOTH.into_iter().find(|fabric| fabric_byte(*fabric) == byte);
    known.ok_or(FrameError::Malformed { what: "a fabric" })
}

struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.out[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    total: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(|| self.short())?;
        self.rest = rest;
        Ok(*taken)
    }

    fn short(&self) -> FrameError {
        FrameError::Length { found: self.total, expected: HEAD_BYTES + 1 + MAC_BYTES }
    }
}

#[cfg(test)]
mod tests {
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
            agent_age: Duration::from_millis(17),
            load: Load { cpu: Permille(250), memory: ByteSize(1 << 30) },
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
        0001004b\
        0123456789abcdef\
        000000000000002a\
        00000011\
        00fa0a01\
        0000000040000000\
        026e31\
        45b591cac652981193f706cc6dc0f932267e54b5cbdb754da348391a251dbb9f";

    #[test]
    fn the_layout_is_the_documented_one() {
        let bytes = encode(&frame("n1"));
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, FIXTURE);
    }

    #[test]
    fn another_hosts_key_does_not_open_it() {
        let mut bytes = vec![0; FRAME_BYTES_MAX];
        let length = frame("n1").encode(&key_of("n2").unwrap(), &mut bytes);
        let refused = Frame::decode(&bytes[..length], key_of);
        assert_eq!(refused, Err(FrameError::BadMac { host: "n1".to_owned() }));
        let refused = Frame::decode(&bytes[..length], |_| None);
        assert_eq!(refused, Err(FrameError::UnknownHost { host: "n1".to_owned() }));
    }

    #[test]
    fn another_version_is_named() {
        let mut bytes = encode(&frame("n1"));
        bytes[5] = 9;
        assert_eq!(Frame::decode(&bytes, key_of), Err(FrameError::Version { found: 9, known: 1 }));
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
            name in "[a-z]([a-z0-9-]{0,61}[a-z0-9])?", boot: u64, sequence: u64, age: u32, cpu: u16, memory: u64,
            roles in 0_u8..16, on_a: bool,
        ) {
            let sent = Frame {
                host: HostName::new(name).unwrap(),
                roles: Roles(roles),
                fabric: if on_a { Fabric::A } else { Fabric::B },
                boot: BootId(boot),
                sequence,
                agent_age: Duration::from_millis(age.into()),
                load: Load { cpu: Permille(cpu), memory: ByteSize(memory) },
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
}
