//! Packing for the checker: best fit, largest first, then every arrangement up to a bound.

use super::ground::Ground;
use super::shelf::Shelf;
use crate::reason::show_amount;
use crate::snapshot::{Domain, ServerId};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// How many "does it fit" questions one loss may cost; exact for ten servers on five nodes.
const PROBES_MAX: u32 = 300_000;

/// Servers that go to one node together.
#[derive(Default)]
pub(super) struct Item {
    pub(super) members: Vec<usize>,
    pub(super) need: Vec<u64>,
    /// The only node that will do: the rest of the group runs there.
    pub(super) pin: Option<usize>,
}

/// One loss after the other: what is changed for one is changed back before the next.
pub(super) struct Case<'c, 'a> {
    ground: &'c Ground<'a>,
    dead: Vec<bool>,
    free: Vec<Vec<u64>>,
    /// Servers per domain, by cluster, for clusters that must be apart.
    apart: Vec<BTreeMap<usize, u32>>,
    /// Machines as they are without any loss.
    shelf: Shelf,
    /// On how many machines a need does not fit, without any loss.
    hardness: BTreeMap<Vec<u64>, usize>,
    /// Where what was packed for this loss went.
    packed: Vec<usize>,
    probes: u32,
}

impl<'c, 'a> Case<'c, 'a> {
    pub(super) fn new(ground: &'c Ground<'a>) -> Self {
        let free: Vec<Vec<u64>> = ground.machines.iter().map(|machine| machine.free.clone()).collect();
        let taking = free.iter().cloned().zip(0..).filter(|(_, machine)| ground.machines[*machine].takes);
        let mut case = Self {
            ground,
            dead: vec![false; ground.machines.len()],
            shelf: Shelf::new(taking.collect()),
            free,
            apart: vec![BTreeMap::new(); ground.clusters.len()],
            hardness: BTreeMap::new(),
            packed: Vec::new(),
            probes: 0,
        };
        for (index, member) in ground.members.iter().enumerate() {
            if let Some(home) = member.home {
                case.count(index, home, 1);
            }
        }
        case
    }

    pub(super) fn is_dead(&self, machine: usize) -> bool {
        self.dead[machine]
    }

    /// Takes machines away.
    pub(super) fn bury(&mut self, dead: &[usize]) {
        let ground = self.ground;
        for machine in dead {
            self.dead[*machine] = true;
            ground.machines[*machine].residents.iter().for_each(|member| self.count(*member, *machine, -1));
        }
    }

    /// Brings machines back.
    pub(super) fn raise(&mut self, dead: &[usize]) {
        let ground = self.ground;
        for machine in dead {
            self.dead[*machine] = false;
            ground.machines[*machine].residents.iter().for_each(|member| self.count(*member, *machine, 1));
        }
    }

    fn count(&mut self, member: usize, machine: usize, change: i32) {
        if let Some(level) = self.ground.kind(member).spread {
            let count = self.apart[self.ground.members[member].cluster].entry(self.ground.domain(machine, level)).or_default();
            *count = count.checked_add_signed(change).expect("what was counted is uncounted");
        }
    }

    /// None if everything has a place, else a server that has none and what it lacks.
    pub(super) fn pack(&mut self, mut items: Vec<Item>) -> Option<(ServerId, String)> {
        items.sort_by_cached_key(|item| {
            let hardness = self.hardness(&item.need);
            (item.pin.is_none(), Reverse(hardness), Reverse((item.need[0], item.need[1])), self.class(item), item.members.clone())
        });
        let stuck = items.iter().find(|item| !self.best_fit(item)).map(|stuck| (self.ground.id(self.named(stuck)), self.lack(stuck)));
        for (item, machine) in items.iter().zip(std::mem::take(&mut self.packed)) {
            self.take(item, machine);
        }
        let stuck = stuck?;
        self.probes = 0;
        if self.step(&items, 0, 0) {
            for (item, machine) in items.iter().zip(std::mem::take(&mut self.packed)) {
                self.take(item, machine);
            }
            return None;
        }
        Some(stuck)
    }

    fn hardness(&mut self, need: &[u64]) -> usize {
        if let Some(known) = self.hardness.get(need) {
            return *known;
        }
        let lacks = |machine: &&super::ground::Machine<'_>| !fits(need, &machine.free);
        let found = self.ground.machines.iter().filter(lacks).count();
        self.hardness.insert(need.to_vec(), found);
        found
    }

    fn named(&self, item: &Item) -> usize {
        *item.members.iter().find(|member| self.ground.members[**member].protect.is_some()).unwrap_or(&item.members[0])
    }

    /// Items of one class are interchangeable.
    fn class(&self, item: &Item) -> (Option<usize>, Vec<usize>) {
        (item.pin, item.members.iter().map(|member| self.ground.members[*member].cluster).collect())
    }

    fn open(&self, item: &Item, machine: usize) -> bool {
        self.ground.machines[machine].takes && !self.dead[machine] && item.pin.is_none_or(|pin| pin == machine)
    }

    fn labelled(&self, item: &Item, machine: usize) -> bool {
        let has = self.ground.machines[machine].labels;
        item.members.iter().all(|member| self.ground.kind(*member).labels.iter().all(|(key, value)| has.get(key) == Some(value)))
    }

    fn crowded(&self, item: &Item, machine: usize) -> Option<(usize, Domain)> {
        item.members.iter().find_map(|index| {
            let level = self.ground.kind(*index).spread?;
            let apart = &self.apart[self.ground.members[*index].cluster];
            let count = apart.get(&self.ground.domain(machine, level)).copied().unwrap_or(0);
            (count > 0).then_some((*index, level))
        })
    }

    fn fits(&self, item: &Item, machine: usize) -> bool {
        self.open(item, machine)
            && fits(&item.need, &self.free[machine])
            && self.crowded(item, machine).is_none()
            && self.labelled(item, machine)
    }

    fn put(&mut self, item: &Item, machine: usize) {
        self.free[machine].iter_mut().zip(&item.need).for_each(|(free, need)| *free -= need);
        item.members.iter().for_each(|member| self.count(*member, machine, 1));
        self.packed.push(machine);
    }

    fn take(&mut self, item: &Item, machine: usize) {
        self.free[machine].iter_mut().zip(&item.need).for_each(|(free, need)| *free += need);
        item.members.iter().for_each(|member| self.count(*member, machine, -1));
    }

    fn best_fit(&mut self, item: &Item) -> bool {
        let fresh = self.shelf.first(&item.need, |machine| !self.packed.contains(&machine) && self.fits(item, machine));
        let used = self.packed.iter().copied().filter(|machine| self.fits(item, *machine));
        let best = used.chain(fresh).min_by_key(|machine| (self.free[*machine][0], self.free[*machine][1], *machine));
        if let Some(machine) = best {
            self.put(item, machine);
        }
        best.is_some()
    }

    fn step(&mut self, items: &[Item], index: usize, from: usize) -> bool {
        let Some(item) = items.get(index) else { return true };
        let like_next = items.get(index + 1).is_some_and(|next| self.class(next) == self.class(item));
        for machine in from..self.free.len() {
            self.probes += 1;
            if self.probes > PROBES_MAX {
                return false;
            }
            if self.fits(item, machine) {
                self.put(item, machine);
                if self.step(items, index + 1, if like_next { machine } else { 0 }) {
                    return true;
                }
                self.take(item, machine);
                self.packed.pop();
            }
        }
        false
    }

    fn lack(&self, item: &Item) -> String {
        let open: Vec<usize> = (0..self.free.len()).filter(|machine| self.open(item, *machine)).collect();
        if open.is_empty() {
            return "no node that takes servers is left".to_owned();
        }
        let labelled: Vec<usize> = open.into_iter().filter(|machine| self.labelled(item, *machine)).collect();
        let Some(first) = labelled.first() else { return "no node with the required labels is left".to_owned() };
        let apart: Vec<usize> = labelled.iter().copied().filter(|machine| self.crowded(item, *machine).is_none()).collect();
        if apart.is_empty() {
            let (member, level) = self.crowded(item, *first).expect("every labelled node is crowded");
            return format!("every {level} left already has a server of cluster {}", self.ground.kind(member).name);
        }
        let gaps = apart.iter().filter_map(|machine| {
            let short = item.need.iter().zip(&self.free[*machine]).zip(&self.ground.resources).filter(|((need, free), _)| need > free);
            let relative = short.map(|((need, free), name)| (u128::from(need - free) * 1_000_000 / u128::from(*need), *name, need - free));
            relative.max().map(|worst| (worst, *machine))
        });
        gaps.min().map_or_else(
            || "no arrangement of all servers was found".to_owned(),
            |((_, name, by), machine)| {
                format!("{} short on {}, which comes closest", show_amount(name, by), self.ground.machines[machine].name)
            },
        )
    }
}

fn fits(need: &[u64], within: &[u64]) -> bool {
    need.iter().zip(within).all(|(need, within)| need <= within)
}
