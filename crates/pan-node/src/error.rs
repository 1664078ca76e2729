//! Why the agent or the beat process cannot run at all. What goes wrong with one server is told in its
//! report instead, see `apply::ApplyError`.

use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};

/// Why a process of the node role cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration has no `node` part.
    #[error("the configuration of host {host} has no `node` part: expected cpu and memory offered")]
    NoNode {
        /// The host.
        host: String,
    },
    /// The configuration names no known timing profile.
    #[error("the configuration's profile")]
    Profile(#[from] pan_member::profile::UnknownProfile),
    /// The heartbeat key cannot be used.
    #[error("the heartbeat key")]
    BeatKey(#[from] pan_api::keyfile::KeyFileError),
    /// A file or folder refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// The boot identifier cannot be read or drawn.
    #[error("get the boot identifier in {}", path.display())]
    Boot {
        /// The folder.
        path: PathBuf,
        /// What the system said, or what is there instead.
        source: io::Error,
    },
    /// Certificates cannot be used.
    #[error("certificates of this host")]
    Tls(#[from] pan_api::tls::TlsError),
    /// The kernel refuses what every server needs.
    #[error("prepare the host's network")]
    Network(#[from] crate::network::NetworkError),
    /// The kernel cannot keep a fenced host's servers from sending.
    #[error("make the gate: {0}")]
    Gate(String),
    /// The link to the controllers cannot be set up.
    #[error(transparent)]
    Link(#[from] pan_api::hostlink::LinkError),
    /// The end of servers cannot be waited for.
    #[error("start the thread that waits for the end of servers")]
    Watch {
        /// What the system said.
        source: io::Error,
    },
    /// The program's own file is not known.
    #[error("find the program that becomes a shim")]
    Program {
        /// What the system said.
        source: io::Error,
    },
    /// What an earlier agent left cannot be read.
    #[error("take over what runs")]
    Adopt {
        /// What failed.
        source: crate::apply::ApplyError,
    },
    /// A thread or its result was lost.
    #[error("a part of the agent ended: {what}")]
    Lost {
        /// Which part.
        what: &'static str,
    },
    /// This beat process was started to take over from another, which stays.
    #[error("the beat process in office was not succeeded: {why}")]
    NotSucceeded {
        /// For people.
        why: String,
    },
    /// Its host's other processes go by other files than this one.
    #[error(
        "what was noted in {} was removed, and another process of this host has begun anew there: this one ends, to begin anew as well. \
         Nothing may be removed there while the host runs",
        path.display()
    )]
    Anew {
        /// The folder.
        path: PathBuf,
    },
    /// The clock cannot be waited on.
    #[error("wait for the next heartbeat")]
    Clock {
        /// What the kernel said.
        source: io::Error,
    },
}

/// A file or folder refused an operation.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}", path = path.display())]
pub struct FileError {
    /// What was tried.
    pub action: &'static str,
    /// Where.
    pub path: PathBuf,
    /// Why not.
    pub source: io::Error,
}

impl FileError {
    /// Makes an error of what the system said.
    pub(crate) fn of(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { action, path, source }
    }
}

/// An error with all its causes in one line, for reports and events.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        // A wrapper that is transparent repeats its cause's words.
        if !text.ends_with(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}
