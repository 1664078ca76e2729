//! What agent, keeper and worker say to each other: one JSON text per message of a local socket in the volume's folder.

use super::error::HeadError;
use pan_api::volume::{HeadState, VolumeOrder, VolumeReport};
use pan_linux::seqpacket::{Connection, Received};
use pan_model::host_config::HostConfig;
use pan_model::{ByteSize, Epoch, ServerKey, VolumeEpoch, VolumeId};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest message: an order with all members of a volume is a few thousand bytes.
pub(super) const MESSAGE_MAX: usize = 64 << 10;

/// A worker that serves says how it stands at least so often, whether that is new or not.
pub(super) const SAID_EVERY: Duration = Duration::from_secs(1);

/// Everything that a head has to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadOrder {
    /// The host.
    pub host: HostConfig,
    /// Whose volume it is.
    pub server: ServerKey,
    /// Under which binding.
    pub binding: Epoch,
    /// The volume, with the right to write it.
    pub volume: VolumeOrder,
    /// The one file that is to be there. Its folder must be there and empty; its name must be one that no other file on this machine
    /// has.
    pub file: PathBuf,
}

/// What an agent knows of a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadStatus {
    /// How it stands; over, also when its keeper is gone.
    pub report: VolumeReport,
    /// The keeper's process.
    pub keeper: i32,
    /// Why the last worker could not begin, where that was this host's fault.
    pub unfit: Option<String>,
}

/// What is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Message {
    /// Agent to keeper, keeper to worker: a newer order.
    Order(Box<HeadOrder>),
    /// Agent to keeper: end it.
    Release,
    /// Worker to keeper: give me the session.
    Take,
    /// Worker to keeper: how I stand. Keeper to agent: how the head stands.
    Status(Box<Status>),
}

/// How a head stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Status {
    pub state: HeadState,
    pub epoch: VolumeEpoch,
    pub behind: ByteSize,
    #[serde(default)]
    pub restarts: u64,
    #[serde(default)]
    pub mended: u64,
    #[serde(default)]
    pub rotten: u64,
    #[serde(default)]
    pub keeper: i32,
    /// Why the worker cannot begin, or the last one could not, where that is this host's fault: its disk is full, say.
    #[serde(default)]
    pub unfit: Option<String>,
}

impl Status {
    pub const fn opening() -> Self {
        Self {
            state: HeadState::Opening,
            epoch: VolumeEpoch(0),
            behind: ByteSize(0),
            restarts: 0,
            mended: 0,
            rotten: 0,
            keeper: 0,
            unfit: None,
        }
    }

    pub fn report(self, volume: VolumeId) -> HeadStatus {
        let Self { state, epoch, behind, restarts, mended, rotten, keeper, unfit } = self;
        HeadStatus { report: VolumeReport { volume, epoch, state, behind, restarts, mended, rotten, ungrown: None }, keeper, unfit }
    }
}

/// Where they meet.
pub(super) fn control(folder: &Path) -> PathBuf {
    folder.join("control")
}

/// The newest order, for a process that begins.
pub(super) fn order_file(folder: &Path) -> PathBuf {
    folder.join("order.json")
}

pub(super) fn read_order(folder: &Path) -> Result<HeadOrder, HeadError> {
    let path = order_file(folder);
    let text = std::fs::read(&path).map_err(|source| HeadError::File { action: "read", path: path.clone(), source })?;
    serde_json::from_slice(&text).map_err(|error| HeadError::Message(format!("{}: {error}", path.display())))
}

/// For this user alone: it holds a capability.
pub(super) fn write_order(folder: &Path, order: &HeadOrder) -> Result<(), HeadError> {
    let path = order_file(folder);
    let text = serde_json::to_vec(order).map_err(|error| HeadError::Message(error.to_string()))?;
    pan_api::file::replace(&path, &text).map_err(|source| HeadError::File { action: "write", path, source })
}

/// Sends one message, at once or not at all.
pub(super) fn say(to: &Connection, message: &Message) -> io::Result<()> {
    let text = serde_json::to_vec(message).map_err(io::Error::other)?;
    if text.len() > MESSAGE_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a message longer than any expected"));
    }
    to.send(&text, &[])
}

/// What arrived.
#[derive(Debug)]
pub(super) enum Heard {
    Nothing,
    End,
    Message(Message),
    /// Something that means nothing.
    Noise(String),
}

/// Takes the next message, if there is one.
pub(super) fn hear(from: &Connection) -> Heard {
    let mut buffer = vec![0; MESSAGE_MAX];
    match from.receive(&mut buffer) {
        Ok(Received::Nothing) => Heard::Nothing,
        Ok(Received::End) => Heard::End,
        Ok(Received::Message(bytes, _)) => match serde_json::from_slice(&buffer[..bytes]) {
            Ok(message) => Heard::Message(message),
            Err(error) => Heard::Noise(error.to_string()),
        },
        Err(error) => Heard::Noise(error.to_string()),
    }
}
