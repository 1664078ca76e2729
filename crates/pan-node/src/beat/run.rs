//! The loop of the beat process.

use std::io;
use std::path::Path;
use std::time::Duration;

use pan_linux::datagram;
use pan_linux::realtime::{lock_memory, schedule_fifo, since_boot};
use pan_model::host_config::{BEAT_PORT, DIRECTOR_PORT, HostConfig, LESSOR_PORT};

use super::handover::steps::{Step, reached};
use super::handover::{Bundle, Entered, Office, Way, enter};
use super::heart::Heart;
use crate::clock;
use crate::error::Error;

/// Before every ordinary process, after the kernel's own real-time threads (50).
const PRIORITY: i32 = 20;
/// Periods that a successor may take from being handed everything until it says so: many times what it needs, and a
/// small part of a lease.
const PATIENCE: u32 = 2;

/// Sends heartbeats and, on a lessor, acknowledges those of others, until another process has taken over. Blocks; call it
/// in a process of its own. `path` is where `config` lies.
///
/// # Errors
/// The configuration, a key or the boot identifier cannot be used, or a lessor's memory cannot be read. A fabric that
/// does not work is none. One that was to succeed another may be refused.
pub fn run(config: HostConfig, path: &Path, way: &Way) -> Result<(), Error> {
    run_on(&config, path, way, [BEAT_PORT, LESSOR_PORT, DIRECTOR_PORT])
}

pub(super) fn run_on(config: &HostConfig, path: &Path, way: &Way, ports: [u16; 3]) -> Result<(), Error> {
    let mut heart = Heart::prepare(config, ports)?;
    // Without these a heartbeat may be late on a loaded machine, and detection allows for some of that. Before the office is
    // taken, since it takes time.
    if let Err(error) = lock_memory() {
        tracing::warn!(%error, "memory cannot be locked: heartbeats may be late under memory pressure");
    }
    if let Err(error) = schedule_fifo(PRIORITY) {
        tracing::warn!(%error, "no real-time scheduling: heartbeats may be late under load");
    }
    let patience = heart.timing.period * PATIENCE;
    let entered = enter(way, &config.run_dir, heart.identity(), path, patience)?;
    let (office, next) = match entered {
        Entered::First(office) => {
            heart.first()?;
            (*office, since_boot())
        }
        Entered::Next(mut taking) => {
            heart.resume(&mut taking)?;
            let next = Duration::from_nanos(taking.memory.next);
            let office = taking.confirm()?;
            tracing::info!(sequence = heart.frame.sequence, "took over from another beat process");
            (office, next)
        }
    };
    Beat { heart, office }.run(next)
}

/// The first point after `now` on the grid of `period` through `last`.
fn after(last: Duration, period: Duration, now: Duration) -> Duration {
    let behind = now.saturating_sub(last).as_nanos() / period.as_nanos();
    let steps = u32::try_from(behind).unwrap_or(u32::MAX - 1) + 1;
    last + period * steps
}

struct Beat {
    heart: Heart,
    office: Office,
}

impl Beat {
    /// The first heartbeat is due at `next`.
    fn run(mut self, mut next: Duration) -> Result<(), Error> {
        loop {
            self.listen(next).map_err(|source| Error::Clock { source })?;
            if self.office.is_relieved() {
                tracing::info!(sequence = self.heart.frame.sequence, "another beat process has taken over; this one ends");
                return Ok(());
            }
            if self.office.may_send() {
                self.heart.stands(clock::now())?;
                self.heart.late(since_boot().saturating_sub(next));
                self.heart.beat(clock::now());
                reached(Step::Sent);
            }
            // On the grid of periods: beats that were missed are not made up for.
            next = after(next, self.heart.timing.period, since_boot());
        }
    }

    /// Takes what comes in until the next beat is due, or this process is relieved.
    fn listen(&mut self, until: Duration) -> io::Result<()> {
        loop {
            if let Some(lessor) = self.heart.lessor.as_mut().filter(|_| self.office.may_send()) {
                lessor.open(clock::now());
            }
            let now = since_boot();
            if now >= until || self.office.is_relieved() {
                return Ok(());
            }
            // What comes in once everything is handed over is for the next one to read.
            let own = self.heart.sources().filter(|_| self.office.may_send());
            let at_most = self.office.patience_left(clock::now()).unwrap_or(Duration::MAX).min(until - now);
            datagram::wait_for(own.chain([self.office.source()]), &self.heart.waker, at_most)?;
            let was_in_office = self.office.may_send();
            if was_in_office {
                self.heart.hear();
            }
            if self.office.tend(clock::now()) {
                self.hand_over(until);
            }
            if !was_in_office && self.office.may_send() {
                // The next one has failed, and a heartbeat may have been left out meanwhile.
                return Ok(());
            }
        }
    }

    /// Not while a revocation is on its way to the disk: then the next turn tries again.
    fn hand_over(&mut self, next: Duration) {
        let Some(memory) = self.heart.memory(next) else { return };
        let bundle = Bundle { memory, descriptors: self.heart.descriptors() };
        self.office.hand_over(bundle, clock::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grid_holds_and_missed_beats_are_skipped() {
        let ms = Duration::from_millis;
        assert_eq!(after(ms(100), ms(20), ms(101)), ms(120));
        assert_eq!(after(ms(100), ms(20), ms(120)), ms(140));
        assert_eq!(after(ms(100), ms(20), ms(175)), ms(180));
        assert_eq!(after(ms(100), ms(20), ms(90)), ms(120));
    }
}
