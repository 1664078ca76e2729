//! `pan bench failover`: what users notice of failures, of a PAN and of other products beside it.
//!
//! A laboratory comes up for the PAN's own cases and is gone before others are measured, so that nobody is
//! disturbed by what is not measured. A case that cannot be run is told of and does not keep the others from it.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::case::{FailoverCase, PanCase};
use super::cut;
use super::demo::Demo;
use super::director_cut;
use super::disturb;
use super::error::BenchError;
use super::false_failovers;
use super::frozen;
use super::leader::Leader;
use super::leftovers;
use super::peer;
use super::report::{Case, MILLIS, OWN, Report, RunDetail, machine};
use super::storage_lost::Store;

/// What a laboratory with several controllers needs besides.
const ETCD: &str = "/usr/bin/etcd";

/// What to measure and how.
#[derive(Debug, Clone)]
pub struct FailoverOptions {
    /// Which cases.
    pub cases: Vec<FailoverCase>,
    /// Runs of each; what each case says of itself unless given ([`FailoverCase::runs`]).
    pub runs: Option<u32>,
    /// Timing profile: `lan`, `shared` or `wan`.
    pub profile: String,
    /// How long all controllers stay away where they do.
    pub outage: Duration,
    /// How long all processors are busy where they are.
    pub load: Duration,
    /// Whether laboratories are left running.
    pub keep: bool,
    /// The `pan` program.
    pub exe: PathBuf,
}

/// Measures. Blocks; ends soon after `stop` becomes true. Each step is told to `progress`.
///
/// # Errors
/// It was stopped. A case that could not be run is no error here: its report says why.
pub fn failover(options: &FailoverOptions, stop: &AtomicBool, progress: &mut dyn FnMut(&str)) -> Result<Report, BenchError> {
    leftovers::sweep_stale(progress);
    let mut cases = Vec::new();
    let mut demo = None;
    for case in &options.cases {
        let mut log = Log { case: *case, runs: case.runs(options.runs), details: Vec::new(), progress };
        let outcome = match case {
            FailoverCase::Pan(own) => run_own(*own, options, stop, &mut demo, &mut log),
            FailoverCase::Peer(other) => {
                demo = None;
                peer::measure(*other, log.runs, &options.exe, stop, &mut |detail| log.done(detail))
            }
        };
        let problem = match outcome {
            Ok(()) => None,
            Err(BenchError::Stopped) => return Err(BenchError::Stopped),
            Err(error) => {
                // Whatever state it left the laboratory in, the next case gets a new one.
                demo = None;
                log.say(&format!("{}: {error}", case.as_str()));
                Some(error.to_string())
            }
        };
        cases.extend(reported(*case, &options.profile, log.details, problem.as_deref()));
    }
    Ok(Report { bench: "failover".to_owned(), profile: options.profile.clone(), machine: machine(), cases })
}

fn run_own<'a>(
    case: PanCase,
    options: &FailoverOptions,
    stop: &'a AtomicBool,
    demo: &mut Option<Demo<'a>>,
    log: &mut Log<'_>,
) -> Result<(), BenchError> {
    let hosts = case.hosts();
    if hosts.controllers > 1 && !Path::new(ETCD).exists() {
        return Err(BenchError::Packages("etcd-server".to_owned()));
    }
    // Where bytes are counted nobody else may write any.
    if demo.as_ref().is_some_and(|demo| demo.hosts != hosts) || case == PanCase::StorageLost {
        *demo = None;
    }
    let demo = match demo {
        Some(demo) => demo,
        None => demo.insert(Demo::up(options, hosts, stop, log.progress)?),
    };
    let servers = case.servers();
    if case == PanCase::Volume {
        demo.give_volume()?;
    }
    demo.prepare(servers)?;
    if case == PanCase::DirectorCut {
        (log.progress)("waiting until directors have forgotten former tables");
        director_cut::settle(demo)?;
    }
    let store = if case == PanCase::StorageLost { Some(Store::fill(demo)?) } else { None };
    for _ in 0..log.runs {
        let number = log.details.len();
        log.done(match case {
            PanCase::ControllersKilled | PanCase::ThreeControllersKilled => disturb::controllers_killed(demo, options.outage, servers)?,
            PanCase::AgentKilled => disturb::agent_killed(demo, servers)?,
            PanCase::FalseFailovers => false_failovers::run(demo, options.load, servers)?,
            PanCase::NodeFrozen => frozen::run(demo, servers)?,
            PanCase::NodeCutMany | PanCase::NodeCutSingle => cut::run(demo, servers, None)?,
            PanCase::ControllerAndNode => cut::run(demo, servers, Some(Leader::Controller))?,
            PanCase::EtcdAndNode => cut::run(demo, servers, Some(Leader::Etcd))?,
            PanCase::DirectorCut => director_cut::run(demo, servers)?,
            PanCase::Volume => cut::run_with_volume(demo)?,
            PanCase::StorageLost => store.as_ref().expect("it was made for this case").run(demo, number)?,
        });
    }
    Ok(())
}

/// A case as the report has it: once for each thing that is counted in it.
fn reported(case: FailoverCase, profile: &str, details: Vec<RunDetail>, problem: Option<&str>) -> Vec<Case> {
    let (peer, units) = match case {
        FailoverCase::Pan(own) => (OWN, own.units()),
        FailoverCase::Peer(other) => (other.peer().as_str(), &[MILLIS][..]),
    };
    let mut all: Vec<Case> = units.iter().map(|unit| Case::of(case.as_str(), peer, unit, &details, problem)).collect();
    if let FailoverCase::Pan(own) = case {
        all.iter_mut().for_each(|one| one.bound = own.bound(&one.unit, profile));
    }
    if let Some(first) = all.first_mut() {
        first.details = details;
    }
    all
}

/// What has been measured of a case, and whoever wants to hear of it.
struct Log<'p> {
    case: FailoverCase,
    runs: u32,
    details: Vec<RunDetail>,
    progress: &'p mut dyn FnMut(&str),
}

impl Log<'_> {
    fn say(&mut self, text: &str) {
        (self.progress)(text);
    }

    fn done(&mut self, detail: RunDetail) {
        let text = format!("{} {}/{}: {detail}", self.case.as_str(), self.details.len() + 1, self.runs);
        self.details.push(detail);
        self.say(&text);
    }
}
