//! Who gets in: every route against every kind of caller.

use super::harness::{Answer, Front, TOKEN, VERBS, request, world};
use crate::api::route::{Access, Route, table};
use crate::auth::{Noun, allowed};
use crate::handle::PrincipalRole;

const NOUNS: [Noun; 11] = [
    Noun::Token,
    Noun::Partition,
    Noun::Cluster,
    Noun::Server,
    Noun::Service,
    Noun::Volume,
    Noun::Node,
    Noun::Host,
    Noun::Event,
    Noun::Pan,
    Noun::Interface,
];

/// A path at which everything is there.
fn path(route: &Route) -> String {
    let mut path = route.path.to_owned();
    let names = [("partition", "acme"), ("cluster", "web"), ("server", "web-1"), ("service", "www"), ("node", "n1"), ("host", "n1")];
    for (name, value) in names.into_iter().chain([
        ("volume", "web-1.data"),
        ("snapshot", "monday"),
        ("object", "n1"),
        ("token", "000000000000000a"),
        ("kind", "node"),
        ("name", "n1"),
    ]) {
        path = path.replace(&format!("{{{name}}}"), value);
    }
    path
}

#[tokio::test]
async fn strangers_get_one_answer_everywhere() {
    let front = Front::start(world());
    let wrong = ["", "Bearer", "Bearer pan_wrong", "Basic cGFuOnBhbg=="].map(|value| ("Authorization", value.to_owned()));
    let mut seen: Vec<Answer> = Vec::new();
    for route in table() {
        let (method, path) = (route.method.as_str(), path(&route));
        match route.access {
            Access::Open(_) => assert_eq!(front.anonymous(method, &path).await.status, 200, "{path}"),
            Access::Joining(_) => front.anonymous(method, &path).await.refuses(400, "PAN-100", "request body"),
            Access::Host(_) => {
                front.anonymous(method, &path).await.refuses(401, "PAN-400", "certificate");
                front.send(method, &path, &[], b"").await.refuses(401, "PAN-400", "certificate");
            }
            Access::Role(..) => {
                seen.push(front.anonymous(method, &path).await);
                seen.push(front.raw(&request("PUT", &path, &[], b"")).await);
            }
        }
    }
    for header in wrong {
        seen.push(front.raw(&request("GET", "/v1/servers", &[header], b"")).await);
    }
    // What is not there is no more visible to a stranger than what is.
    for path in ["/v1/partitions/none", "/v1/nothing", "/", "/v2"] {
        seen.push(front.anonymous("GET", path).await);
    }
    seen[0].refuses(401, "PAN-400", "credentials");
    assert_eq!(seen[0].headers["www-authenticate"], "Bearer");
    for answer in &seen {
        assert_eq!(*answer, seen[0]);
    }
}

#[tokio::test]
async fn the_administrator_is_let_in_everywhere() {
    let front = Front::start(world());
    // Those reach hosts, of which there are none here.
    let watched = |route: &Route| !["/logs", "/exec", "/data", "/map"].iter().any(|end| route.path.ends_with(end));
    for route in table().iter().filter(|route| matches!(route.access, Access::Role(..))).filter(|route| watched(route)) {
        let answer = front.send(route.method.as_str(), &path(route), &[], b"").await;
        // An empty body is no apply and no scale, but that is said after the caller was let in.
        let fine = if route.takes.is_some() { matches!(answer.status, 200 | 204 | 400) } else { matches!(answer.status, 200 | 204) };
        assert!(fine, "{} {answer:?}", route.path);
    }
}

/// The table of roles grants what some route offers, and nothing that no route does.
#[test]
fn the_administrator_may_do_what_there_is_to_do() {
    let routes = table();
    for (verb, noun) in VERBS.iter().flat_map(|verb| NOUNS.iter().map(move |noun| (*verb, *noun))) {
        let offered = routes.iter().any(|route| matches!(route.access, Access::Role(v, n, _) if (v, n) == (verb, noun)));
        // An apply creates services; no route of theirs changes them but the one that deletes.
        assert_eq!(allowed(PrincipalRole::PanAdministrator, verb, noun), offered, "{verb:?} {noun:?}");
    }
}

#[tokio::test]
async fn the_token_is_in_no_answer() {
    let front = Front::start(world());
    let answer = front.send("GET", "/v1/nothing?token=1", &[("X-Odd", "1")], b"").await;
    answer.refuses(404, "PAN-300", "/v1/nothing");
    assert!(!answer.body.contains(TOKEN));
}
