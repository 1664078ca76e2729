//! The OpenAPI description, made from the table of routes and the schemas of the wire types.

use super::answer;
use super::route::{Access, Gives, Param, Route, SchemaOf, schema, table};
use crate::auth::{Verb, allowed};
use crate::handle::PrincipalRole;
use pan_api::ApiError;
use pan_api::requests::AGE_HEADER;
use pan_api::token::AccessRole;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// The description of the public interface (OpenAPI 3.1). The routes for hosts are not part of it; `x-roles` says whose tokens an operation
/// takes.
///
/// The same program always gives the same text; the committed copy is `docs/openapi.json`.
#[must_use]
pub fn openapi() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut generator = settings.into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for route in table() {
        if matches!(route.access, Access::Host(_)) {
            continue;
        }
        let operation = operation(&route, &mut generator);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_lowercase()] = operation;
    }
    let refused = generator.subschema_for::<ApiError>();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Panloom",
            "version": "v1",
            "summary": "The interface of a Processing Area Network.",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "headers": {"Age": {
                "description": "How many milliseconds ago it was the newest for sure. What is too old is refused (503), unless Cache-Control: max-stale asks for it.",
                "schema": {"type": "integer", "minimum": 0},
            }},
            "responses": {"Refused": {"description": "A refusal or a failure.", "content": {answer::JSON: {"schema": refused}}}},
        },
    })
}

fn operation(route: &Route, generator: &mut SchemaGenerator) -> Value {
    let mut operation = json!({
        "operationId": id(route),
        "summary": route.summary,
        "parameters": path_parameters(route.path).chain(route.query.iter().map(query_parameter)).collect::<Vec<_>>(),
        "responses": {},
    });
    let (status, mut answer) = given(&route.gives, generator);
    if let Access::Role(Verb::Read, noun, _) = route.access
        && noun.ages()
    {
        answer["headers"] = json!({AGE_HEADER: {"$ref": "#/components/headers/Age"}});
    }
    operation["responses"][status] = answer;
    for refusal in refusals(route) {
        operation["responses"][refusal.to_string()] = json!({"$ref": "#/components/responses/Refused"});
    }
    if let Some(takes) = route.takes {
        operation["requestBody"] = json!({"content": {answer::JSON: {"schema": takes(generator)}}});
    }
    if let Some((verb, noun)) = route.wants() {
        operation["security"] = json!([{"token": []}]);
        let may = |role: &AccessRole| allowed(PrincipalRole::Access(*role), verb, noun);
        operation["x-roles"] = AccessRole::ALL.into_iter().filter(may).map(AccessRole::as_str).collect();
    }
    operation
}

/// The statuses with which an operation is refused, or fails.
fn refusals(route: &Route) -> Vec<u16> {
    // The request cannot be read, comes too slowly, or is too large; or the controller, or its store, fails.
    let mut all = vec![400, 408, 413, 500, 503, 504];
    all.extend(route.takes.map(|_| 415));
    match route.access {
        Access::Open(_) => {}
        Access::Joining(_) | Access::Host(_) => all.extend([401, 403, 404, 409, 429]),
        Access::Role(verb, ..) | Access::RoleOrController(verb, ..) => {
            all.extend([401, 403, 404, 409, 429]);
            // Other hosts have it.
            all.extend((verb == Verb::Enter || route.path.contains("{snapshot}")).then_some(502));
        }
    }
    all.sort_unstable();
    all
}

/// Whether a route's description has a status.
#[must_use]
pub(super) fn is_described(route: &Route, status: u16) -> bool {
    matches!(status, 200 | 204) || refusals(route).contains(&status)
}

/// `getPartitionsClusters`: the method and the fixed words of the path, the variable ones as `By…`.
fn id(route: &Route) -> String {
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    let word = |part: &str| {
        let name = part.trim_matches(['{', '}']);
        let name: String = name.split(['.', '-']).map(capital).collect();
        if part.starts_with('{') { format!("By{name}") } else { name }
    };
    let words = route.path.split('/').filter(|part| !matches!(*part, "" | "v1")).map(word);
    words.fold(route.method.as_str().to_lowercase(), |id, word| id + &word)
}

fn path_parameters(path: &str) -> impl Iterator<Item = Value> {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    names.map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
}

fn query_parameter(param: &Param) -> Value {
    json!({"name": param.name, "in": "query", "description": param.summary, "schema": {"type": param.kind}})
}

fn given(gives: &Gives, generator: &mut SchemaGenerator) -> (&'static str, Value) {
    let mut body = |media: &str, of: SchemaOf| json!({media: {"schema": of(generator)}});
    match gives {
        Gives::Nothing => ("204", json!({"description": "Done."})),
        Gives::Json(of) => ("200", json!({"description": "The answer.", "content": body(answer::JSON, *of)})),
        Gives::Lines(of) => ("200", json!({"description": "One JSON value a line.", "content": body(answer::LINES, *of)})),
        Gives::Bytes => ("200", json!({"description": "Bytes.", "content": body(answer::BYTES, schema::<String>)})),
        Gives::Text => ("200", json!({"description": "Text.", "content": body("text/plain", schema::<String>)})),
        Gives::Watched(whole, line) => {
            let mut content = body(answer::JSON, *whole);
            content[answer::LINES] = json!({"schema": line(generator)});
            ("200", json!({"description": "What there is; with watch=true its changes, one JSON value a line.", "content": content}))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_committed_description_is_fresh() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
        let made = serde_json::to_string_pretty(&openapi()).unwrap() + "\n";
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, &made).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(committed == made, "docs/openapi.json is not what the code says: run this test with UPDATE_GOLDEN=1");
    }

    #[test]
    fn operations_have_names_of_their_own() {
        let ids: Vec<String> = table().iter().map(id).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let whole = openapi();
        let text = whole.to_string();
        for reference in text.split("\"$ref\":\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(whole.pointer(pointer).is_some(), "{reference}");
        }
    }
}
