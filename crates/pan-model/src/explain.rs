//! Explanations of manifest fields, and the JSON Schema of whole documents, both from the types that read them.

use crate::manifest::API;
use crate::{ClusterName, ClusterSpec, ImportSpec, Name, PartitionName, PartitionSpec, PolicySpec, ServiceName, ServiceSpec, VolumeSpec};
use schemars::{JsonSchema, schema_for};
use serde_json::{Value, json};
use std::fmt::Write;

/// The kinds that can be applied, in lower case.
pub const KINDS: [&str; 6] = ["partition", "cluster", "service", "volume", "import", "policy"];

/// Why there is nothing to explain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExplainError {
    /// The first word is no kind.
    #[error("{0:?} is not a kind with fields to explain: expected partition, cluster, service, volume, import or policy")]
    Kind(String),
    /// A further word is no field.
    #[error("{parent} has no field {field:?}: expected one of {}", .expected.join(", "))]
    Field {
        /// The path up to it.
        parent: String,
        /// The word.
        field: String,
        /// The fields there are.
        expected: Vec<String>,
    },
    /// The path goes on behind a value without fields.
    #[error("{0} has no fields of its own")]
    Leaf(String),
}

/// Explains `cluster`, `cluster.health` or `cluster.health.http.port`; a `spec` behind the kind may be left out.
///
/// # Errors
/// [`ExplainError`] naming the word that is not known.
pub fn explain(path: &str) -> Result<String, ExplainError> {
    let mut words = path.split('.');
    let kind = words.next().unwrap_or_default().to_ascii_lowercase();
    let kind = if kind == "policies" { "policy" } else { kind.strip_suffix('s').unwrap_or(&kind) };
    let document = schema(kind).ok_or_else(|| ExplainError::Kind(path.split('.').next().unwrap_or_default().to_owned()))?;
    let mut words: Vec<&str> = words.collect();
    if words.is_empty() {
        return Ok(document_text(kind, &document));
    }
    if !["spec", "api", "kind", "name", "partition"].contains(&words[0]) {
        words.insert(0, "spec");
    }
    let schema = Schema { root: &document };
    let (mut here, mut at, mut required) = (&document, kind.to_owned(), true);
    for word in words {
        let inner = schema.inside(here);
        let fields = inner["properties"].as_object().ok_or_else(|| ExplainError::Leaf(at.clone()))?;
        let word = word.split('[').next().unwrap_or(word);
        let field = fields.get(word);
        required = is_required(inner, word);
        here = field.ok_or_else(|| ExplainError::Field {
            parent: at.clone(),
            field: word.to_owned(),
            expected: fields.keys().cloned().collect(),
        })?;
        at = format!("{at}.{word}");
    }
    Ok(schema.field_text(&at, here, required))
}

/// The JSON Schema (draft 2020-12) of a whole document of a kind; `None` when there is no such kind.
#[must_use]
pub fn schema(kind: &str) -> Option<Value> {
    match kind {
        "partition" => Some(document::<PartitionName, PartitionSpec>("Partition", "A tenant's closed world.", Lies::ByItself)),
        "cluster" => {
            Some(document::<ClusterName, ClusterSpec>("Cluster", "A set of like servers with a protection level.", Lies::InPartition))
        }
        "service" => Some(document::<ServiceName, ServiceSpec>(
            "Service",
            "A public address and port, and how its traffic is spread.",
            Lies::InPartition,
        )),
        "volume" => Some(document::<Name, VolumeSpec>("Volume", "Mirrored block storage that is there by itself.", Lies::InPartition)),
        "import" => Some(document::<Name, ImportSpec>(
            "Import",
            "A service of another partition under a name of one's own, while that partition exports it.",
            Lies::InPartition,
        )),
        "policy" => Some(document::<Name, PolicySpec>("Policy", "How many servers a cluster has, and when.", Lies::InPartition)),
        _ => None,
    }
}

/// The JSON Schema (draft 2020-12) of a document of any kind.
#[must_use]
pub fn schema_of_all() -> Value {
    let mut definitions = serde_json::Map::new();
    let mut kinds = Vec::new();
    for kind in KINDS {
        let mut document = schema(kind).expect("every kind has a schema");
        take(&mut document, "$schema");
        // A type that several kinds use is the same type in each.
        if let Some(Value::Object(more)) = take(&mut document, "$defs") {
            definitions.extend(more);
        }
        kinds.push(document);
    }
    json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Manifest", "oneOf": kinds, "$defs": definitions})
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lies {
    ByItself,
    InPartition,
}

fn document<N: JsonSchema, S: JsonSchema>(kind: &str, description: &str, lies: Lies) -> Value {
    let mut spec = schema_for!(S).to_value();
    let (Some(definitions), Some(draft)) = (take(&mut spec, "$defs"), take(&mut spec, "$schema")) else {
        unreachable!("every spec has definitions and names its draft");
    };
    let mut name = schema_for!(N).to_value();
    take(&mut name, "$schema");
    take(&mut name, "title");
    take(&mut spec, "title");
    let mut whole = json!({
        "$schema": draft,
        "title": kind,
        "description": description,
        "type": "object",
        "properties": {
            "api": {"const": API, "description": "The version of the format."},
            "kind": {"const": kind, "description": "What the document defines."},
            "name": name,
            "spec": spec,
        },
        "required": ["api", "kind", "name", "spec"],
        "additionalProperties": false,
        "$defs": definitions,
    });
    if lies == Lies::InPartition {
        whole["properties"]["partition"] = json!({"type": "string", "description": "The partition it lies in; -p PARTITION when absent."});
    }
    whole
}

fn take(value: &mut Value, key: &str) -> Option<Value> {
    value.as_object_mut().and_then(|object| object.remove(key))
}

fn is_required(object: &Value, field: &str) -> bool {
    object["required"].as_array().is_some_and(|all| all.iter().any(|name| name == field))
}

fn document_text(kind: &str, document: &Value) -> String {
    let mut out = format!("{}: {}\n\n", document["title"].as_str().unwrap_or(kind), document["description"].as_str().unwrap_or_default());
    let _ = writeln!(out, "  api: {API}\n  kind: {}", document["title"].as_str().unwrap_or(kind));
    if document["properties"]["partition"].is_object() {
        let _ = writeln!(out, "  partition: PARTITION");
    }
    let _ = write!(out, "  name: NAME\n  spec:\n\nFields of {kind}.spec:\n");
    Schema { root: document }.fields_text(&document["properties"]["spec"], &mut out);
    out
}

struct Schema<'a> {
    root: &'a Value,
}

impl<'a> Schema<'a> {
    /// The schema behind references and "or null".
    fn resolve(&self, schema: &'a Value) -> &'a Value {
        if let Some(name) = schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
            return self.resolve(&self.root["$defs"][name]);
        }
        let some = schema["anyOf"].as_array().and_then(|all| all.iter().find(|one| one["type"] != "null"));
        some.map_or(schema, |one| self.resolve(one))
    }

    /// The schema of what has fields: the value itself, or what a list or mapping is made of.
    fn inside(&self, schema: &'a Value) -> &'a Value {
        let here = self.resolve(schema);
        if here["items"].is_object() {
            return self.inside(&here["items"]);
        }
        here
    }

    fn type_text(&self, schema: &'a Value) -> String {
        let here = self.resolve(schema);
        if here["items"].is_object() {
            return format!("list of {}", self.type_text(&here["items"]));
        }
        if here["additionalProperties"].is_object() {
            return format!("mapping to {}", self.type_text(&here["additionalProperties"]));
        }
        if let Some(words) = words(here) {
            return words.join(" | ");
        }
        if here["not"].is_object() {
            return "not yet supported".into();
        }
        let bounds = |here: &Value| match (here["minimum"].as_u64(), here["maximum"].as_u64()) {
            (Some(min), Some(max)) => format!(" {min} to {max}"),
            (Some(min), None) if min > 0 => format!(" from {min}"),
            _ => String::new(),
        };
        // What a text or number stands for says more than that it is one.
        if here["pattern"].is_string()
            || here["type"].is_array() && !here["type"].as_array().is_some_and(|all| all.iter().any(|one| one == "null"))
        {
            return here["description"].as_str().unwrap_or("text").to_owned();
        }
        let name = here["type"].as_str().map(str::to_owned).or_else(|| {
            let all = here["type"].as_array()?;
            all.iter().find_map(|one| one.as_str().filter(|name| *name != "null").map(str::to_owned))
        });
        match name.as_deref() {
            Some("string") => "text".into(),
            Some("integer") => format!("whole number{}", bounds(here)),
            Some("object") => "object".into(),
            Some(other) => other.to_owned(),
            None => "value".into(),
        }
    }

    fn field_text(&self, path: &str, field: &'a Value, required: bool) -> String {
        let mut out = format!("{path}: {}{}\n", self.type_text(field), note(field, required));
        let here = self.inside(field);
        let about = field["description"].as_str().or_else(|| here["description"].as_str()).unwrap_or_default();
        let _ = writeln!(out, "\n  {about}");
        for one in here["oneOf"].as_array().into_iter().flatten() {
            let _ = writeln!(out, "    {}: {}", plain(&one["const"]), one["description"].as_str().unwrap_or_default());
        }
        if here["properties"].is_object() {
            let _ = writeln!(out, "\nFields:");
            self.fields_text(here, &mut out);
        }
        out
    }

    /// Required fields first, each with its description below.
    fn fields_text(&self, object: &'a Value, out: &mut String) {
        let mut fields: Vec<(&String, &Value)> = object["properties"].as_object().into_iter().flatten().collect();
        fields.sort_by_key(|(name, _)| !is_required(object, name));
        for (name, field) in fields {
            let _ = writeln!(out, "  {name}: {}{}", self.type_text(field), note(field, is_required(object, name)));
            if let Some(about) = field["description"].as_str() {
                let _ = writeln!(out, "      {about}");
            }
        }
    }
}

fn words(schema: &Value) -> Option<Vec<String>> {
    if let Some(all) = schema["enum"].as_array() {
        return Some(all.iter().map(plain).collect());
    }
    if !schema["const"].is_null() {
        return Some(vec![plain(&schema["const"])]);
    }
    let all = schema["oneOf"].as_array()?;
    Some(
        all.iter()
            .map(|one| if one["const"].is_null() { words(one).unwrap_or_default().join(" | ") } else { plain(&one["const"]) })
            .collect(),
    )
}

fn note(field: &Value, required: bool) -> String {
    let default = &field["default"];
    let empty = default.is_null() || default.as_object().is_some_and(serde_json::Map::is_empty);
    if required {
        "  (required)".into()
    } else if empty {
        String::new()
    } else {
        format!("  (default {})", plain(default))
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn says(path: &str, parts: &[&str]) {
        let text = explain(path).unwrap();
        for part in parts {
            assert!(text.contains(part), "{path}: no {part:?} in\n{text}");
        }
    }

    #[test]
    fn kinds_and_fields_are_explained() {
        says(
            "cluster",
            &[
                "kind: Cluster",
                "partition: PARTITION",
                "servers: whole number",
                "(required)",
                "priority: whole number 0 to 999  (default 500)",
            ],
        );
        says("Clusters", &["kind: Cluster"]);
        says("partition", &["kind: Partition", "network: "]);
        says("cluster.health.http", &["cluster.spec.health.http: object", "port: whole number 0 to 65535  (required)", "(default /)"]);
        says("cluster.spec.health.every", &["a duration like 500ms or 30s  (default 1s)", "How often."]);
        says("cluster.after.cluster", &["The cluster.", "(required)"]);
        says("cluster.spread", &["node | rack", "prefer-zone: "]);
        says("cluster.volumes.size", &["It may grow later"]);
        says("cluster.command", &["list of text"]);
        says("cluster.resources.cpu", &["cores, or a text like 500m"]);
        says("volume.access", &["readers-many", "(default one)"]);
        says("service.balance.policy", &["round-robin"]);
        says("service.export", &["list of text", "by an import of theirs"]);
        says("import", &["kind: Import", "service: text", "(required)"]);
        says("partition.capacity.max.memory", &["bytes, or a text like 128MiB"]);
    }

    #[test]
    fn unknown_words_are_named() {
        assert_eq!(explain("box").unwrap_err(), ExplainError::Kind("box".into()));
        assert!(
            explain("cluster.foo")
                .unwrap_err()
                .to_string()
                .contains("cluster.spec has no field \"foo\": expected one of after, allow, command")
        );
        assert_eq!(explain("cluster.servers.x").unwrap_err(), ExplainError::Leaf("cluster.spec.servers".into()));
    }

    #[test]
    fn every_kind_has_a_schema() {
        for kind in KINDS {
            assert_eq!(schema(kind).unwrap()["additionalProperties"], false, "{kind}");
        }
        assert_eq!(schema("server"), None);
    }
}
