//! Why a request would go where it would go: the route, and the balancing pipeline stage by stage. Nothing is sent, and no
//! turn is taken.

use super::gate::Gate;
use super::live::{Live, Service};
use crate::choice::Asker;
use crate::route::{Action, Seen};
use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, Method};
use pan_model::proxy::Misfit;
use pan_model::proxy::{canonical, host_of};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A request that somebody wonders about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Question {
    /// The service.
    pub service: String,
    /// The path, with a query or without.
    pub path: String,
    /// GET if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The host.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// Headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The client's address.
    pub client: IpAddr,
}

/// Where it would go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explained {
    /// The place in the document of the route that has it; none if no route matches. Of routes that share by weight, one that may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<usize>,
    /// Where the client is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<String>,
    /// The cluster that would have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Whether suspicion and ejection are ignored because they are of too many.
    pub panics: bool,
    /// Servers that could not have it.
    pub out: Vec<Out>,
    /// Those that could.
    pub scores: Vec<Score>,
    /// The one that would; none if nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pick: Option<Picked>,
}

/// A server that is struck out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Out {
    /// Which.
    pub server: String,
    /// At which stage.
    pub stage: String,
    /// Why.
    pub why: String,
}

/// A server that may have the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Score {
    /// Which.
    pub server: String,
    /// Its weight now.
    pub weight: u32,
    /// Requests that it has.
    pub in_flight: u32,
    /// How long it lately takes to answer, in microseconds; 0 if it never did.
    pub latency_us: u64,
    /// What the policy compares, if it compares servers: a load, and what divides it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<(u64, u64)>,
}

/// The server that would have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Picked {
    /// Which.
    pub server: String,
    /// Why.
    pub why: String,
}

/// Explains.
///
/// # Errors
/// There is no such service, or the request is none.
pub fn explain(live: &Live, question: &Question) -> Result<Explained, Misfit> {
    let unknown = || Misfit::new("service", format!("there is no service {:?}", question.service));
    let service = live.named(&question.service).ok_or_else(unknown)?;
    let method = question.method.as_deref().unwrap_or("GET");
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| Misfit::new("method", format!("{method:?} is not a method")))?;
    let (path, query) = question.path.split_once('?').map_or((question.path.as_str(), None), |(path, query)| (path, Some(query)));
    let canonical = canonical(path).map_err(|bad| Misfit::new("path", bad.to_string()))?;
    let mut headers = HeaderMap::new();
    for (name, value) in &question.headers {
        let bad = || Misfit::new(format!("headers.{name}"), "not a header");
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        headers.append(name, HeaderValue::from_str(value).map_err(|_| bad())?);
    }
    let host = host_of(&question.host).to_ascii_lowercase();
    let seen = Seen { host: &host, path: &canonical, query, method: &method, headers: &headers };
    let asker = Asker { client: question.client, path: &canonical, headers: &headers, tried: &[] };
    Ok(routed(&service, question, path, &seen, &asker))
}

fn routed(service: &Service, question: &Question, path: &str, seen: &Seen<'_>, asker: &Asker<'_>) -> Explained {
    let Some(route) = service.routes.find(seen, 0) else { return Explained::default() };
    let routed = match &route.action {
        Action::Redirect(redirect) => {
            let scheme = if service.tls.is_some() { "https" } else { "http" };
            Explained { redirect: Some(redirect.location(scheme, &question.host, path, seen)), ..Explained::default() }
        }
        Action::Cluster(at) => chosen(&service.gates[*at], asker),
    };
    Explained { route: Some(route.place), ..routed }
}

fn chosen(gate: &Gate, asker: &Asker<'_>) -> Explained {
    let (explanation, names) = gate.explain(asker);
    let name = |index: u32| names.get(&index).cloned().unwrap_or_default();
    let out = explanation.excluded.iter().map(|out| Out {
        server: name(out.index),
        stage: format!("{:?}", out.refusal.stage()).to_lowercase(),
        why: format!("{:?}", out.refusal),
    });
    let scores = explanation.scores.iter().map(|scored| Score {
        server: name(scored.index),
        weight: scored.weight,
        in_flight: scored.in_flight,
        latency_us: scored.latency,
        score: scored.score,
    });
    Explained {
        cluster: Some(gate.name.clone()),
        panics: explanation.panics,
        out: out.collect(),
        scores: scores.collect(),
        pick: explanation.pick.map(|(index, why)| Picked { server: name(index), why: format!("{why:?}") }),
        ..Explained::default()
    }
}
