//! Measuring a peer: until everybody is served, cut the host that answers, wait until another one does.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use pan_linux::realtime::since_boot;

use super::setup::{ADDRESS, Member, Setup};
use super::site::{Site, said};
use super::switch::Switch;
use super::{HOSTS, PeerCase};
use crate::bench::cut::{CutTime, STEADY, Victim, detail, micros};
use crate::bench::error::BenchError;
use crate::bench::probing::{Probing, Seen};
use crate::bench::report::RunDetail;

/// Coming up and finding each other takes pacemaker some ten seconds on an idle machine.
const READY_MAX: Duration = Duration::from_secs(120);
/// Before the cut, until everybody is served.
const STEADY_MAX: Duration = Duration::from_secs(30);
/// After the cut. The slowest settings take a third of it.
const RECOVERY_MAX: Duration = Duration::from_secs(30);
const PROBING_MAX: Duration = Duration::from_secs(90);
/// How often a peer may be found not ready just before a cut.
const ALARMS_MAX: u32 = 10;
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// Cuts are spread over this much, so that they do not fall together with what peers do once a second.
const SPREAD: u32 = 1000;
/// A step that has no common factor with it.
const SPREAD_STEP: u32 = 137;

/// Runs a case `runs` times, telling of each run as it ends.
///
/// # Errors
/// The case cannot be run (any more).
pub(in crate::bench) fn measure(
    case: PeerCase,
    runs: u32,
    exe: &Path,
    stop: &AtomicBool,
    told: &mut dyn FnMut(RunDetail),
) -> Result<(), BenchError> {
    let missing = case.peer().missing();
    if !missing.is_empty() {
        return Err(BenchError::Packages(missing.join(" ")));
    }
    let site = Site::up(exe)?;
    let _switch = Switch::start(&site)?;
    let bench = Rig { case, site, stop };
    for ordinal in 1..=HOSTS {
        bench.boot(ordinal)?;
    }
    for number in 0..runs {
        told(bench.run(number)?);
    }
    Ok(())
}

/// Who has served everybody for a while since some moment.
fn serving(seen: &Seen, from_us: u64) -> Result<String, String> {
    let answer = seen.answer().filter(|_| seen.is_served(from_us, STEADY));
    answer.map(ToOwned::to_owned).ok_or_else(|| seen.trouble())
}

/// One more time that a peer was not as it should have been, without any fault.
fn alarm(alarms: &mut u32, seen: &str) -> Result<(), BenchError> {
    *alarms += 1;
    if *alarms < ALARMS_MAX {
        return Ok(());
    }
    let text = format!("it was not ready for a cut in {ALARMS_MAX} attempts, without any fault; last seen: {seen}");
    Err(BenchError::Surprise(text))
}

/// A peer on its hosts.
struct Rig<'a> {
    case: PeerCase,
    site: Site,
    stop: &'a AtomicBool,
}

impl Rig<'_> {
    fn setup(&self, ordinal: u8) -> (Member, Setup) {
        let member = self.site.member(ordinal);
        let setup = self.case.setup(&member);
        (member, setup)
    }

    fn boot(&self, ordinal: u8) -> Result<(), BenchError> {
        let (member, setup) = self.setup(ordinal);
        Ok(self.site.boot(&member, &setup)?)
    }

    fn run(&self, number: u32) -> Result<RunDetail, BenchError> {
        let mut alarms = 0;
        loop {
            let mut run = self.cut(number, &mut alarms)?;
            // Whoever does not miss the host that was cut was not served by it: the peer was moving the address just then, of itself.
            if run.lost > 0 || run.slow > 0 {
                if alarms > 0 {
                    run.counts.insert("false alarms before it".to_owned(), alarms.into());
                }
                return Ok(run);
            }
            alarm(&mut alarms, "the host that answered was cut, and nobody missed it")?;
        }
    }

    fn cut(&self, number: u32, alarms: &mut u32) -> Result<RunDetail, BenchError> {
        let (mut probing, victim) = loop {
            self.ready()?;
            let mut probing = Probing::start(&self.site.client(), SocketAddr::from((ADDRESS, 80)), PROBING_MAX)?;
            let steady_from = micros(since_boot());
            let victim = self.wait_seen(&mut probing, STEADY_MAX, |seen| serving(seen, steady_from))?;
            sleep(Duration::from_millis(u64::from(number * SPREAD_STEP % SPREAD)));
            // With timeouts this short a host may be taken for dead, or even be killed, while nothing is wrong with
            // it. What a cut costs can only be told from whole.
            let Err(seen) = (1..=HOSTS).try_for_each(|ordinal| self.is_ready(ordinal)) else {
                break (probing, victim);
            };
            alarm(alarms, &seen)?;
        };
        let member = (1..=HOSTS).map(|ordinal| self.site.member(ordinal)).find(|member| member.name() == victim);
        let member = member.ok_or_else(|| BenchError::Surprise(format!("{ADDRESS} is answered by {victim:?}, which is no host here")))?;
        let cut = CutTime::of(|| Ok(self.site.cut(&member)?))?;
        let to = self.wait_seen(&mut probing, RECOVERY_MAX, |seen| {
            let now = serving(seen, cut.boot_us)?;
            if now == victim { Err("the host that was cut answers".to_owned()) } else { Ok(now) }
        });
        let to = match to {
            Ok(host) => Some(host),
            Err(BenchError::TimedOut { .. }) => None,
            Err(error) => return Err(error),
        };
        let samples = probing.seen()?.since(cut.boot_us);
        drop(probing);
        self.site.kill(member.ordinal)?;
        self.boot(member.ordinal)?;
        Ok(detail(Victim { server: &ADDRESS.to_string(), node: &victim, to }, &cut, &samples, None))
    }

    /// Waits until every host is ready. Fencing may have hit one that was not cut: its power is on again, as after
    /// any reboot.
    fn ready(&self) -> Result<(), BenchError> {
        self.wait("every host being ready", READY_MAX, || {
            (1..=HOSTS).try_for_each(|ordinal| {
                if !self.site.is_running(&self.site.member(ordinal)).map_err(|error| error.chain())? {
                    self.boot(ordinal).map_err(|error| error.to_string())?;
                }
                Ok::<(), String>(())
            })?;
            (1..=HOSTS).try_for_each(|ordinal| self.is_ready(ordinal))
        })
    }

    fn is_ready(&self, ordinal: u8) -> Result<(), String> {
        let (member, setup) = self.setup(ordinal);
        let output = self.site.run(&member, &setup.ready).map_err(|error| error.chain())?;
        if output.status.success() { Ok(()) } else { Err(format!("{}: {}", member.name(), said(&output))) }
    }

    /// Waits until what was probed shows something.
    fn wait_seen<T>(
        &self,
        probing: &mut Probing,
        limit: Duration,
        mut look: impl FnMut(&Seen) -> Result<T, String>,
    ) -> Result<T, BenchError> {
        let found = self.wait("everybody being served", limit, || match probing.seen() {
            Ok(seen) => look(seen).map(Ok),
            Err(error) => Ok(Err(error)),
        });
        found?
    }

    fn wait<T>(&self, what: &str, limit: Duration, mut look: impl FnMut() -> Result<T, String>) -> Result<T, BenchError> {
        let deadline = Instant::now() + limit;
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(BenchError::Stopped);
            }
            let seen = match look() {
                Ok(found) => return Ok(found),
                Err(seen) => seen,
            };
            if Instant::now() >= deadline {
                let what = format!("{}: {what}", self.case.as_str());
                return Err(BenchError::TimedOut { what, seconds: limit.as_secs(), seen });
            }
            sleep(LOOK);
        }
    }
}
