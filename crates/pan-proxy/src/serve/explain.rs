//! Why a request would go where it would go: the route, and the balancing pipeline stage by stage. Nothing is sent, and no
//! turn is taken.

use super::gate::Gate;
use super::live::{Live, Service};
use crate::choice::Asker;
use crate::route::{Action, Seen};
use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, Method};
use pan_balance::Refusal;
use pan_balance::view::Why;
pub use pan_model::proxy::{Explained, Out, Picked, Question, Score};
use pan_model::proxy::{Misfit, canonical, host_of};

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
    let seen = Seen {
        host: &host,
        path: &canonical,
        query,
        method: &method,
        headers: &headers,
        client: question.client,
        tls: service.tls.is_some(),
    };
    let asker = Asker { client: question.client, path: &canonical, headers: &headers, tried: &[] };
    Ok(routed(&service, question, path, &seen, &asker))
}

fn routed(service: &Service, question: &Question, path: &str, seen: &Seen<'_>, asker: &Asker<'_>) -> Explained {
    let Some(route) = service.routes.find(seen, 0) else {
        return Explained { rules: service.routes.rules(seen), ..Explained::default() };
    };
    let routed = match &route.action {
        Action::Redirect(redirect) => {
            let scheme = if service.tls.is_some() { "https" } else { "http" };
            Explained { redirect: Some(redirect.location(scheme, &question.host, path, seen)), ..Explained::default() }
        }
        Action::Cluster(at) => chosen(&service.gates[*at], asker),
    };
    Explained { route: Some(route.place), rules: service.routes.rules(seen), ..routed }
}

fn chosen(gate: &Gate, asker: &Asker<'_>) -> Explained {
    let (explanation, names) = gate.explain(asker);
    let name = |index: u32| names.get(&index).cloned().unwrap_or_default();
    let out = explanation.excluded.iter().map(|out| Out {
        server: name(out.index),
        stage: format!("{:?}", out.refusal.stage()).to_lowercase(),
        why: said(out.refusal).to_owned(),
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
        pick: explanation.pick.map(|(index, why)| Picked { server: name(index), why: because(why, &name) }),
        ..Explained::default()
    }
}

const fn said(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Down => "it does not work",
        Refusal::Draining => "it is to become idle",
        Refusal::NoWeight => "its weight is 0",
        Refusal::Suspect => "it is suspected, and enough others are not",
        Refusal::Ejected => "it answered worse than others lately",
        Refusal::OtherTier => "servers of a tier before its own can do it",
        Refusal::OutsideRule => "the rule that the request falls under leaves it out",
        Refusal::Full => "it has as many requests as it may",
        Refusal::Tried => "the request was tried there already",
    }
}

fn because(why: Why, name: &impl Fn(u32) -> String) -> String {
    match why {
        Why::Turn => "it is its turn".to_owned(),
        Why::Chance => "it is drawn".to_owned(),
        Why::NoWorseThan(other) => format!("it is drawn together with {} and no worse", name(other)),
        Why::Least { load, weight } => format!("nobody is better: load {load}, divided by weight {weight}"),
        Why::Idle => "it has nothing to do".to_owned(),
        Why::First => "it is the first that has room".to_owned(),
        Why::Heaviest => "it has the greatest weight of those that have room".to_owned(),
        Why::Key { passed: 0 } => "the key is its".to_owned(),
        Why::Key { passed } => {
            format!("the key is its, as the {passed} before it in the key's order cannot or should not have the request")
        }
        Why::KeyBeyondBound => "the key is its, and all that might have it are above their bound".to_owned(),
        Why::Sticky => "the client was there before".to_owned(),
        Why::Cold => "it is the fastest of those that a probe found with few requests".to_owned(),
        Why::Hot => "probes found all with many requests, and it has the fewest".to_owned(),
        Why::Step(step) => format!("step {} of the chain leaves it alone", step + 1),
    }
}
