//! docs/metrics.md lists exactly the metrics there are. `UPDATE_GOLDEN=1` rewrites its tables.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use pan_api::metrics::Family;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// The tables' rows, by role.
fn tables() -> BTreeMap<&'static str, String> {
    let all: [(&str, &[Family]); 6] = [
        ("controller", &pan_controller::metrics::FAMILIES),
        ("node", &pan_node::metrics::FAMILIES),
        ("director", &pan_director::metrics::FAMILIES),
        ("storage", &pan_storage::metrics::FAMILIES),
        ("beat", &pan_api::beatcount::FAMILIES),
        ("service", &pan_api::traffic::FAMILIES),
    ];
    all.into_iter().map(|(role, families)| (role, table(families))).collect()
}

fn table(families: &[Family]) -> String {
    let mut text = "| metric | type | labels | |\n|---|---|---|---|\n".to_owned();
    for Family { name, help, kind, labels } in families {
        writeln!(text, "| `{name}` | {} | {} | {help} |", kind.word(), labels.join(", ")).unwrap();
    }
    text
}

#[test]
fn the_page_lists_what_there_is() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let before = std::fs::read_to_string(&path).unwrap();
    let (mut after, mut rest) = (String::new(), before.as_str());
    let tables = tables();
    for (role, table) in &tables {
        assert!(before.contains(&format!("<!-- metrics:begin {role} -->")), "no table of {role}");
        assert!(!table.contains("partition=") && !table.contains("server="), "{role}");
    }
    while let Some((head, tail)) = rest.split_once("<!-- metrics:begin ") {
        let (role, tail) = tail.split_once(" -->\n").unwrap();
        let (_, tail) = tail.split_once("<!-- metrics:end -->").unwrap();
        write!(after, "{head}<!-- metrics:begin {role} -->\n{}<!-- metrics:end -->", tables[role]).unwrap();
        rest = tail;
    }
    after.push_str(rest);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &after).unwrap();
    } else {
        assert_eq!(before, after, "docs/metrics.md differs from the code; UPDATE_GOLDEN=1 rewrites its tables");
    }
}

#[test]
fn no_two_families_of_a_page_have_one_name_and_labels_are_no_names_of_things() {
    for families in [
        &pan_controller::metrics::FAMILIES[..],
        &pan_node::metrics::FAMILIES,
        &pan_director::metrics::FAMILIES,
        &pan_storage::metrics::FAMILIES,
    ] {
        let mut names: Vec<&str> = families.iter().chain(&pan_api::beatcount::FAMILIES).map(|family| family.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        for label in families.iter().flat_map(|family| family.labels) {
            assert!(!["partition", "server", "cluster", "service", "host", "node", "address"].contains(label), "{label}");
        }
    }
}
