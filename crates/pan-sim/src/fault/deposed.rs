//! A leader is cut off from the store, or stands still, and then offers what it said last; whoever leads meanwhile moves a server away in an
//! orderly way, and its former node comes back from a boot and knows nothing.

use super::Undo;
use crate::host::Process;
use crate::letter::Letter;
use crate::note;
use crate::options::Fault;
use crate::sim::Sim;
use crate::time::{MS, SECOND};
use pan_controller::core::request::Request;
use std::rc::Rc;

/// Requests of this number are nobody's: none of the user's has it.
const NOBODY: u64 = 0;
/// How long the former leader does not reach the store, or stands still at most.
const LASTS: u64 = 16 * SECOND;
/// After so many looks for another leader no server is moved.
const LOOKS: u32 = 20;
const LOOK_AGAIN: u64 = SECOND / 2;
/// By then the server has moved.
const MOVED: u64 = 3 * SECOND;

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A server moves, as soon as another controller leads than this one.
    Move { former: usize, looks: u32 },
    /// Its former node is booted.
    Boot { former: usize, node: usize },
}

impl Sim {
    /// The leader reaches the store no more, or stands still.
    pub(super) fn deposed(&mut self) -> Option<Undo> {
        let former = self.leader()?;
        if self.dice.one_in(3) {
            self.store.cut.push(former);
            self.undo_after(LASTS, Undo::StoreReach(former));
        } else {
            self.pause(former, Process::Loop, LASTS);
        }
        self.undo_after(LOOK_AGAIN, Undo::Then(Step::Move { former, looks: 1 }));
        Some(Undo::Nothing)
    }

    pub(super) fn go_on(&mut self, step: Step) {
        match step {
            Step::Move { former, looks } => {
                let leader = self.leader().filter(|leader| *leader != former && self.leading().is_some());
                if leader.is_none() && looks < LOOKS {
                    return self.undo_after(LOOK_AGAIN, Undo::Then(Step::Move { former, looks: looks + 1 }));
                }
                let nodes: Vec<usize> = (0..self.hosts.len()).filter(|at| !self.hosts[*at].instances.is_empty()).collect();
                let (Some(leader), false) = (leader, nodes.is_empty()) else { return };
                let node = self.dice.pick(&nodes);
                let keys: Vec<_> = self.hosts[node].instances.keys().cloned().collect();
                let key = keys[self.dice.index(keys.len())].clone();
                note!(self, "{key} is to leave {}", self.hosts[node].name);
                let request = Rc::new(Request::Failover { key, to: None });
                self.post(leader, Process::Loop, self.now + MS, Letter::Request { number: NOBODY, request });
                self.undo_after(MOVED, Undo::Then(Step::Boot { former, node }));
            }
            Step::Boot { former, node } => {
                if self.power_off(node) {
                    self.tally.faults[Fault::Crash as usize] += 1;
                    let lasts = self.dice.millis(30, 300);
                    self.undo_after(lasts, Undo::PowerOn(node));
                    self.end_pause(former, self.now + lasts + 10 * MS);
                }
            }
        }
    }
}
