//! On which storage hosts a volume is kept.
//!
//! Copies are as far apart as the labels say hosts can fail apart: other regions first, then zones, racks, machines. What is
//! promised to volumes never exceeds what a host has, however little of it is written yet.

use crate::snapshot::Domain;
use pan_model::{ByteSize, HostName};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A host that keeps volumes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// What its disks hold.
    pub capacity: ByteSize,
    /// The sizes of all volumes of which it keeps a copy.
    pub promised: ByteSize,
    /// Its labels; `rack`, `zone` and `region` say which failure domains it is in.
    pub labels: BTreeMap<String, String>,
    /// Whether it may be given more.
    pub takes: bool,
}

impl Store {
    fn free(&self) -> u64 {
        self.capacity.0.saturating_sub(self.promised.0)
    }
}

/// Why there are not enough places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    /// Copies asked for.
    pub copies: usize,
    /// Places there are, those in use included.
    pub places: usize,
    /// Bytes of one copy.
    pub size: ByteSize,
    /// Hosts that would have to be alive, or not on their way out.
    pub away: usize,
    /// Hosts that have no room.
    pub full: usize,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { copies, places, size, away, full } = self;
        write!(f, "{copies} copies of {size} need {copies} storage hosts, and {places} can take one")?;
        match (away, full) {
            (0, 0) => f.write_str(": there are no more"),
            (0, full) => write!(f, ": {full} more have too little room"),
            (away, 0) => write!(f, ": {away} more take nothing at present"),
            (away, full) => write!(f, ": {full} more have too little room, {away} take nothing at present"),
        }
    }
}

/// The hosts that keep a volume: those that do (`kept`), and as many others as are missing.
///
/// # Errors
/// [`Shortage`]: there are too few. Nothing says that fewer would do.
pub fn choose(
    stores: &BTreeMap<HostName, Store>,
    kept: &BTreeSet<HostName>,
    copies: usize,
    size: ByteSize,
) -> Result<BTreeSet<HostName>, Shortage> {
    let mut chosen = kept.clone();
    while chosen.len() < copies {
        let others = stores.iter().filter(|(name, store)| !chosen.contains(*name) && store.takes && store.free() >= size.0);
        // The best is the one that shares the least with those there are; then the emptiest; then the first by name.
        let best = others.min_by_key(|(name, store)| (nearness(stores, &chosen, store), Reverse(store.free()), (*name).clone()));
        let Some((name, _)) = best else { return Err(shortage(stores, &chosen, copies, size)) };
        chosen.insert(name.clone());
    }
    Ok(chosen)
}

/// How many of the chosen share each kind of domain with a host, the largest domains first.
fn nearness(stores: &BTreeMap<HostName, Store>, chosen: &BTreeSet<HostName>, store: &Store) -> Vec<usize> {
    let shares = |domain: Domain| {
        let label = domain.word();
        // Hosts that lack the label are one domain: nothing shows that they fail apart.
        let same = |other: &HostName| stores.get(other).is_some_and(|other| other.labels.get(label) == store.labels.get(label));
        chosen.iter().filter(|other| same(other)).count()
    };
    [Domain::Region, Domain::Zone, Domain::Rack].map(shares).to_vec()
}

fn shortage(stores: &BTreeMap<HostName, Store>, chosen: &BTreeSet<HostName>, copies: usize, size: ByteSize) -> Shortage {
    let rest = || stores.iter().filter(|(name, _)| !chosen.contains(*name));
    let away = rest().filter(|(_, store)| !store.takes).count();
    let full = rest().filter(|(_, store)| store.takes && store.free() < size.0).count();
    Shortage { copies, places: chosen.len(), size, away, full }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GIB: u64 = 1 << 30;

    /// `NAME:CAPACITY-PROMISED` in GiB, with `/zone/rack` behind it, and `!` for one that takes nothing.
    fn stores(texts: &[&str]) -> BTreeMap<HostName, Store> {
        let one = |text: &&str| {
            let (text, takes) = text.strip_suffix('!').map_or((*text, true), |text| (text, false));
            let mut parts = text.split('/');
            let (name, room) = parts.next().unwrap().split_once(':').unwrap();
            let (capacity, promised) = room.split_once('-').unwrap();
            let bytes = |text: &str| ByteSize(text.parse::<u64>().unwrap() * GIB);
            let labels = ["zone", "rack"].into_iter().zip(parts).map(|(label, value)| (label.to_owned(), value.to_owned())).collect();
            (name.parse().unwrap(), Store { capacity: bytes(capacity), promised: bytes(promised), labels, takes })
        };
        texts.iter().map(one).collect()
    }

    fn check(texts: &[&str], kept: &[&str], copies: usize, gib: u64, wanted: &str) {
        let kept = kept.iter().map(|name| name.parse().unwrap()).collect();
        let found = match choose(&stores(texts), &kept, copies, ByteSize(gib * GIB)) {
            Ok(names) => names.iter().map(HostName::as_str).collect::<Vec<_>>().join(" "),
            Err(shortage) => shortage.to_string(),
        };
        assert_eq!(found, wanted, "{texts:?}");
    }

    #[test]
    fn the_emptiest_and_then_the_first_by_name() {
        check(&["s1:10-0", "s2:10-0", "s3:10-0"], &[], 2, 1, "s1 s2");
        check(&["s1:10-5", "s2:10-0", "s3:10-1"], &[], 2, 1, "s2 s3");
        check(&["s1:10-5", "s2:10-0", "s3:10-1"], &["s1"], 2, 1, "s1 s2");
        check(&["s1:10-5", "s2:10-0", "s3:10-1"], &["s1", "s3"], 2, 1, "s1 s3");
    }

    #[test]
    fn copies_are_where_they_fail_apart() {
        check(&["s1:10-0/a/1", "s2:10-0/a/2", "s3:10-9/b/3"], &[], 2, 1, "s1 s3");
        check(&["s1:10-0/a/1", "s2:10-0/a/1", "s3:10-9/a/2"], &[], 2, 1, "s1 s3");
        check(&["s1:10-0/a/1", "s2:10-0/a/2", "s3:10-9/b/3"], &["s2"], 3, 1, "s1 s2 s3");
        // Without labels nothing shows that they do: any other machine is as good.
        check(&["s1:10-0", "s2:10-9", "s3:10-0/a/1"], &["s1"], 2, 1, "s1 s3");
    }

    #[test]
    fn what_is_missing_is_said() {
        let short = "2 copies of 8GiB need 2 storage hosts, and 1 can take one";
        check(&["s1:10-0"], &[], 2, 8, &format!("{short}: there are no more"));
        check(&["s1:10-0", "s2:10-5"], &[], 2, 8, &format!("{short}: 1 more have too little room"));
        check(&["s1:10-0", "s2:10-0!"], &[], 2, 8, &format!("{short}: 1 more take nothing at present"));
        check(&["s1:10-0", "s2:10-0!", "s3:10-9"], &[], 2, 8, &format!("{short}: 1 more have too little room, 1 take nothing at present"));
    }

    proptest! {
        #[test]
        fn nobody_gets_what_he_cannot_keep(
            rooms in prop::collection::vec((0_u64..20, 0_u64..20, any::<bool>(), 0_u8..3), 0..7),
            copies in 1_usize..4,
            size in 1_u64..10,
        ) {
            let texts: Vec<String> = rooms
                .iter()
                .enumerate()
                .map(|(at, (capacity, promised, takes, zone))| format!("s{at}:{capacity}-{promised}/z{zone}{}", if *takes { "" } else { "!" }))
                .collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let all = stores(&texts);
            let fit = all.values().filter(|store| store.takes && store.free() >= size * GIB);
            match choose(&all, &BTreeSet::new(), copies, ByteSize(size * GIB)) {
                Ok(chosen) => {
                    prop_assert_eq!(chosen.len(), copies);
                    prop_assert!(chosen.iter().all(|name| all[name].takes && all[name].free() >= size * GIB));
                    // As many zones as can be had.
                    let zones = |names: &mut dyn Iterator<Item = &Store>| names.map(|store| store.labels["zone"].clone()).collect::<BTreeSet<_>>().len();
                    let (had, possible) = (zones(&mut chosen.iter().map(|name| &all[name])), zones(&mut fit.clone()));
                    prop_assert_eq!(had, possible.min(copies));
                }
                Err(_) => prop_assert!(fit.count() < copies),
            }
        }
    }
}
