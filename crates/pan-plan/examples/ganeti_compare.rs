//! Compares with Ganeti's hspace on a file of its text format:
//! `cargo run --release -p pan-plan --example ganeti_compare -- FILE MEMORY_MIB CPUS DISK_MIB [OUT]`.
//!
//! Writes the result to OUT, for `hbal -t OUT` and others. Prints how many protected servers of that size fit, how long it took, and whether the result, written as a file
//! and read again, is proved. `hspace -t FILE --standard-alloc DISK,MEMORY,CPUS --disk-template drbd` is the other side.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use pan_model::{ByteSize, ClusterName, Cpu, PartitionName, Resources};
use pan_plan::ganeti::Inventory;
use pan_plan::{Cluster, Domain, Protect, Spread, certify, room};
use std::collections::BTreeMap;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [file, sizes @ ..] = args.as_slice() else { return Err("expected FILE MEMORY_MIB CPUS DISK_MIB".into()) };
    let [memory, cpus, disk] = sizes.iter().take(3).map(|text| text.parse()).collect::<Result<Vec<u64>, _>>()?[..] else {
        return Err("expected MEMORY_MIB CPUS DISK_MIB behind the file".into());
    };
    let imported = std::fs::read_to_string(file)?.parse::<Inventory>()?.import();
    let cluster = Cluster {
        need: Resources {
            cpu: Cpu(cpus * 1000),
            memory: ByteSize(memory << 20),
            other: std::iter::once(("disk".to_owned(), disk)).collect(),
        },
        spread: Spread::None,
        protect: Some(Protect { failures: 1, domain: Domain::Node }),
        priority: 500,
        after: Vec::new(),
        with: Vec::new(),
        require_labels: BTreeMap::new(),
        servers: BTreeMap::new(),
    };
    let key = (PartitionName::new("ganeti")?, ClusterName::new("more")?);
    let free: u64 = imported.snapshot.nodes.values().map(|node| node.capacity.memory.0 / (memory << 20)).sum();
    let start = Instant::now();
    let plan = room(&imported.snapshot, &key, &cluster, u32::try_from(free)?);
    let took = start.elapsed();
    let mut wanted = imported.snapshot.clone();
    let names = plan.place.iter().map(|placed| (placed.server.1.clone(), None));
    wanted.clusters.insert(key, Cluster { servers: names.collect(), ..cluster });
    let after = plan.applied(&wanted);
    let text = Inventory::export(&after, &plan.reserves).to_string();
    let again = text.parse::<Inventory>()?.import().snapshot;
    if let Some(out) = sizes.get(3) {
        std::fs::write(out, &text)?;
    }
    println!(
        "{} placed of {free} slots in {took:?}; proved: {}; written and read again: {}",
        plan.place.len(),
        certify(&after, None).ok,
        certify(&again, None).ok
    );
    Ok(())
}
