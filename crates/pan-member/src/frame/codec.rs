//! Heartbeats to bytes and back.

use std::time::Duration;

use pan_model::host::Role;
use pan_model::{Admission, ByteSize, HostName};

use super::bytes::{Reader, Short, Writer, fabric_byte, fabric_from};
use super::key::Key;
use super::ring::KeyRing;
use super::words::{BootId, Frame, GateState, LeaseState, Load, Permille, Roles};
use crate::profile::{Gate, Tenure};
use crate::term::Term;

/// The newest version this release sends and reads: with the period and the length of a lease.
pub const VERSION: u16 = 4;

/// With the period only: who holds no lease, and does not beat at its profile's shortest period, has no more to say.
const LEASE_UNSAID: u16 = 3;

/// With neither. Each host sends the lowest version that says all it has to say, so that hosts of a release that knows no
/// other hear it; it is the only one they could misjudge nothing by.
const PERIOD_UNSAID: u16 = 2;

/// Largest heartbeat: a buffer of this size takes every frame.
pub const FRAME_BYTES_MAX: usize = HEAD_BYTES + PERIOD_BYTES + LEASE_BYTES + NAME_BYTES_MAX + MAC_BYTES;

pub(super) const MAGIC: [u8; 4] = *b"PNLB";
const HEAD_BYTES: usize = 73;
const PERIOD_BYTES: usize = 4;
const LEASE_BYTES: usize = 4;
pub(crate) const NAME_BYTES_MAX: usize = 63;
pub(crate) const MAC_BYTES: usize = 32;

/// "Never", where an age is expected.
const NO_AGE: u32 = u32::MAX;
/// "Not known", where a share is expected.
const NO_SHARE: u16 = u16::MAX;

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
        let version = match (self.period, self.lease_length) {
            (None, None) => PERIOD_UNSAID,
            (Some(_), None) => LEASE_UNSAID,
            (_, Some(_)) => VERSION,
        };
        let signed = head_bytes(version).expect("one of ours") + name.len();
        let total = signed + MAC_BYTES;
        let mut writer = Writer::new(&mut out[..total]);
        writer.put(&MAGIC);
        writer.u16(version);
        writer.u16(u16::try_from(total).expect("at most 176"));
        for number in [self.boot.0, self.sequence, self.admission.0, self.term.0, self.load.memory.0] {
            writer.u64(number);
        }
        writer.u32(clamp(self.agent_age.as_millis()));
        self.acknowledged.iter().for_each(|age| writer.u32(age.map_or(NO_AGE, |age| clamp(age.as_millis()))));
        writer.u32(clamp(self.lag.as_micros()));
        writer.u16(self.load.cpu.0);
        writer.u16(self.load.pressure.map_or(NO_SHARE, |share| share.0.min(NO_SHARE - 1)));
        writer.put(&[self.roles.0, fabric_byte(self.fabric), lease_byte(self.lease), gate_byte(self.gate)]);
        if version >= LEASE_UNSAID {
            writer.u32(self.period.map_or(0, |period| clamp(period.as_micros())));
        }
        if let Some(length) = self.lease_length {
            // Never less than it is: hearers wait for as long.
            writer.u32(clamp(length.as_micros().div_ceil(1000)));
        }
        writer.u8(u8::try_from(name.len()).expect("at most 63"));
        writer.put(name);
        let mac = blake3::keyed_hash(key, &out[..signed]);
        out[signed..total].copy_from_slice(mac.as_bytes());
        total
    }

    /// Reads a datagram. `keys_of` finds a host's keys; `None` says that the host is unknown.
    ///
    /// # Errors
    /// [`FrameError`]; the datagram is then to be dropped and counted.
    pub fn decode<K: Into<KeyRing>>(datagram: &[u8], keys_of: impl FnOnce(&str) -> Option<K>) -> Result<Self, FrameError> {
        Self::open(datagram, keys_of).map(|(frame, _)| frame)
    }

    /// The same, and which of the keys made it: an answer under that one will be understood.
    ///
    /// # Errors
    /// As [`Frame::decode`].
    pub fn open<K: Into<KeyRing>>(datagram: &[u8], keys_of: impl FnOnce(&str) -> Option<K>) -> Result<(Self, Key), FrameError> {
        let short = |_: Short| FrameError::Length { found: datagram.len(), expected: HEAD_BYTES + 1 + MAC_BYTES };
        let mut reader = Reader::new(datagram);
        if reader.array().map_err(short)? != MAGIC {
            return Err(FrameError::BadMagic);
        }
        let found = reader.u16().map_err(short)?;
        let head = head_bytes(found).ok_or(FrameError::Version { found, known: VERSION })?;
        let expected = usize::from(reader.u16().map_err(short)?);
        let name_length = usize::from(*datagram.get(head - 1).ok_or(Short).map_err(short)?);
        if datagram.len() != expected || expected != head + name_length + MAC_BYTES {
            return Err(FrameError::Length { found: datagram.len(), expected });
        }
        let (signed, mac) = datagram.split_at(expected - MAC_BYTES);
        let name = std::str::from_utf8(&signed[head..]);
        let name = name.map_err(|_| FrameError::Malformed { what: "a name" })?;
        let keys: KeyRing = keys_of(name).ok_or_else(|| FrameError::UnknownHost { host: name.to_owned() })?.into();
        let given = blake3::Hash::from_bytes(mac.try_into().expect("split off with this length"));
        let key = *keys.maker(signed, &given).ok_or_else(|| FrameError::BadMac { host: name.to_owned() })?;
        let read = Self::read(reader, name, found);
        read.map(|frame| (frame, key)).map_err(|what| what.map_or_else(|| short(Short), |what| FrameError::Malformed { what }))
    }

    /// Reads what stands after the length, its hash being right. Says what has no meaning; `None` if it is
    /// too short.
    fn read(mut reader: Reader<'_>, name: &str, version: u16) -> Result<Self, Option<&'static str>> {
        let short = |_: Short| None;
        let boot = BootId(reader.u64().map_err(short)?);
        let sequence = reader.u64().map_err(short)?;
        let admission = Admission(reader.u64().map_err(short)?);
        let term = Term(reader.u64().map_err(short)?);
        let memory = ByteSize(reader.u64().map_err(short)?);
        let agent_age = Duration::from_millis(reader.u32().map_err(short)?.into());
        let mut acknowledged = [None; 2];
        for age in &mut acknowledged {
            *age = Some(reader.u32().map_err(short)?).filter(|age| *age != NO_AGE);
        }
        let acknowledged = acknowledged.map(|age| age.map(|age| Duration::from_millis(age.into())));
        let lag = Duration::from_micros(reader.u32().map_err(short)?.into());
        let cpu = Permille(reader.u16().map_err(short)?);
        let pressure = Some(reader.u16().map_err(short)?).filter(|share| *share != NO_SHARE).map(Permille);
        let [roles, fabric, lease, gate] = reader.array().map_err(short)?;
        if roles & !Role::ALL.into_iter().collect::<Roles>().0 != 0 {
            return Err(Some("roles"));
        }
        let fabric = fabric_from(fabric).ok_or(Some("a fabric"))?;
        let lease = LEASES.into_iter().find(|known| lease_byte(*known) == lease).ok_or(Some("a lease"))?;
        let gate = GATES.into_iter().find(|known| gate_byte(*known) == gate).ok_or(Some("a gate"))?;
        let (mut period, mut lease_length) = (None, None);
        if version >= LEASE_UNSAID {
            let micros = reader.u32().map_err(short)?;
            if micros == 0 && version == LEASE_UNSAID {
                return Err(Some("a period"));
            }
            period = Some(Duration::from_micros(micros.into())).filter(|period| !period.is_zero());
        }
        if version >= VERSION {
            let length = Duration::from_millis(reader.u32().map_err(short)?.into());
            if length.is_zero() || length > Tenure::LONGEST.lease {
                return Err(Some("a lease's length"));
            }
            lease_length = Some(length);
        }
        let host = HostName::new(name).map_err(|_| Some("a name"))?;
        let (roles, load) = (Roles(roles), Load { cpu, memory, pressure });
        Ok(Self {
            host,
            roles,
            fabric,
            boot,
            sequence,
            admission,
            term,
            agent_age,
            acknowledged,
            lag,
            load,
            lease,
            gate,
            period,
            lease_length,
        })
    }
}

/// Bytes before the name; `None` of a version that this release does not know.
const fn head_bytes(version: u16) -> Option<usize> {
    match version {
        PERIOD_UNSAID => Some(HEAD_BYTES),
        LEASE_UNSAID => Some(HEAD_BYTES + PERIOD_BYTES),
        VERSION => Some(HEAD_BYTES + PERIOD_BYTES + LEASE_BYTES),
        _ => None,
    }
}

/// The number, or the largest that does not mean "none".
fn clamp(number: u128) -> u32 {
    u32::try_from(number).unwrap_or(NO_AGE).min(NO_AGE - 1)
}

pub(super) const LEASES: [LeaseState; 4] = [LeaseState::None, LeaseState::Held, LeaseState::Expired, LeaseState::Fenced];

const fn lease_byte(lease: LeaseState) -> u8 {
    match lease {
        LeaseState::None => 0,
        LeaseState::Held => 1,
        LeaseState::Expired => 2,
        LeaseState::Fenced => 3,
    }
}

pub(super) const GATES: [GateState; 3] = [GateState::None, GateState::Present(Gate::Absolute), GateState::Present(Gate::Relative)];

const fn gate_byte(gate: GateState) -> u8 {
    match gate {
        GateState::None => 0,
        GateState::Present(Gate::Absolute) => 1,
        GateState::Present(Gate::Relative) => 2,
    }
}
