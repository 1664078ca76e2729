//! What controllers tell the one that leads, which alone writes the audit log: who goes into a server, or reads what is in a snapshot.

use crate::token::AccessRole;
use pan_model::{Code, Name, PartitionName, ServerKey, VolumeKey};
use serde::{Deserialize, Serialize};

/// Where the controller that leads is told.
pub const PATH: &str = "/internal/v1/inside";

/// `POST /internal/v1/inside`, for controllers alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TellInside {
    /// [`crate::WIRE_VERSION`].
    pub version: u16,
    /// Who.
    pub who: Bearer,
    /// What it does.
    pub what: Inside,
}

/// Whoever asked a controller, as that found it by the token it showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bearer {
    /// Its token; none of the administrator that the PAN was made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<u64>,
    /// Whom that was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub called: Option<Name>,
    /// Its role.
    pub role: AccessRole,
    /// In which partition; none for roles of the PAN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<PartitionName>,
}

/// Something that changes no record, and is told nevertheless.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Inside {
    /// A program is about to be started in a server.
    Begun {
        /// The server.
        server: ServerKey,
        /// By what its end is known.
        run: String,
        /// The program, without its arguments: they may hold secrets.
        program: String,
        /// How many arguments it has.
        arguments: usize,
    },
    /// It is over, or nobody listens any more.
    Ended {
        /// The server.
        server: ServerKey,
        /// What its beginning said.
        run: String,
        /// How: `exit=STATUS`, or why that is not known.
        how: String,
    },
    /// A snapshot is about to be read.
    Read {
        /// Whose.
        volume: VolumeKey,
        /// The snapshot.
        snapshot: Name,
    },
    /// Somebody was refused.
    Refused {
        /// To do what.
        verb: String,
        /// With a server, or with a volume.
        kind: Kind,
        /// Which, in the caller's words.
        name: String,
        /// Why.
        code: Code,
    },
}

/// What has an inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Servers have logs, and run programs.
    Server,
    /// Volumes have snapshots.
    Volume,
}

impl Kind {
    /// What it is called.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Volume => "volume",
        }
    }
}
