//! The effect runner: goes through a schedule by the clock and writes down what it did when.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::act::{repair, repair_all, strike};
use super::error::ChaosError;
use super::fault::Fault;
use crate::lab::Lab;

/// What was done, with the time since the beginning of the round.
pub(super) struct Diary {
    start: Instant,
    lines: Vec<String>,
}

impl Diary {
    pub(super) fn begin() -> Self {
        Self { start: Instant::now(), lines: Vec::new() }
    }

    pub(super) fn note(&mut self, what: &str) {
        self.lines.push(format!("{:>7} ms  {what}", self.start.elapsed().as_millis()));
    }

    pub(super) fn lines(self) -> Vec<String> {
        self.lines
    }
}

/// One fault, from its beginning to its end.
pub(super) fn incident(lab: &Lab, fault: &Fault, diary: &mut Diary) -> Result<(), ChaosError> {
    diary.note(&format!("{} {}", fault.host, fault.kind));
    strike(lab, fault)?;
    sleep(fault.length);
    repair(lab, fault)?;
    diary.note(&format!("{} repaired", fault.host));
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Repair,
    Strike,
}

/// Many that overlap. A step that takes its time makes later ones late, never early.
pub(super) fn storm(lab: &Lab, faults: &[Fault], diary: &mut Diary) -> Result<(), ChaosError> {
    let mut steps: Vec<(Duration, Step, &Fault)> =
        faults.iter().flat_map(|fault| [(fault.at, Step::Strike, fault), (fault.end(), Step::Repair, fault)]).collect();
    // Of a fault without length, which needs no repair, the order does not matter.
    steps.sort_by_key(|(at, step, fault)| (*at, *step, fault.host));
    let start = Instant::now();
    for (at, step, fault) in steps {
        sleep(at.saturating_sub(start.elapsed()));
        match step {
            Step::Strike => {
                diary.note(&format!("{} {}", fault.host, fault.kind));
                strike(lab, fault)?;
            }
            Step::Repair if fault.length.is_zero() => {}
            Step::Repair => {
                repair(lab, fault)?;
                diary.note(&format!("{} repaired", fault.host));
            }
        }
    }
    repair_all(lab)?;
    diary.note("everything is repaired");
    Ok(())
}
