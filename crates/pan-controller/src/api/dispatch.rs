//! From the table of routes to a router: who asks, may they, is the request well formed; then the handler.

use super::answer;
use super::audit;
use super::call::{Call, Input};
use super::freshness;
use super::inside;
use super::openapi::is_described;
use super::rate;
use super::route::{Access, Answering, Route, table};
use super::scope::DomainKey;
use crate::auth::{self, AdminToken, Noun, Verb};
use crate::core::audit::{Attempt, Recent};
use crate::core::rates::Rates;
use crate::handle::{Handle, Principal};
use crate::site::Site;
use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, Query, RawPathParams, Request};
use axum::response::Response;
use axum::routing::{MethodRouter, any};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use hyper::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, StatusCode};
use pan_api::ApiError;
use pan_api::hostclient::{HostClient, HostOptions, Timeouts};
use pan_api::inside::{Inside, Kind};
use pan_api::tls::PeerIdentity;
use pan_model::host::Role;
use pan_model::host_config::CONTROLLER_PORT;
use pan_model::{Code, HostName};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Largest request body: some ten thousand objects in one apply.
pub const BODY_MAX: usize = 4 << 20;
/// How far an oversized body is read and thrown away, so that its sender gets to read the refusal.
const BODY_DISCARDED_MAX: usize = 4 * BODY_MAX;
/// How long a request may take until its answer begins, its body included.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);
/// How long the controller that leads may take to be connected to.
const PASS_ON_CONNECT_MAX: Duration = Duration::from_secs(1);

/// What all handlers share.
pub struct App {
    /// The controller's loop.
    pub handle: Handle,
    /// The administrator's token.
    pub token: AdminToken,
    /// What hosts are told and certified with.
    pub site: Site,
    /// Names of failure domains.
    pub domains: DomainKey,
    /// How to call the agents of nodes.
    pub agents: Arc<rustls::ClientConfig>,
    /// Questions to the planner that may run at the same time: they take a processor each.
    pub questions: Arc<Semaphore>,
    /// Parts of snapshots that may be read at the same time.
    pub reads: Arc<Semaphore>,
    /// About which partitions' requests somebody asks now.
    pub asked: super::traffic::Asked,
    /// Which snapshots are being read, and by whom, as the audit log was told.
    pub reading: Mutex<Recent>,
    /// How many requests were made of late, and by whom.
    pub rates: Mutex<Rates>,
}

/// Who is at the other end of the connection, if it showed a certificate.
#[derive(Debug, Clone)]
pub struct Peer(pub Option<PeerIdentity>);

/// A refusal with a status of HTTP's own where there is one.
struct Refusal(StatusCode, ApiError);

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self(StatusCode::from_u16(error.status()).expect("the statuses of errors are valid"), error)
    }
}

impl Refusal {
    fn invalid(status: StatusCode, message: impl Into<String>) -> Self {
        Self(status, ApiError::new(Code::Invalid, message))
    }
}

/// The router of all routes.
pub fn router(app: Arc<App>) -> Router {
    let mut paths: BTreeMap<&str, Vec<Route>> = BTreeMap::new();
    for route in table() {
        paths.entry(route.path).or_default().push(route);
    }
    let mut router = Router::new();
    for (path, routes) in paths {
        router = router.route(path, methods(&app, routes));
    }
    router.fallback(move |request: Request| async move { answered(Err(unknown(&app, &request.into_parts().0))) })
}

/// The routes of one path. The method is told apart here and not by the router, which would name a path's methods to anybody.
fn methods(app: &Arc<App>, routes: Vec<Route>) -> MethodRouter {
    let (app, routes) = (app.clone(), Arc::new(routes));
    any(move |request: Request| async move {
        let wanted = if *request.method() == hyper::Method::HEAD { "GET" } else { request.method().as_str() };
        match routes.iter().find(|route| route.method.as_str() == wanted) {
            Some(route) => {
                let answer = answered(serve(&app, route, request).await);
                debug_assert!(is_described(route, answer.status().as_u16()), "{} {} is described otherwise", answer.status(), route.path);
                answer
            }
            None => wrong_method(&app, &routes, &request.into_parts().0),
        }
    })
}

fn answered(result: Result<Response, Refusal>) -> Response {
    result.unwrap_or_else(|Refusal(status, error)| answer::error(status, &error))
}

async fn serve(app: &Arc<App>, route: &Route, request: Request) -> Result<Response, Refusal> {
    let (mut parts, body) = request.into_parts();
    let app = app.clone();
    let running = match route.access {
        Access::Open(run) => run(Call { who: (), input: input(route, &mut parts, body).await?, app }),
        Access::Joining(run) => {
            let input = input(route, &mut parts, body).await?;
            if let Some(leader) = app.handle.view().leader.clone() {
                return Ok(pass_on(&app, leader, &parts, input.body).await?);
            }
            run(Call { who: (), input, app })
        }
        Access::Role(verb, noun, run) => {
            let who = principal(&app, &parts)?;
            if changes(verb) {
                return change(app, route, (who, noun), (verb, run), (parts, body)).await;
            }
            if let (Verb::Enter, Some(kind)) = (verb, noun.inside()) {
                return enter(app, route, (who, noun, kind), run, (parts, body)).await;
            }
            auth::permit(&who, verb, noun)?;
            // Before what is shown is looked at, which is as new then or newer.
            let age = if noun.ages() { app.handle.age(&who, freshness::stale_max(&parts.headers))? } else { None };
            let read = async { in_time(run(Call { who, input: input(route, &mut parts, body).await?, app })).await };
            return Ok(freshness::told(answered(read.await), age));
        }
        Access::RoleOrController(verb, noun, run) => {
            if !is_controller(&app, &parts.extensions) {
                auth::permit(&principal(&app, &parts)?, verb, noun)?;
            }
            run(Call { who: (), input: input(route, &mut parts, body).await?, app })
        }
        Access::Host(run) => {
            let who = host(&app, &parts.extensions)?;
            run(Call { who, input: input(route, &mut parts, body).await?, app })
        }
    };
    in_time(running).await
}

async fn in_time(running: Answering) -> Result<Response, Refusal> {
    let late = || {
        let text = format!("no answer within {} s; a change that was asked for may still be made", REQUEST_TIME_MAX.as_secs());
        ApiError::new(Code::TimedOut, text)
    };
    Ok(tokio::time::timeout(REQUEST_TIME_MAX, running).await.map_err(|_| late())??)
}

/// A change: only the controller that leads can make it, or refuse it, for both are written down.
async fn change(
    app: Arc<App>,
    route: &Route,
    (who, noun): (Principal, Noun),
    (verb, run): (Verb, fn(Call<Principal>) -> Answering),
    (mut parts, body): (Parts, Body),
) -> Result<Response, Refusal> {
    if let Some(leader) = app.handle.view().leader.clone() {
        let input = input(route, &mut parts, body).await?;
        return Ok(pass_on(&app, leader, &parts, input.body).await?);
    }
    let path = RawPathParams::from_request_parts(&mut parts, &()).await;
    let asked = async {
        auth::permit(&who, verb, noun)?;
        let input = input(route, &mut parts, body).await?;
        in_time(run(Call { who: who.clone(), input, app: app.clone() })).await
    };
    let answered = asked.await;
    if let Err(Refusal(_, error)) = &answered
        && audit::is_refusal(error.code)
    {
        let attempt = audit::attempt(route, noun, who.partition.as_ref(), path.iter().flatten());
        // Nothing was changed, so the answer stands whether it could be written or not.
        if let Err(error) = app.handle.refused(&who, attempt, error.code).await {
            tracing::warn!(%error, "a refusal is not in the audit log");
        }
    }
    answered
}

/// Somebody goes inside of something, which whichever controller it asks can do. Handlers have the line written; refusals are told here.
async fn enter(
    app: Arc<App>,
    route: &Route,
    (who, noun, kind): (Principal, Noun, Kind),
    run: fn(Call<Principal>) -> Answering,
    (mut parts, body): (Parts, Body),
) -> Result<Response, Refusal> {
    let path = RawPathParams::from_request_parts(&mut parts, &()).await;
    let asked = async {
        auth::permit(&who, Verb::Enter, noun)?;
        let input = input(route, &mut parts, body).await?;
        in_time(run(Call { who: who.clone(), input, app: app.clone() })).await
    };
    let answered = asked.await;
    if let Err(Refusal(_, error)) = &answered {
        let Attempt { verb, name, .. } = audit::attempt(route, noun, who.partition.as_ref(), path.iter().flatten());
        inside::refused(&app, &who, Inside::Refused { verb, kind, name, code: error.code }, error.code).await;
    }
    answered
}

/// Who calls, unless it calls too often. What another controller passes on was counted there.
fn principal(app: &App, parts: &Parts) -> Result<Principal, ApiError> {
    let view = app.handle.view();
    let who = auth::principal(&app.token, &view.grants, wall(), &parts.headers)?;
    if !is_controller(app, &parts.extensions) {
        rate::admit(app, &view, &who)?;
    }
    Ok(who)
}

fn is_controller(app: &App, extensions: &hyper::http::Extensions) -> bool {
    host(app, extensions).is_ok_and(|peer| peer.roles.contains(&Role::Controller))
}

/// Microseconds since 1970.
pub(super) fn wall() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

/// Whether only the controller that leads can answer.
fn changes(verb: Verb) -> bool {
    match verb {
        Verb::Read | Verb::Enter => false,
        Verb::Change | Verb::Operate => true,
    }
}

/// Lets the controller that leads answer in our place; it checks the caller again.
async fn pass_on(app: &App, (name, address): (HostName, IpAddr), parts: &Parts, body: Bytes) -> Result<Response, ApiError> {
    let timeouts = Timeouts { connect: PASS_ON_CONNECT_MAX, request: REQUEST_TIME_MAX };
    let client =
        HostClient::new(app.agents.clone(), SocketAddr::new(address, CONTROLLER_PORT), Some(&name), HostOptions { bind: None, timeouts });
    let nobody = |error: ApiError| ApiError::new(Code::NotLeading, format!("{name} leads, but {error}; nothing was changed"));
    client.reach().await.map_err(nobody)?;
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    // Of one who joins there is none: his is in the body.
    let token = auth::bearer(&parts.headers).unwrap_or_default();
    let passed = client.pass_on(parts.method.clone(), path, token, body).await;
    let bytes = passed.map_err(|error| match error.code {
        Code::HostUnreachable => ApiError::new(Code::InDoubt, format!("{name} leads, but {error}")),
        _ => error,
    })?;
    Ok(if bytes.is_empty() { answer::done() } else { answer::raw(bytes) })
}

/// Looked up for each request: a host that was removed is refused at once, on connections that it has as well.
fn host(app: &App, extensions: &hyper::http::Extensions) -> Result<PeerIdentity, ApiError> {
    let peer = extensions.get::<Peer>().and_then(|peer| peer.0.clone());
    let peer = peer.ok_or_else(|| ApiError::new(Code::Unauthenticated, "this is for hosts: expected a certificate of the PAN"))?;
    match app.handle.view().refused.get(&peer.host) {
        Some(through) if peer.serial <= *through => {
            let text =
                format!("the certificate of host {} was revoked when the host was removed: it can join anew with a token", peer.host);
            Err(ApiError::new(Code::Denied, text))
        }
        Some(_) | None => Ok(peer),
    }
}

async fn input(route: &Route, parts: &mut Parts, body: Body) -> Result<Input, Refusal> {
    let bad = |text: String| Refusal::invalid(StatusCode::BAD_REQUEST, text);
    let path = RawPathParams::from_request_parts(parts, &()).await.map_err(|error| bad(format!("the path cannot be read: {error}")))?;
    let path = path.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let query = query(route, parts).map_err(bad)?;
    let reading = tokio::time::timeout(REQUEST_TIME_MAX, read(&parts.headers, body)).await;
    let slow = |_| Refusal(StatusCode::REQUEST_TIMEOUT, ApiError::new(Code::TimedOut, "the request body did not arrive in time"));
    let body = reading.map_err(slow)??;
    let empty = [&b""[..], b"{}", b"null"].contains(&body.trim_ascii());
    if route.takes.is_none() && !empty {
        return Err(bad("expected no request body".into()));
    }
    if route.takes.is_some() && !body.is_empty() {
        check_media(&parts.headers)?;
    }
    Ok(Input { path, query, body, stale_max: freshness::stale_max(&parts.headers) })
}

fn query(route: &Route, parts: &Parts) -> Result<BTreeMap<String, String>, String> {
    let Query(pairs) =
        Query::<Vec<(String, String)>>::try_from_uri(&parts.uri).map_err(|error| format!("the query cannot be read: {error}"))?;
    let mut query = BTreeMap::new();
    for (name, value) in pairs {
        if !route.query.iter().any(|param| param.name == name) {
            let known: Vec<&str> = route.query.iter().map(|param| param.name).collect();
            let known = if known.is_empty() { "none".into() } else { known.join(", ") };
            return Err(format!("unknown query parameter {name:?}: expected {known}"));
        }
        if query.insert(name.clone(), value).is_some() {
            return Err(format!("query parameter {name:?} is given twice"));
        }
    }
    Ok(query)
}

fn check_media(headers: &HeaderMap) -> Result<(), Refusal> {
    let given = headers.get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(answer::JSON) {
        return Ok(());
    }
    let text = format!("the request body is {essence:?}: expected Content-Type: {}", answer::JSON);
    Err(Refusal::invalid(StatusCode::UNSUPPORTED_MEDIA_TYPE, text))
}

async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Refusal> {
    let broken = |error: axum::Error| Refusal::invalid(StatusCode::BAD_REQUEST, format!("the request body broke off: {error}"));
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok()).unwrap_or(0);
    let mut body = body.into_data_stream();
    let (mut bytes, mut seen) = (BytesMut::new(), 0);
    while declared <= BODY_DISCARDED_MAX && seen <= BODY_DISCARDED_MAX {
        let Some(chunk) = body.next().await.transpose().map_err(broken)? else { break };
        seen += chunk.len();
        if seen <= BODY_MAX && declared <= BODY_MAX {
            bytes.extend_from_slice(&chunk);
        }
    }
    if seen.max(declared) > BODY_MAX {
        let text = format!("the request body is too large: expected at most {BODY_MAX} bytes");
        return Err(Refusal::invalid(StatusCode::PAYLOAD_TOO_LARGE, text));
    }
    Ok(bytes.freeze())
}

/// Refuses callers that are nobody before telling them which paths there are.
fn known(app: &App, parts: &Parts) -> Result<(), ApiError> {
    let path = parts.uri.path();
    if path.starts_with("/internal/") { host(app, &parts.extensions).map(|_| ()) } else { principal(app, parts).map(|_| ()) }
}

fn unknown(app: &App, parts: &Parts) -> Refusal {
    match known(app, parts) {
        Err(error) => error.into(),
        Ok(()) => {
            let text = format!("no page {:?}: GET /v1/openapi.json describes all there are", parts.uri.path());
            ApiError::new(Code::NotFound, text).into()
        }
    }
}

fn wrong_method(app: &App, routes: &[Route], parts: &Parts) -> Response {
    let open = routes.iter().any(|route| matches!(route.access, Access::Open(_) | Access::Joining(_)));
    if let (false, Err(error)) = (open, known(app, parts)) {
        return answered(Err(error.into()));
    }
    let methods: Vec<&str> = routes.iter().map(|route| route.method.as_str()).collect();
    let methods = methods.join(", ");
    let text = format!("{} does not work here: expected {methods}", parts.method);
    let mut response = answered(Err(Refusal::invalid(StatusCode::METHOD_NOT_ALLOWED, text)));
    // RFC 9110 §15.5.6 wants it.
    response.headers_mut().insert(ALLOW, HeaderValue::from_str(&methods).expect("methods are ASCII"));
    response
}
