//! Who gets in: every route against every kind of caller.

use super::harness::{Answer, Front, TOKEN, VERBS, grant, request, world};
use crate::api::route::{Access, Route, table};
use crate::auth::{Noun, allowed};
use crate::handle::{PrincipalRole, View};
use futures_util::future::join_all;
use pan_api::token::{AccessRole, AccessToken};
use serde_json::{Value, json};

const NOUNS: [Noun; 15] = [
    Noun::Audit,
    Noun::Usage,
    Noun::Token,
    Noun::Partition,
    Noun::Cluster,
    Noun::Server,
    Noun::Service,
    Noun::Import,
    Noun::Policy,
    Noun::Volume,
    Noun::Node,
    Noun::Host,
    Noun::Event,
    Noun::Pan,
    Noun::Interface,
];

/// A path with a partition and a token, and objects that both partitions have.
fn fill(path: &str, partition: &str, token: &str) -> String {
    let all = [
        ("partition", partition),
        ("token", token),
        ("cluster", "web"),
        ("server", "web-1"),
        ("service", "www"),
        ("import", "pay"),
        ("policy", "day"),
        ("volume", "web-1.data"),
    ];
    let all =
        all.into_iter().chain([("snapshot", "monday"), ("node", "n1"), ("host", "n1"), ("object", "n1"), ("kind", "node"), ("name", "n1")]);
    all.fold(path.to_owned(), |path, (what, is)| path.replace(&format!("{{{what}}}"), is))
}

/// A path at which everything is there.
fn path(route: &Route) -> String {
    fill(route.path, "acme", "000000000000000a")
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
            Access::Role(..) | Access::RoleOrController(..) => {
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
    let watched = |route: &Route| {
        !["/logs", "/exec", "/data", "/map", "/trace", "/services/{service}/metrics"].iter().any(|end| route.path.ends_with(end))
    };
    for route in table().iter().filter(|route| route.wants().is_some()).filter(|route| watched(route)) {
        let answer = front.send(route.method.as_str(), &path(route), &[], b"").await;
        // An empty body is no apply and no scale, but that is said after the caller was let in.
        let fine = if route.takes.is_some() { matches!(answer.status, 200 | 204 | 400) } else { matches!(answer.status, 200 | 204) };
        assert!(fine, "{} {answer:?}", route.path);
    }
}

/// The table of roles grants what some route offers, and nothing that no route does.
#[test]
fn roles_may_do_what_there_is_to_do() {
    let routes = table();
    for (verb, noun) in VERBS.iter().flat_map(|verb| NOUNS.iter().map(move |noun| (*verb, *noun))) {
        let offered = routes.iter().any(|route| route.wants() == Some((verb, noun)));
        // An apply creates services; no route of theirs changes them but the one that deletes.
        let may = |role| allowed(PrincipalRole::Access(role), verb, noun);
        assert_eq!(may(AccessRole::PanAdministrator), offered, "{verb:?} {noun:?}");
        for role in AccessRole::ALL {
            assert!(offered || !may(role), "{role} {verb:?} {noun:?}");
        }
        // Each may at least what those below it may.
        let ranks = [[AccessRole::PanAdministrator, AccessRole::PanOperator], [AccessRole::PanOperator, AccessRole::PanMonitor]];
        let within = [[AccessRole::Administrator, AccessRole::Operator], [AccessRole::Operator, AccessRole::Monitor]];
        for [above, below] in ranks.into_iter().chain(within) {
            assert!(may(above) || !may(below), "{below} {verb:?} {noun:?}");
        }
    }
}

/// A token for each role; those of partitions are of acme.
fn bearer(role: AccessRole) -> AccessToken {
    AccessToken { id: 100 + role as u64, secret: [role as u8; 32] }
}

fn granted() -> View {
    let mut view = world();
    for role in AccessRole::ALL {
        grant(&mut view, &bearer(role), role, role.is_of_a_partition().then_some("acme"));
    }
    for (id, partition) in [(11, "acme"), (12, "rival")] {
        let token = json!({"id": format!("{id:016x}"), "role": "monitor", "partition": partition, "created": "2026-01-01T00:00:00.000000Z",
            "expires": "2026-01-01T00:10:00.000000Z", "state": "active"});
        view.tokens.insert(id, serde_json::from_value(token).unwrap());
    }
    view
}

/// What an operation is asked about: an object of the caller's partition, of another one, or one that there is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Own,
    Foreign,
    Absent,
}

const WHOSE: [Whose; 3] = [Whose::Own, Whose::Foreign, Whose::Absent];

impl Whose {
    fn fill(self, path: &str) -> String {
        let (partition, token) = match self {
            Self::Own => ("acme", "000000000000000b"),
            Self::Foreign => ("rival", "000000000000000c"),
            Self::Absent => ("river", "000000000000000d"),
        };
        fill(path, partition, token)
    }

    /// An answer without what tells it from another one's only by the name that was asked for.
    fn blind(self, answer: &Answer) -> Answer {
        let named = [Self::Foreign, Self::Absent].map(|other| (other, other.fill("{partition}"), other.fill("{token}")));
        let (_, partition, token) =
            named.into_iter().find(|(other, ..)| *other == self).unwrap_or((self, "acme".into(), self.fill("{token}")));
        Answer { body: answer.body.replace(&partition, "PARTITION").replace(&token, "TOKEN"), ..answer.clone() }
    }
}

/// Every operation of the description, for every role, about its own, a foreign and an absent object.
#[tokio::test]
async fn every_operation_knows_every_role_and_hides_what_is_not_its_own() {
    let front = Front::start(granted());
    let description = crate::api::openapi::openapi();
    let (mut asked, mut refused) = (0, 0);
    for (path, operations) in description["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap().iter().filter(|(_, operation)| operation["security"].is_array()) {
            let may = |role: AccessRole| operation["x-roles"].as_array().unwrap().iter().any(|other| other == role.as_str());
            // Together: each has a connection of its own to make.
            join_all(AccessRole::ALL.map(|role| check(&front, role, may(role), (method, path)))).await;
            asked += WHOSE.len() * AccessRole::ALL.len();
            refused += AccessRole::ALL.into_iter().filter(|role| !may(*role)).count();
        }
    }
    println!("{asked} requests; {refused} operations refused to some role");
    assert!(asked > 500 && refused > 100, "{asked} {refused}");
}

/// One operation, for one role.
async fn check(front: &Front, role: AccessRole, allowed: bool, (method, path): (&str, &str)) {
    let answers = join_all(WHOSE.map(|whose| ask(front, role, method, whose.fill(path)))).await;
    let names_one = path.contains("{partition}") || path.contains("{token}");
    for (whose, answer) in WHOSE.into_iter().zip(&answers) {
        let told = format!("{role}: {method} {path} {whose:?}: {answer:?}");
        assert_ne!(answer.status, 401, "{told}");
        assert_eq!(answer.status == 403, !allowed, "{told}");
        if allowed && role.is_of_a_partition() {
            assert!(!answer.body.contains("n1\"") && !answer.body.contains("d1\""), "{told}");
            assert!(!answer.body.contains("rival") || whose == Whose::Foreign, "{told}");
            assert!(!names_one || whose == Whose::Own || matches!(answer.status, 400 | 404), "{told}");
        }
    }
    let blind: Vec<Answer> = WHOSE.into_iter().zip(&answers).map(|(whose, answer)| whose.blind(answer)).collect();
    let [own, foreign, absent] = blind.as_slice() else { unreachable!("three were asked for") };
    if !allowed {
        assert_eq!((own, foreign), (foreign, absent), "{role}: {method} {path}");
    }
    if role.is_of_a_partition() {
        assert_eq!(foreign, absent, "{role}: {method} {path}");
    }
}

async fn ask(front: &Front, role: AccessRole, method: &str, path: String) -> Answer {
    let headers = [("Authorization", format!("Bearer {}", bearer(role).text()))];
    front.raw(&request(&method.to_uppercase(), &path, &headers, b"")).await
}

#[tokio::test]
async fn nobody_gives_more_than_it_has() {
    let front = Front::start(granted());
    let make = async |role, body: Value| {
        let headers = [("Authorization", format!("Bearer {}", bearer(role).text())), ("Content-Type", "application/json".into())];
        front.raw(&request("POST", "/v1/tokens", &headers, body.to_string().as_bytes())).await
    };
    let in_partition = |partition: &str, role: &str| json!({"role": role, "partition": partition, "expires": "1h"});
    let made = make(AccessRole::Administrator, in_partition("acme", "administrator")).await;
    assert_eq!(made.status, 200, "{made:?}");
    assert!(AccessToken::read(made.json()["token"].as_str().unwrap()).is_some());
    for body in [json!({"role": "pan-monitor", "expires": "1h"}), json!({"host": "n9", "roles": ["node"], "expires": "1m"})] {
        make(AccessRole::Administrator, body).await.refuses(403, "PAN-401", "into its partition");
    }
    let hidden = make(AccessRole::Administrator, in_partition("rival", "monitor")).await;
    let absent = make(AccessRole::Administrator, in_partition("river", "monitor")).await;
    hidden.refuses(404, "PAN-300", "no partition");
    assert_eq!(Whose::Foreign.blind(&hidden), Whose::Absent.blind(&absent));
    for (body, says) in [
        (json!({"expires": "1h"}), "either"),
        (json!({"role": "monitor", "host": "n9", "expires": "1h"}), "either"),
        (json!({"role": "monitor", "roles": ["node"], "expires": "1h"}), "roles"),
        (json!({"host": "n9", "roles": ["node"], "partition": "acme", "expires": "1h"}), "neither"),
        (json!({"role": "king", "expires": "1h"}), "pan-monitor"),
    ] {
        make(AccessRole::PanAdministrator, body).await.refuses(400, "PAN-100", says);
    }
}

#[tokio::test]
async fn the_token_is_in_no_answer() {
    let front = Front::start(world());
    let answer = front.send("GET", "/v1/nothing?token=1", &[("X-Odd", "1")], b"").await;
    answer.refuses(404, "PAN-300", "/v1/nothing");
    assert!(!answer.body.contains(TOKEN));
}
