//! `pan controller`, `node`, `storage`, `director`, `beat` and what belongs to them: each runs the crate of its role.

use crate::claim::Claim;
use crate::cli::Failure;
use crate::config;
use clap::{Args, ValueEnum};
use pan_api::hostlink::{Signs, Start};
use pan_linux::oci::{ShimArgs, Until, shim_main};
use pan_linux::process;
use pan_linux::supervise::Watched;
use pan_model::ByteSize;
use pan_model::host::Role;
use pan_model::host_config::HostConfig;
use pan_node::beat::Way;
use pan_node::head::Part;
use std::error::Error;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// How long a role's last calls of the kernel or the disk are waited for when it ends.
const ENDING_MAX: Duration = Duration::from_secs(2);

/// The role's configuration.
#[derive(Debug, Clone, Args)]
pub struct RoleArgs {
    /// The host's configuration.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// The beat process's configuration.
#[derive(Debug, Clone, Args)]
pub struct BeatArgs {
    /// The host's configuration.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Take over from the beat process that runs, or end.
    #[arg(long, hide = true)]
    succeed: bool,
}

/// The configuration of a member of etcd.
#[derive(Debug, Clone, Args)]
pub struct EtcdArgs {
    /// The host's configuration.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Watch the first start of the process with this number.
    #[arg(long, hide = true)]
    witness: Option<u32>,
}

/// Serve a volume to a server of this node.
#[derive(Debug, Clone, Args)]
pub struct HeadArgs {
    /// The volume's folder.
    #[arg(long, value_name = "FOLDER")]
    folder: PathBuf,
    /// Be the process that serves, not the one that keeps.
    #[arg(long, hide = true)]
    serve: bool,
    /// The same, following one that ended.
    #[arg(long, hide = true)]
    serve_again: bool,
}

/// Be the HTTP proxy of a partition's services.
#[derive(Debug, Clone, Args)]
pub struct ProxyArgs {
    /// Takes documents and questions; made by this process.
    #[arg(long, value_name = "SOCKET")]
    control: PathBuf,
    /// A document to begin with.
    #[arg(long, value_name = "FILE")]
    document: Option<PathBuf>,
    /// Takes the access log; none is written without it.
    #[arg(long, value_name = "FILE")]
    access_log: Option<PathBuf>,
    /// Threads; one for each core when absent.
    #[arg(long)]
    threads: Option<usize>,
    /// Listen also on addresses that this host does not have at present.
    #[arg(long)]
    absent_addresses: bool,
    /// Become this user, without any right, once the control socket is made and before anybody is listened to; make no other process, open
    /// nothing any more, and be the first to go when memory ends.
    #[arg(long, value_name = "ID")]
    user: Option<u32>,
    /// The most memory that it may write to; more, and it ends.
    #[arg(long, value_name = "SIZE")]
    memory: Option<ByteSize>,
}

/// What to generate.
#[derive(Debug, Clone, Args)]
pub struct GenerateArgs {
    /// What.
    #[arg(value_enum)]
    pub what: Generated,
    /// Of which kind; a schema only.
    pub kind: Option<String>,
}

/// What is generated from the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Generated {
    /// The description of the HTTP interface.
    Openapi,
    /// The JSON Schema of manifests.
    Schema,
}

/// Run one container and keep its exit status.
#[derive(Debug, Clone, Args)]
pub struct ShimCommandArgs {
    /// Folder with config.json.
    #[arg(long)]
    bundle: PathBuf,
    /// The container's id.
    #[arg(long)]
    id: String,
    /// The runtime's state folder.
    #[arg(long)]
    root: PathBuf,
    /// Takes the container's output.
    #[arg(long)]
    log: PathBuf,
    /// Gets the exit status.
    #[arg(long)]
    exit_file: PathBuf,
    /// Gets the pid.
    #[arg(long)]
    pid_file: PathBuf,
    /// How far the container is brought: running or created.
    #[arg(long)]
    until: Until,
}

/// Log lines on stderr; PAN_LOG chooses which, `default` without it.
pub fn init_logging(default: &str) {
    let filter = EnvFilter::try_from_env("PAN_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    // A second call is a call too many, but no reason to stop.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour).try_init();
}

/// Runs a role until it is told to stop or cannot go on.
pub fn run(role: Role, path: &Path) -> ExitCode {
    init_logging("info");
    let watched = Watched::take().unwrap_or_else(|error| {
        tracing::warn!(%error, "whoever keeps this role running is not told that it gets on, and may end it for that");
        None
    });
    if let Err(error) = process::raise_file_limit() {
        tracing::warn!(%error, "the limit of open files stays as it is: fewer connections than there are places for may be too many");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(role.as_str(), &error),
    };
    let config = match config::load(path, Some(role)) {
        Ok(config) => config,
        Err(error) => return failed(role.as_str(), &error),
    };
    let _claim = match Claim::take(&config.state_dir, role) {
        Ok(claim) => claim,
        Err(error) => return failed(role.as_str(), &error),
    };
    tracing::info!(host = %config.name, %role, version = env!("CARGO_PKG_VERSION"), "starting");
    leave_director(&config);
    let own = config.clone();
    // The heartbeats come from a process that outlives this one; after an upgrade it is to follow. Without the thread it
    // does when the next role starts.
    let _ = std::thread::Builder::new().name("beat-build".into()).spawn(move || pan_node::beat::keep_current(&own));
    let signs = watched.as_ref().and_then(|watched| signs_of(&config, role, watched));
    if let Some(watched) = watched {
        runtime.spawn(gets_on(watched, signs.clone()));
    }
    let exit = match role {
        Role::Controller => ended(role, runtime.block_on(until_told(pan_controller::run(config)))),
        Role::Node => ended(role, runtime.block_on(until_told(pan_node::run(config)))),
        Role::Director => ended(role, runtime.block_on(until_told(pan_director::run(config)))),
        Role::Storage => ended(role, runtime.block_on(pan_storage::run(config, told()))),
    };
    runtime.shutdown_timeout(ENDING_MAX);
    if let Some(Err(error)) = signs.map(Signs::end) {
        tracing::warn!(%error, "the next process of this role may take this one for one that stood still");
    }
    exit
}

/// Finds out whether the process before this one stood still.
fn signs_of(config: &HostConfig, role: Role, watched: &Watched) -> Option<Signs> {
    let start = Start { boot: boot_clock(), wall: jiff::Timestamp::now().as_microsecond(), silence: watched.silence() };
    let signs = Signs::take(&config.run_dir, role, start);
    signs.inspect_err(|error| tracing::warn!(%error, "whether the process before this one stood still is not known")).ok()
}

fn boot_clock() -> Duration {
    Duration::from_nanos(pan_linux::datagram::boot_clock())
}

/// Says for ever that this process gets on: as long as its runtime does, this does.
async fn gets_on(watched: Watched, signs: Option<Signs>) {
    let mut times = tokio::time::interval(watched.every());
    loop {
        times.tick().await;
        // No later than what whoever ends this process counts from.
        let now = boot_clock();
        if let Err(error) = watched.gets_on() {
            tracing::debug!(%error, "nobody hears that this role gets on");
        }
        if let Some(Err(error)) = signs.as_ref().map(|signs| signs.give(now)) {
            tracing::debug!(%error, "the next process of this role will not know how this one got on");
        }
    }
}

/// Everything that matters is committed or written before it is acted on, so being told to stop needs no goodbye.
async fn until_told<E: Error>(work: impl Future<Output = Result<(), E>>) -> Result<(), E> {
    tokio::select! {
        result = work => result,
        () = told() => Ok(()),
    }
}

/// Until this process is told to stop.
async fn told() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        // Then the signals end the process by themselves.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("told to stop");
}

/// Keeps or serves a volume.
pub fn head(args: &HeadArgs) -> ExitCode {
    init_logging("info");
    let part = match (args.serve, args.serve_again) {
        (false, false) => Part::Keep,
        (true, _) => Part::Work,
        (false, true) => Part::WorkAgain,
    };
    pan_node::head::run(part, &args.folder)
}

/// Lines of the access log that wait to be written.
const LINES_WAITING: usize = 8192;

/// How much sooner than its share of memory says a proxy with a user of its own is killed when there is none left: before whatever serves
/// others as well.
const KILLED_BEFORE: u16 = 500;

/// How long a proxy that is told to stop lets requests end.
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// Proxies HTTP until it is told to stop.
pub fn proxy(args: ProxyArgs) -> ExitCode {
    init_logging("info");
    if let Err(error) = process::raise_file_limit() {
        tracing::warn!(%error, "the limit of open files stays as it is: fewer connections than services allow may be too many");
    }
    match proxy_until_told(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed("proxy", error.as_ref()),
    }
}

fn proxy_until_told(args: ProxyArgs) -> Result<(), Box<dyn Error>> {
    let ProxyArgs { control, document, access_log, threads, absent_addresses, user, memory } = args;
    // First: a process that is refused must have had no connection of the one that is there.
    let socket = pan_proxy::serve::control::Socket::bind(&control)?;
    let access = access_log.map(|path| write_lines(&path)).transpose()?;
    memory.map(|most| process::bound_memory(most.0)).transpose()?;
    if let Some(user) = user {
        process::prefer_to_be_killed(KILLED_BEFORE)?;
        process::become_user(user)?;
    }
    let proxy = pan_proxy::Proxy::start(pan_proxy::Settings { threads, access, absent_addresses })?;
    if let Some(path) = document {
        proxy.apply(&serde_json::from_slice(&std::fs::read(path)?)?)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    user.map(|_| process::confine()).transpose()?;
    Ok(runtime.block_on(pan_proxy::serve::control::run(proxy, socket, told(), DRAIN_MAX))?)
}

/// Writes lines to the end of a file, in a thread of its own: a disk that stands still stops no request.
fn write_lines(path: &Path) -> std::io::Result<tokio::sync::mpsc::Sender<String>> {
    use std::io::Write;
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    let (lines, mut waiting) = tokio::sync::mpsc::channel::<String>(LINES_WAITING);
    std::thread::Builder::new().name("access-log".into()).spawn(move || {
        let mut file = std::io::BufWriter::new(file);
        while let Some(line) = waiting.blocking_recv() {
            let written = writeln!(file, "{line}").and_then(|()| if waiting.is_empty() { file.flush() } else { Ok(()) });
            if let Err(error) = written {
                tracing::warn!(%error, "the access log cannot be written");
            }
        }
    })?;
    Ok(lines)
}

/// Sends heartbeats. One thread does, so that nothing else of this process can delay them.
pub fn beat(args: &BeatArgs) -> ExitCode {
    init_logging("info");
    let config: HostConfig = match config::load(&args.config, None) {
        Ok(config) => config,
        Err(error) => return failed("beat", &error),
    };
    let way = if args.succeed { Way::Successor } else { Way::Supervised };
    leave_director(&config);
    match pan_node::beat::run(config, &args.config, &way) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed("beat", &error),
    }
}

/// Of a host whose configuration does not make it a director: it may have been one before, and no agent of that role will tidy up. Beside everything
/// else, for it may take longer than a heartbeat may wait.
fn leave_director(config: &HostConfig) {
    if config.roles.contains(&Role::Director) {
        return;
    }
    let (state_dir, run_dir) = (config.state_dir.clone(), config.run_dir.clone());
    // Without the thread whatever starts next on this host does it.
    let _ = std::thread::Builder::new().name("leave".into()).spawn(move || leave(&state_dir, &run_dir));
}

fn leave(state_dir: &Path, run_dir: &Path) {
    // One that runs still, by a configuration of before, would make anew what is taken away.
    let _claim = match Claim::take(state_dir, Role::Director) {
        Ok(claim) => claim,
        Err(error) => {
            return tracing::warn!(%error, "this host is no director any more, and one still runs: stop it, and start another role anew");
        }
    };
    match pan_director::leave(run_dir) {
        Ok(0) => {}
        Ok(count) => tracing::info!(count, "this host is no director any more: what it had of partitions is taken away"),
        Err(error) => tracing::warn!(%error, "this host is no director any more, and some of what it had of partitions is there still"),
    }
}

/// Becomes etcd, with what this member's configuration and the store want of it. Returns only if it cannot.
pub fn etcd(args: &EtcdArgs) -> ExitCode {
    init_logging("info");
    let config = match config::load_etcd(&args.config) {
        Ok(config) => config,
        Err(error) => return failed("etcd", &error),
    };
    if let Some(process) = args.witness {
        return match pan_controller::etcd_witness(&config, process) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed("etcd's witness", &error),
        };
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed("etcd", &error),
    };
    let prepared = match runtime.block_on(pan_controller::etcd_prepare(&config)) {
        Ok(prepared) => prepared,
        Err(error) => return failed("etcd", &error),
    };
    drop(runtime);
    failed("etcd", &become_etcd(&args.config, &prepared))
}

/// Why this process cannot become etcd.
fn become_etcd(config: &Path, prepared: &pan_controller::Prepared) -> std::io::Error {
    use std::os::unix::process::CommandExt;
    if prepared.is_first {
        let witness = std::env::current_exe().and_then(|exe| {
            let own = std::process::id().to_string();
            std::process::Command::new(exe).arg("etcd").arg("--config").arg(config).args(["--witness", &own]).spawn()
        });
        if let Err(error) = witness {
            return error;
        }
    }
    std::process::Command::new("etcd").args(&prepared.arguments).exec()
}

/// Keeps a container's exit status. Called before anything starts a thread.
pub fn shim(args: ShimCommandArgs) -> ExitCode {
    let ShimCommandArgs { bundle, id, root, log, exit_file, pid_file, until } = args;
    shim_main(ShimArgs { bundle, id, root, log, exit_file, pid_file, until })
}

/// The text that is generated from the code, as it is committed.
pub fn generate(args: GenerateArgs) -> Result<String, Failure> {
    let value = match (args.what, args.kind) {
        (Generated::Openapi, None) => pan_controller::api::openapi(),
        (Generated::Openapi, Some(_)) => {
            return Err(Failure::Usage("`pan generate openapi` describes everything: leave out the kind".into()));
        }
        (Generated::Schema, Some(kind)) => {
            let unknown = || Failure::Usage(format!("{kind:?} has no schema: expected one of {}", pan_model::explain::KINDS.join(", ")));
            pan_model::explain::schema(&kind.to_ascii_lowercase()).ok_or_else(unknown)?
        }
        (Generated::Schema, None) => pan_model::explain::schema_of_all(),
    };
    Ok(format!("{value:#}\n"))
}

fn ended<E: Error>(role: Role, result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(role.as_str(), &error),
    }
}

/// The error with all its causes.
fn failed(role: &str, error: &dyn Error) -> ExitCode {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(&format!(": {source}"));
        cause = source.source();
    }
    tracing::error!("{role} ends: {text}");
    ExitCode::FAILURE
}
