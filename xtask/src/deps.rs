//! `cargo xtask deps`: the imports between crates are those of the table in ARCHITECTURE.md, no more and
//! no fewer, and the pure crates import nothing that does I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::Problems;
use crate::metadata::{self, Metadata, Package, Scope};

const TABLE: &str = "ARCHITECTURE.md";
const BEGIN: &str = "<!-- deps:begin -->";
const END: &str = "<!-- deps:end -->";

/// Crates that decide and therefore touch nothing.
pub const PURE: [&str; 10] =
    ["pan-rule", "pan-model", "pan-plan", "pan-policy", "pan-member", "pan-balance", "pan-replica", "pan-nbd", "pan-image", "pan-disk"];

/// Crates whose very use would make a pure crate impure.
const IMPURE: [&str; 15] = [
    "tokio",
    "hyper",
    "hyper-util",
    "axum",
    "nix",
    "libc",
    "rustix",
    "rand",
    "getrandom",
    "redb",
    "rustls",
    "netlink-sys",
    "tempfile",
    "mio",
    "socket2",
];

/// For each crate, the crates of the workspace it imports: in its code, and in its tests only.
type Edges = BTreeMap<String, Imports>;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Imports {
    code: BTreeSet<String>,
    tests: BTreeSet<String>,
}

/// Compares the workspace with the table.
pub fn check(root: &Path) -> Problems {
    let metadata = match metadata::read(root, Scope::Workspace) {
        Ok(metadata) => metadata,
        Err(problem) => return vec![problem],
    };
    let text = match std::fs::read_to_string(root.join(TABLE)) {
        Ok(text) => text,
        Err(error) => return vec![format!("{TABLE}: {error}; it has to hold the table of imports between {BEGIN} and {END}")],
    };
    let mut problems = match parse(&text) {
        Ok(table) => compare(&edges(&metadata), &table),
        Err(problem) => vec![problem],
    };
    problems.extend(impurities(&metadata));
    problems
}

fn edges(metadata: &Metadata) -> Edges {
    let members: BTreeSet<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    let of = |package: &Package, tests: bool| {
        let kept = package.dependencies.iter().filter(|found| (found.kind.as_deref() == Some("dev")) == tests);
        kept.filter(|found| members.contains(found.name.as_str())).map(|found| found.name.clone()).collect::<BTreeSet<_>>()
    };
    let imports = |package: &Package| {
        let code = of(package, false);
        let tests = of(package, true).difference(&code).cloned().collect();
        Imports { code, tests }
    };
    metadata.packages.iter().map(|package| (package.name.clone(), imports(package))).collect()
}

/// Reads rows of `| crate | imports | in tests |`; names may stand in backticks, `-` is none.
fn parse(text: &str) -> Result<Edges, String> {
    let missing = || format!("{TABLE}: no table between {BEGIN} and {END}");
    let (_, rest) = text.split_once(BEGIN).ok_or_else(missing)?;
    let (table, _) = rest.split_once(END).ok_or_else(missing)?;
    let rows = table.lines().map(str::trim).filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let [name, code, tests] = cells[..] else {
            return Err(format!("{TABLE}: expected | crate | imports | in tests |, found {row}"));
        };
        let imports = Imports { code: names(code), tests: names(tests) };
        Ok((name.trim().trim_matches('`').to_owned(), imports))
    })
    .collect()
}

fn names(cell: &str) -> BTreeSet<String> {
    let words = cell.split([',', ' ']).map(|word| word.trim().trim_matches('`'));
    words.filter(|word| !word.is_empty() && !["-", "—", "–"].contains(word)).map(str::to_owned).collect()
}

fn compare(found: &Edges, table: &Edges) -> Problems {
    let mut problems = Problems::new();
    let crates: BTreeSet<&String> = found.keys().chain(table.keys()).collect();
    for name in crates {
        match (found.get(name), table.get(name)) {
            (Some(found), Some(table)) => {
                problems.extend(differences(name, "", &found.code, &table.code));
                problems.extend(differences(name, " in tests", &found.tests, &table.tests));
            }
            (Some(_), None) => problems.push(format!("{name} has no row in the table of {TABLE}")),
            (None, _) => problems.push(format!("{TABLE} has a row for {name}, which is no crate of the workspace")),
        }
    }
    problems
}

fn differences(name: &str, wher: &str, found: &BTreeSet<String>, table: &BTreeSet<String>) -> Problems {
    let extra = found.difference(table).map(|other| format!("{name} imports {other}{wher}, which the table of {TABLE} does not allow"));
    let unused =
        table.difference(found).map(|other| format!("{name} no longer imports {other}{wher}: take it out of the table of {TABLE}"));
    extra.chain(unused).collect()
}

fn impurities(metadata: &Metadata) -> Problems {
    let pure = metadata.packages.iter().filter(|package| PURE.contains(&package.name.as_str()));
    pure.flat_map(|package| {
        let code = package.dependencies.iter().filter(|found| found.kind.is_none());
        let bad = code.filter(|found| IMPURE.contains(&found.name.as_str()));
        bad.map(|found| format!("{} decides and must not import {}", package.name, found.name)).collect::<Vec<_>>()
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(text: &str) -> Metadata {
        serde_json::from_str(text).unwrap()
    }

    const WORKSPACE: &str = r#"{"packages": [
        {"name": "pan-model", "version": "1", "dependencies": [{"name": "tokio", "kind": null}]},
        {"name": "pan-plan", "version": "1", "dependencies": [{"name": "pan-model", "kind": null}, {"name": "serde", "kind": null},
            {"name": "tokio", "kind": "dev"}, {"name": "pan-api", "kind": "dev"}]},
        {"name": "pan-api", "version": "1", "dependencies": []}
    ]}"#;

    fn table(rows: &str) -> String {
        format!("text\n{BEGIN}\n\n| crate | imports | in tests |\n|---|---|---|\n{rows}\n{END}\nmore | text |\n")
    }

    fn check(rows: &str, wanted: &[&str]) {
        let found = compare(&edges(&metadata(WORKSPACE)), &parse(&table(rows)).unwrap());
        assert_eq!(found, wanted, "{rows}");
    }

    #[test]
    fn the_table_must_say_what_is() {
        check("| `pan-model` | - | - |\n| pan-plan | `pan-model` | pan-api |\n| pan-api | — | |", &[]);
        check(
            "| pan-model | pan-api | |\n| pan-plan | | pan-api |\n| pan-gone | | |",
            &[
                "pan-api has no row in the table of ARCHITECTURE.md",
                "ARCHITECTURE.md has a row for pan-gone, which is no crate of the workspace",
                "pan-model no longer imports pan-api: take it out of the table of ARCHITECTURE.md",
                "pan-plan imports pan-model, which the table of ARCHITECTURE.md does not allow",
            ],
        );
        assert!(parse("no table").is_err());
        assert!(parse(&table("| too | few |")).is_err());
    }

    #[test]
    fn pure_crates_do_no_io() {
        assert_eq!(impurities(&metadata(WORKSPACE)), ["pan-model decides and must not import tokio"]);
    }
}
