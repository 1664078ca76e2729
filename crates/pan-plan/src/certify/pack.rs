//! Packing for the checker: best fit, largest first, then every arrangement up to a bound.

use super::check::Checker;
use crate::reason::show_amount;
use crate::snapshot::{Domain, ServerId};
use pan_model::Resources;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// How many "does it fit" questions one loss may cost; exact for ten servers on five nodes.
const PROBES_MAX: u32 = 300_000;

/// Servers that go to one node together.
#[derive(Default)]
pub(super) struct Item {
    pub(super) members: Vec<usize>,
    pub(super) need: Resources,
    /// The only node that will do: the rest of the group runs there.
    pub(super) pin: Option<usize>,
}

pub(super) struct Case<'c, 'a> {
    checker: &'c Checker<'a>,
    dead: &'c [bool],
    free: Vec<Resources>,
    /// Servers per cluster and domain, for clusters that must be apart.
    apart: BTreeMap<(usize, &'a str), u32>,
    probes: u32,
}

impl<'c, 'a> Case<'c, 'a> {
    pub(super) fn new(checker: &'c Checker<'a>, dead: &'c [bool]) -> Self {
        let mut case = Self {
            checker,
            dead,
            free: checker.machines.iter().map(|machine| machine.free.clone()).collect(),
            apart: BTreeMap::new(),
            probes: 0,
        };
        for (index, member) in checker.members.iter().enumerate() {
            if let Some(home) = member.home.filter(|home| !dead[*home]) {
                case.count(index, home, 1);
            }
        }
        case
    }

    fn count(&mut self, member: usize, machine: usize, change: i32) {
        let member = &self.checker.members[member];
        if let Some(level) = member.spread {
            let count = self.apart.entry((member.cluster, self.checker.domain(machine, level))).or_default();
            *count = count.checked_add_signed(change).expect("what was counted is uncounted");
        }
    }

    /// None if everything has a place, else a server that has none and what it lacks.
    pub(super) fn pack(mut self, mut items: Vec<Item>) -> Option<(ServerId, String)> {
        let size = |item: &Item| self.checker.machines.iter().filter(|machine| !item.need.fits(&machine.free)).count();
        items.sort_by_cached_key(|item| {
            (item.pin.is_none(), Reverse(size(item)), Reverse((item.need.memory, item.need.cpu)), self.class(item), item.members.clone())
        });
        let (free, apart) = (self.free.clone(), self.apart.clone());
        let stuck = items.iter().find(|item| !self.best_fit(item))?;
        let lacking = (self.checker.members[self.named(stuck)].id.clone(), self.lack(stuck));
        (self.free, self.apart) = (free, apart);
        if self.step(&items, 0, 0) { None } else { Some(lacking) }
    }

    fn named(&self, item: &Item) -> usize {
        *item.members.iter().find(|member| self.checker.members[**member].protect.is_some()).unwrap_or(&item.members[0])
    }

    /// Items of one class are interchangeable.
    fn class(&self, item: &Item) -> (Option<usize>, Vec<usize>) {
        (item.pin, item.members.iter().map(|member| self.checker.members[*member].cluster).collect())
    }

    fn open(&self, item: &Item, machine: usize) -> bool {
        self.checker.machines[machine].takes && !self.dead[machine] && item.pin.is_none_or(|pin| pin == machine)
    }

    fn labelled(&self, item: &Item, machine: usize) -> bool {
        let has = self.checker.machines[machine].labels;
        item.members.iter().all(|member| self.checker.members[*member].labels.iter().all(|(key, value)| has.get(key) == Some(value)))
    }

    fn crowded(&self, item: &Item, machine: usize) -> Option<(usize, Domain)> {
        item.members.iter().find_map(|index| {
            let member = &self.checker.members[*index];
            let level = member.spread?;
            let count = self.apart.get(&(member.cluster, self.checker.domain(machine, level))).copied().unwrap_or(0);
            (count > 0).then_some((*index, level))
        })
    }

    fn fits(&self, item: &Item, machine: usize) -> bool {
        self.open(item, machine)
            && item.need.fits(&self.free[machine])
            && self.crowded(item, machine).is_none()
            && self.labelled(item, machine)
    }

    fn put(&mut self, item: &Item, machine: usize) {
        self.free[machine] = self.free[machine].minus(&item.need);
        item.members.iter().for_each(|member| self.count(*member, machine, 1));
    }

    fn take(&mut self, item: &Item, machine: usize) {
        self.free[machine] = self.free[machine].plus(&item.need);
        item.members.iter().for_each(|member| self.count(*member, machine, -1));
    }

    fn best_fit(&mut self, item: &Item) -> bool {
        let fitting = (0..self.free.len()).filter(|machine| self.fits(item, *machine));
        let best = fitting.min_by_key(|machine| (self.free[*machine].memory, self.free[*machine].cpu, *machine));
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
            let server = self.checker.members[member].id.1.as_str();
            let cluster = server.rsplit_once('-').map_or(server, |(cluster, _)| cluster);
            return format!("every {level} left already has a server of cluster {cluster}");
        }
        let gaps = apart.iter().filter_map(|machine| {
            let gap = item.need.minus(&self.free[*machine]);
            let relative =
                |(name, by): (&str, u64)| (u128::from(by) * 1_000_000 / u128::from(item.need.amount(name).max(1)), name.to_owned(), by);
            gap.entries().filter(|(_, by)| *by > 0).map(relative).max().map(|worst| (worst, *machine))
        });
        gaps.min().map_or_else(
            || "no arrangement of all servers was found".to_owned(),
            |((_, name, by), machine)| {
                format!("{} short on {}, which comes closest", show_amount(&name, by), self.checker.machines[machine].name)
            },
        )
    }
}
