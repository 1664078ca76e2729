//! Routes for hosts: present themselves, report, and learn what they should be. A host speaks only for itself.

use super::answer;
use super::call::Call;
use super::dispatch;
use super::route::{Access, Answering, Gives, Method, Param, Route, schema};
use super::watch::{follow, line};
use crate::core::request::{Reply, Request};
use crate::handle::Principal;
use crate::site::Identity;
use pan_api::desired::Desired;
use pan_api::inside::TellInside;
use pan_api::join::{Renew, Renewed};
use pan_api::keys::AskKeys;
use pan_api::pki;
use pan_api::report::{Hello, Report};
use pan_api::tls::PeerIdentity;
use pan_api::volume::AskVolume;
use pan_api::{ApiError, WIRE_VERSION};
use pan_model::host::Role;
use pan_model::{Code, HostName};
use serde_json::Value;

const HOST: Param = Param { name: "host", kind: "string", summary: "the host that asks" };
const LINES: &str = "What the host should be: at once, then each newer state as a line; a blank line is a keep-alive.";

pub const ROUTES: &[Route] = &[
    route(Method::Post, "/internal/v1/hello", "A host presents itself.", hello),
    route(Method::Post, "/internal/v1/renew", "A host gets its certificate anew.", renew),
    route(Method::Post, "/internal/v1/keys", "A host gets its keys.", keys),
    route(Method::Post, "/internal/v1/volumes", "A node asks for a volume of one of its servers.", volumes),
    route(Method::Post, pan_api::inside::PATH, "A controller that follows tells who goes inside of what.", inside),
    route(Method::Post, "/internal/v1/report", "A role process tells what it sees.", report),
    Route {
        query: &[HOST],
        takes: None,
        gives: Gives::Lines(schema::<Value>),
        ..route(Method::Get, "/internal/v1/desired", LINES, desired)
    },
];

const fn route(method: Method, path: &'static str, summary: &'static str, run: fn(Call<PeerIdentity>) -> Answering) -> Route {
    // Internal messages are between equal programs: their version is checked, their shape is not part of the description.
    Route { method, path, summary, access: Access::Host(run), query: &[], takes: Some(schema::<Value>), gives: Gives::Nothing }
}

fn hello(call: Call<PeerIdentity>) -> Answering {
    Box::pin(async move {
        check_version(&call)?;
        let hello: Hello = call.body()?;
        check_host(&call.who, &hello.host)?;
        hello.roles.iter().try_for_each(|role| check_role(&call.who, *role))?;
        call.handle().hello(hello).await?;
        Ok(answer::done())
    })
}

fn renew(call: Call<PeerIdentity>) -> Answering {
    Box::pin(async move {
        check_version(&call)?;
        let ask: Renew = call.body()?;
        check_host(&call.who, &ask.host)?;
        let request = pki::Request::read(&ask.request).map_err(|error| ApiError::new(Code::Invalid, error.to_string()))?;
        call.site().authority()?;
        let PeerIdentity { host, roles, addresses, .. } = call.who.clone();
        let who = Principal::host(format!("host {host}"));
        let Reply::Certify { serial, .. } = call.handle().request(&who, Request::Renew(host.clone())).await? else {
            return Err(ApiError::new(Code::Internal, "a renewal was answered with something else"));
        };
        let cert = call.site().certify(&request, Identity { name: host, roles, addresses }, serial)?;
        Ok(answer::json(&Renewed { cert }))
    })
}

fn keys(call: Call<PeerIdentity>) -> Answering {
    Box::pin(async move {
        check_version(&call)?;
        let AskKeys { host, have, wall, .. } = call.body()?;
        check_host(&call.who, &host)?;
        let who = Principal::host(format!("host {host}"));
        // Not later: the loop may be busy.
        let ahead = wall.map(|told| told - dispatch::wall());
        let Reply::Keys { current, newest } = call.handle().request(&who, Request::Keys { host: host.clone(), have, ahead }).await? else {
            return Err(ApiError::new(Code::Internal, "a question for keys was answered with something else"));
        };
        Ok(answer::json(&call.site().keys(&host, &call.who.roles, (current, newest))))
    })
}

fn volumes(call: Call<PeerIdentity>) -> Answering {
    Box::pin(async move {
        check_version(&call)?;
        let ask: AskVolume = call.body()?;
        check_host(&call.who, &ask.host)?;
        check_role(&call.who, Role::Node)?;
        let (host, volume) = (ask.host.clone(), ask.volume);
        let who = Principal::host(format!("host {host}"));
        let Reply::Volume(mut claim) = call.handle().request(&who, Request::Volume(Box::new(ask))).await? else {
            return Err(ApiError::new(Code::Internal, "a question for a volume was answered with something else"));
        };
        call.site().seal(call.handle().view().keys.0, &host, volume, &mut claim);
        Ok(answer::json(&claim))
    })
}

fn inside(call: Call<PeerIdentity>) -> Answering {
    Box::pin(async move {
        check_version(&call)?;
        check_role(&call.who, Role::Controller)?;
        let TellInside { who, what, .. } = call.body()?;
        super::inside::told(call.handle(), &Principal::of(who), what).await?;
        Ok(answer::done())
    })
}

fn report(call: Call<PeerIdentity>) -> Answering {
    Box::pin(async move {
        check_version(&call)?;
        let report: Report = call.body()?;
        check_host(&call.who, &report.host)?;
        check_role(&call.who, report.role)?;
        call.handle().report(report).await?;
        Ok(answer::done())
    })
}

fn desired(call: Call<PeerIdentity>) -> Answering {
    Box::pin(async move {
        let named = call.query::<HostName>("host")?.ok_or_else(|| ApiError::new(Code::Invalid, "expected the query parameter host"))?;
        check_host(&call.who, &named)?;
        let never = || ApiError::new(Code::State, format!("host {named} must present itself first (POST /internal/v1/hello)"));
        let newest = call.handle().desired(&named).ok_or_else(never)?;
        Ok(follow(newest, call.handle().metrics.stream(), |newest| {
            let desired: Option<std::sync::Arc<Desired>> = newest.and_then(|newest| newest.borrow().clone());
            let mut out = Vec::new();
            if let Some(desired) = desired {
                line(&mut out, desired.as_ref());
            }
            Some(out)
        }))
    })
}

/// Checked before the rest is read, since the rest may have another shape.
fn check_version(call: &Call<PeerIdentity>) -> Result<(), ApiError> {
    let found = call.body::<Value>()?.get("version").cloned().unwrap_or(Value::Null);
    if found == WIRE_VERSION {
        return Ok(());
    }
    let text = format!("host {} speaks version {found} of the internal messages, this controller speaks {WIRE_VERSION}", call.who.host);
    Err(ApiError::new(Code::Invalid, text))
}

fn check_host(peer: &PeerIdentity, named: &HostName) -> Result<(), ApiError> {
    if peer.host == *named {
        return Ok(());
    }
    Err(ApiError::new(Code::Denied, format!("the certificate is host {}'s, which may not speak for {named}", peer.host)))
}

fn check_role(peer: &PeerIdentity, role: Role) -> Result<(), ApiError> {
    if peer.has(role) {
        return Ok(());
    }
    Err(ApiError::new(Code::Denied, format!("the certificate of host {} is not good for the role {role}", peer.host)))
}
