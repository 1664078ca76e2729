//! One round: a laboratory, load, faults, repair, checks, and nothing left of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

use pan_api::requests::{Applied, Apply, File};
use pan_api::server::Server;
use pan_linux::netns::Netns;
use pan_linux::realtime::since_boot;
use pan_member::Profile;

use super::ask::Api;
use super::check::{self, Promise};
use super::error::ChaosError;
use super::eyes::Eyes;
use super::fault::{Fault, FaultKind};
use super::observation::{Asked, Observation, Write};
use super::report::{Figures, Report, lives, promises};
use super::schedule::Schedule;
use super::storm::{Diary, incident, storm};
use super::watch::{Target, Watcher};
use super::whole;
use super::write::{Writer, values};
use crate::error::LabError;
use crate::fault::Direction;
use crate::harness::leftovers;
use crate::name::LabHost;
use crate::room::{Afterwards, Room, RoomSpec};

const SCENE: &str = include_str!("scene.yaml");
/// The services, by their names, clusters and addresses in the scene.
const SERVICES: [(&str, &str, &str); 2] = [("www", "web", "198.18.0.10:80"), ("one", "solo", "198.18.0.11:80")];
const PORT: u16 = 80;
/// Servers that lend their networks.
const EYE: &str = "eye";
/// The cluster of one server.
const ONLY: &str = "solo";
/// Longer than a death takes with the profile of laboratories, and a start elsewhere.
const DEATH: Duration = Duration::from_secs(4);
/// What the observer outside is called.
const OUTSIDE: &str = "outside";
/// Between two questions to a service from outside.
const EVERY: Duration = Duration::from_millis(25);

/// A laboratory of fourteen hosts that just came up, on a machine that is busy with it.
const READY_MAX: Duration = Duration::from_secs(60);
/// From the last repair until all is whole. A host boots in a second, a role that ended again and again waits 5 s, a server's
/// start that failed some seconds; the rest is for a machine that is busy with other things.
const WHOLE_MAX: Duration = Duration::from_secs(60);
/// Without an answer in an incident: it takes about two seconds to give up a node and to start a server elsewhere, with the profile of
/// laboratories; the rest is for a busy machine.
const GAP_MAX: Duration = Duration::from_secs(5);
/// Until every observer was answered once, before and after the faults.
const HEARD_MAX: Duration = Duration::from_secs(20);
/// Until every controller knows every write. One whose watch of the store hung on a link that was cut is told nothing until the
/// kernel sends again, up to ten seconds after the repair.
const KNOWN_MAX: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(50);

/// What round to make.
#[derive(Debug, Clone)]
pub struct RoundOptions {
    /// What its schedule is drawn from.
    pub seed: u64,
    /// The `pan` program.
    pub exe: PathBuf,
    /// Where logs go if something is wrong, in a folder of their own.
    pub keep: PathBuf,
}

/// Makes a round. Each step is told to `progress`.
///
/// # Errors
/// Its laboratory could not be made, or a fault not be done. What it finds wrong with the PAN is in its report.
pub fn round(options: &RoundOptions, progress: &mut dyn FnMut(&str)) -> Result<Report, ChaosError> {
    let schedule = Schedule::draw(options.seed);
    progress(&schedule.to_string());
    let room = Room::up(
        RoomSpec {
            prefix: "chaos",
            data: "/var/tmp/pan-chaos",
            nodes: 4,
            storage: 2,
            directors: 2,
            controllers: 3,
            profile: "shared".to_owned(),
            labels: BTreeMap::new(),
            in_the_clear: BTreeSet::new(),
            gate: None,
            exe: options.exe.clone(),
            afterwards: Afterwards::Remove,
        },
        &mut |_| {},
    )?;
    let (name, data) = (room.name().clone(), room.data().to_owned());
    let mut report = chaos(&room, schedule, progress)?;
    if !report.violations.is_empty() {
        report.kept = keep(&room, &report, options);
    }
    drop(room);
    report.violations.extend(leftovers(name.as_str(), &data).into_iter().map(|left| format!("left behind: {left}")));
    Ok(report)
}

/// Faults and checks in a laboratory.
fn chaos(room: &Room, schedule: Schedule, progress: &mut dyn FnMut(&str)) -> Result<Report, ChaosError> {
    let given = room.credentials()?;
    let (any, controllers) = (Api::new(&given)?, Api::each(&given)?);
    prepare(&any, &controllers)?;
    let base_us = now_us();
    let mut round = Round { base_us, observed: Vec::new(), violations: Vec::new(), diary: Diary::begin() };
    let began = jiff::Timestamp::now().to_string();
    let (log, seen) = channel();
    let watchers = watch(room, &any, log)?;
    round.heard(&seen, 0).map_err(|seen| ChaosError::TimedOut {
        what: "an answer to every observer",
        seconds: HEARD_MAX.as_secs(),
        seen,
    })?;
    let writer = Writer::start(Api::new(&given)?, schedule.seed);

    let death = death(&any, schedule.seed)?;
    let mut spans = Vec::new();
    for fault in std::iter::once(&death).chain(&schedule.incidents) {
        progress(&format!("incident: {fault}"));
        let from = now_us() - base_us;
        incident(room, fault, &mut round.diary)?;
        round.whole(&controllers);
        spans.push((from, now_us() - base_us));
        if *fault == death {
            forgive(&any, death.host)?;
        }
    }
    progress("storm");
    storm(room, &schedule.storm, &mut round.diary)?;
    let repaired = Instant::now();
    let writes = writer.end();
    let converged = round.whole(&controllers).then(|| repaired.elapsed());
    if let Err(unheard) = round.heard(&seen, now_us() - base_us) {
        round.violations.push(format!("I8: {unheard} {} s after all was whole", HEARD_MAX.as_secs()));
    }
    drop(watchers);
    round.take(&seen);
    round.judge_writes(&writes, &controllers);
    let gap = round.judge(&spans);
    let figures = Figures { gap, converged, ..Figures::of(&round.observed, &writes, OUTSIDE) };
    round.diary.note("the end");
    let observed = lives(&round.observed);
    let mut diary = round.diary.lines();
    diary.push(format!("servers that were heard:\n{observed}"));
    Ok(Report { schedule, began, diary, figures, violations: round.violations, kept: None })
}

/// Applies the scene to a PAN that has just come up, and waits until it is there.
fn prepare(any: &Api, controllers: &[Api]) -> Result<(), ChaosError> {
    let start = Instant::now();
    let body = Apply { files: vec![File { name: "scene.yaml".to_owned(), text: SCENE.to_owned() }], dry_run: false };
    // Until then nodes are missing that the scene's promises need.
    let applied = loop {
        match any.post::<_, Vec<Applied>>("/v1/apply", &body) {
            Ok(applied) => break applied,
            Err(_) if start.elapsed() < READY_MAX => sleep(LOOK),
            Err(source) => return Err(ChaosError::Api { action: "apply the scene".to_owned(), source }),
        }
    };
    if let Some(source) = applied.into_iter().find_map(|one| one.error) {
        return Err(ChaosError::Api { action: "apply the scene".to_owned(), source });
    }
    let whole = whole::wait(controllers, READY_MAX, &mut |_| {});
    whole.map(drop).map_err(|seen| ChaosError::TimedOut { what: "the scene", seconds: READY_MAX.as_secs(), seen })
}

/// What comes first in every round, whatever its seed draws: the node of the only server of a cluster is lost for as long as it takes to
/// start that elsewhere, so that a second instance of it answers, and comes back.
fn death(any: &Api, seed: u64) -> Result<Fault, ChaosError> {
    let cut = FaultKind::Cut { fabric: None, direction: Direction::Both };
    let kind = [FaultKind::Freeze, cut, FaultKind::Power][usize::try_from(seed % 3).unwrap_or_default()];
    let servers = servers(any)?;
    let node = servers.iter().find(|server| server.cluster.as_str() == ONLY).and_then(|server| server.node.clone());
    let host = node.as_deref().and_then(|node| node.parse().ok());
    let host = host.ok_or_else(|| ChaosError::Scene(format!("the server of cluster {ONLY} is on {node:?}")))?;
    Ok(Fault { host, kind, at: Duration::ZERO, length: DEATH })
}

/// Has a node's death forgotten: the schedule counts on it that none was there, or the node might be quarantined before its end.
fn forgive(any: &Api, node: LabHost) -> Result<(), ChaosError> {
    let cleared = any.post::<_, serde_json::Value>(&format!("/v1/nodes/{node}/clear"), &());
    cleared.map(drop).map_err(|source| ChaosError::Api { action: format!("clear node {node}"), source })
}

fn servers(any: &Api) -> Result<Vec<Server>, ChaosError> {
    any.get("/v1/servers").map_err(|source| ChaosError::Api { action: "list servers".to_owned(), source })
}

/// Starts everybody who observes.
fn watch(room: &Room, any: &Api, log: Sender<Observation>) -> Result<(Watcher, Eyes), ChaosError> {
    let outside = Netns::open(&room.name().host_netns(LabHost::OUTSIDE)).map_err(LabError::kernel("enter the client's network"))?;
    let services = SERVICES.map(|(name, cluster, address)| Target {
        asked: Asked::Service { name: name.to_owned(), cluster: cluster.to_owned() },
        address: address.parse().expect("it is an address"),
    });
    let servers = servers(any)?;
    let answering = servers.into_iter().filter(|server| SERVICES.iter().any(|(_, cluster, _)| *cluster == server.cluster.as_str()));
    let targets = answering.map(|server| Target { asked: Asked::Server(server.name.to_string()), address: (server.address, PORT).into() });
    let watcher = Watcher::start(OUTSIDE, outside, services.to_vec(), EVERY, log.clone());
    Ok((watcher, Eyes::open(room, EYE, targets.collect(), log)))
}

/// What a round knows so far. Times are since its beginning.
struct Round {
    base_us: u64,
    observed: Vec<Observation>,
    violations: Vec<String>,
    diary: Diary,
}

impl Round {
    fn take(&mut self, seen: &Receiver<Observation>) {
        let base = self.base_us;
        self.observed.extend(seen.try_iter().map(|one| Observation {
            sent_us: one.sent_us.saturating_sub(base),
            received_us: one.received_us.saturating_sub(base),
            ..one
        }));
    }

    /// Waits until both services were answered outside, and some server to another one, from some moment on.
    fn heard(&mut self, seen: &Receiver<Observation>, from_us: u64) -> Result<(), String> {
        let start = Instant::now();
        loop {
            self.take(seen);
            let fresh = self.observed.iter().filter(|one| one.answer.is_some() && one.sent_us >= from_us);
            let mut who: Vec<&str> = fresh.map(|one| if one.observer == OUTSIDE { one.target.name() } else { EYE }).collect();
            who.sort_unstable();
            who.dedup();
            let unheard: Vec<&str> = SERVICES.iter().map(|(name, ..)| *name).chain([EYE]).filter(|one| !who.contains(one)).collect();
            if unheard.is_empty() {
                return Ok(());
            }
            if start.elapsed() > HEARD_MAX {
                return Err(format!("no answer to {}", unheard.join(", ")));
            }
            sleep(LOOK);
        }
    }

    fn whole(&mut self, controllers: &[Api]) -> bool {
        let diary = &mut self.diary;
        match whole::wait(controllers, WHOLE_MAX, &mut |what| diary.note(&what)) {
            Ok(took) => {
                self.diary.note(&format!("whole after {} ms", took.as_millis()));
                true
            }
            Err(what) => {
                self.diary.note(&format!("not whole: {what}"));
                self.violations.push(format!("I8: not whole {} s after the last repair: {what}", WHOLE_MAX.as_secs()));
                false
            }
        }
    }

    /// Every controller must know what was acknowledged: the one that leads at once, and one that follows as soon as the store
    /// has told it. Until then it may refuse to answer; an answer that is older than answers may be is wrong.
    fn judge_writes(&mut self, writes: &[Write], controllers: &[Api]) {
        let start = Instant::now();
        // What laboratories run with.
        let age_max = Profile::Shared.timing(controllers.len()).store_silence;
        for api in controllers {
            let wrong = loop {
                let asked = start.elapsed();
                let (wrong, over) = match values(api) {
                    Ok(end) => (check::writes(writes, &end), asked >= age_max),
                    Err(error) => (vec![format!("I9: what there is, is not told: {error}")], asked >= KNOWN_MAX),
                };
                if wrong.is_empty() || over {
                    break wrong;
                }
                sleep(LOOK);
            };
            self.diary.note(&format!(
                "{} knows all writes, but for {}; asked for {} ms",
                api.url(),
                wrong.len(),
                start.elapsed().as_millis()
            ));
            self.violations.extend(wrong.into_iter().map(|said| format!("{said} (says {})", api.url())));
        }
    }

    /// Everything else; gives the longest gap in an incident.
    fn judge(&mut self, spans: &[(u64, u64)]) -> Duration {
        let promised: Vec<Promise<'_>> = spans
            .iter()
            .flat_map(|(from_us, to_us)| {
                SERVICES.map(|(target, ..)| Promise { observer: OUTSIDE, target, from_us: *from_us, to_us: *to_us, gap_max: GAP_MAX })
            })
            .collect();
        self.violations.extend(check::instances(&self.observed));
        let (gap, broken) = promises(&self.observed, &promised);
        self.violations.extend(broken);
        gap
    }
}

/// Keeps what a violation can be understood by. Nothing of it matters to the verdict, so neither does a failure.
fn keep(room: &Room, report: &Report, options: &RoundOptions) -> Option<PathBuf> {
    let folder = options.keep.join(format!("seed-{}", options.seed));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).ok()?;
    for host in room.hosts().ok()? {
        let home = room.log(host.name, "init");
        for log in std::fs::read_dir(home.parent()?).into_iter().flatten().flatten() {
            let name = log.file_name();
            let _ = std::fs::copy(log.path(), folder.join(format!("{}-{}", host.name, name.display())));
        }
    }
    let events = Api::new(&room.credentials().ok()?).ok()?.get::<serde_json::Value>("/v1/events");
    let events = events.map_or_else(|error| error.to_string(), |events| format!("{events:#}"));
    let _ = std::fs::write(folder.join("events.json"), events);
    let _ = std::fs::write(folder.join("report.txt"), report.to_string());
    Some(folder)
}

fn now_us() -> u64 {
    u64::try_from(since_boot().as_micros()).unwrap_or(u64::MAX)
}
