//! From records that changed to transactions of the store: which go together, and where a round is cut.

use super::persist::{self, RecordWrite};
use super::volumes;
use super::world::{Dirty, World};
use pan_model::ServerKey;
use std::collections::{BTreeMap, BTreeSet};

/// Room for records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Writes; of a transaction at least two, of which the leader's record is one.
    pub writes: usize,
    /// Bytes of keys and values.
    pub bytes: usize,
}

fn size((key, value): &RecordWrite) -> usize {
    key.len() + value.as_ref().map_or(0, Vec::len)
}

/// The writes of a round, cut where a transaction would be too large for the store. What is applied fits one
/// transaction ([`super::apply`]) and is a round's beginning of its own; what follows from it for many servers may take more, as does
/// the deletion of thousands. What was asked for goes first, with the lines of the audit log that tell of it: they are in one transaction, for no more is
/// asked of a round than one holds, or, of the deletion of thousands, lines are first. A server and its volumes are
/// never parted: who is bound and who may write is one decision. The leader's record is written by each and compared by
/// the next, so only one line of transactions can ever be committed.
#[must_use]
pub fn transactions(world: &World, dirty: &[Dirty], asked: &BTreeSet<Dirty>, room: Room) -> Vec<Vec<RecordWrite>> {
    let mut all = vec![vec![persist::write_of(world, &Dirty::Pan)]];
    let mut bytes = 0;
    for together in inseparable(world, dirty, asked) {
        let writes: Vec<RecordWrite> = together.into_iter().map(|dirty| persist::write_of(world, dirty)).collect();
        let more = writes.iter().map(size).sum::<usize>();
        let last = all.last().expect("there is always one");
        if last.len() > 1 && (last.len() + writes.len() > room.writes || bytes + more > room.bytes) {
            all.push(vec![persist::write_of(world, &Dirty::Pan)]);
            bytes = 0;
        }
        bytes += more;
        all.last_mut().expect("there is always one").extend(writes);
    }
    all
}

/// What must not be parted, in the order of the first of each; the leader's record is in every transaction anyway.
fn inseparable<'a>(world: &World, dirty: &'a [Dirty], asked: &BTreeSet<Dirty>) -> Vec<Vec<&'a Dirty>> {
    let mut groups: Vec<Vec<&Dirty>> = Vec::new();
    let mut places: BTreeMap<ServerKey, usize> = BTreeMap::new();
    for one in dirty.iter().filter(|dirty| **dirty != Dirty::Pan) {
        let server = match one {
            Dirty::Server(key) => Some(key.clone()),
            Dirty::Volume(key) => volumes::user(world, key),
            Dirty::Pan
            | Dirty::Audit(..)
            | Dirty::Partition(_)
            | Dirty::Cluster(_)
            | Dirty::Service(_)
            | Dirty::Import(_)
            | Dirty::Policy(_)
            | Dirty::Source(_)
            | Dirty::Host(_)
            | Dirty::Token(_)
            | Dirty::Credential(_)
            | Dirty::Event(..)
            | Dirty::Timeline(_)
            | Dirty::Usage(..) => None,
        };
        match server.as_ref().and_then(|server| places.get(server)) {
            Some(place) => groups[*place].push(one),
            None => {
                places.extend(server.map(|server| (server, groups.len())));
                groups.push(vec![one]);
            }
        }
    }
    // A stable sort: lines before what they tell of.
    groups.sort_by_key(|group| !group.iter().any(|dirty| asked.contains(*dirty)));
    groups
}
