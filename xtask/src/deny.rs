//! `cargo xtask deny`: licences and bans of deny.toml over all dependencies, without cargo-deny.
//!
//! Of deny.toml it reads `allow = [...]` under `[licenses]` and `deny = [...]` under `[bans]`. Two major
//! versions of one crate are reported, not refused: they cost build time, and most are not ours to mend.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::metadata::{self, Package, Scope};
use crate::{Problems, spdx};

const FILE: &str = "deny.toml";

/// Checks every dependency on this platform.
pub fn check(root: &Path) -> Problems {
    let packages = metadata::read(root, Scope::All).map(|metadata| metadata.packages);
    let rules = std::fs::read_to_string(root.join(FILE)).map_err(|error| format!("{FILE}: {error}")).and_then(|text| Rules::parse(&text));
    match (packages, rules) {
        (Ok(packages), Ok(rules)) => {
            for (name, versions) in duplicates(&packages) {
                println!("note: {name} is built more than once: {}", versions.into_iter().collect::<Vec<_>>().join(", "));
            }
            packages.iter().filter(|package| package.source.is_some()).filter_map(|package| rules.judge(package)).collect()
        }
        (packages, rules) => packages.err().into_iter().chain(rules.err()).collect(),
    }
}

struct Rules {
    licences: BTreeSet<String>,
    banned: BTreeSet<String>,
}

impl Rules {
    fn parse(text: &str) -> Result<Self, String> {
        let list = |section: &str, key: &str| {
            let start = text.find(section).ok_or_else(|| format!("{FILE}: no section {section}"))?;
            let body = &text[start + section.len()..];
            let body = body.find("\n[").map_or(body, |end| &body[..end]);
            let (_, list) = body.split_once(&format!("\n{key} = [")).ok_or_else(|| format!("{FILE}: no list {key} in {section}"))?;
            let (list, _) = list.split_once(']').ok_or_else(|| format!("{FILE}: the list {key} does not end"))?;
            Ok::<_, String>(list.split('"').skip(1).step_by(2).map(str::to_owned).collect())
        };
        Ok(Self { licences: list("[licenses]", "allow")?, banned: list("[bans]", "deny")? })
    }

    fn judge(&self, package: &Package) -> Option<String> {
        let Package { name, version, .. } = package;
        if self.banned.contains(name) {
            return Some(format!("{name} {version} is banned by {FILE}"));
        }
        let Some(licence) = &package.license else {
            return Some(format!("{name} {version} names no licence"));
        };
        match spdx::satisfied(licence, |one| self.licences.contains(one)) {
            Ok(true) => None,
            Ok(false) => Some(format!("{name} {version} has licence {licence}, which {FILE} does not allow")),
            Err(problem) => Some(format!("{name} {version}: cannot understand its licence: {problem}")),
        }
    }
}

/// Crates in several versions that cargo takes for incompatible, with those.
fn duplicates(packages: &[Package]) -> BTreeMap<&str, BTreeSet<String>> {
    let mut versions: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for package in packages {
        versions.entry(&package.name).or_default().insert(package.version.clone());
    }
    versions.retain(|_, versions| versions.len() > 1);
    versions
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = "# words\n[licenses]\nconfidence-threshold = 0.9\nallow = [\n    \"MIT\",\n    \"ISC\",\n]\n\n[bans]\nmultiple-versions = \"warn\"\ndeny = [\"openssl\"]\n";

    fn package(name: &str, licence: Option<&str>) -> Package {
        let json = serde_json::json!({"name": name, "version": "1.0.0", "license": licence, "source": "registry"});
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn licences_and_bans_are_judged() {
        let rules = Rules::parse(RULES).unwrap();
        let judge = |name, licence| rules.judge(&package(name, licence));
        assert_eq!(judge("good", Some("MIT OR GPL-3.0")), None);
        assert_eq!(judge("bad", Some("GPL-3.0")).unwrap(), "bad 1.0.0 has licence GPL-3.0, which deny.toml does not allow");
        assert_eq!(judge("none", None).unwrap(), "none 1.0.0 names no licence");
        assert_eq!(judge("openssl", Some("MIT")).unwrap(), "openssl 1.0.0 is banned by deny.toml");
        assert!(Rules::parse("[bans]\ndeny = []").is_err());
    }
}
