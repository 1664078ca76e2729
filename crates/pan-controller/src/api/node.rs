//! Routes of nodes.

use super::answer;
use super::call::{Call, not_found};
use super::insight::{ask, moved};
use super::route::{Access, Answering, Gives, Method, Param, Route, ready, schema};
use crate::auth::{Noun, Verb};
use crate::core::request::Request;
use crate::handle::Principal;
use pan_api::ApiError;
use pan_api::insight::{Lost, NodeDrainPlan, Unprotected};
use pan_api::node::Node;
use pan_api::requests::Labels;
use pan_model::HostName;
use pan_plan::reason::show_server;
use pan_plan::taken::taken;
use std::collections::BTreeSet;

const OPERATE: (Verb, Noun) = (Verb::Operate, Noun::Node);
const FORCE: Param = Param { name: "force", kind: "boolean", summary: "also when servers would have no place, or guarantees no room" };

pub const ROUTES: &[Route] = &[
    Route::watched::<Vec<Node>, Node>("/v1/nodes", "All nodes.", Noun::Node, list),
    Route::watched::<Node, Node>("/v1/nodes/{node}", "A node.", Noun::Node, one),
    Route::act(Method::Post, "/v1/nodes/{node}/drain", "Move everything away from a node.", OPERATE, drain).with(&[FORCE]),
    Route {
        method: Method::Post,
        path: "/v1/nodes/{node}/drain/whatif",
        summary: "What draining a node would do, and what it would take from whom.",
        access: Access::Role(Verb::Read, Noun::Pan, whatif),
        query: &[],
        takes: None,
        gives: Gives::Json(schema::<NodeDrainPlan>),
    },
    Route::act(Method::Post, "/v1/nodes/{node}/cordon", "Let a node take no new servers.", OPERATE, |call| act(call, Request::Cordon)),
    Route::act(Method::Post, "/v1/nodes/{node}/uncordon", "End a drain or a cordon.", OPERATE, |call| act(call, Request::Uncordon)),
    Route::act(Method::Post, "/v1/nodes/{node}/clear", "Forget a node's quarantine.", OPERATE, |call| act(call, Request::Clear)),
    Route::act(Method::Post, "/v1/nodes/{node}/label", "Change a node's labels; null removes one.", OPERATE, label).taking::<Labels>(),
];

fn list(call: Call<Principal>) -> Answering {
    ready(call.list(|scope| scope.nodes()))
}

fn show(name: &HostName) -> String {
    format!("node {:?}", name.as_str())
}

fn one(call: Call<Principal>) -> Answering {
    ready(call.name::<HostName>("node").and_then(|name| call.one(show(&name), move |scope| scope.node(&name))))
}

/// The node in the path, which the caller sees.
fn seen(call: &Call<Principal>) -> Result<HostName, ApiError> {
    let name: HostName = call.name("node")?;
    call.scope().node(&name).map(|_| name.clone()).ok_or_else(|| not_found(show(&name)))
}

fn act(call: Call<Principal>, request: fn(HostName) -> Request) -> Answering {
    Box::pin(async move {
        let node = seen(&call)?;
        call.request(request(node)).await
    })
}

fn drain(call: Call<Principal>) -> Answering {
    Box::pin(async move {
        let (node, force) = (seen(&call)?, call.flag("force")?);
        call.request(Request::Drain { node, force }).await
    })
}

fn whatif(call: Call<Principal>) -> Answering {
    Box::pin(async move {
        let node = seen(&call)?;
        let snapshot = call.scope().snapshot()?;
        let taken = ask(&call, move || taken(&snapshot, &BTreeSet::from([node]))).await?;
        let lost = taken.homeless.iter().map(|(server, reason)| Lost { server: show_server(server), reason: reason.to_string() });
        let unprotected = taken.unprotected.iter().map(|((partition, cluster), broken)| Unprotected {
            cluster: format!("{partition}/{cluster}"),
            hosts: broken.lost.clone(),
            object: show_server(&broken.server),
            short: broken.short.clone(),
        });
        Ok(answer::json(&NodeDrainPlan {
            ok: !taken.is_room(),
            lost: lost.collect(),
            unprotected: unprotected.collect(),
            missing: taken.said(),
            moves: taken.moves.into_iter().map(moved).collect(),
        }))
    })
}

fn label(call: Call<Principal>) -> Answering {
    Box::pin(async move {
        let node = seen(&call)?;
        let Labels { labels } = call.body()?;
        call.request(Request::Label { node, labels }).await
    })
}
