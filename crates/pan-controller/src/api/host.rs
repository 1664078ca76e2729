//! Routes of hosts.

use super::call::{Call, not_found};
use super::route::{Answering, Method, Route, ready};
use crate::auth::{Noun, Verb};
use crate::core::request::Request;
use crate::handle::Principal;
use pan_api::host::Host;
use pan_model::HostName;

const ROTATE: (Verb, Noun) = (Verb::Operate, Noun::Pan);
const CHANGE: (Verb, Noun) = (Verb::Change, Noun::Host);

pub const ROUTES: &[Route] = &[
    Route::watched::<Vec<Host>, Host>("/v1/hosts", "All hosts.", Noun::Host, list),
    Route::watched::<Host, Host>("/v1/hosts/{host}", "A host.", Noun::Host, one),
    Route::act(Method::Post, "/v1/keys/rotate", "Give the hosts new keys for their heartbeats.", ROTATE, rotate),
    Route::act(Method::Delete, "/v1/hosts/{host}", "Take a host out of the PAN; its certificate is refused from then on.", CHANGE, remove),
];

fn list(call: Call<Principal>) -> Answering {
    ready(call.list(|scope| scope.hosts()))
}

fn one(call: Call<Principal>) -> Answering {
    ready(call.name::<HostName>("host").and_then(|name| {
        let what = format!("host {:?}", name.as_str());
        call.one(what, move |scope| scope.host(&name))
    }))
}

fn remove(call: Call<Principal>) -> Answering {
    Box::pin(async move {
        let name: HostName = call.name("host")?;
        call.scope().host(&name).ok_or_else(|| not_found(format_args!("host {:?}", name.as_str())))?;
        call.request(Request::RemoveHost(name)).await
    })
}

fn rotate(call: Call<Principal>) -> Answering {
    Box::pin(async move { call.request(Request::RotateKeys).await })
}
