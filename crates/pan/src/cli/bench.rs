//! `pan bench …` and the hidden `pan prober`: measuring a PAN from outside.

use super::arguments::Later;
use super::failure::Failure;
use super::lab::Profile;
use super::output::{Table, note};
use super::session::Session;
use clap::{Args, Subcommand, ValueEnum};
use pan_api::desired::{BackendOrder, ServiceOrder, Unit};
use pan_lab::bench::{
    BenchError, DirectorCase, DirectorOptions, FailoverCase, FailoverOptions, HOSTS_MAX, HeartbeatsOptions, NeighbourOptions, Peer,
    ProxyPeer, Report, VolumeOptions, director, failover, heartbeats, neighbour, volume,
};
use pan_lab::prober::{ProbeError, ProbePlan, probe};
use pan_model::service::BackendState;
use pan_model::{Code, Epoch, Mac, Span};
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::signal::unix::{SignalKind, signal};

/// What a shell reports of a program that was interrupted.
const INTERRUPTED: u8 = 130;

/// The lowest there is: before all ordinary programs, after everything that keeps a PAN's own time.
const PROBER_PRIORITY: i32 = 1;

/// Measure, in a laboratory made and removed for it.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    pub command: BenchCommand,
}

/// What can be measured.
#[derive(Debug, Clone, Subcommand)]
pub enum BenchCommand {
    /// How long users notice that a node lost its power, and whether they notice lesser things at all.
    Failover(FailoverArgs),
    /// What thousands of hosts' heartbeats cost a controller, and how soon it notices that one of them fell silent.
    Heartbeats(HeartbeatsArgs),
    /// How many requests a director passes on, by its HTTP proxy and by its rules.
    Director(DirectorArgs),
    /// What a volume can take, with one copy and with two.
    Volume(VolumeArgs),
    /// What one partition notices of another one beside it that uses up all it may.
    Neighbour(NeighbourArgs),
    /// How long placing takes (not yet).
    Placement(Later),
}

/// How to measure failovers.
#[derive(Debug, Clone, Args)]
pub struct FailoverArgs {
    /// Only this case; may be repeated. Of a PAN: node-cut-many, node-cut-single, controllers-killed,
    /// agent-killed, node-frozen, false-failovers, three-controllers-killed, controller-and-node, etcd-and-node, volume, storage-lost. Of others: keepalived-1s,
    /// keepalived-100ms, keepalived-10ms, pacemaker-default, pacemaker-300ms, each of these two also with -fenced.
    #[arg(long, value_name = "CASE")]
    case: Vec<FailoverCase>,
    /// Runs of each case; false-failovers is always one run. Unless given 50, but for those that take long: 10 of controllers-killed,
    /// agent-killed, storage-lost, pacemaker-default and pacemaker-default-fenced, 5 of three-controllers-killed. Then all of them,
    /// with `--against keepalived,pacemaker`, take about two hours.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    runs: Option<u32>,
    /// How fast failures are noticed, and how much noise is borne.
    #[arg(long, value_enum, default_value_t = Profile::Lan)]
    profile: Profile,
    /// Measure others beside it, as this distribution packages them: keepalived, pacemaker.
    #[arg(long, value_name = "PEER", value_delimiter = ',')]
    against: Vec<Peer>,
    /// How long all controllers are away in controllers-killed and three-controllers-killed.
    #[arg(long, value_name = "TIME", default_value = "60s")]
    outage: Span,
    /// How long all processors are busy with something else in false-failovers.
    #[arg(long, value_name = "TIME", default_value = "10m")]
    load: Span,
    /// Write everything measured here, as JSON.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Leave the PAN's laboratory running; hosts of others are always removed.
    #[arg(long)]
    keep: bool,
}

/// How to measure a controller that hears many hosts.
#[derive(Debug, Clone, Args)]
pub struct HeartbeatsArgs {
    /// Simulated hosts.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u16).range(1..=i64::from(HOSTS_MAX)))]
    hosts: u16,
    /// How long all are heard before any falls silent.
    #[arg(long, default_value = "60s", value_name = "TIME")]
    length: Span,
    /// How many of them fall silent, one after the other.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    runs: u32,
    /// How fast failures are noticed, and how much noise is borne.
    #[arg(long, value_enum, default_value_t = Profile::Lan)]
    profile: Profile,
    /// Between two heartbeats of a host; what the profile says for so many hosts unless given.
    #[arg(long, value_name = "TIME")]
    period: Option<Span>,
    /// Write everything measured here, as JSON.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Leave the laboratory running.
    #[arg(long)]
    keep: bool,
}

/// How to measure directors.
#[derive(Debug, Clone, Args)]
pub struct DirectorArgs {
    /// Only this case; may be repeated: kept-1k, kept-100k, each-1k, each-100k, of kept connections or with one for each request, and of an answer's size;
    /// each also with -tls and -layer4.
    #[arg(long, value_name = "CASE")]
    case: Vec<DirectorCase>,
    /// How often each case is asked of each proxy.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// How long each time.
    #[arg(long, value_name = "TIME", default_value = "4s")]
    length: Span,
    /// Measure others beside it, as this distribution packages them: haproxy, nginx.
    #[arg(long, value_name = "PEER", value_delimiter = ',')]
    against: Vec<ProxyPeer>,
    /// Write everything measured here, as JSON.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// How to measure volumes.
#[derive(Debug, Clone, Args)]
pub struct VolumeArgs {
    /// Only the volume with so many copies, one or two; both unless given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=2))]
    copies: Vec<u8>,
    /// The same once more without TLS between node and storage hosts, which is possible in a laboratory alone: what TLS costs.
    #[arg(long)]
    without_tls: bool,
    /// How often each kind of work is done on each volume.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// How long each time.
    #[arg(long, value_name = "TIME", default_value = "5s")]
    length: Span,
    /// How fast failures are noticed, and how much noise is borne.
    #[arg(long, value_enum, default_value_t = Profile::Lan)]
    profile: Profile,
    /// Measure beside it what others' programs make of the same disk: qemu (`nbdkit file`, qemu-storage-daemon, a loop device).
    #[arg(long, value_name = "PEER")]
    against: Option<VolumePeer>,
    /// Write everything measured here, as JSON.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Leave the laboratory running.
    #[arg(long)]
    keep: bool,
}

/// How to measure what a partition notices of a loud one beside it.
#[derive(Debug, Clone, Args)]
pub struct NeighbourArgs {
    /// Rounds: requests alone, beside a fork bomb, beside a memory hog, beside a packet storm.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// How long each of the four, in seconds.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u16).range(1..=3600))]
    seconds: u16,
    /// How fast failures are noticed, and how much noise is borne.
    #[arg(long, value_enum, default_value_t = Profile::Lan)]
    profile: Profile,
    /// Write everything measured here, as JSON.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Leave the laboratory running.
    #[arg(long)]
    keep: bool,
}

/// What volumes are measured against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum VolumePeer {
    /// nbdkit and qemu-storage-daemon.
    Qemu,
}

/// Open a connection at a fixed rate, whatever becomes of earlier ones, and tell what became of each.
#[derive(Debug, Clone, Args)]
pub struct ProberArgs {
    /// Address and port.
    #[arg(long, value_name = "ADDRESS:PORT")]
    target: SocketAddr,
    /// Between the beginnings of two probes.
    #[arg(long, default_value = "5ms")]
    every: Span,
    /// How long.
    #[arg(long = "for", default_value = "10s", value_name = "TIME")]
    length: Span,
    /// How long one probe may take.
    #[arg(long, default_value = "1s")]
    timeout: Span,
    /// Print only the figures of all probes together.
    #[arg(long)]
    summary: bool,
}

/// `pan bench …`.
pub fn run(args: BenchArgs, session: &Session) -> Result<ExitCode, Failure> {
    match args.command {
        BenchCommand::Failover(args) => run_failover(&args, session),
        BenchCommand::Heartbeats(args) => run_heartbeats(&args, session),
        BenchCommand::Director(args) => run_director(&args, session),
        BenchCommand::Volume(args) => run_volume(&args, session),
        BenchCommand::Neighbour(args) => run_neighbour(&args, session),
        BenchCommand::Placement(_) => Err(Failure::not_yet("pan bench placement")),
    }
}

fn run_failover(args: &FailoverArgs, session: &Session) -> Result<ExitCode, Failure> {
    let options = FailoverOptions {
        cases: FailoverCase::chosen(&args.case, &args.against),
        runs: args.runs,
        profile: name_of(args.profile),
        outage: args.outage.0,
        load: args.load.0,
        keep: args.keep,
        exe: std::env::current_exe().map_err(Failure::local("find this program"))?,
    };
    let stop = stop_on_signals()?;
    conclude(failover(&options, &stop, &mut |line| session.out.progress(line)), args.out.as_deref(), session)
}

fn run_heartbeats(args: &HeartbeatsArgs, session: &Session) -> Result<ExitCode, Failure> {
    let options = HeartbeatsOptions {
        hosts: args.hosts,
        runs: args.runs,
        length: args.length.0,
        profile: name_of(args.profile),
        period: args.period.map(|period| period.0),
        keep: args.keep,
        exe: std::env::current_exe().map_err(Failure::local("find this program"))?,
    };
    let stop = stop_on_signals()?;
    conclude(heartbeats(&options, &stop, &mut |line| session.out.progress(line)), args.out.as_deref(), session)
}

fn run_director(args: &DirectorArgs, session: &Session) -> Result<ExitCode, Failure> {
    let options = DirectorOptions {
        cases: args.case.clone(),
        runs: args.runs,
        length: args.length.0,
        against: args.against.clone(),
        rules: rules_of,
        exe: std::env::current_exe().map_err(Failure::local("find this program"))?,
    };
    let stop = stop_on_signals()?;
    conclude(director(&options, &stop, &mut |line| session.out.progress(line)), args.out.as_deref(), session)
}

/// A service of layer 4 with one server, as a director has it.
fn rules_of(public: SocketAddrV4, server: SocketAddrV4) -> String {
    let backend = BackendOrder {
        index: 1,
        server: "one-1".parse().expect("a server's name"),
        addresses: vec![(*server.ip()).into()],
        state: BackendState::Up,
        weight: 1,
        epoch: Epoch(1),
    };
    let service = ServiceOrder {
        name: "www".parse().expect("a service's name"),
        addresses: vec![(*public.ip()).into()],
        port: public.port(),
        target_port: server.port(),
        backends: vec![backend],
    };
    pan_director::script(&Unit {
        partition: "bench".parse().expect("a partition's name"),
        vni: 1,
        owner: true,
        epoch: Epoch(1),
        gateways: Vec::new(),
        gateway_mac: Mac([2, 0, 0, 0, 0, 1]),
        subnets: Vec::new(),
        public: vec![(*public.ip()).into()],
        services: vec![service],
        web: Vec::new(),
    })
}

fn run_volume(args: &VolumeArgs, session: &Session) -> Result<ExitCode, Failure> {
    let options = VolumeOptions {
        copies: args.copies.clone(),
        runs: args.runs,
        length: args.length.0,
        without_tls: args.without_tls,
        against: args.against.is_some(),
        profile: name_of(args.profile),
        keep: args.keep,
        exe: std::env::current_exe().map_err(Failure::local("find this program"))?,
    };
    let stop = stop_on_signals()?;
    conclude(volume(&options, &stop, &mut |line| session.out.progress(line)), args.out.as_deref(), session)
}

fn run_neighbour(args: &NeighbourArgs, session: &Session) -> Result<ExitCode, Failure> {
    let options = NeighbourOptions {
        runs: args.runs,
        length: std::time::Duration::from_secs(args.seconds.into()),
        profile: name_of(args.profile),
        keep: args.keep,
        exe: std::env::current_exe().map_err(Failure::local("find this program"))?,
    };
    let stop = stop_on_signals()?;
    conclude(neighbour(&options, &stop, &mut |line| session.out.progress(line)), args.out.as_deref(), session)
}

fn name_of(profile: Profile) -> String {
    let value = profile.to_possible_value().expect("every profile can be typed");
    value.get_name().to_owned()
}

/// Writes, prints and judges what was measured.
fn conclude(report: Result<Report, BenchError>, out: Option<&Path>, session: &Session) -> Result<ExitCode, Failure> {
    let report = match report {
        Ok(report) => report,
        Err(BenchError::Stopped) => return Ok(ExitCode::from(INTERRUPTED)),
        Err(error) => return Err(failed(error)),
    };
    if let Some(path) = out {
        let text = serde_json::to_string_pretty(&report).map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
        std::fs::write(path, text + "\n").map_err(Failure::local(format!("write {}", path.display())))?;
    }
    print(&report, session)?;
    for problem in report.problems() {
        note(&problem);
    }
    Ok(if report.is_whole() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn failed(error: BenchError) -> Failure {
    let code = error.code();
    match error {
        BenchError::System { action, source } => Failure::Local { action: action.to_owned(), source },
        other => Failure::new(code, other.to_string()),
    }
}

fn print(report: &Report, session: &Session) -> Result<(), Failure> {
    if session.out.is_data() {
        return session.out.data(report);
    }
    session.out.say(&format!("{} with profile {} on {}", report.bench, report.profile, report.machine))?;
    let mut table = Table::new(Report::HEAD.to_vec());
    for row in report.rows() {
        table.push(row.into_iter().map(Into::into).collect());
    }
    session.out.table(&table)
}

/// A flag that becomes true with the first SIGINT or SIGTERM. The second one ends the program where it
/// stands; what it leaves is removed by the next benchmark.
fn stop_on_signals() -> Result<Arc<AtomicBool>, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&flag);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::local("start a runtime"))?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        let listen = |kind| signal(kind).map_err(Failure::local("listen for signals"));
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if raised.swap(true, Ordering::Relaxed) {
                    std::process::exit(i32::from(INTERRUPTED));
                }
            }
        });
    });
    Ok(flag)
}

/// `pan prober …`: a line of JSON for each probe as it ends, or the figures at the end.
pub async fn run_prober(args: ProberArgs, session: &Session) -> Result<(), Failure> {
    // A probe that waits for a processor would be counted against whoever is probed. Without the right
    // to it, `lateUs` shows how far the figures can be trusted.
    let _ = pan_linux::realtime::schedule_fifo(PROBER_PRIORITY);
    let plan = ProbePlan { target: args.target, every: args.every.0, length: args.length.0, timeout: args.timeout.0 };
    let line = |sample: &pan_lab::prober::Sample| {
        if args.summary {
            return Ok(());
        }
        let text = serde_json::to_string(sample)?;
        session.out.line(&text).map_err(|failure| match failure {
            Failure::Closed => io::ErrorKind::BrokenPipe.into(),
            other => io::Error::other(other.to_string()),
        })
    };
    let summary = probe(plan, line).await.map_err(|error| match error {
        ProbeError::Plan(text) => Failure::Usage(text),
        ProbeError::Output(source) if source.kind() == io::ErrorKind::BrokenPipe => Failure::Closed,
        ProbeError::Socket(source) => Failure::local("open a socket for a probe")(source),
        ProbeError::Output(source) => Failure::local("write a sample")(source),
    })?;
    if !args.summary {
        return Ok(());
    }
    let text = serde_json::to_string(&summary).map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
    session.out.line(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use pan_lab::bench::RUNS;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: FailoverArgs,
    }

    fn chosen(words: &str) -> Result<Vec<&'static str>, String> {
        let line = Line::try_parse_from(std::iter::once("failover").chain(words.split_whitespace())).map_err(|error| error.to_string())?;
        Ok(FailoverCase::chosen(&line.args.case, &line.args.against).into_iter().map(FailoverCase::as_str).collect())
    }

    #[test]
    fn cases_and_peers_are_chosen_by_name() {
        assert_eq!(chosen("--case node-cut-single --case keepalived-10ms").unwrap(), ["node-cut-single", "keepalived-10ms"]);
        assert_eq!(chosen("--case node-cut-single --against keepalived").unwrap().len(), 4);
        assert_eq!(chosen("").unwrap().len() + 7, chosen("--against keepalived,pacemaker").unwrap().len());
        let refused = chosen("--against heartbeat").unwrap_err();
        assert!(refused.contains("expected keepalived or pacemaker"), "{refused}");
        assert!(chosen("--case director").is_err() && chosen("--runs 0").is_err() && chosen("--outage soon").is_err());
        let line = Line::try_parse_from(["failover"]).unwrap();
        assert_eq!((line.args.runs, line.args.outage), (None, Span::millis(60_000)));
        assert_eq!(Line::try_parse_from(["failover", "--runs", "3"]).unwrap().args.runs, Some(3));
    }

    #[test]
    fn the_help_says_how_often_a_case_is_run() {
        use clap::CommandFactory;
        let command = Line::command();
        let runs = command.get_arguments().find(|argument| argument.get_id() == "runs").unwrap();
        let help = runs.get_long_help().or(runs.get_help()).unwrap().to_string();
        assert!(help.contains(&format!("Unless given {RUNS}, but")), "{help}");
        let told = |case: &FailoverCase| help.split([' ', ',', '.', ':', ';']).any(|word| word == case.as_str());
        for case in FailoverCase::all() {
            assert_eq!(told(&case), case.runs(None) != RUNS, "{} is run {} times: {help}", case.as_str(), case.runs(None));
        }
    }
}
