//! A long random history, checked step by step against a map that is obviously right, and replayed
//! from a watch at the end. The same seed gives the same history for every store.

use std::collections::BTreeMap;

use super::basics::entries;
use super::watching::next;
use crate::{Change, Compare, Entry, Revision, Store, Txn, Write};

const STEPS: usize = 400;
const SEED: u64 = 0x5eed_0f00_d1ce;

type Map = BTreeMap<String, Entry>;

pub(super) async fn run<S: Store>(make: &impl Fn() -> S) {
    let store = make();
    let mut random = Random(SEED);
    let start = store.list("").await.expect("listing works").revision;
    let (mut map, mut current) = (Map::new(), start);
    let mut changed = 0;
    for step in 0..STEPS {
        let txn = random.txn(&map);
        let holds = |compare: &Compare| map.get(&compare.key).map(|entry| entry.revision) == compare.revision;
        let wanted = txn.compares.iter().all(holds);
        let got = store.commit(&txn).await;
        assert_eq!(got.is_ok(), wanted, "step {step}: {txn:?} gave {got:?}");
        let Ok(revision) = got else { continue };
        let effective = txn.writes.iter().filter(|write| apply(&mut map, write, revision)).count();
        assert_eq!(revision > current, effective > 0, "step {step}: only a change makes a revision");
        current = current.max(revision);
        changed += usize::from(effective > 0);
        let listed = entries(&store, "").await;
        assert_eq!(listed, map.values().cloned().collect::<Vec<_>>(), "step {step}: after {txn:?}");
    }

    let (mut watch, mut replayed) = (store.watch("", start), Map::new());
    for _ in 0..changed {
        for change in next(&mut watch).await.changes {
            match change {
                Change::Put(entry) => drop(replayed.insert(entry.key.clone(), entry)),
                Change::Deleted { key } => drop(replayed.remove(&key)),
            }
        }
    }
    assert_eq!(replayed, map, "a watch from the start retells the whole history");
}

fn apply(map: &mut Map, write: &Write, revision: Revision) -> bool {
    match write {
        Write::Put { key, value } => {
            map.insert(key.clone(), Entry { key: key.clone(), value: value.clone(), revision });
            true
        }
        Write::Delete { key } => map.remove(key).is_some(),
    }
}

/// splitmix64 (Steele, Lea, Flood 2014): enough for test data, and no dependency.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn txn(&mut self, map: &Map) -> Txn {
        let mut txn = Txn::new();
        for number in 0..8 {
            let key = format!("k/{number}");
            let known = map.get(&key).map(|entry| entry.revision);
            match self.below(12) {
                0 | 1 => txn.compares.push(Compare { key: key.clone(), revision: known }),
                2 if self.below(4) == 0 => txn.compares.push(Compare { key: key.clone(), revision: None }),
                _ => {}
            }
            match self.below(6) {
                0 => txn = txn.put(key, vec![b'v'; usize::try_from(self.below(40)).expect("small")]),
                1 => txn = txn.delete(key),
                _ => {}
            }
        }
        txn
    }
}
