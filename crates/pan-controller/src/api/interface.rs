//! Routes about the interface itself: health, metrics, version, description.

use super::answer;
use super::call::Call;
use super::route::{Access, Answering, Gives, Method, Route, ready, schema};
use crate::auth::{Noun, Verb};
use crate::handle::{Principal, PrincipalRole};
use pan_api::requests::{Health, HostsIn, Status, Version};
use pan_api::token::Caller;

pub const ROUTES: &[Route] = &[
    Route::get::<Caller>("/v1/self", "Who calls, and what that is allowed to do.", Noun::Interface, caller),
    open("/healthz", "Whether the controller is well: a 503 says why it decides nothing.", Gives::Json(schema::<Health>), health),
    Route {
        method: Method::Get,
        path: "/metrics",
        summary: "Metrics, in Prometheus text format; also for whoever shows a controller's certificate.",
        access: Access::RoleOrController(Verb::Read, Noun::Pan, metrics),
        query: &[],
        takes: None,
        gives: Gives::Text,
    },
    Route::get::<Status>("/v1/status", "How the PAN is: who decides, its hosts, its store.", Noun::Pan, status),
    Route::get::<Version>("/v1/version", "Versions of program and interface.", Noun::Interface, |_| ready(Ok(answer::json(&version())))),
    Route::get::<serde_json::Value>("/v1/openapi.json", "This description.", Noun::Interface, |_| {
        ready(Ok(answer::json(&super::openapi::openapi())))
    }),
];

const fn open(path: &'static str, summary: &'static str, gives: Gives, run: fn(Call<()>) -> Answering) -> Route {
    Route { method: Method::Get, path, summary, access: Access::Open(run), query: &[], takes: None, gives }
}

fn caller(call: Call<Principal>) -> Answering {
    ready(match call.who.role {
        PrincipalRole::Access(role) => {
            let Principal { name, partition, token, .. } = call.who.clone();
            let expires = token.and_then(|id| Some(call.handle().view().tokens.get(&id)?.expires.clone()));
            Ok(answer::json(&Caller { name, role, partition, ca: call.site().ca_pem.clone(), expires }))
        }
        PrincipalRole::Joining => Err(crate::auth::unauthenticated()),
    })
}

fn health(call: Call<()>) -> Answering {
    ready(call.handle().health().map(|()| answer::json(&Health { ok: true })))
}

fn status(call: Call<Principal>) -> Answering {
    let view = call.handle().view();
    let mut hosts: Vec<HostsIn> = Vec::new();
    for (name, host) in &view.hosts {
        match hosts.iter_mut().find(|known| known.state == host.state) {
            Some(known) => known.hosts.push(name.clone()),
            None => hosts.push(HostsIn { state: host.state, hosts: vec![name.clone()] }),
        }
    }
    ready(Ok(answer::json(&Status { leader: view.recorded.clone(), hosts, store: view.store.clone() })))
}

fn metrics(call: Call<()>) -> Answering {
    ready(Ok(answer::text(pan_api::metrics::MEDIA, call.handle().metrics())))
}

fn version() -> Version {
    Version { software: env!("CARGO_PKG_VERSION").into(), api: "v1".into(), wire: pan_api::WIRE_VERSION }
}
