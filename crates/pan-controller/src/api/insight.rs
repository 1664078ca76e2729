//! Routes that explain: proof, forecast, reasons. They run the production planner on a copy of what it sees.

use super::answer;
use super::call::{Call, not_found};
use super::route::{Access, Answering, Gives, Method, PARTITION, Param, Route, schema};
use super::why;
use crate::auth::{Noun, Verb};
use crate::handle::Principal;
use pan_api::ApiError;
use pan_api::insight::{Certificate, Counterexample, Lost, Move, WhatIf, Why};
use pan_api::requests::WhatIfRequest;
use pan_model::node::PaperNode;
use pan_model::{Code, HostName};
use pan_plan::reason::show_server;
use pan_plan::{Node, NodeState, Snapshot};

const FAILURES: Param =
    Param { name: "failures", kind: "integer", summary: "check this many failures instead of each cluster's own promise" };

pub const ROUTES: &[Route] = &[
    Route::get::<Certificate>("/v1/certify", "Check every protection promise by losing every node.", Noun::Pan, certify).with(&[FAILURES]),
    Route {
        method: Method::Post,
        path: "/v1/whatif",
        summary: "What a failure or a new node would do.",
        access: Access::Role(Verb::Read, Noun::Pan, whatif),
        query: &[],
        takes: Some(schema::<WhatIfRequest>),
        gives: Gives::Json(schema::<WhatIf>),
    },
    Route::get::<Why>(
        "/v1/why/{kind}/{name}",
        "Why a server, cluster, service, import, policy, node or volume is as it is.",
        Noun::Pan,
        reasons,
    )
    .with(&[PARTITION]),
];

/// Runs a question that takes long, to the planner or for many rows, where it holds nobody up. It keeps its turn to its end, even when nobody waits for it any more.
pub(super) async fn ask<T: Send + 'static>(call: &Call<Principal>, question: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    let stopping = |_| ApiError::new(Code::Internal, "the controller is stopping");
    let turn = call.turn().await.map_err(stopping)?;
    let asked = tokio::task::spawn_blocking(move || {
        let answer = question();
        drop(turn);
        answer
    });
    asked.await.map_err(|error| ApiError::new(Code::Internal, format!("the question failed: {error}")))
}

fn certify(call: Call<Principal>) -> Answering {
    Box::pin(async move {
        let failures = call.query::<u32>("failures")?;
        if failures == Some(0) {
            return Err(ApiError::new(Code::Invalid, "0 failures break nothing: expected 1 or more"));
        }
        let snapshot = call.scope().snapshot()?;
        let proof = ask(&call, move || pan_plan::certify(&snapshot, failures)).await?;
        let counterexample = proof.counterexample.map(|case| {
            let object = show_server(&case.object);
            Counterexample { hosts: case.hosts, object, short: case.short }
        });
        let wire =
            Certificate { ok: proof.ok, failures: Some(proof.failures), checked: proof.checked, counterexample, unproved: proof.unproved };
        Ok(answer::json(&wire))
    })
}

fn whatif(call: Call<Principal>) -> Answering {
    Box::pin(async move {
        let WhatIfRequest { fail, add_node } = call.body()?;
        let added = add_node.as_deref().map(str::parse::<PaperNode>).transpose();
        let added = added.map_err(|error| ApiError::new(Code::Invalid, format!("addNode: {error}")))?;
        let added = added.map(|PaperNode { name, capacity, labels }| (name, Node { capacity, labels, state: NodeState::Up }));
        if fail.is_empty() && added.is_none() {
            return Err(ApiError::new(Code::Invalid, "nothing is asked: expected fail, addNode, or both"));
        }
        let scope = call.scope();
        let snapshot = scope.snapshot()?;
        if let Some((name, _)) = added.as_ref().filter(|(name, _)| scope.host(name).is_some()) {
            return Err(ApiError::new(Code::Conflict, format!("host {name} is in the PAN already: give the new node another name")));
        }
        let named = |host: &&HostName| scope.host(host).is_none() && added.as_ref().is_none_or(|(name, _)| name != *host);
        if let Some(missing) = fail.iter().find(named) {
            return Err(not_found(format_args!("host {:?}", missing.as_str())));
        }
        let outcome = ask(&call, move || forecast(&snapshot, &fail, added)).await?;
        Ok(answer::json(&outcome))
    })
}

/// The new node joins first, then the others fail.
fn forecast(snapshot: &Snapshot, fail: &[HostName], added: Option<(HostName, Node)>) -> WhatIf {
    let outcome = match added {
        None => pan_plan::whatif::fail(snapshot, fail),
        Some((name, node)) if fail.is_empty() => pan_plan::whatif::add_node(snapshot, name, node),
        Some((name, node)) => {
            let mut larger = snapshot.clone();
            larger.nodes.insert(name, node);
            pan_plan::whatif::fail(&larger, fail)
        }
    };
    let moves = outcome.moves.into_iter().map(moved);
    let lost = outcome.lost.into_iter().map(|(server, reason)| Lost { server: show_server(&server), reason: reason.to_string() });
    WhatIf { moves: moves.collect(), lost: lost.collect() }
}

/// A placement as the API shows it.
pub(super) fn moved(placed: pan_plan::Placement) -> Move {
    Move { server: show_server(&placed.server), from: placed.from, to: placed.node, reason: placed.why.to_string() }
}

fn reasons(call: Call<Principal>) -> Answering {
    Box::pin(async move {
        let question = why::Question::read(&call)?;
        let (scope, snapshot) = (call.scope(), call.scope().snapshot()?);
        let why = ask(&call, move || question.answer(&scope, &snapshot)).await??;
        Ok(answer::json(&why))
    })
}
