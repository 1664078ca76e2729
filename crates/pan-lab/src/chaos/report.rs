//! What a round found.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::check;
use super::observation::{Observation, Told, Write};
use super::schedule::Schedule;

/// How much was seen; a round that saw nothing proves nothing.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Requests to servers.
    pub asked: usize,
    /// Those that were answered.
    pub answered: usize,
    /// Of them, from servers to servers.
    pub between_servers: usize,
    /// Starts of servers that were heard.
    pub instances: usize,
    /// Starts of the one server that was started most often.
    pub instances_of_one: usize,
    /// Writes that were acknowledged.
    pub acknowledged: usize,
    /// Writes that were refused.
    pub refused: usize,
    /// Writes of which nothing certain was told.
    pub unknown: usize,
    /// The longest time that a service was not answered in the incidents.
    pub gap: Duration,
    /// From the last repair until all was whole; none if it never was.
    pub converged: Option<Duration>,
}

impl Figures {
    /// Counts, and leaves to others what cannot be counted.
    pub(super) fn of(observations: &[Observation], writes: &[Write], outside: &str) -> Self {
        let answered: Vec<&Observation> = observations.iter().filter(|one| one.answer.is_some()).collect();
        let mut instances: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for answer in answered.iter().filter_map(|one| one.answer.as_ref()) {
            instances.entry(&answer.server).or_default().insert(&answer.instance);
        }
        let told = |wanted| writes.iter().filter(|write| write.told == wanted).count();
        Self {
            asked: observations.len(),
            answered: answered.len(),
            between_servers: answered.iter().filter(|one| one.observer != outside).count(),
            instances: instances.values().map(BTreeSet::len).sum(),
            instances_of_one: instances.values().map(BTreeSet::len).max().unwrap_or(0),
            acknowledged: told(Told::Acknowledged),
            refused: told(Told::Refused),
            unknown: told(Told::Unknown),
            gap: Duration::ZERO,
            converged: None,
        }
    }
}

/// A round and what was wrong in it.
#[derive(Debug)]
pub struct Report {
    /// What was to happen.
    pub schedule: Schedule,
    /// When the round began, by the wall clock, as the hosts' logs have it.
    pub began: String,
    /// What happened when.
    pub diary: Vec<String>,
    /// How much was seen.
    pub figures: Figures,
    /// What is wrong; empty is well.
    pub violations: Vec<String>,
    /// Where the logs of its hosts are, if something is wrong.
    pub kept: Option<PathBuf>,
}

impl Report {
    /// The figures on a line.
    #[must_use]
    pub fn summary(&self) -> String {
        let Figures { asked, answered, between_servers, instances, instances_of_one, acknowledged, refused, unknown, gap, converged } =
            &self.figures;
        let faults = self.schedule.incidents.len() + self.schedule.storm.len();
        let whole = converged.map_or("never whole again".to_owned(), |took| format!("whole {} ms after the last repair", took.as_millis()));
        format!(
            "seed {}: {}; {faults} faults; {answered} of {asked} requests answered, {between_servers} between servers, by {instances} instances \
             (at most {instances_of_one} of a server); longest gap in incidents {} ms; writes: {acknowledged} acknowledged, {refused} refused, \
             {unknown} unknown; {whole}",
            self.schedule.seed,
            if self.violations.is_empty() { "held" } else { "VIOLATED" },
            gap.as_millis(),
        )
    }
}

/// All of it, for people who have to find out why.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.summary())?;
        write!(f, "{}", self.schedule)?;
        writeln!(f, "what was done, since {}:", self.began)?;
        self.diary.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        for violation in &self.violations {
            writeln!(f, "VIOLATION {violation}")?;
        }
        if let Some(kept) = &self.kept {
            writeln!(f, "the hosts' logs, events and what was observed: {}", kept.display())?;
        }
        write!(f, "replay its schedule: cargo xtask chaos --seed {}", self.schedule.seed)
    }
}

/// Who was heard when, in the order of the first answers: for people.
pub(super) fn lives(observations: &[Observation]) -> String {
    let mut seen: BTreeMap<(&str, &str), (u64, u64, usize)> = BTreeMap::new();
    for (one, answer) in observations.iter().filter_map(|one| Some((one, one.answer.as_ref()?))) {
        let life = seen.entry((&answer.server, &answer.instance)).or_insert((one.received_us, one.sent_us, 0));
        *life = (life.0.min(one.received_us), life.1.max(one.sent_us), life.2 + 1);
    }
    let mut all: Vec<_> =
        seen.into_iter().map(|((server, instance), (first, last, count))| (first, server, instance, last, count)).collect();
    all.sort_unstable();
    let line = |(first, server, instance, last, count): (u64, &str, &str, u64, usize)| {
        format!("{:>7} to {:>7} ms  {server} {instance}: {count} answers\n", first / 1000, last / 1000)
    };
    all.into_iter().map(line).collect()
}

/// The longest gaps and the violations of what was promised.
pub(super) fn promises(observations: &[Observation], promises: &[check::Promise<'_>]) -> (Duration, Vec<String>) {
    let gap = promises.iter().map(|promise| check::longest_gap(observations, promise)).max().unwrap_or_default();
    (gap, promises.iter().filter_map(|promise| check::service(observations, promise)).collect())
}
