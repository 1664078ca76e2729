//! What can be typed.

use super::apply::ApplyArgs;
use super::audit::AuditArgs;
use super::bench::{BenchArgs, ProberArgs};
use super::contexts::ContextArgs;
use super::delete::DeleteArgs;
use super::describe::DescribeArgs;
use super::drain::DrainArgs;
use super::edit::EditArgs;
use super::export::ExportArgs;
use super::get::{EventsArgs, GetArgs};
use super::help::{CompletionArgs, ErrorArgs, ExplainArgs};
use super::inside::{ExecArgs, LogsArgs};
use super::insight::{CertifyArgs, TimelineArgs, WhatIfArgs, WhyArgs};
use super::join::JoinArgs;
use super::lab::{DownArgs, HostInitArgs, LabArgs, LabHeirArgs, LabRelayArgs, UpArgs};
use super::login::LoginArgs;
use super::node::NodeArgs;
use super::policy::PolicyCommand;
use super::server::{MoveArgs, ScaleArgs, ServerArgs};
use super::session::Globals;
use super::token::TokenCommand;
use super::trace::TraceCommand;
use super::usage::UsageArgs;
use super::volume::{CloneArgs, RecoverArgs, ResizeArgs, SnapshotArgs};
use super::wait::WaitArgs;
use crate::roles::{BeatArgs, EtcdArgs, GenerateArgs, HeadArgs, ProxyArgs, RoleArgs, ShimCommandArgs};
use clap::{Args, Parser, Subcommand};
use pan_model::HostName;
use std::ffi::OsString;
use std::path::PathBuf;

/// A Processing Area Network: servers that exist apart from the machines they run on.
#[derive(Debug, Parser)]
#[command(name = "pan", version, propagate_version = false, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 done, 1 failed or refused, 2 usage, 3 not found, 4 denied, 5 timed out.\n\
    `pan explain KIND` lists the fields of manifests, `pan error CODE` explains an error.")]
pub struct Cli {
    #[command(flatten)]
    pub globals: Globals,
    #[command(subcommand)]
    pub command: Command,
}

/// A command of which this version has only the name.
#[derive(Debug, Clone, Args)]
#[command(disable_help_flag = true)]
pub struct Later {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _rest: Vec<OsString>,
}

/// `pan volume …`.
#[derive(Debug, Clone, Subcommand)]
pub enum VolumeCommand {
    /// Show the volumes of a partition.
    List {
        /// Those of all partitions.
        #[arg(short = 'A', long)]
        all: bool,
    },
    Snapshot(SnapshotArgs),
    Clone(CloneArgs),
    Resize(ResizeArgs),
    Export(ExportArgs),
    Recover(RecoverArgs),
}

/// `pan host …`.
#[derive(Debug, Clone, Subcommand)]
pub enum HostCommand {
    /// Show all hosts.
    List,
    /// Take a host out of the PAN; its certificate is refused everywhere from then on.
    Remove {
        /// Which host; a node must be drained or dead.
        host: HostName,
    },
}

/// `pan key …`.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum KeyCommand {
    /// Give the hosts new keys for their heartbeats; they are used once all have them.
    Rotate,
}

/// Run the director role on this host (--config), or act on a director.
#[derive(Debug, Clone, Args)]
pub struct DirectorArgs {
    /// The host's configuration: run the role.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Option<DirectorCommand>,
}

/// What can be done to a director.
#[derive(Debug, Clone, Subcommand)]
pub enum DirectorCommand {
    /// Move all addresses away (not yet).
    Drain(Later),
}

/// Every command.
#[derive(Debug, Subcommand)]
pub enum Command {
    Up(UpArgs),
    Down(DownArgs),
    Lab(LabArgs),
    Bench(BenchArgs),

    Apply(ApplyArgs),
    Get(GetArgs),
    Wait(WaitArgs),
    Describe(DescribeArgs),
    Delete(DeleteArgs),
    Edit(EditArgs),
    Explain(ExplainArgs),
    Error(ErrorArgs),

    /// Show who decides, which hosts are not alive, and members of the store that do not answer.
    Status,
    Events(EventsArgs),
    Audit(AuditArgs),
    Usage(UsageArgs),
    Logs(LogsArgs),
    Exec(ExecArgs),

    Scale(ScaleArgs),
    /// Stop a server and start it on its node.
    Restart(ServerArgs),
    /// Stop a server until it is started again.
    Stop(ServerArgs),
    /// Start a server that was stopped or failed.
    Start(ServerArgs),
    /// Move a server after its connections ended.
    Migrate(MoveArgs),
    /// Move a server at once.
    Failover(MoveArgs),

    Node(NodeArgs),
    Drain(DrainArgs),
    Director(DirectorArgs),
    /// Show hosts.
    #[command(subcommand)]
    Host(HostCommand),
    Join(JoinArgs),
    /// Keys of the PAN.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Tokens: for machines that join, and for people and programs with a role.
    #[command(subcommand)]
    Token(TokenCommand),

    Why(WhyArgs),
    Certify(CertifyArgs),
    Whatif(WhatIfArgs),
    Timeline(TimelineArgs),
    /// Say where a request would go, and why.
    #[command(subcommand)]
    Trace(TraceCommand),

    Login(LoginArgs),
    Context(ContextArgs),
    Completion(CompletionArgs),
    /// Show the versions of this program and of the PAN.
    Version,

    /// Run the controller role on this host.
    Controller(RoleArgs),
    /// Run the storage role on this host.
    Storage(RoleArgs),
    /// Become a member of the controllers' etcd.
    Etcd(EtcdArgs),
    /// Send this host's heartbeats, and acknowledge others'.
    Beat(BeatArgs),
    #[command(hide = true)]
    Head(HeadArgs),
    #[command(hide = true)]
    Proxy(ProxyArgs),
    /// Policies: how many servers clusters have, and when.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Volumes.
    #[command(subcommand)]
    Volume(VolumeCommand),

    /// Print what is generated from the code.
    #[command(hide = true)]
    Generate(GenerateArgs),
    #[command(hide = true)]
    HostInit(HostInitArgs),
    #[command(hide = true)]
    LabRelay(LabRelayArgs),
    #[command(hide = true)]
    LabHeir(LabHeirArgs),
    #[command(hide = true)]
    Prober(ProberArgs),
    #[command(hide = true)]
    Shim(ShimCommandArgs),

    #[command(flatten)]
    Later(LaterCommand),
}

/// Commands of the documented interface that this version does not have.
#[derive(Debug, Subcommand)]
pub enum LaterCommand {
    /// Show what uses most (not yet).
    Top(Later),
    /// Answer a question of a cluster's confirmation (not yet).
    Confirm(Later),
    /// Service levels (not yet).
    Slo(Later),
    /// Save the PAN's state (not yet).
    Backup(Later),
    /// Bring a saved state back (not yet).
    Restore(Later),
}

impl LaterCommand {
    /// The command as typed.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Top(_) => "pan top",
            Self::Confirm(_) => "pan confirm",
            Self::Slo(_) => "pan slo",
            Self::Backup(_) => "pan backup",
            Self::Restore(_) => "pan restore",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_agree_with_each_other() {
        Cli::command().debug_assert();
    }
}
