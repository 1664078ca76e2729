//! A refused apply for programs: what was wrong, object by object.

use pan_api::requests::{Applied, ApplyResult, File};
use pan_api::{ApiError, Problem};
use pan_model::PartitionName;
use pan_model::manifest::{Head, Heads};
use std::collections::BTreeMap;

/// One entry for each problem. An object that its document does not tell is called by the problem's place.
pub fn refused(problems: &[Problem], files: &[File], default_partition: Option<&PartitionName>) -> Vec<Applied> {
    let heads: BTreeMap<&str, Heads> = files.iter().map(|file| (file.name.as_str(), Heads::of(&file.text))).collect();
    let entry = |problem: &Problem| {
        let Head { kind, partition, name } = about(problem, &heads);
        let within = || partition.and_then(|name| PartitionName::new(name).ok()).or_else(|| default_partition.cloned());
        let partition = if kind == "partition" || kind == "document" { None } else { within() };
        let error = ApiError { code: problem.code, message: problem.message.clone(), problems: vec![problem.clone()] };
        Applied { kind, partition, name, result: ApplyResult::Refused, error: Some(error) }
    };
    problems.iter().map(entry).collect()
}

fn about(problem: &Problem, heads: &BTreeMap<&str, Heads>) -> Head {
    let Some(file) = heads.get(problem.source.as_str()) else { return named(&problem.source) };
    let place = || if problem.line == 0 { problem.source.clone() } else { format!("{}:{}", problem.source, problem.line) };
    file.at(problem.line).cloned().unwrap_or_else(|| Head { kind: "document".into(), partition: None, name: place() })
}

/// A problem of an object that is in none of the files has the object for its source: `KIND NAME`, `KIND PARTITION/NAME`.
fn named(source: &str) -> Head {
    let (kind, name) = source.split_once(' ').unwrap_or(("document", source));
    let (partition, name) = name.split_once('/').map_or((None, name), |(partition, name)| (Some(partition.to_owned()), name));
    Head { kind: kind.to_owned(), partition, name: name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pan_model::Code;

    #[test]
    fn every_problem_names_its_object() {
        let text = "kind: Partition\nname: acme\nspec: {}\n---\nkind: Cluster\nname: web\nspec: {}\n---\n]\n";
        let files = [File { name: "f.yaml".into(), text: text.into() }];
        let at = |source: &str, line| {
            let problem = Problem { code: Code::Dangling, source: source.into(), line, column: 1, message: "no".into() };
            let entries = refused(&[problem], &files, Some(&"acme".parse().unwrap()));
            let mut json = serde_json::to_value(&entries).unwrap()[0].take();
            assert_eq!((json["result"].take(), json["error"]["code"].take()), ("refused".into(), "PAN-102".into()));
            ["kind", "partition", "name"].map(|key| json[key].as_str().unwrap_or("-").to_owned())
        };
        assert_eq!(at("f.yaml", 2), ["partition", "-", "acme"]);
        assert_eq!(at("f.yaml", 7), ["cluster", "acme", "web"]);
        assert_eq!(at("f.yaml", 9), ["document", "-", "f.yaml:9"]);
        assert_eq!(at("f.yaml", 0), ["document", "-", "f.yaml"]);
        assert_eq!(at("service rival/front", 0), ["service", "rival", "front"]);
    }
}
