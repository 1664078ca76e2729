//! The two fabrics: who reaches whom, how soon, and what is lost.

use crate::dice::Dice;
use crate::time::MS;
use pan_model::host::Fabric;

/// Loss and delay of one host's datagrams, both ways.
#[derive(Debug, Clone, Copy, Default)]
pub struct Trouble {
    /// Of a thousand datagrams so many are lost.
    pub loss: u64,
    /// Of a thousand so many come twice.
    pub twice: u64,
    /// They take up to so much longer, each its own time, so that they overtake each other.
    pub delay: u64,
}

/// The fabrics.
#[derive(Debug, Clone)]
pub struct Network {
    hosts: usize,
    /// How many faults cut a way, by fabric, sender and receiver.
    cuts: [Vec<u16>; 2],
    /// Trouble of hosts.
    pub trouble: Vec<Trouble>,
    /// Lost at all times, of a thousand.
    pub loss: u64,
}

/// When a datagram arrives, if it does, and perhaps again.
pub type Arrivals = [Option<u64>; 2];

impl Network {
    /// All ways are open.
    #[must_use]
    pub fn new(hosts: usize, loss: u64) -> Self {
        let cuts = [vec![0; hosts * hosts], vec![0; hosts * hosts]];
        Self { hosts, cuts, trouble: vec![Trouble::default(); hosts], loss }
    }

    /// Everything is well again.
    pub fn heal(&mut self) {
        *self = Self::new(self.hosts, self.loss);
    }

    /// Closes ways.
    pub fn cut(&mut self, fabric: Fabric, from: usize, to: usize) {
        self.cuts[fabric as usize][from * self.hosts + to] += 1;
    }

    /// Opens ways that were closed as often.
    pub fn open(&mut self, fabric: Fabric, from: usize, to: usize) {
        let cuts = &mut self.cuts[fabric as usize][from * self.hosts + to];
        *cuts = cuts.saturating_sub(1);
    }

    /// Whether a fabric leads from one host to another.
    #[must_use]
    pub fn leads(&self, fabric: Fabric, from: usize, to: usize) -> bool {
        self.cuts[fabric as usize][from * self.hosts + to] == 0
    }

    /// Whether a stream can go on between two hosts on a fabric.
    #[must_use]
    pub fn joins(&self, fabric: Fabric, one: usize, other: usize) -> bool {
        one == other || self.leads(fabric, one, other) && self.leads(fabric, other, one)
    }

    /// How long a datagram takes.
    pub fn send(&self, dice: &mut Dice, fabric: Fabric, from: usize, to: usize) -> Arrivals {
        let roll = dice.roll();
        let base = 50_000 + roll % 150_000;
        if from == to {
            return [Some(base / 10), None];
        }
        if !self.leads(fabric, from, to) {
            return [None; 2];
        }
        let (one, other) = (self.trouble[from], self.trouble[to]);
        let chance = roll >> 32;
        if chance % 1000 < self.loss + one.loss + other.loss {
            return [None; 2];
        }
        // Once in a while something stands before it in a queue.
        let queued = if (roll >> 24) & 0xff == 0 { dice.below(3 * MS) } else { 0 };
        let late = one.delay + other.delay;
        let first = base + queued + if late > 0 { dice.below(late) } else { 0 };
        let again = one.twice + other.twice;
        let second = (again > 0 && dice.below(1000) < again).then(|| first + dice.below(late + MS));
        [Some(first), second]
    }

    /// How long a message of a stream takes between hosts that it joins: what is lost is sent again.
    pub fn stream(&self, dice: &mut Dice, from: usize, to: usize) -> u64 {
        let trouble = self.trouble[from].loss + self.trouble[to].loss;
        let late = self.trouble[from].delay + self.trouble[to].delay;
        let again = if dice.below(1000) < trouble * 2 { dice.millis(200, 1500) } else { 0 };
        dice.within(MS / 5, 2 * MS) + dice.below(late + 1) + again
    }
}
