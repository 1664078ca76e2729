//! Taking over, stepping down, following, as `pan_controller::owner::standing` has it, and the ear's reading of the leader's
//! record, which is not of the loop.

use super::guarded::Guarded;
use super::{AGAIN, Busy, Reading, shared};
use crate::letter::Order;
use crate::note;
use crate::sim::Sim;
use crate::store::{Answer, Ask, GUARDED};
use pan_controller::core::record::PanRecord;
use pan_controller::core::world::Dirty;
use pan_controller::core::{persist, standing};
use pan_member::Revision;
use pan_member::leadership::Taken;
use std::rc::Rc;

impl Sim {
    pub(super) fn take_over(&mut self, host: usize, expected: u64, term: u64) {
        let (me, now) = (self.hosts[host].name.clone(), self.clock(host));
        let owner = self.owner(host);
        if expected != owner.world.pan.term {
            self.order(host, Order::Taken(Taken::Lost));
            self.tell_record(host);
            return;
        }
        standing::candidate(&mut owner.world, &me, owner.instance, term);
        owner.world.dirty.clear();
        owner.world.asked.clear();
        let writes = vec![shared(persist::write_of(&owner.world, &Dirty::Pan))];
        let sent = Guarded::new(Some(owner.record), writes, now);
        let (ask, number) = (sent.ask(), owner.next_number());
        owner.busy = Busy::Taking { number, sent, term };
        self.ask_store(host, number, ask);
    }

    pub(super) fn taken(&mut self, host: usize, answer: &Answer, term: u64) {
        if let Answer::Committed { revision } = answer {
            self.owner(host).record = Some(*revision);
            self.lead(host, term);
            self.order(host, Order::Taken(Taken::Done { revision: Revision(term) }));
            return;
        }
        let doubt = matches!(answer, Answer::InDoubt);
        self.order(host, Order::Taken(if doubt { Taken::InDoubt } else { Taken::Lost }));
        self.reload(host);
    }

    fn lead(&mut self, host: usize, term: u64) {
        let (now, core_now) = (self.clock(host), self.core_now(host));
        let owner = self.owner(host);
        standing::lead(&mut owner.world, core_now);
        owner.led = term;
        owner.watch = None;
        (owner.step, owner.started, owner.warm) = (0, now, false);
        owner.latest.clear();
        note!(self, "{} leads in term {term}", self.hosts[host].name);
    }

    /// The record is ours, as the ear read: an attempt whose outcome was not known had succeeded.
    pub(super) fn found_leading(&mut self, host: usize, term: u64) {
        let me = self.hosts[host].name.clone();
        let owner = self.owner(host);
        if owner.world.leading {
            return;
        }
        match standing::is_ours(&owner.world, &me, owner.instance, term) && owner.led != term {
            true => self.lead(host, term),
            false => self.order(host, Order::Resigned),
        }
    }

    pub(super) fn step_down(&mut self, host: usize, why: &str) {
        if self.owner(host).world.leading {
            note!(self, "{} leads no more: {why}", self.hosts[host].name);
        }
        self.owner(host).world.leading = false;
        self.order(host, Order::Resigned);
        self.publish_nothing(host);
        self.reload(host);
    }

    pub(crate) fn reload(&mut self, host: usize) {
        let owner = self.owner(host);
        owner.watch = None;
        let number = owner.next_number();
        owner.busy = Busy::Loading { number };
        self.ask_store(host, number, Ask::List);
    }

    pub(super) fn loaded(&mut self, host: usize, answer: Answer) {
        let Answer::Listed { entries, revision } = answer else {
            let at = self.now + AGAIN;
            self.owner(host).busy = Busy::LoadAgain { at };
            return;
        };
        let owner = self.owner(host);
        owner.record = entries.iter().find(|(key, _)| key == GUARDED).map(|(_, entry)| entry.revision);
        let stored = entries.iter().map(|(key, entry)| (key.as_str(), entry.value.as_slice()));
        standing::follow(&mut owner.world, stored).expect("records were written by controllers");
        owner.watch = Some(revision);
        owner.pumped = (revision, 0);
        self.tell_record(host);
        self.publish(host);
        self.pump(host);
    }

    pub(super) fn follow(&mut self, host: usize, batch: &crate::store::Batch) {
        let owner = self.owner(host);
        // What came with the listing comes again; who leads has nobody to follow.
        if owner.watch != Some(batch.revision - 1) {
            return;
        }
        owner.watch = Some(batch.revision);
        let before = owner.world.pan.term;
        for (key, value) in &batch.writes {
            let value = value.as_ref().map(|value| value.as_slice());
            standing::followed(&mut owner.world, key, value).expect("records were written by controllers");
            if key == GUARDED {
                owner.record = value.map(|_| batch.revision);
            }
        }
        if owner.world.pan.term != before {
            self.tell_record(host);
        }
    }

    fn tell_record(&mut self, host: usize) {
        let record = standing::recorded(&self.owner(host).world.pan);
        self.order(host, Order::Record(record));
    }

    /// While everything is read anew, callers are refused and hosts are heard.
    pub(super) fn refuse_meanwhile(&mut self, host: usize) {
        if !matches!(self.owner(host).busy, Busy::Loading { .. } | Busy::LoadAgain { .. }) {
            return;
        }
        for letter in std::mem::take(&mut self.owner(host).asked) {
            if let Some(answer) = self.take(host, letter) {
                self.give(host, answer);
            }
        }
    }

    /// The ear asks for the leader's record. What is asked for while a question waits is the same question.
    pub(super) fn read_record(&mut self, host: usize) {
        if let Reading::Asked { again, .. } = &mut self.owner(host).reading {
            *again = true;
            return;
        }
        let number = self.owner(host).next_number();
        self.owner(host).reading = Reading::Asked { number, again: false };
        self.ask_store(host, number, Ask::Read);
    }

    pub(super) fn record_read(&mut self, host: usize, answer: &Answer) {
        let before = std::mem::replace(&mut self.owner(host).reading, Reading::Not);
        if let Answer::Read { entry } = answer {
            let read = |value: &Rc<Vec<u8>>| persist::read::<PanRecord>(GUARDED, value).expect("was written by a controller");
            let record = entry.as_ref().map(|entry| read(&entry.value));
            self.order(host, Order::Record(record.as_ref().and_then(standing::recorded)));
        }
        if matches!(before, Reading::Asked { again: true, .. }) {
            self.read_record(host);
        }
    }
}
