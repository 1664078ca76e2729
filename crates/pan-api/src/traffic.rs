//! What a partition's people may know of the requests of their services of layer 7: where one would go, and what was counted.

use crate::metrics::{Buckets, Family, Page};
use pan_model::proxy::{BOUNDS, Explained, Out, Picked, RuleSaid, Score, ServerCounts, ServiceCounts};
use pan_model::{ClusterName, PartitionName, ServiceName, ServiceSpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// `POST …/services/{service}/trace`: a request that somebody wonders about. It is not sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TraceRequest {
    /// The path, with a query or without.
    #[schemars(length(max = 8192))]
    pub path: String,
    /// GET if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The host that is asked for; none if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The client's address; 192.0.2.1 if absent, which is nobody's (RFC 5737).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub client: Option<IpAddr>,
}

/// Where it would go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    /// Of which partition.
    pub partition: PartitionName,
    /// Of which service.
    pub service: ServiceName,
    /// The field of the service that has it, `routes[1]` or `cluster`; none: no route matches, and the answer is 404.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// What rules said, in the order in which they were asked, by the place of their route.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleSaid>,
    /// Where the client is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<String>,
    /// The cluster that would have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Whether suspicion and ejection are ignored because they are of too many.
    pub panics: bool,
    /// Servers that could not have it, the stage at which they are struck out, and why.
    pub out: Vec<Out>,
    /// Those that could.
    pub scores: Vec<Score>,
    /// The one that would; none if nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pick: Option<Picked>,
}

impl Trace {
    /// Of what a proxy says, whose routes are those of the service and then its cluster.
    #[must_use]
    pub fn new(partition: PartitionName, service: ServiceName, spec: &ServiceSpec, said: Explained) -> Self {
        let route = said.route.map(|at| if at < spec.routes.len() { format!("routes[{at}]") } else { "cluster".to_owned() });
        let out = said.out.iter().map(|one| Out { server: shown(&one.server), stage: shown(&one.stage), why: shown(&one.why) });
        let scores = said.scores.iter().map(|one| Score { server: shown(&one.server), ..one.clone() });
        let pick = said.pick.as_ref().map(|pick| Picked { server: shown(&pick.server), why: shown(&pick.why) });
        let rules = said.rules.iter().take(RULES_MAX).map(|one| RuleSaid { said: shown(&one.said), ..one.clone() }).collect();
        let (redirect, cluster) = (said.redirect.as_deref().map(shown), said.cluster.as_deref().map(shown));
        let (out, scores) = (out.take(SERVERS_MAX).collect(), scores.take(SERVERS_MAX).collect());
        Self { partition, service, route, rules, redirect, cluster, panics: said.panics, out, scores, pick }
    }
}

/// As many servers as a cluster may have.
const SERVERS_MAX: usize = 10_000;
/// As many as may have routes with rules, and more.
const RULES_MAX: usize = 256;
/// The longest word of a proxy: an address that a client is sent to.
const WORDS_MAX: usize = 10_000;

/// A proxy's word as it may be shown on a terminal: whoever took it over would write whatever it likes.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect()
}

const REQUESTS: Family = Family::counter(
    "pan_service_requests_total",
    "Requests by the first digit of the answer's status; none: the client went away before",
    &["service", "status"],
);
const REFUSED: Family =
    Family::counter("pan_service_requests_refused_total", "Requests refused for what they look like or how much they are", &["service"]);
const RETRIES: Family = Family::counter("pan_service_retries_total", "Times that a request was sent beyond the first", &["service"]);
const UNKNOWN: Family =
    Family::counter("pan_service_outcomes_unknown_total", "Answers that had to say `Pan-Outcome: unknown`", &["service"]);
const CUT: Family = Family::counter("pan_service_answers_cut_total", "Answers that broke off", &["service"]);
const RECEIVED: Family = Family::counter("pan_service_received_bytes_total", "Bytes of bodies from clients", &["service"]);
const SENT: Family = Family::counter("pan_service_sent_bytes_total", "Bytes of bodies to clients", &["service"]);
const IN_FLIGHT: Family = Family::gauge("pan_service_requests_in_flight", "Requests now", &["service"]);
const WAITING: Family = Family::gauge("pan_service_requests_waiting", "Requests that wait for a server with room", &["service"]);
const CONNECTIONS: Family = Family::gauge("pan_service_connections", "Connections of clients now", &["service"]);
const TOOK: Family =
    Family::histogram("pan_service_request_seconds", "How long requests took, from the first byte to the last", &["service"]);
const ATTEMPTS: Family = Family::counter("pan_backend_requests_total", "Requests sent to a server", &["service", "cluster", "server"]);
const FAILURES: Family = Family::counter(
    "pan_backend_failures_total",
    "Requests that a server did not answer, or answered with 502, 503 or 504",
    &["service", "cluster", "server"],
);
const AT_BACKEND: Family =
    Family::gauge("pan_backend_requests_in_flight", "Requests that a server has now", &["service", "cluster", "server"]);
const FIRST_BYTE: Family =
    Family::histogram("pan_backend_first_byte_seconds", "Time to the first byte of a server's answer", &["service", "cluster", "server"]);

/// What a partition's people can read of a service, in the page's order.
pub const FAMILIES: [Family; 15] = [
    REQUESTS,
    REFUSED,
    RETRIES,
    UNKNOWN,
    CUT,
    RECEIVED,
    SENT,
    IN_FLIGHT,
    WAITING,
    CONNECTIONS,
    TOOK,
    ATTEMPTS,
    FAILURES,
    AT_BACKEND,
    FIRST_BYTE,
];

const STATUSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// The page of one service: `None` if nothing of it was counted. Whoever counted may have been taken over by a stranger: what it calls clusters
/// has to be a name, and its servers are those that there are, each once.
#[must_use]
pub fn page(service: &ServiceName, counts: &[ServiceCounts], there: &BTreeSet<&str>) -> Option<String> {
    let of = counts.iter().find(|counts| counts.service == service.as_str())?;
    let name = service.as_str();
    let mut page = Page::default();
    page.named(&REQUESTS, STATUSES.iter().zip(of.statuses).map(|(status, number)| (vec![name, status], number)));
    let numbers = [
        (&REFUSED, of.refused),
        (&RETRIES, of.retries),
        (&UNKNOWN, of.unknown),
        (&CUT, of.cut),
        (&RECEIVED, of.received),
        (&SENT, of.sent),
        (&IN_FLIGHT, of.in_flight),
        (&WAITING, of.waiting),
        (&CONNECTIONS, of.connections),
    ];
    for (family, number) in numbers {
        page.named(family, [(vec![name], number)]);
    }
    page.buckets(&TOOK, [(vec![name], Buckets { bounds: &BOUNDS, counts: &of.durations, micros: of.micros })]);
    let mut left = there.clone();
    let mut known = |one: &&ServerCounts| one.cluster.parse::<ClusterName>().is_ok() && left.remove(one.server.as_str());
    let servers: Vec<&ServerCounts> = of.servers.iter().filter(|one| known(one)).collect();
    page.named(&ATTEMPTS, servers.iter().map(|one| (labels(name, one), one.attempts)));
    page.named(&FAILURES, servers.iter().map(|one| (labels(name, one), one.failures)));
    page.named(&AT_BACKEND, servers.iter().map(|one| (labels(name, one), one.in_flight)));
    page.buckets(&FIRST_BYTE, servers.iter().map(|one| (labels(name, one), took(one))));
    Some(page.text())
}

fn took(server: &ServerCounts) -> Buckets<'_> {
    Buckets { bounds: &BOUNDS, counts: &server.durations, micros: server.micros }
}

fn labels<'a>(service: &'a str, server: &'a ServerCounts) -> Vec<&'a str> {
    vec![service, &server.cluster, &server.server]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::read;

    fn counts() -> Vec<ServiceCounts> {
        let server = |server: &str| ServerCounts {
            cluster: "web".into(),
            server: server.into(),
            attempts: 7,
            failures: 1,
            in_flight: 2,
            durations: vec![1; 13],
            micros: 1_500_000,
        };
        let shop = ServiceCounts {
            service: "shop".into(),
            statuses: [1, 0, 5, 0, 2, 0],
            refused: 1,
            retries: 2,
            unknown: 3,
            cut: 4,
            in_flight: 5,
            connections: 6,
            received: 7,
            sent: 8,
            waiting: 9,
            durations: vec![0, 3],
            micros: 2_000,
            servers: vec![server("web-1"), server("web-1"), server("web-1\"} 1\nx")],
        };
        vec![ServiceCounts { service: "other".into(), ..shop.clone() }, shop]
    }

    #[test]
    fn a_page_has_every_family_and_nothing_of_other_services_or_of_names_that_are_none() {
        let there = BTreeSet::from(["web-1", "web-2"]);
        let text = page(&"shop".parse().unwrap(), &counts(), &there).unwrap();
        let samples = read(&text).unwrap();
        for family in FAMILIES {
            assert!(samples.iter().any(|sample| sample.family == family.name), "{}\n{text}", family.name);
        }
        assert!(samples.iter().all(|sample| sample.labels["service"] == "shop"), "{text}");
        assert!(text.contains("pan_service_requests_total{service=\"shop\",status=\"2xx\"} 5\n"), "{text}");
        assert!(text.contains("pan_service_request_seconds_bucket{service=\"shop\",le=\"0.001\"} 3\n"), "{text}");
        assert!(text.contains("pan_service_request_seconds_count{service=\"shop\"} 3\n"), "{text}");
        assert!(text.contains("pan_backend_first_byte_seconds_count{service=\"shop\",cluster=\"web\",server=\"web-1\"} 13\n"), "{text}");
        assert_eq!(page(&"none".parse().unwrap(), &counts(), &there), None);
    }
}
