//! Routes of hosts.

use super::call::Call;
use super::route::{Answering, Route, ready};
use crate::auth::Noun;
use crate::handle::Principal;
use pan_api::host::Host;
use pan_model::HostName;

pub const ROUTES: &[Route] = &[
    Route::watched::<Vec<Host>, Host>("/v1/hosts", "All hosts.", Noun::Host, list),
    Route::watched::<Host, Host>("/v1/hosts/{host}", "A host.", Noun::Host, one),
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
