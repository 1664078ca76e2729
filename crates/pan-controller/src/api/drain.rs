//! Routes of drains of whole failure domains.

use super::answer;
use super::call::Call;
use super::insight::{ask, moved};
use super::route::{Access, Answering, Gives, Method, Route, ready, schema};
use crate::auth::{Noun, Verb};
use crate::core::domain::{Domain, nodes_of};
use crate::core::request::Request;
use crate::handle::Principal;
use pan_api::ApiError;
use pan_api::insight::{Counterexample, DomainDrain, DrainBatch, DrainPlan};
use pan_api::requests::DrainRequest;
use pan_model::{Code, HostName};
use pan_plan::Snapshot;
use pan_plan::evacuate::{self, Stuck};
use pan_plan::reason::show_server;
use std::collections::BTreeSet;

const OPERATE: (Verb, Noun) = (Verb::Operate, Noun::Node);

pub const ROUTES: &[Route] = &[
    Route::get::<Vec<DomainDrain>>("/v1/drains", "Failure domains that are drained.", Noun::Pan, list),
    Route::act(Method::Post, "/v1/drains", "Empty all nodes with a label, as far at a time as every promise allows.", OPERATE, |call| {
        act(call, Request::DrainDomain)
    })
    .taking::<DrainRequest>(),
    Route::act(Method::Post, "/v1/drains/undo", "End that; the nodes are used as before.", OPERATE, |call| act(call, Request::UndoDrain))
        .taking::<DrainRequest>(),
    Route {
        method: Method::Post,
        path: "/v1/drains/whatif",
        summary: "What emptying all nodes with a label would do.",
        access: Access::Role(Verb::Read, Noun::Pan, whatif),
        query: &[],
        takes: Some(schema::<DrainRequest>),
        gives: Gives::Json(schema::<DrainPlan>),
    },
];

fn list(call: Call<Principal>) -> Answering {
    ready(call.scope().drains().map(|drains| answer::json(&drains)))
}

fn domain(call: &Call<Principal>) -> Result<Domain, ApiError> {
    let DrainRequest { domain } = call.body()?;
    domain.parse().map_err(|error| ApiError::new(Code::Invalid, format!("domain {domain:?}: {error}")))
}

fn act(call: Call<Principal>, request: fn(Domain) -> Request) -> Answering {
    Box::pin(async move {
        let domain = domain(&call)?;
        call.request(request(domain)).await
    })
}

fn whatif(call: Call<Principal>) -> Answering {
    Box::pin(async move {
        let domain = domain(&call)?;
        let snapshot = call.scope().snapshot()?;
        let nodes = nodes_of(&snapshot, &domain);
        if nodes.is_empty() {
            return Err(ApiError::new(Code::NotFound, format!("no node has the label {domain}")));
        }
        let outcome = ask(&call, move || plan(&snapshot, &nodes)).await?;
        Ok(answer::json(&outcome))
    })
}

fn plan(snapshot: &Snapshot, nodes: &BTreeSet<HostName>) -> DrainPlan {
    match evacuate::batches(snapshot, nodes) {
        Ok(batches) => {
            let batch = |batch: evacuate::Batch| DrainBatch {
                nodes: batch.nodes.into_iter().collect(),
                moves: batch.moves.into_iter().map(moved).collect(),
            };
            DrainPlan { ok: true, batches: batches.into_iter().map(batch).collect(), counterexample: None, reason: None }
        }
        Err(stuck) => {
            let reason = Some(stuck.to_string());
            let counterexample = match stuck {
                Stuck::Broken(case) => Some(Counterexample { hosts: case.hosts, object: show_server(&case.object), short: case.short }),
                Stuck::Homeless(server, reason) => {
                    let hosts = nodes.iter().cloned().collect();
                    Some(Counterexample { hosts, object: show_server(&server), short: reason.to_string() })
                }
                Stuck::Unproved(_) => None,
            };
            DrainPlan { ok: false, batches: Vec::new(), counterexample, reason }
        }
    }
}
