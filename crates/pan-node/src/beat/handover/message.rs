//! What the processes say to each other. Every message is one JSON text with the format's version.

use std::path::PathBuf;

use pan_member::memory::{HolderMemory, LessorMemory};
use pan_model::{Admission, HostName};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::build::Build;

/// Of messages and memory. One that does not know the other's takes nothing over: the former one stays.
pub(super) const FORMAT: u16 = 2;
/// Longest message: a name, an address or a reason for each of a few things.
pub(super) const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// Longest memory: that of a lessor of ten thousand hosts is some five megabytes.
pub(super) const MEMORY_BYTES_MAX: u64 = 64 << 20;

/// To the one in office.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub(super) enum Request {
    /// Which build is in office?
    Who,
    /// Start the program there, that it may apply.
    Replace { program: PathBuf },
    /// Everything slow is done: hand over.
    Apply { identity: Identity, build: Build },
    /// Everything came; whoever says this sends from now on.
    Taken,
}

/// From the one in office.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub(super) enum Answer {
    InOffice {
        build: Build,
        pid: u32,
    },
    Starting,
    /// With as many descriptors, in this order.
    Office {
        descriptors: Vec<Descriptor>,
    },
    Refused {
        why: String,
    },
}

/// What a descriptor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in super::super) enum Descriptor {
    /// A file with the [`Memory`].
    Memory,
    /// The office itself.
    Lock,
    Listener,
    BeatA,
    BeatB,
    LessorA,
    LessorB,
    /// Who has it writes the lessor's file.
    LessorLock,
}

/// Of whom a process is the beat process. Descriptors and memory of another are of no use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Identity {
    pub host: HostName,
    pub boot: u64,
    pub profile: String,
    /// Interface and address of fabric A and B.
    pub fabrics: [String; 2],
    pub lessors: Vec<HostName>,
    pub node: bool,
    pub lessor: bool,
}

/// What goes on as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Memory {
    /// The last number that was used.
    pub sequence: u64,
    /// When the next heartbeat is due, and since when this host has beaten: nanoseconds of the boot clock.
    pub next: u64,
    pub started: u64,
    pub admission: Admission,
    pub holder: Option<HolderMemory>,
    pub lessor: Option<LessorMemory>,
}

/// Why a message is not understood.
#[derive(Debug, thiserror::Error)]
pub(super) enum Misunderstood {
    #[error("the other beat process speaks format {0} of the handover, this one {FORMAT}: it cannot be taken over without a gap")]
    Format(u16),
    #[error("the other beat process says what is no message of format {FORMAT}")]
    Text(#[from] serde_json::Error),
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    format: u16,
    body: T,
}

#[derive(Deserialize)]
struct Version {
    format: u16,
}

pub(super) fn encode(message: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(&Versioned { format: FORMAT, body: message }).expect("plain data")
}

/// Looks at the version first: what else a later one says is not this one's to know.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Misunderstood> {
    let Version { format } = serde_json::from_slice(bytes)?;
    if format != FORMAT {
        return Err(Misunderstood::Format(format));
    }
    Ok(serde_json::from_slice::<Versioned<T>>(bytes)?.body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_another_format_is_refused_with_both_numbers_and_unread() {
        let taken = encode(&Request::Taken);
        assert_eq!(taken, br#"{"format":2,"body":{"say":"taken"}}"#);
        assert_eq!(decode::<Request>(&taken).unwrap(), Request::Taken);
        let later = decode::<Request>(br#"{"format":3,"say":"what-nobody-knows-yet","more":[]}"#).unwrap_err();
        assert!(later.to_string().contains("format 3") && later.to_string().contains("this one 2"), "{later}");
        for text in ["", "{}", r#"{"format":2,"body":{"say":"who-knows"}}"#] {
            assert!(matches!(decode::<Request>(text.as_bytes()), Err(Misunderstood::Text(_))), "{text}");
        }
    }

    #[test]
    fn memory_is_read_back_and_anything_else_is_refused() {
        let memory = Memory { sequence: u64::MAX, next: 2, started: 1, admission: Admission(3), holder: None, lessor: None };
        let text = encode(&memory);
        assert_eq!(decode::<Memory>(&text).unwrap(), memory);
        let more = String::from_utf8(text).unwrap().replace("\"next\"", "\"more\":0,\"next\"");
        assert!(decode::<Memory>(more.as_bytes()).is_err());
    }
}
