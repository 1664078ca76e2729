//! `pan up`, `pan down` and `pan lab …`: laboratories from the command line.

mod commands;
mod error;
mod make;
mod up;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use pan_model::{ByteSize, Cpu};

pub use commands::run as run_lab;
pub use commands::{run_host_init, run_lab_heir, run_lab_relay};
pub use error::LabCommandError;
pub use up::{run_down, run_up};

/// What the flags that stand everywhere say, as far as laboratories care.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// `--context`.
    pub context: Option<String>,
    /// `-o json`.
    pub json: bool,
    /// `-q`.
    pub quiet: bool,
}

/// Bring a whole PAN up on this machine, or show the one that runs.
#[derive(Debug, Clone, Args)]
pub struct UpArgs {
    /// How many nodes [default: 4].
    #[arg(long)]
    pub nodes: Option<u8>,
    /// How many storage hosts [default: 2].
    #[arg(long)]
    pub storage: Option<u8>,
    /// How many directors [default: 2].
    #[arg(long)]
    pub directors: Option<u8>,
    /// How many controllers: one with a file of its own, or three with etcd [default: 1].
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=7))]
    pub controllers: Option<u8>,
    /// How fast failures are noticed, and how much noise is borne [default: shared].
    #[arg(long, value_enum)]
    pub profile: Option<Profile>,
    /// Processor time each node offers, whatever the machine has [default: 4].
    #[arg(long, value_parser = node_cpu)]
    pub node_cpu: Option<Cpu>,
    /// Memory each node offers [default: 4GiB].
    #[arg(long, value_parser = node_memory)]
    pub node_memory: Option<ByteSize>,
    /// Label a node; may be repeated.
    #[arg(long, value_name = "HOST=KEY:VALUE", value_parser = label)]
    pub label: Vec<Label>,
    /// Where everything is kept; by default /var/lib/pan/NAME.
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// The laboratory's name; with it the current context stays as it is.
    #[arg(long)]
    pub name: Option<String>,
    /// Do not apply the demo (partition `demo`, cluster `web`, service `www`).
    #[arg(long)]
    pub empty: bool,
    /// Stay until Ctrl-C, then take it down.
    #[arg(long)]
    pub foreground: bool,
}

/// What a node of a laboratory may offer: enough for one server that asks for nothing, of which the demo's are; and no more than any machine has.
const NODE_CPU_RANGE: (Cpu, Cpu) = (Cpu(100), Cpu(4096 * 1000));
const NODE_MEMORY_RANGE: (ByteSize, ByteSize) = (ByteSize(64 << 20), ByteSize(64 << 40));

fn node_cpu(text: &str) -> Result<Cpu, String> {
    within(text, NODE_CPU_RANGE)
}

fn node_memory(text: &str) -> Result<ByteSize, String> {
    within(text, NODE_MEMORY_RANGE)
}

fn within<T>(text: &str, (least, most): (T, T)) -> Result<T, String>
where
    T: std::str::FromStr<Err: std::fmt::Display> + PartialOrd + std::fmt::Display,
{
    let amount: T = text.parse().map_err(|error: T::Err| error.to_string())?;
    if amount < least || amount > most {
        return Err(format!("{amount} is no amount for a node: expected {least}, which one server takes that asks for nothing, to {most}"));
    }
    Ok(amount)
}

/// Stop and remove a laboratory with everything it made.
#[derive(Debug, Clone, Args)]
pub struct DownArgs {
    /// Which one; by default PAN_LAB, then the context's, then `local`.
    #[arg(long)]
    pub name: Option<String>,
}

/// Look at a laboratory's hosts, and break them.
#[derive(Debug, Clone, Args)]
pub struct LabArgs {
    /// Which laboratory; by default PAN_LAB, then the context's, then `local`.
    #[arg(long, global = true)]
    pub name: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub command: LabCommand,
}

/// What can be done to a laboratory. Each returns when the fault acts.
#[derive(Debug, Clone, Subcommand)]
pub enum LabCommand {
    /// Show all hosts.
    Hosts,
    /// Cut a host off a fabric, or off both, silently.
    Cut {
        /// Which host.
        host: String,
        /// Which fabric; both if omitted.
        #[arg(long, value_enum)]
        fabric: Option<FabricArg>,
        /// What is lost, as the host sees it.
        #[arg(long, value_enum, default_value_t = DirectionArg::Both)]
        direction: DirectionArg,
    },
    /// Take back cuts, delay and freeze of a host (not a power cut, nothing of its disk).
    Heal {
        /// Which host.
        host: String,
    },
    /// Cut a host's power, or kill one of its roles.
    Kill {
        /// Which host.
        host: String,
        /// Only this role: controller, node, storage, director, beat; a host with etcd is killed as a whole.
        role: Option<String>,
    },
    /// Let a host run another program, without a pause of its servers or heartbeats.
    Upgrade {
        /// Which host.
        host: String,
        /// The program; a copy of it becomes the host's.
        #[arg(long, value_name = "FILE")]
        exe: Option<PathBuf>,
    },
    /// Boot a host with its old disk.
    Start {
        /// Which host.
        host: String,
    },
    /// Stop every process of a host where it stands.
    Freeze {
        /// Which host.
        host: String,
    },
    /// Let a frozen host run on.
    Thaw {
        /// Which host.
        host: String,
    },
    /// Let a host's disk be full, fail, or work again; it stays so over a power cut.
    ///
    /// A disk that failed and works again holds what was synced before. Whoever had files open on it must open them again: a role
    /// does when it ends and is started again (`pan lab kill HOST ROLE`), everything does after `pan lab kill HOST` and `start`.
    Disk {
        /// Which host.
        host: String,
        /// What happens to it.
        #[command(flatten)]
        fault: DiskFault,
    },
    /// Make the way to and from a host's fabrics longer.
    Delay {
        /// Which host.
        host: String,
        /// Milliseconds that every round trip takes longer, half of them each way; 0 takes it back.
        millis: u32,
    },
    /// Add a node and boot it.
    AddNode,
    /// Run a command inside a host.
    Exec {
        /// Which host.
        host: String,
        /// Program and arguments.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

/// What happens to a disk.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct DiskFault {
    /// No space is left.
    #[arg(long)]
    pub full: bool,
    /// Reads and writes fail.
    #[arg(long)]
    pub fail: bool,
    /// It works again.
    #[arg(long)]
    pub ok: bool,
}

/// Run as the first process of a laboratory's host.
#[derive(Debug, Clone, Args)]
pub struct HostInitArgs {
    /// The host's configuration; without one it only reaps.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// The configuration of a member of etcd.
    #[arg(long, conflicts_with = "config")]
    pub etcd: Option<PathBuf>,
}

/// Run as the relay of a laboratory's slow links.
#[derive(Debug, Clone, Args)]
pub struct LabRelayArgs {
    /// The laboratory.
    #[arg(long)]
    pub name: String,
    /// How long each frame is kept, in microseconds.
    #[arg(long)]
    pub each_way_us: u64,
}

/// Run as the one who removes a laboratory when whoever made it is killed.
#[derive(Debug, Clone, Args)]
pub struct LabHeirArgs {
    /// The laboratory.
    #[arg(long)]
    pub name: String,
}

/// A timing profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// A quiet local network.
    Lan,
    /// Machines shared with other work.
    Shared,
    /// Long lines.
    Wan,
}

/// A fabric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FabricArg {
    /// Fabric A.
    A,
    /// Fabric B.
    B,
}

/// A direction, as the host sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DirectionArg {
    /// It hears nothing.
    In,
    /// It is not heard.
    Out,
    /// Neither.
    Both,
}

/// The name of a laboratory whose name was not given.
pub const DEFAULT_NAME: &str = "local";

/// One label of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Which host.
    pub host: String,
    /// Such as `region`.
    pub key: String,
    /// Such as `eu`.
    pub value: String,
}

fn label(text: &str) -> Result<Label, String> {
    let parts = text.split_once('=').and_then(|(host, rest)| Some((host, rest.split_once(':')?)));
    match parts {
        Some((host, (key, value))) if !host.is_empty() && !key.is_empty() => {
            Ok(Label { host: host.to_owned(), key: key.to_owned(), value: value.to_owned() })
        }
        _ => Err(format!("{text:?}: expected HOST=KEY:VALUE, such as n1=region:eu")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_read_as_documented() {
        let read = label("n1=region:eu").unwrap();
        assert_eq!((read.host.as_str(), read.key.as_str(), read.value.as_str()), ("n1", "region", "eu"));
        for bad in ["n1", "n1=region", "=a:b", "n1=:b"] {
            assert!(label(bad).is_err(), "{bad}");
        }
    }
}
