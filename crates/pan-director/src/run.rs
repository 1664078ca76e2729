//! The role's loop: follow the desired state and the director's own suspicions, look after both once a second,
//! count, report.

use crate::census::Census;
use crate::director::Director;
use crate::error::{Error, Trouble, Troubles, line};
use crate::hear::{self, Setup};
use crate::metrics::{self, Counts};
use crate::notices::{self, Notices};
use crate::suspicion::Suspicions;
use crate::web::Inquiries;
use pan_api::WIRE_VERSION;
use pan_api::beatcount::BeatCounts;
use pan_api::desired::Desired;
use pan_api::hostlink::{HostLink, boot_id};
use pan_api::hostmetrics;
use pan_api::keyfile::KeyFileError;
use pan_api::keys::LiveKeys;
use pan_api::report::{ConnectionCount, Hello, RefusedPackets, Report};
use pan_linux::datagram::boot_clock;
use pan_member::{KeyRing, Profile};
use pan_model::host::Role;
use pan_model::host_config::{DIRECTOR_METRICS_PORT, HostConfig};
use pan_model::{Admission, Generation, HostName};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

/// How often connections are counted, reports sent, routes compared with the kernel and failed parts tried again.
const EVERY: Duration = Duration::from_secs(1);

/// After how long a silent director that answers clients is asked again, and when it has been asked for a second: until it is heard or the
/// controller says what becomes of its units.
const ASK_AGAIN: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(500)];

/// Runs the director role of this host until the future is dropped. It suspects hosts by their heartbeats itself, if
/// it was given the key to judge them. What it put in the kernel stays.
///
/// # Errors
/// [`Error`]: the role cannot start. Later troubles are reported and tried again.
pub async fn run(config: HostConfig) -> Result<(), Error> {
    let (suspicions, counts, inquiries) = (Suspicions::default(), Arc::new(Counts::default()), Inquiries::default());
    let (counted, run_dir) = (counts.clone(), config.run_dir.clone());
    let render: hostmetrics::Render = Arc::new(move || metrics::render(&counted, BeatCounts::read(&run_dir).as_ref()));
    let (front, worker) = (config.clone(), config.clone());
    let serving = hostmetrics::serve(&front, DIRECTOR_METRICS_PORT, counts.connections_refused.clone(), render, inquiries.pages());
    let notices = config.pan_key.as_deref().map(|path| notices(&config, path)).transpose()?;
    let work = async {
        tokio::select! {
            ended = run_counting(worker, suspicions.clone(), counts.clone(), (inquiries.clone(), notices)) => ended,
            ended = serving => Ok(ended?),
        }
    };
    let Some(path) = &config.pan_key else { return work.await };
    let profile: Profile = config.profile.parse()?;
    let (live, pan) = pan_keys(&config, path)?;
    let setup =
        Setup { fabrics: fabrics(&config), pan, live, timing: profile.timing(0), suspicions: suspicions.clone(), counts: counts.clone() };
    let hearing = tokio::task::spawn_blocking(move || hear::run(setup));
    tokio::select! {
        ended = work => ended,
        deaf = hearing => Err(Error::Deaf(match deaf {
            Ok(Ok(())) => "that part of the director has ended, which is a fault of the program".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(error) => format!("that part of the director was lost, which is a fault of the program: {error}"),
        })),
    }
}

fn fabrics(config: &HostConfig) -> [IpAddr; 2] {
    [config.fabrics.a.address.addr(), config.fabrics.b.address.addr()]
}

fn pan_keys(config: &HostConfig, path: &Path) -> Result<(LiveKeys, KeyRing), Error> {
    let (live, keys) = LiveKeys::open(&config.run_dir, path)?;
    let pan = KeyRing::of(&keys).ok_or_else(|| KeyFileError::NoKey { path: path.to_owned() })?;
    Ok((live, pan))
}

fn notices(config: &HostConfig, path: &Path) -> Result<Notices, Error> {
    let (live, pan) = pan_keys(config, path)?;
    let setup = notices::Setup { host: config.name.clone(), fabrics: fabrics(config), pan, live };
    Notices::start(setup).map_err(Error::Dumb)
}

/// The same, avoiding the servers of hosts that are in `suspicions` as soon as they are.
///
/// # Errors
/// [`Error`]: the role cannot start. Later troubles are reported and tried again.
pub async fn run_with(config: HostConfig, suspicions: Suspicions) -> Result<(), Error> {
    run_counting(config, suspicions, Arc::default(), (Inquiries::default(), None)).await
}

async fn run_counting(
    config: HostConfig,
    suspicions: Suspicions,
    counts: Arc<Counts>,
    (inquiries, notices): (Inquiries, Option<Notices>),
) -> Result<(), Error> {
    let interface = config.director.as_ref().ok_or(Error::NoDirector)?.interface.clone();
    let link = HostLink::start(&config, Role::Director, Hello::of(&config)).await?;
    let boot = boot_id(&config.run_dir).map_err(|source| Error::Boot { path: config.run_dir.clone(), source })?;
    let mut desired = link.desired.clone();
    let made = blocking({
        let config = config.clone();
        move || Director::counting(&config, &interface, counts, inquiries)
    });
    let mut work = Work::new(made.await?, notices);
    // The kept state of an earlier life counts as news, and so do suspicions from before.
    desired.mark_changed();
    let settled = work.director.as_ref().expect("no step is under way").settled();
    let mut silent = suspicions.watch();
    silent.mark_changed();
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // Suspicion first: it is urgent, and quickly done.
        let report = tokio::select! {
            biased;
            changed = silent.changed() => {
                changed.expect("this function holds a sender");
                let hosts = silent.borrow_and_update().clone();
                work.suspect(hosts).await;
                let wanted = desired.borrow().clone();
                work.stand(wanted).await;
                false
            }
            () = tokio::time::sleep_until(work.ask_at.unwrap_or_else(Instant::now)), if work.ask_at.is_some() => {
                let wanted = desired.borrow().clone();
                work.stand(wanted).await;
                false
            }
            changed = desired.changed() => {
                changed.expect("this function holds the link");
                let wanted = desired.borrow_and_update().clone();
                work.follow(wanted.clone()).await;
                work.stand(wanted).await;
                work.count();
                false
            }
            () = settled.notified() => {
                work.settle();
                work.count();
                false
            }
            Some(counted) = work.counting.join_next() => {
                work.counted(unwrapped(counted));
                true
            }
            _ = every.tick() => {
                let wanted = desired.borrow().clone();
                work.follow(wanted).await;
                // A count that takes long keeps nobody waiting for a sign of life.
                !work.count()
            }
        };
        if report {
            link.report(work.report(&config, boot));
        }
    }
}

/// What the loop works with.
struct Work {
    /// Away only while a step is under way.
    director: Option<Director>,
    /// What is in force of this role itself, and what is with partitions' proxies.
    own: Generation,
    applied: Generation,
    problems: Vec<String>,
    /// Something of it is more than an import's.
    amiss: bool,
    /// What is in force and may go wrong all the same.
    warnings: Vec<String>,
    /// The connections last counted, and what was applied before that count began: a report that a server is out
    /// of the tables must not come with connections from when it was in.
    known: (Generation, Vec<ConnectionCount>),
    /// What servers sent to beyond their networks.
    beyond: Vec<RefusedPackets>,
    /// Ways of imports that are in place.
    ways: Vec<u32>,
    counting: JoinSet<(Generation, Vec<ConnectionCount>, Vec<Trouble>)>,
    count_again: bool,
    /// Who is told for whom this director stands in; without the PAN's key nobody can be, and it stands in for nobody.
    notices: Option<Notices>,
    /// When a silent director is to be asked again.
    ask_at: Option<Instant>,
    /// Since when one is being asked.
    asking: Option<Instant>,
}

impl Work {
    fn new(director: Director, notices: Option<Notices>) -> Self {
        let director = Some(director);
        let (applied, known) = (Generation::default(), (Generation::default(), Vec::new()));
        Self {
            director,
            own: applied,
            applied,
            problems: Vec::new(),
            amiss: false,
            warnings: Vec::new(),
            known,
            beyond: Vec::new(),
            ways: Vec::new(),
            counting: JoinSet::new(),
            count_again: false,
            notices,
            ask_at: None,
            asking: None,
        }
    }

    async fn with<T: Send + 'static>(&mut self, step: impl FnOnce(&mut Director) -> T + Send + 'static) -> T {
        let mut director = self.director.take().expect("steps follow one another");
        let (director, outcome) = blocking(move || {
            let outcome = step(&mut director);
            (director, outcome)
        })
        .await;
        self.director = Some(director);
        outcome
    }

    async fn suspect(&mut self, hosts: BTreeSet<HostName>) {
        let troubles = self.with(move |director| director.suspect(&hosts)).await;
        self.complain(troubles);
    }

    /// Answers for who is silent, or no longer. Addresses first, then who sends there; all that can wait comes last.
    async fn stand(&mut self, wanted: Option<Arc<Desired>>) {
        self.ask_at = None;
        let Some(wanted) = wanted else { return };
        let Some(mut notices) = self.notices.take() else { return };
        let (troubles, again, notices) = self
            .with(move |director| {
                let before = director.standing().clone();
                let (mut troubles, again) = director.stand(&wanted);
                notices.say(director.standing(), &wanted);
                if *director.standing() != before {
                    troubles.add(director.apply(&wanted));
                }
                (troubles, again, notices)
            })
            .await;
        self.notices = Some(notices);
        let [soon, later] = ASK_AGAIN;
        let now = Instant::now();
        self.asking = again.then(|| self.asking.unwrap_or(now));
        self.ask_at = self.asking.map(|since| now + if now - since < EVERY { soon } else { later });
        self.complain(troubles);
    }

    fn complain(&mut self, troubles: Troubles) {
        // What did not work is made good at the next look.
        self.amiss |= !troubles.units.is_empty();
        let problems = troubles.into_iter().map(|trouble| line(&trouble)).filter(|problem| !self.problems.contains(problem));
        let mut all = self.problems.clone();
        all.extend(problems.collect::<Vec<_>>());
        self.tell(all);
    }

    async fn follow(&mut self, wanted: Option<Arc<Desired>>) {
        let whole = self.amiss || wanted.as_ref().is_some_and(|wanted| wanted.generation != self.own);
        let outcome = self.with(move |director| round(director, wanted.as_deref(), whole)).await;
        self.amiss = outcome.amiss;
        if let Some(generation) = outcome.tried.filter(|_| !outcome.amiss) {
            self.own = generation;
        }
        self.settle();
        self.warnings = outcome.warnings;
        self.beyond = outcome.beyond;
        self.ways = outcome.ways;
        self.tell(outcome.problems);
    }

    /// What is in force is so in all respects once no proxy is late.
    fn settle(&mut self) {
        if !self.director.as_ref().expect("no step is under way").is_late() {
            self.applied = self.own;
        }
    }

    fn tell(&mut self, problems: Vec<String>) {
        for problem in problems.iter().filter(|problem| !self.problems.contains(problem)) {
            tracing::warn!("{problem}");
        }
        self.problems = problems;
    }

    fn report(&self, config: &HostConfig, boot: u64) -> Report {
        Report {
            version: WIRE_VERSION,
            usage: Vec::new(),
            host: config.name.clone(),
            role: Role::Director,
            boot,
            sequence: boot_clock(),
            applied: self.known.0,
            blank: None,
            restarted: None,
            admission: Admission::NONE,
            wants_admission: false,
            refused: Vec::new(),
            beyond: self.beyond.clone(),
            ways: self.ways.clone(),
            gate: None,
            servers: Vec::new(),
            connections: self.known.1.clone(),
            problems: self.problems.iter().chain(&self.warnings).cloned().collect(),
            pool: None,
            replicas: Vec::new(),
        }
    }

    /// Begins to count, now or after the count that is under way. Says whether it is now.
    fn count(&mut self) -> bool {
        if !self.counting.is_empty() {
            self.count_again = true;
            return false;
        }
        self.count_again = false;
        let (census, mut troubles): (Census, _) = self.director.as_ref().expect("no step is under way").census();
        let applied = self.applied;
        self.counting.spawn_blocking(move || {
            let (counts, uncounted) = census.count();
            troubles.extend(uncounted);
            (applied, counts, troubles)
        });
        true
    }

    fn counted(&mut self, (applied, counts, troubles): (Generation, Vec<ConnectionCount>, Vec<Trouble>)) {
        for trouble in &troubles {
            tracing::warn!("{}", line(trouble));
        }
        // Better the last count than none: none reads as nobody is connected.
        if troubles.is_empty() {
            self.known = (applied, counts);
        }
        if self.count_again {
            self.count();
        }
    }
}

/// What one round of the loop found.
struct Outcome {
    /// The generation that was applied or kept in force, unless something is amiss.
    tried: Option<Generation>,
    problems: Vec<String>,
    amiss: bool,
    warnings: Vec<String>,
    beyond: Vec<RefusedPackets>,
    ways: Vec<u32>,
}

/// Applies the `whole` of what is wanted, or only looks after what may drift untold.
fn round(director: &mut Director, wanted: Option<&Desired>, whole: bool) -> Outcome {
    let look_after = |wanted| if whole { director.apply(wanted) } else { director.refresh(wanted) };
    let mut troubles = wanted.map_or_else(Troubles::default, look_after);
    troubles.add(director.tick());
    let amiss = !troubles.units.is_empty();
    let problems = troubles.into_iter().map(|trouble| line(&trouble)).collect();
    let warnings = wanted.map(|wanted| director.warnings(wanted)).unwrap_or_default();
    let (beyond, ways) = (director.beyond(), director.ways());
    Outcome { tried: wanted.map(|wanted| wanted.generation), problems, amiss, warnings, beyond, ways }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is being shut down, and this future with it.
        Err(_) => std::future::pending().await,
    }
}

/// The value of a blocking task of ours, which nobody aborts.
fn unwrapped<T>(outcome: Result<T, tokio::task::JoinError>) -> T {
    match outcome {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
