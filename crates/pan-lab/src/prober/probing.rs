//! The loop: a probe at each tick of an absolute timer.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pan_linux::realtime::since_boot;
use tokio::sync::mpsc::{Sender, channel};
use tokio::time::{Instant, sleep_until};

use super::exchange::{Ports, exchange, socket};
use super::sample::Sample;
use super::summary::Summary;

/// Most probes under way at a time: those of a second at the highest rate, twice over.
const UNDER_WAY_MAX: usize = 20_000;
/// The highest rate: the timer cannot tell shorter times apart.
const EVERY_MIN: Duration = Duration::from_millis(1);

/// What to probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbePlan {
    /// Whom.
    pub target: SocketAddr,
    /// A new probe after so much time.
    pub every: Duration,
    /// For so long; probes begun by then are waited for.
    pub length: Duration,
    /// A probe may take so long.
    pub timeout: Duration,
}

/// Why probing ended early.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The plan makes no sense.
    #[error("{0}")]
    Plan(String),
    /// No socket could be made: the prober itself is at its limits.
    #[error("cannot open a socket for a probe")]
    Socket(#[source] io::Error),
    /// The samples have nowhere to go.
    #[error("cannot hand on a sample")]
    Output(#[source] io::Error),
}

impl ProbePlan {
    fn check(&self) -> Result<(), ProbeError> {
        let refuse = |text: String| Err(ProbeError::Plan(text));
        if self.every < EVERY_MIN {
            return refuse(format!("a probe every {:?} is too often: at least {EVERY_MIN:?}", self.every));
        }
        if self.timeout.is_zero() || self.timeout.as_micros() / self.every.as_micros() > UNDER_WAY_MAX as u128 {
            return refuse(format!(
                "with a timeout of {:?} and a probe every {:?}, expected 1 to {UNDER_WAY_MAX} at a time",
                self.timeout, self.every
            ));
        }
        Ok(())
    }
}

/// Probes as planned, handing each sample to `output` as its probe ends, in the order of their ends.
///
/// # Errors
/// The plan makes no sense, there are no sockets left, or `output` refuses a sample.
pub async fn probe(plan: ProbePlan, mut output: impl FnMut(&Sample) -> io::Result<()>) -> Result<Summary, ProbeError> {
    plan.check()?;
    // Bounded by UNDER_WAY_MAX probes, each of which sends one sample.
    let (ended, mut samples) = channel(UNDER_WAY_MAX);
    let mut ports = Ports::starting(u64::try_from(since_boot().as_micros()).unwrap_or(0));
    let mut summary = Summary::default();
    let start = Instant::now();
    let mut number = 0_u32;
    let mut ended = Some(ended);
    loop {
        let due = start + plan.every * number;
        tokio::select! {
            // Probing comes before reporting, so that it is never late for that.
            biased;
            () = sleep_until(due), if ended.is_some() => match &ended {
                Some(ended) if due < start + plan.length => {
                    begin(&plan, number, due, &mut ports, ended.clone())?;
                    number += 1;
                }
                // With the last sender goes the loop, once every probe has ended.
                Some(_) | None => ended = None,
            },
            sample = samples.recv() => match sample {
                Some(sample) => {
                    summary.add(&sample);
                    output(&sample).map_err(ProbeError::Output)?;
                }
                None => return Ok(summary.finish()),
            },
        }
    }
}

fn begin(plan: &ProbePlan, number: u32, due: Instant, ports: &mut Ports, ended: Sender<Sample>) -> Result<(), ProbeError> {
    let (target, timeout) = (plan.target, plan.timeout);
    let (socket, port) = socket(target, ports).map_err(ProbeError::Socket)?;
    let (now, boot) = (Instant::now(), since_boot());
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    tokio::spawn(async move {
        let (outcome, answer) = exchange(socket, target, timeout).await;
        let sample = Sample {
            number: u64::from(number),
            boot_us: micros(boot),
            wall_us: micros(wall),
            late_us: micros(now.duration_since(due)),
            port,
            outcome,
            latency_us: micros(now.elapsed()),
            answer,
        };
        // Without a receiver probing has ended.
        let _ = ended.send(sample).await;
    });
    Ok(())
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::sample::Outcome;
    use super::*;
    use std::collections::BTreeSet;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    fn plan(target: SocketAddr) -> ProbePlan {
        let millis = Duration::from_millis;
        ProbePlan { target, every: millis(5), length: millis(200), timeout: millis(1000) }
    }

    async fn collect(plan: ProbePlan) -> (Vec<Sample>, Summary) {
        let mut samples = Vec::new();
        let summary = probe(plan, |sample| {
            samples.push(sample.clone());
            Ok(())
        });
        let summary = summary.await.unwrap();
        samples.sort_by_key(|sample| sample.number);
        (samples, summary)
    }

    /// Answers every connection but each `n`th, which it leaves hanging.
    async fn answer_all_but(n: usize, listener: TcpListener) {
        let mut hanging = Vec::new();
        for count in 1.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            if count % n == 0 {
                hanging.push(stream);
                continue;
            }
            let mut asked = [0; 1024];
            let length = stream.read(&mut asked).await.unwrap();
            assert!(asked[..length].starts_with(b"GET / HTTP/1.0\r\n"));
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nweb-1 7\n").await.unwrap();
        }
    }

    #[tokio::test]
    async fn asks_on_time_whatever_becomes_of_earlier_probes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        tokio::spawn(answer_all_but(10, listener));
        let (samples, summary) = collect(plan(target)).await;
        // With a timer that drifts there would be fewer.
        assert_eq!(samples.len(), 40);
        let ports: BTreeSet<u16> = samples.iter().map(|sample| sample.port).collect();
        assert_eq!(ports.len(), 40);
        let count = |outcome| samples.iter().filter(|sample| sample.outcome == outcome).count();
        assert_eq!((count(Outcome::Ok), count(Outcome::Timeout)), (36, 4));
        assert!(samples.iter().all(|sample| (sample.outcome == Outcome::Ok) == (sample.answer == "web-1 7")));
        assert_eq!((summary.probes, summary.ok, summary.timeout), (40, 36, 4));
    }

    #[tokio::test]
    async fn a_closed_port_refuses() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        drop(listener);
        let (samples, _) = collect(ProbePlan { length: Duration::from_millis(50), ..plan(target) }).await;
        assert_eq!(samples.len(), 10);
        assert!(samples.iter().all(|sample| sample.outcome == Outcome::Refused), "{samples:?}");
    }

    #[tokio::test]
    async fn a_senseless_plan_is_refused() {
        let plan = plan("127.0.0.1:9".parse().unwrap());
        for bad in [ProbePlan { every: Duration::ZERO, ..plan }, ProbePlan { timeout: Duration::from_secs(3600), ..plan }] {
            assert!(matches!(probe(bad, |_| Ok(())).await, Err(ProbeError::Plan(_))), "{bad:?}");
        }
    }
}
