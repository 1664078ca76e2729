//! Two generations of a service's table. New connections follow the current one. Packets of a connection
//! that this director did not see begin (another director died, or this one forgot) follow the one
//! before, because that is what most connections of a just-changed service began under.

use crate::pipeline::Spread;
use crate::slots::{Member, Table};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long after a change packets of unknown connections still follow the former table. After that more
/// of the living connections began under the current one.
pub const RETIRE_AFTER: Duration = Duration::from_secs(60);

/// All that a table depends on besides the service's name: small enough to be kept and compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// The number of slots.
    pub size: u32,
    /// Who has a part in it, sorted by index.
    pub members: Vec<Member>,
}

impl Generation {
    /// The table.
    #[must_use]
    pub fn table(&self, service: &str) -> Table {
        Table::build(service, self.size, &self.members)
    }

    fn has(&self, index: u32) -> bool {
        self.members.iter().any(|member| member.index == index)
    }
}

/// The current generation and the one before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generations {
    /// New connections follow this.
    pub cur: Generation,
    /// Connections that began elsewhere follow this; equal to `cur` when there is nothing to remember.
    pub prev: Generation,
}

impl Generations {
    /// The first generation of a service.
    #[must_use]
    pub fn first(generation: Generation) -> Self {
        Self { prev: generation.clone(), cur: generation }
    }

    /// Makes `next` the current generation and remembers the former one. Says whether anything changed.
    pub fn advance(&mut self, next: Generation) -> bool {
        if self.cur == next {
            return false;
        }
        self.prev = std::mem::replace(&mut self.cur, next);
        true
    }

    /// Forgets the former generation once it is `age` old and no draining server depends on it: the
    /// connections of one that drains are found by nothing else. Says whether anything changed.
    pub fn retire(&mut self, age: Duration, draining: &BTreeSet<u32>) -> bool {
        let needed = draining.iter().any(|index| self.prev.has(*index) && !self.cur.has(*index));
        if self.prev == self.cur || age < RETIRE_AFTER || needed {
            return false;
        }
        self.prev = self.cur.clone();
        true
    }

    /// The table for connections that began elsewhere: the former one, with the slots of `gone` servers,
    /// whose connections are lost, given to where a new connection would go.
    #[must_use]
    pub fn former_table(&self, service: &str, current: &Spread, gone: &BTreeSet<u32>) -> Table {
        if self.prev == self.cur {
            return current.table.clone();
        }
        let mut table = self.prev.table(service);
        if !self.prev.members.iter().any(|member| gone.contains(&member.index)) {
            return table;
        }
        let instead = if self.prev.size == self.cur.size && !current.table.slots.is_empty() {
            current.table.clone()
        } else {
            let left = self.prev.members.iter().filter(|member| !gone.contains(&member.index)).copied();
            Table::build(service, self.prev.size, &left.collect::<Vec<_>>())
        };
        if instead.slots.is_empty() {
            return instead;
        }
        for (slot, index) in table.slots.iter_mut().enumerate() {
            if gone.contains(index) {
                *index = instead.slots[slot];
            }
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{Backend, spread};
    use pan_model::service::BackendState::{self, Down, Draining, Up};

    fn decide(states: &[BackendState]) -> (Generation, Spread) {
        let backends: Vec<_> = (1..).zip(states).map(|(index, state)| Backend { index, state: *state, weight: 1 }).collect();
        let spread = spread("www", 251, &backends);
        (Generation { size: 251, members: spread.members.clone() }, spread)
    }

    #[test]
    fn a_drained_servers_connections_are_still_found() {
        let (all, _) = decide(&[Up, Up, Up]);
        let (two, now) = decide(&[Up, Draining, Up]);
        let mut generations = Generations::first(all.clone());
        assert!(generations.advance(two));
        assert_eq!(generations.former_table("www", &now, &BTreeSet::new()), all.table("www"));
        assert_eq!(now.table.share(2), 0);

        let draining = BTreeSet::from([2]);
        assert!(!generations.retire(RETIRE_AFTER * 100, &draining), "still needed");
        assert!(!generations.retire(RETIRE_AFTER / 2, &BTreeSet::new()), "too young");
        assert!(generations.retire(RETIRE_AFTER, &BTreeSet::new()));
        assert_eq!(generations.prev, generations.cur);
    }

    #[test]
    fn a_dead_servers_slots_go_where_new_connections_go() {
        let (all, _) = decide(&[Up, Up, Up]);
        let (two, now) = decide(&[Up, Down, Up]);
        let mut generations = Generations::first(all.clone());
        generations.advance(two);
        let former = generations.former_table("www", &now, &BTreeSet::from([2]));
        for (slot, index) in all.table("www").slots.into_iter().enumerate() {
            let expected = if index == 2 { now.table.slots[slot] } else { index };
            assert_eq!(former.slots[slot], expected);
        }
    }

    #[test]
    fn a_size_change_does_not_mix_slots_of_two_sizes() {
        let (all, _) = decide(&[Up, Up]);
        let members = vec![Member { index: 1, weight: 1 }, Member { index: 3, weight: 1 }];
        let current = Spread { table: Table::build("www", 307, &members), ..decide(&[Up]).1 };
        let mut generations = Generations::first(all);
        generations.advance(Generation { size: 307, members });
        let former = generations.former_table("www", &current, &BTreeSet::from([2]));
        assert_eq!(former.slots, vec![1; 251]);
    }

    #[test]
    fn nothing_left_is_an_empty_table() {
        let (one, _) = decide(&[Up]);
        let (none, now) = decide(&[Down]);
        let mut generations = Generations::first(one);
        generations.advance(none);
        assert!(generations.former_table("www", &now, &BTreeSet::from([1])).slots.is_empty());
    }
}
