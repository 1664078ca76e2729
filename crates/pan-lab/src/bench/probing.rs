//! A prober in the network of a client, seen from the benchmark.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use pan_linux::netns::Netns;

use super::error::BenchError;
use crate::error::LabError;
use crate::lab::Lab;
use crate::name::LabHost;
use crate::prober::Sample;

/// Processors of a machine of which a prober may have one for itself.
const APART_MIN: usize = 4;

/// Where a prober runs.
#[derive(Debug, Clone)]
pub(super) struct Client {
    /// The named network namespace.
    pub(super) netns: String,
    /// The `pan` program.
    pub(super) exe: PathBuf,
    /// Whose it is, for whoever looks at processes.
    pub(super) label: String,
    /// The only processor it runs on, if it is not to run on any.
    pub(super) processor: Option<usize>,
}

impl Client {
    /// The client outside of a laboratory.
    pub(super) fn of_lab(lab: &Lab) -> Self {
        let (netns, label) = (lab.name().host_netns(LabHost::OUTSIDE), lab.name().to_string());
        Self { netns, exe: lab.data().join("bin").join("pan"), label, processor: None }
    }

    /// The same on the last processor, where there are enough that what is measured has others.
    pub(super) fn apart(lab: &Lab) -> Self {
        let count = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { processor: (count >= APART_MIN).then(|| count - 1), ..Self::of_lab(lab) }
    }

    /// The program, to be given arguments.
    fn command(&self) -> Command {
        let Some(processor) = self.processor else { return Command::new(&self.exe) };
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", &processor.to_string()]).arg(&self.exe);
        command
    }
}

/// A running prober with what it has reported so far. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Probing {
    child: Child,
    lines: Receiver<Result<Sample, String>>,
    seen: Seen,
}

impl Probing {
    /// Starts one: a probe every 5 ms, a second for each, for at most `length`.
    ///
    /// It is in the client's network but not in any host's control groups: in those, a kernel that rations
    /// real-time scheduling grants none, and the prober would be late whenever the machine is busy. It
    /// ends with whoever reads its output.
    pub(super) fn start(client: &Client, target: SocketAddr, length: Duration) -> Result<Self, BenchError> {
        let (target, length) = (target.to_string(), format!("{}ms", length.as_millis()));
        let mut command = client.command();
        command
            .args(["prober", "--target", &target, "--every", "5ms", "--timeout", "1s", "--for", &length])
            .env("PAN_LAB", &client.label)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let outside = Netns::open(&client.netns).map_err(LabError::kernel("enter the client's network"))?;
        let spawned = outside.run(move || command.spawn()).map_err(LabError::kernel("enter the client's network"))?;
        let mut child = spawned.map_err(|source| BenchError::System { action: "start the prober", source })?;
        let output = child.stdout.take().expect("it was piped");
        // Unbounded, but fed by 200 lines a second for some minutes.
        let (send, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let sample = line.map_err(|error| error.to_string());
                let sample = sample.and_then(|line| serde_json::from_str(&line).map_err(|error| format!("{error} in {line:?}")));
                if send.send(sample).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines, seen: Seen::default() })
    }

    /// What has been reported until now.
    ///
    /// # Errors
    /// The prober has ended.
    pub(super) fn seen(&mut self) -> Result<&Seen, BenchError> {
        loop {
            match self.lines.try_recv() {
                Ok(Ok(sample)) => self.seen.add(sample),
                Ok(Err(problem)) => return Err(BenchError::Prober(problem)),
                Err(TryRecvError::Empty) => return Ok(&self.seen),
                Err(TryRecvError::Disconnected) => return Err(BenchError::Prober(self.last_words())),
            }
        }
    }

    fn last_words(&mut self) -> String {
        let mut said = String::new();
        if let Some(mut errors) = self.child.stderr.take() {
            let _ = errors.read_to_string(&mut said);
        }
        match (self.child.wait(), said.trim()) {
            (Ok(status), "") => status.to_string(),
            (Ok(status), said) => format!("{said} ({status})"),
            (Err(error), _) => error.to_string(),
        }
    }
}

impl Drop for Probing {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The samples so far. Pure.
#[derive(Debug, Default)]
pub(super) struct Seen {
    samples: Vec<Sample>,
    /// By number: when it began and whether it was good; none while it is under way.
    ended: Vec<Option<(u64, bool)>>,
    /// All probes with a lower number have ended.
    complete: usize,
}

impl Seen {
    fn add(&mut self, sample: Sample) {
        let number = usize::try_from(sample.number).expect("a prober's numbers count its probes");
        if self.ended.len() <= number {
            self.ended.resize(number + 1, None);
        }
        self.ended[number] = Some((sample.boot_us, sample.is_good()));
        self.samples.push(sample);
        while self.ended.get(self.complete).is_some_and(Option::is_some) {
            self.complete += 1;
        }
    }

    /// All of them, in the order in which they ended.
    pub(super) fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// Those that began at some moment of the boot clock or later.
    pub(super) fn since(&self, boot_us: u64) -> Vec<Sample> {
        self.samples.iter().filter(|sample| sample.boot_us >= boot_us).cloned().collect()
    }

    /// The newest answer.
    pub(super) fn answer(&self) -> Option<&str> {
        let newest = self.samples.iter().rev().find(|sample| sample.is_good())?;
        Some(&newest.answer)
    }

    /// What the last probe that was not served met, for people.
    pub(super) fn trouble(&self) -> String {
        match self.samples.iter().rev().find(|sample| !sample.is_good()) {
            Some(bad) => {
                format!("a probe ended {:?} after {} ms ({} ended so far)", bad.outcome, bad.latency_us / 1000, self.samples.len())
            }
            None => format!("{} probes ended, all of them well", self.samples.len()),
        }
    }

    /// Whether every probe was served that began within some stretch of at least `span`, not before
    /// `from_us` of the boot clock and up to the newest of which this is known.
    pub(super) fn is_served(&self, from_us: u64, span: Duration) -> bool {
        let known = &self.ended[..self.complete];
        let Some(newest) = known.iter().flatten().last().map(|(began, _)| *began) else {
            return false;
        };
        let bad = self.ended.iter().flatten().filter(|(_, good)| !good).map(|(began, _)| *began).max();
        let first = self.ended.first().and_then(|first| first.map(|(began, _)| began)).unwrap_or(newest);
        let from = from_us.max(bad.unwrap_or(0)).max(first);
        u128::from(newest.saturating_sub(from)) >= span.as_micros()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prober::Outcome;

    const SECOND: Duration = Duration::from_secs(1);

    fn seen(samples: &[(u64, u64, Outcome)]) -> Seen {
        let mut seen = Seen::default();
        for (number, boot_ms, outcome) in samples {
            let boot_us = boot_ms * 1000;
            seen.add(Sample {
                number: *number,
                boot_us,
                wall_us: 0,
                late_us: 0,
                port: 1,
                outcome: *outcome,
                latency_us: 500,
                answer: String::new(),
            });
        }
        seen
    }

    #[test]
    fn served_means_that_everybody_was() {
        use Outcome::{Ok, Refused};
        assert!(!seen(&[]).is_served(0, SECOND));
        let good = [(0, 100, Ok), (1, 600, Ok), (2, 1100, Ok)];
        assert!(seen(&good).is_served(0, SECOND));
        assert!(!seen(&good).is_served(101_000, SECOND), "counted from later on");
        assert!(!seen(&good[..2]).is_served(0, SECOND), "too short");
        assert!(!seen(&[(0, 100, Refused), (1, 600, Ok), (2, 1099, Ok)]).is_served(0, SECOND));
        assert!(seen(&[(0, 100, Refused), (1, 600, Ok), (2, 1100, Ok)]).is_served(0, SECOND));
        assert!(!seen(&[(0, 100, Ok), (2, 1100, Ok), (3, 1105, Ok)]).is_served(0, SECOND), "one is under way");
        assert!(!seen(&[(0, 100, Ok), (1, 600, Ok), (2, 1100, Ok), (4, 1200, Refused)]).is_served(0, SECOND), "a later one failed");
    }
}
