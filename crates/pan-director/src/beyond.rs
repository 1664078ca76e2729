//! What servers sent to beyond their network and no service answers for: the kernel counts it by the address it comes from. Pure.

use pan_api::report::{RefusedPackets, counted_since};
use pan_model::PartitionName;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The counts of the partitions whose gateway this director is.
#[derive(Debug, Default)]
pub(crate) struct Beyond {
    /// As read last.
    last: BTreeMap<(PartitionName, IpAddr), u64>,
    /// Since this role began.
    counts: BTreeMap<(PartitionName, IpAddr), u64>,
}

impl Beyond {
    /// Adds what was read of the partitions named, and forgets the others. Returns how many packets that were.
    pub(crate) fn add(&mut self, read: Vec<(PartitionName, Vec<(IpAddr, u64)>)>) -> u64 {
        let named: BTreeSet<&PartitionName> = read.iter().map(|(partition, _)| partition).collect();
        self.counts.retain(|(partition, _), _| named.contains(partition));
        let mut now = BTreeMap::new();
        let mut all = 0;
        for (partition, counted) in read {
            for (address, packets) in counted {
                let key = (partition.clone(), address);
                // The kernel forgets a count that has not moved for long, and begins anew with rules that are loaded anew.
                let more = counted_since(self.last.get(&key), packets);
                if more > 0 {
                    *self.counts.entry(key.clone()).or_default() += more;
                    all += more;
                }
                now.insert(key, packets);
            }
        }
        self.last = now;
        all
    }

    /// As a report has them.
    pub(crate) fn told(&self) -> Vec<RefusedPackets> {
        let one = |((partition, from), packets): (&(PartitionName, IpAddr), &u64)| RefusedPackets {
            partition: partition.clone(),
            from: *from,
            packets: *packets,
        };
        self.counts.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_counted_once() {
        let mut beyond = Beyond::default();
        let mut check = |partition: &str, read: &[(&str, u64)], more, told: &[u64]| {
            let read = read.iter().map(|(from, packets)| (from.parse().unwrap(), *packets)).collect();
            assert_eq!(beyond.add(vec![(partition.parse().unwrap(), read)]), more);
            assert_eq!(beyond.told().iter().map(|one| one.packets).collect::<Vec<_>>(), told);
        };
        check("acme", &[("10.0.0.10", 3)], 3, &[3]);
        check("acme", &[("10.0.0.10", 3), ("10.0.0.11", 1)], 1, &[3, 1]);
        check("acme", &[("10.0.0.10", 2)], 2, &[5, 1]);
        check("rival", &[("10.0.0.10", 9)], 9, &[9]);
    }
}
