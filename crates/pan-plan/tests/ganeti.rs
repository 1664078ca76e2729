//! Files in Ganeti's text format: read, written, and how many servers fit, against what is known to be the most.
//! `UPDATE_GOLDEN=1` rewrites the expected files.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use pan_model::{ByteSize, ClusterName, Cpu, PartitionName, Resources};
use pan_plan::ganeti::{Imported, Inventory};
use pan_plan::{Cluster, Domain, Protect, Snapshot, Spread, certify, compute, room};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ganeti").join(name)
}

fn show(imported: &Imported) -> String {
    let mut out = String::new();
    for (host, node) in &imported.snapshot.nodes {
        writeln!(out, "{host}: {}, {}, group {}", node.state.word(), node.capacity, node.labels["group"]).unwrap();
    }
    for ((partition, name), cluster) in &imported.snapshot.clusters {
        writeln!(out, "{name}{}: {}", if cluster.protect.is_some() { ", protected" } else { "" }, cluster.need).unwrap();
        for (server, host) in &cluster.servers {
            let instance = &imported.instances[&(partition.clone(), server.clone())];
            writeln!(out, "  {server} ({instance}) on {}", host.as_ref().unwrap()).unwrap();
        }
    }
    out
}

fn check_import(name: &str) {
    let text = std::fs::read_to_string(file(&format!("{name}.data"))).unwrap();
    let found = show(&text.parse::<Inventory>().unwrap().import());
    let golden = file(&format!("{name}.expected"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, &found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(&golden).unwrap(), "{name}");
}

#[test]
fn files_are_understood() {
    check_import("two-groups");
    check_import("few-columns");
}

#[test]
fn what_is_read_is_written_back() {
    let text = std::fs::read_to_string(file("two-groups.data")).unwrap();
    assert_eq!(text.parse::<Inventory>().unwrap().to_string(), text);
    let older = std::fs::read_to_string(file("few-columns.data")).unwrap().parse::<Inventory>().unwrap();
    assert_eq!(older.to_string().parse::<Inventory>().unwrap(), older);
}

#[test]
fn misread_lines_are_named() {
    let misread = |text: &str| text.parse::<Inventory>().unwrap_err().to_string();
    assert_eq!(misread("g|u|preferred||\n\nn|1|2\n\n\n\n"), "line 3: node: expected at least 9 columns, found 3");
    let node = "g|u|preferred||\n\nn|1|0|1|much|1|4|N|u\n\n\n\n";
    assert_eq!(misread(node), "line 3: node: disk (column 5): expected a whole number, found \"much\"");
    assert_eq!(misread(&node.replace("much", "1").replace("|N|", "|X|")), "line 3: node: role (column 8): expected Y, N or M, found \"X\"");
    let found = misread("g|u|preferred||\n");
    assert_eq!(found, "line 1: expected groups, nodes, instances and tags, parted by one empty line each; found 1 sections");
}

/// Nodes with this much memory each, in GiB, and cores in plenty.
fn nodes(memory: &[u64]) -> Snapshot {
    let lines = memory.iter().enumerate().map(|(index, gib)| {
        let mib = gib * 1024;
        format!("n{:02}|{mib}|0|{mib}|10000000|10000000|64|N|u|1||N|0|0|1.0\n", index + 1)
    });
    format!("g|u|preferred||\n\n{}\n\n\n\n", lines.collect::<String>()).parse::<Inventory>().unwrap().import().snapshot
}

/// How many protected servers of 4 GiB fit.
fn fitting(snapshot: &Snapshot) -> usize {
    let cluster = Cluster {
        need: Resources::new(Cpu(1000), ByteSize(4 << 30)),
        spread: Spread::None,
        protect: Some(Protect { failures: 1, domain: Domain::Node }),
        priority: 500,
        after: Vec::new(),
        with: Vec::new(),
        require_labels: BTreeMap::new(),
        servers: BTreeMap::new(),
    };
    let key = (PartitionName::new("p").unwrap(), ClusterName::new("more").unwrap());
    let plan = room(snapshot, &key, &cluster, 1000);
    let mut wanted = snapshot.clone();
    let servers = plan.place.iter().map(|placed| (placed.server.1.clone(), None)).collect();
    wanted.clusters.insert(key, Cluster { servers, ..cluster });
    let after = plan.applied(&wanted);
    assert!(certify(&after, None).ok);
    let written = Inventory::export(&after, &compute(&after).unwrap()).to_string();
    assert!(certify(&written.parse::<Inventory>().unwrap().import().snapshot, None).ok, "written and read again");
    plan.place.len()
}

#[test]
fn as_many_fit_as_can() {
    // All slots but those of the largest node: what a loss takes away must fit elsewhere.
    assert_eq!(fitting(&nodes(&[64; 20])), 304);
    assert_eq!(fitting(&nodes(&[64; 40])), 624);
    assert_eq!(fitting(&nodes(&[48, 64, 96].repeat(7))), 7 * (12 + 16 + 24) - 24);
}
