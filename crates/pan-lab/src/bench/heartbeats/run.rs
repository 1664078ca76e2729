//! The course of it: all are made known, all are heard, some fall silent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use pan_api::ApiError;
use pan_api::event::Event;
use pan_member::{Profile, Timing};

use super::super::error::BenchError;
use super::super::report::{Report, machine};
use super::HeartbeatsOptions;
use super::crowd::{Simulated, crowd};
use super::figures::{Silence, Steady, deaths, judged};
use super::room::Alone;
use super::sender::{Beating, Sent, beat};
use super::watched::{Watched, sum};

/// All being known: a controller takes milliseconds for each.
const KNOWN_MAX: Duration = Duration::from_secs(300);
/// All being heard, once they are known.
const HEARD_MAX: Duration = Duration::from_secs(30);
/// A death being told of: many times what it may take.
const DEATH_MAX: Duration = Duration::from_secs(10);
/// Between a death and the next silence, so that the one does not count as the other's company (the mass brake).
const APART: Duration = Duration::from_millis(300);

/// Measures. Blocks; ends soon after `stop` becomes true. Each step is told to `progress`.
///
/// # Errors
/// The laboratory did not come up, the hosts could not be made known, or it was stopped. That deaths were not noticed is none:
/// the report says so.
pub fn heartbeats(options: &HeartbeatsOptions, stop: &AtomicBool, progress: &mut dyn FnMut(&str)) -> Result<Report, BenchError> {
    let profile: Profile = options.profile.parse().map_err(|error| BenchError::Surprise(format!("{error}")))?;
    // The controller is a host as well.
    let timing = profile.timing(usize::from(options.hosts) + 1);
    let period = options.period.unwrap_or(timing.period);
    let said = (period != profile.timing(0).period).then_some(period);
    let alone = Alone::up(options, stop, progress)?;
    let (crowd, sockets, sent, done) = (crowd(usize::from(options.hosts)), alone.sockets()?, Sent::default(), AtomicBool::new(false));
    let beating = Beating { crowd: &crowd, sockets: &sockets, period, said, sent: &sent };
    progress(&format!("{} simulated hosts beat every {:.1} ms on two fabrics", options.hosts, period.as_secs_f64() * 1e3));
    let cases = std::thread::scope(|scope| {
        let sender = scope.spawn(|| beat(&beating, &done));
        let mut course = Course { options, timing, alone: &alone, crowd: &crowd, sent: &sent, progress };
        let cases = course.run(&done);
        done.store(true, Ordering::Relaxed);
        let sending = sender.join().map_err(|_| BenchError::Surprise("the sender of heartbeats panicked".to_owned()))?;
        sending.map_err(|source| BenchError::System { action: "send heartbeats", source })?;
        cases
    })?;
    Ok(Report { bench: "heartbeats".to_owned(), profile: options.profile.clone(), machine: machine(), cases })
}

struct Course<'a> {
    options: &'a HeartbeatsOptions,
    timing: Timing,
    alone: &'a Alone<'a>,
    crowd: &'a Arc<[Simulated]>,
    sent: &'a Sent,
    progress: &'a mut dyn FnMut(&str),
}

impl Course<'_> {
    fn run(&mut self, done: &AtomicBool) -> Result<Vec<super::super::report::Case>, BenchError> {
        let begun = Instant::now();
        self.make_known(done)?;
        let watched = self.alone.watched()?;
        self.wait_heard(&watched)?;
        (self.progress)(&format!("all are known and heard after {:.1} s", begun.elapsed().as_secs_f64()));
        let steady = self.steady(&watched)?;
        let mut cases = steady.cases();
        if self.options.runs > 0 {
            let (silences, problem) = self.silences()?;
            cases.extend(deaths(&silences, self.timing.dead_after(), problem.as_deref()));
        }
        Ok(cases)
    }

    /// On a thread of its own, so that an interrupt ends it soon.
    fn make_known(&mut self, done: &AtomicBool) -> Result<(), BenchError> {
        let (admitting, told, give_up) = (self.alone.admitting()?, AtomicUsize::new(0), AtomicBool::new(false));
        let deadline = Instant::now() + KNOWN_MAX;
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| admitting.run(self.crowd, &told, &give_up));
            let (mut shown, mut ending) = (0, Ok(()));
            while !thread.is_finished() {
                ending = self.alone.pan.pause(Duration::from_millis(100), || Ok(()));
                let known = told.load(Ordering::Relaxed);
                if known / 500 > shown {
                    shown = known / 500;
                    (self.progress)(&format!("{known} hosts are known"));
                }
                if ending.is_ok() && Instant::now() >= deadline {
                    let (what, seen) = ("all simulated hosts being known".to_owned(), format!("{known} are"));
                    ending = Err(BenchError::TimedOut { what, seconds: KNOWN_MAX.as_secs(), seen });
                }
                if ending.is_err() || done.load(Ordering::Relaxed) {
                    give_up.store(true, Ordering::Relaxed);
                    break;
                }
            }
            let registered = thread.join().map_err(|_| BenchError::Surprise("making hosts known panicked".to_owned()))?;
            ending.and(registered)
        })
    }

    fn wait_heard(&self, watched: &Watched) -> Result<(), BenchError> {
        self.alone.pan.wait("every simulated host being alive", HEARD_MAX, || {
            let page = watched.page().map_err(|error| error.message)?;
            let alive = sum(&page, "pan_hosts", Some(("state", "alive")));
            let wanted = f64::from(self.options.hosts) + 1.0;
            if alive >= wanted { Ok(()) } else { Err(format!("{alive} of {wanted} are")) }
        })
    }

    fn steady(&mut self, watched: &Watched) -> Result<Steady, BenchError> {
        let page = || watched.page().map_err(|source| BenchError::Api { action: "read the controller's metrics".to_owned(), source });
        let (before, sent_before) = (page()?, self.sent.frames.load(Ordering::Relaxed));
        self.sent.late_max.store(0, Ordering::Relaxed);
        let (mut cpu, mut memory, mut used) = (Vec::new(), Vec::new(), watched.used()?);
        let end = Instant::now() + self.options.length;
        while Instant::now() < end {
            self.alone.pan.pause(Duration::from_secs(1), || Ok(()))?;
            let now = watched.used()?;
            cpu.push(now.percent_since(&used));
            memory.push(now.memory as f64 / f64::from(1 << 20));
            used = now;
        }
        let (after, sent) = (page()?, self.sent.frames.load(Ordering::Relaxed) - sent_before);
        let grown = |name| sum(&after, name, None) - sum(&before, name, None);
        let counts = BTreeMap::from([
            ("frames sent", sent as f64),
            ("frames received", grown("pan_heartbeats_received_total")),
            ("frames dropped", grown("pan_heartbeats_dropped_total")),
            ("false deaths", grown("pan_deaths_total")),
            ("false suspicions", grown("pan_suspicions_total")),
        ]);
        let steady = Steady { cpu, memory, counts, late_ms: self.late_ms() };
        let counted: Vec<String> = steady.counts.iter().map(|(unit, count)| format!("{count:.0} {unit}")).collect();
        let mean = steady.cpu.iter().sum::<f64>() / steady.cpu.len().max(1) as f64;
        (self.progress)(&format!(
            "all heard for {:.0} s: {mean:.1} % of a core, {}",
            self.options.length.as_secs_f64(),
            counted.join(", ")
        ));
        Ok(steady)
    }

    /// In milliseconds.
    fn late_ms(&self) -> f64 {
        self.sent.late_max.load(Ordering::Relaxed) as f64 / 1e3
    }

    /// Ends early, with the reason, when the events cannot be followed.
    fn silences(&mut self) -> Result<(Vec<Silence>, Option<String>), BenchError> {
        let events = self.alone.pan.follow::<Event>("/v1/events?watch=true&since=0s")?;
        let mut all: Vec<Silence> = Vec::new();
        let runs = usize::try_from(self.options.runs).unwrap_or(usize::MAX).min(self.crowd.len());
        for run in 0..runs {
            // Spread over the crowd, and so over the period.
            let host = &self.crowd[run * self.crowd.len() / runs];
            match self.silence(host, &events)? {
                Ok(silence) => all.push(silence),
                Err(problem) => return Ok((all, Some(problem))),
            }
            if let Some(Silence { host, event_ms: Some(ms), judged_ms, late_ms, .. }) = all.last() {
                let judged = judged_ms.unwrap_or_default();
                (self.progress)(&format!("{host}: dead after {ms:.1} ms, judged so after {judged:.0}, senders at most {late_ms:.1} late"));
            }
            // Not a whole number of periods, so that the next one falls silent elsewhere in the controller's own round.
            self.alone.pan.pause(APART + Duration::from_millis(run as u64 * 7 % 50), || Ok(()))?;
        }
        Ok((all, None))
    }

    fn silence(&self, host: &Simulated, events: &Receiver<Result<Event, ApiError>>) -> Result<Result<Silence, String>, BenchError> {
        self.sent.late_max.store(0, Ordering::Relaxed);
        host.silent.store(true, Ordering::Release);
        let deadline = Instant::now() + DEATH_MAX;
        let found = loop {
            self.alone.pan.check_stop()?;
            match events.recv_timeout(Duration::from_millis(100)) {
                Ok(Ok(event)) if event.reason == "HostDead" && event.object == host.name.as_str() => break Some(event),
                Ok(Ok(event)) if event.reason == "HostDead" => return Ok(Err(format!("{} died and was not silent", event.object))),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Ok(Err(error.message)),
                Err(RecvTimeoutError::Disconnected) => return Ok(Err("the stream of events has ended".to_owned())),
                Err(RecvTimeoutError::Timeout) if Instant::now() >= deadline => break None,
                Err(RecvTimeoutError::Timeout) => {}
            }
        };
        let last = host.last_sent.load(Ordering::Acquire);
        let time = |event: &Event| event.time.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_microsecond);
        Ok(Ok(Silence {
            host: host.name.to_string(),
            last_sent: jiff::Timestamp::from_microsecond(last).map_or_else(|_| last.to_string(), |time| time.to_string()),
            event_ms: found.as_ref().and_then(time).map(|time| (time - last) as f64 / 1e3),
            judged_ms: found.as_ref().and_then(|event| judged(&event.message)),
            late_ms: self.late_ms(),
        }))
    }
}
