//! Routes of servers: look at them, restart and move them. What goes on inside them is in `proxy`.

use super::call::{Call, not_found};
use super::route::{Answering, Method, Route, ready};
use crate::auth::{Noun, Verb};
use crate::core::request::Request;
use crate::handle::Principal;
use pan_api::requests::MoveTo;
use pan_api::server::Server;
use pan_model::{HostName, ServerKey};

const OPERATE: (Verb, Noun) = (Verb::Operate, Noun::Server);

macro_rules! at {
    ($verb:literal) => {
        concat!("/v1/partitions/{partition}/servers/{server}", $verb)
    };
}

pub const ROUTES: &[Route] = &[
    Route::watched::<Vec<Server>, Server>("/v1/servers", "The servers of all partitions.", Noun::Server, all),
    Route::watched::<Vec<Server>, Server>("/v1/partitions/{partition}/servers", "The servers of a partition.", Noun::Server, list),
    Route::watched::<Server, Server>(at!(""), "A server.", Noun::Server, one),
    Route::act(Method::Post, at!("/restart"), "Stop a server and start it on its node.", OPERATE, |call| act(call, Request::Restart)),
    Route::act(Method::Post, at!("/stop"), "Stop a server until it is started again.", OPERATE, |call| act(call, Request::Stop)),
    Route::act(Method::Post, at!("/start"), "Start a stopped or failed server.", OPERATE, |call| act(call, Request::Start)),
    Route::act(Method::Post, at!("/failover"), "Move a server at once.", OPERATE, failover).taking::<MoveTo>(),
    Route::act(Method::Post, at!("/migrate"), "Move a server after its connections ended.", OPERATE, migrate).taking::<MoveTo>(),
];

fn all(call: Call<Principal>) -> Answering {
    ready(call.list(|scope| scope.servers(None)))
}

fn list(call: Call<Principal>) -> Answering {
    ready(call.partition().and_then(|within| call.list(move |scope| scope.servers(Some(&within)))))
}

fn one(call: Call<Principal>) -> Answering {
    ready(call.server().and_then(|key| call.one(format!("server {key}"), move |scope| scope.server(&key))))
}

fn act(call: Call<Principal>, request: fn(ServerKey) -> Request) -> Answering {
    Box::pin(async move {
        let key = call.server()?;
        call.request(request(key)).await
    })
}

fn failover(call: Call<Principal>) -> Answering {
    go(call, |key, to| Request::Failover { key, to })
}

fn migrate(call: Call<Principal>) -> Answering {
    go(call, |key, to| Request::Migrate { key, to })
}

fn go(call: Call<Principal>, request: fn(ServerKey, Option<HostName>) -> Request) -> Answering {
    Box::pin(async move {
        let key = call.server()?;
        let MoveTo { to } = call.body_or_default()?;
        if let Some(node) = &to {
            call.scope().node(node).ok_or_else(|| not_found(format_args!("node {:?}", node.as_str())))?;
        }
        call.request(request(key, to)).await
    })
}
