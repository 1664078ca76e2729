//! What can go wrong with a lab.

use std::io;
use std::path::{Path, PathBuf};

use pan_model::Code;

use crate::name::{BadName, HostKind, LabHost, LabName};

/// A lab operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A field of the specification cannot be built.
    #[error("{field}: {problem}")]
    Spec {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// More hosts of a kind than addresses.
    #[error("{asked} hosts of kind {kind} were asked for; a laboratory has room for {most}")]
    TooMany {
        /// Which kind.
        kind: &'static str,
        /// How many were asked for.
        asked: u8,
        /// How many there can be.
        most: u8,
    },
    /// A name is malformed.
    #[error(transparent)]
    Name(#[from] BadName),
    /// Labs need root.
    #[error("a laboratory makes namespaces, mounts and control groups: run it as root")]
    NotRoot,
    /// There is no lab of that name.
    #[error("there is no laboratory {name}; `pan up --name {name}` makes one")]
    NoSuchLab {
        /// The name asked for.
        name: String,
    },
    /// Somebody is making it, or taking it away, at this moment.
    #[error("laboratory {0} is not up: another process is making it, or taking it away")]
    Unfinished(LabName),
    /// Whoever made it was killed before it was done.
    #[error(
        "laboratory {0} is half made: its `pan up` was killed; `pan down --name {0}` takes away what there is, `pan up --name {0}` does that and makes it anew"
    )]
    HalfMade(LabName),
    /// Its maker was asked to stop.
    #[error("{}", interrupted(name, kept.as_deref(), left))]
    Interrupted {
        /// Which lab.
        name: LabName,
        /// Where an earlier lab's data lay, and lies.
        kept: Option<PathBuf>,
        /// What could not be taken away, and why.
        left: Vec<String>,
    },
    /// The lab has no such host.
    #[error("laboratory {lab} has no host {host}; it has {known}")]
    NoSuchHost {
        /// Which lab.
        lab: LabName,
        /// What was asked for.
        host: String,
        /// What there is.
        known: String,
    },
    /// The host is not running.
    #[error("host {0} is off; `pan lab start {0}` boots it")]
    PoweredOff(LabHost),
    /// The host is running already.
    #[error("host {0} is running already")]
    PoweredOn(LabHost),
    /// The host has no such link.
    #[error("host {0} is not on the fabrics")]
    NotOnFabric(LabHost),
    /// Servers could not be limited.
    #[error(
        "control groups at {root} offer no {missing}, which servers are limited with: nodes cannot run here \
         (`cat {root}/cgroup.controllers` shows what is offered; the kernel's command line, a v1 hierarchy that holds them, \
         or the container this runs in keeps the others away)",
        root = root.display()
    )]
    Controllers {
        /// Those that are needed and not there.
        missing: String,
        /// Where control groups are mounted.
        root: PathBuf,
    },
    /// The host runs without the file system it was booted with.
    #[error("host {0} has no disk mounted; `pan lab kill {0}` and `pan lab start {0}` boot it with its disk")]
    NoDisk(LabHost),
    /// The role is not running on that host.
    #[error("host {host} runs no {role}; it runs {running}{}", whole(*host))]
    NoSuchRole {
        /// Which host.
        host: LabHost,
        /// What was asked for.
        role: String,
        /// What there is.
        running: String,
    },
    /// A capability that does not exist yet.
    #[error("not yet: {what} ({why})")]
    NotYet {
        /// What was asked for.
        what: &'static str,
        /// What is missing.
        why: &'static str,
    },
    /// Another process works on the same lab.
    #[error("another process has been working on laboratory {name} for {seconds} s; try again when it is done")]
    Busy {
        /// Which lab.
        name: LabName,
        /// How long was waited.
        seconds: u64,
    },
    /// `lab.json` cannot be understood.
    #[error("{} is damaged; `pan down --name {name}` still works", path.display())]
    State {
        /// Where it is.
        path: PathBuf,
        /// Which lab.
        name: LabName,
        /// Where it is wrong.
        source: serde_json::Error,
    },
    /// `lab.json` comes from another release.
    #[error("{} has format version {found}, this program knows {known}", path.display())]
    StateVersion {
        /// Where it is.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// Ours.
        known: u64,
    },
    /// A step on a file failed.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A folder that does not look like a lab's data is never removed.
    #[error("{} does not look like a laboratory's data, so it is left as it is; remove it by hand", .0.display())]
    NotOurs(PathBuf),
    /// No port for the API.
    #[error("cannot listen on 127.0.0.1:{port} for the API")]
    Listen {
        /// The (first) port tried.
        port: u16,
        /// Why not.
        source: io::Error,
    },
    /// A configuration cannot be written as YAML.
    #[error("cannot write the configuration of host {host}: {message}")]
    Config {
        /// Which host.
        host: LabHost,
        /// Why not.
        message: String,
    },
    /// A certificate could not be made.
    #[error("cannot make the laboratory's keys")]
    Pki(#[from] pan_api::pki::PkiError),
    /// The random source failed.
    #[error("the random source failed: {0}")]
    Random(String),
    /// A step in the kernel failed.
    #[error("cannot {action}")]
    Kernel {
        /// What was tried.
        action: String,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something did not happen in time.
    #[error("{what} did not happen within {seconds} s{hint}")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// The bound.
        seconds: u64,
        /// What to look at, or nothing.
        hint: String,
    },
    /// Parts of a lab could not be removed; everything else was.
    #[error("laboratory {name} is not wholly gone: {}", left.join("; "))]
    Leftover {
        /// Which lab.
        name: LabName,
        /// What is left and why.
        left: Vec<String>,
    },
}

/// What became of what was made.
fn interrupted(name: &LabName, kept: Option<&Path>, left: &[String]) -> String {
    let data = kept.map_or(String::new(), |data| format!("; the data it had before stays in {}", data.display()));
    match left {
        [] => format!("laboratory {name} was not made: what there was of it is gone{data}"),
        left => format!(
            "laboratory {name} was not made, and is not wholly gone: {}; `pan down --name {name}` tries again{data}",
            left.join("; ")
        ),
    }
}

/// What to do about a host that has no roles.
fn whole(host: LabHost) -> String {
    match host.kind() {
        HostKind::Etcd => format!(": a host with etcd is killed as a whole, `pan lab kill {host}`"),
        HostKind::Controller | HostKind::Node | HostKind::Storage | HostKind::Director | HostKind::Outside => String::new(),
    }
}

impl LabError {
    /// Of one who was asked to stop before anything was made.
    pub(crate) fn nothing_made(name: &LabName) -> Self {
        Self::Interrupted { name: name.clone(), kept: None, left: Vec::new() }
    }

    /// For `map_err` on a file operation.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File { action, path, source }
    }

    /// For `map_err` on anything of pan-linux.
    pub(crate) fn kernel<E>(action: impl Into<String>) -> impl FnOnce(E) -> Self
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let action = action.into();
        move |source| Self::Kernel { action, source: Box::new(source) }
    }

    /// The documented code of this kind of error.
    pub fn code(&self) -> Code {
        match self {
            Self::Spec { .. } | Self::TooMany { .. } | Self::Name(_) | Self::NotOurs(_) => Code::Invalid,
            Self::NotRoot => Code::Denied,
            Self::NoSuchLab { .. } | Self::NoSuchHost { .. } | Self::NoSuchRole { .. } => Code::NotFound,
            Self::Controllers { .. } | Self::NoDisk(_) | Self::PoweredOff(_) | Self::PoweredOn(_) | Self::NotOnFabric(_) => Code::State,
            Self::Unfinished(_) | Self::HalfMade(_) | Self::Interrupted { .. } => Code::State,
            Self::NotYet { .. } => Code::NotYet,
            Self::Busy { .. } | Self::TimedOut { .. } => Code::TimedOut,
            Self::State { .. }
            | Self::StateVersion { .. }
            | Self::File { .. }
            | Self::Listen { .. }
            | Self::Config { .. }
            | Self::Pki(_)
            | Self::Random(_)
            | Self::Kernel { .. }
            | Self::Leftover { .. } => Code::Internal,
        }
    }

    /// The error with all its reasons, on one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(reason) = next {
            text = format!("{text}: {reason}");
            next = reason.source();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_a_role_of_etcds_host_hears_how_that_is_killed() {
        let said =
            |host: &str| LabError::NoSuchRole { host: host.parse().unwrap(), role: "etcd".into(), running: "none".into() }.to_string();
        assert_eq!(said("e1"), "host e1 runs no etcd; it runs none: a host with etcd is killed as a whole, `pan lab kill e1`");
        assert_eq!(said("n1"), "host n1 runs no etcd; it runs none");
    }
}
