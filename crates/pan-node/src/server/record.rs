//! What the agent writes down about a server before it acts, so that the next agent knows what may be here.
//!
//! Lies in `run_dir`, so a record never outlives the boot it is about.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use pan_api::desired::{Network, ServerOrder};
use pan_model::network::Cidr;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

use crate::decide::Why;
use crate::error::FileError;
use crate::health::Health;

const VERSION: u16 = 1;

/// How a server is connected: its partition's network, as far as it concerns the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cable {
    pub vni: u32,
    pub mtu: u32,
    pub subnets: Vec<Cidr>,
    pub gateways: Vec<IpAddr>,
}

impl Cable {
    pub(crate) fn of(network: &Network) -> Self {
        Self { vni: network.vni, mtu: network.mtu, subnets: network.subnets.clone(), gateways: network.gateways.clone() }
    }
}

/// The order that brought a server here, and its history since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bound {
    pub order: ServerOrder,
    pub cable: Cable,
    /// Starts after ends that nobody asked for, under this epoch.
    pub restarts: u64,
    /// Ends in a row that nobody asked for.
    pub ends: u32,
    /// Steps of the latest start with their wall clock times.
    pub steps: Vec<(String, i64)>,
}

/// A container that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Container {
    /// PAN_INSTANCE.
    pub instance: String,
    /// Its first process, in the agent's PID namespace.
    pub pid: i32,
    /// When that started, see [`pan_linux::process::start_time`]: together they name one process.
    pub start: u64,
}

/// Puts a file in the place of one, whole.
pub(crate) fn replace(path: &Path, text: &[u8]) -> Result<(), FileError> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(FileError::of("make", dir))?;
    }
    let fresh = path.with_extension("new");
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)
        .and_then(|mut file| file.write_all(text))
        .map_err(FileError::of("write", &fresh))?;
    fs::rename(&fresh, path).map_err(FileError::of("write", path))
}

/// What may be here of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
pub(crate) enum Stage {
    /// Something between nothing and a container that runs.
    Preparing { instance: String },
    /// What was made ready ahead of an order to run it, or is being made. Nothing of it runs.
    Warm,
    /// No process; its volumes are here, or on their way.
    Attaching,
    /// A container that runs, or ran when this was written.
    Running { container: Container, health: Health },
    /// The same, and it is to stop; killed at this point of the boot clock.
    Stopping {
        container: Container,
        why: Why,
        #[serde(default)]
        complaint: Option<String>,
        kill_at: u64,
    },
    /// No process; since this point of the boot clock.
    Ended { at: u64, message: String },
    /// No process, and none will be started under this order.
    Failed { message: String },
    /// Something between a container that ended and nothing.
    Releasing,
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    version: u16,
    pub bound: Bound,
    pub stage: Stage,
}

impl Record {
    pub(crate) fn new(bound: Bound, stage: Stage) -> Self {
        Self { version: VERSION, bound, stage }
    }

    /// Writes the record so that a reader sees this one or the one before. Readable by root only: the
    /// order's environment may hold secrets.
    pub(crate) fn write(&self, path: &Path) -> Result<(), FileError> {
        replace(path, &serde_json::to_vec(self).expect("a record is plain data"))
    }

    /// Reads a record; `None` if there is none, or none this release can use.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, FileError> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(FileError::of("read", path)(error)),
        };
        match serde_json::from_slice::<Self>(&text) {
            Ok(record) if record.version == VERSION => Ok(Some(record)),
            Ok(record) => {
                tracing::error!(found = record.version, known = VERSION, path = %path.display(), "record of another version");
                Ok(None)
            }
            Err(error) => {
                tracing::error!(%error, path = %path.display(), "unreadable record");
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::order;

    #[test]
    fn a_record_is_read_as_written_and_damage_is_no_record() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x/state.json");
        assert_eq!(Record::read(&path).unwrap(), None);
        let cable =
            Cable { vni: 100, mtu: 1430, subnets: vec!["10.0.0.0/24".parse().unwrap()], gateways: vec!["10.0.0.1".parse().unwrap()] };
        let bound = Bound { order: order("acme", "web-1"), cable, restarts: 1, ends: 2, steps: vec![("netns".into(), 5)] };
        for stage in [Stage::Preparing { instance: "ab".into() }, Stage::Releasing, Stage::Failed { message: "x".into() }] {
            let record = Record::new(bound.clone(), stage);
            record.write(&path).unwrap();
            assert_eq!(Record::read(&path).unwrap(), Some(record));
        }
        fs::write(&path, "{\"version\":1").unwrap();
        assert_eq!(Record::read(&path).unwrap(), None);
    }
}
