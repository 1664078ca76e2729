//! The table of routes: for each its method and path, who may call it, what it takes and gives, and what it does.

use super::call::Call;
use crate::auth::{Noun, Verb};
use crate::handle::Principal;
use axum::response::Response;
use pan_api::ApiError;
use pan_api::tls::PeerIdentity;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use std::future::Future;
use std::pin::Pin;

/// What a handler returns.
pub type Answering = Pin<Box<dyn Future<Output = Result<Response, ApiError>> + Send>>;
/// An answer that needs no waiting.
pub fn ready(answer: Result<Response, ApiError>) -> Answering {
    Box::pin(std::future::ready(answer))
}

/// The schema of a type.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// The schema of `T`.
pub fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// A method that the interface uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Look.
    Get,
    /// Do.
    Post,
    /// Remove.
    Delete,
}

impl Method {
    /// Its name in HTTP.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }
}

/// Who may call a route, and what it does for them.
#[derive(Clone, Copy)]
pub enum Access {
    /// Everybody.
    Open(fn(Call<()>) -> Answering),
    /// Everybody who has a join token, which the handler checks. Only the controller that leads can answer.
    Joining(fn(Call<()>) -> Answering),
    /// Principals whose role may do this.
    Role(Verb, Noun, fn(Call<Principal>) -> Answering),
    /// Principals whose role may do this, and controllers, by certificate, in the name of whoever runs the PAN.
    RoleOrController(Verb, Noun, fn(Call<()>) -> Answering),
    /// Hosts, by certificate, about themselves.
    Host(fn(Call<PeerIdentity>) -> Answering),
}

/// What comes back.
#[derive(Clone, Copy)]
pub enum Gives {
    /// Nothing (204).
    Nothing,
    /// JSON.
    Json(SchemaOf),
    /// JSON; with `watch=true` lines of changes.
    Watched(SchemaOf, SchemaOf),
    /// Newline-delimited JSON.
    Lines(SchemaOf),
    /// Text.
    Text,
    /// Bytes.
    Bytes,
}

/// A parameter in the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Param {
    /// Its name.
    pub name: &'static str,
    /// Its JSON Schema type.
    pub kind: &'static str,
    /// What it does.
    pub summary: &'static str,
}

/// Stream changes.
pub const WATCH: Param = Param {
    name: "watch",
    kind: "boolean",
    summary: "stream changes as lines, beginning with what is there; a blank line is a keep-alive",
};
/// Choose a partition.
pub const PARTITION: Param = Param { name: "partition", kind: "string", summary: "the partition meant" };
/// Delete more.
pub const CASCADE: Param = Param { name: "cascade", kind: "boolean", summary: "delete what depends on it as well" };
/// Keep reading.
pub const FOLLOW: Param = Param { name: "follow", kind: "boolean", summary: "keep streaming what is added" };

/// A route.
#[derive(Clone, Copy)]
pub struct Route {
    /// Its method.
    pub method: Method,
    /// Its path, `{name}` for what varies.
    pub path: &'static str,
    /// What it does, in a line.
    pub summary: &'static str,
    /// Who may call it, and what it does.
    pub access: Access,
    /// Accepted query parameters.
    pub query: &'static [Param],
    /// The request body; `None`: there is none.
    pub takes: Option<SchemaOf>,
    /// The answer.
    pub gives: Gives,
}

impl Route {
    /// GET of objects, which can be watched.
    pub const fn watched<Whole: JsonSchema, Line: JsonSchema>(
        path: &'static str,
        summary: &'static str,
        noun: Noun,
        run: fn(Call<Principal>) -> Answering,
    ) -> Self {
        let gives = Gives::Watched(schema::<Whole>, schema::<pan_api::event::Change<Line>>);
        Self { method: Method::Get, path, summary, access: Access::Role(Verb::Read, noun, run), query: &[WATCH], takes: None, gives }
    }

    /// GET of something computed.
    pub const fn get<T: JsonSchema>(path: &'static str, summary: &'static str, noun: Noun, run: fn(Call<Principal>) -> Answering) -> Self {
        let gives = Gives::Json(schema::<T>);
        Self { method: Method::Get, path, summary, access: Access::Role(Verb::Read, noun, run), query: &[], takes: None, gives }
    }

    /// POST or DELETE that is answered by its success alone.
    pub const fn act(
        method: Method,
        path: &'static str,
        summary: &'static str,
        (verb, noun): (Verb, Noun),
        run: fn(Call<Principal>) -> Answering,
    ) -> Self {
        Self { method, path, summary, access: Access::Role(verb, noun, run), query: &[], takes: None, gives: Gives::Nothing }
    }

    /// What a role must be allowed; `None` where none is asked for.
    pub const fn wants(&self) -> Option<(Verb, Noun)> {
        match self.access {
            Access::Role(verb, noun, _) => Some((verb, noun)),
            Access::RoleOrController(verb, noun, _) => Some((verb, noun)),
            Access::Open(_) | Access::Joining(_) | Access::Host(_) => None,
        }
    }

    /// The same with a body.
    pub const fn taking<T: JsonSchema>(self) -> Self {
        Self { takes: Some(schema::<T>), ..self }
    }

    /// The same with these query parameters.
    pub const fn with(self, query: &'static [Param]) -> Self {
        Self { query, ..self }
    }
}

/// Every route.
pub fn table() -> Vec<Route> {
    let parts: [&[Route]; 21] = [
        super::interface::ROUTES,
        super::apply::ROUTES,
        super::partition::ROUTES,
        super::cluster::ROUTES,
        super::server::ROUTES,
        super::proxy::ROUTES,
        super::service::ROUTES,
        super::import::ROUTES,
        super::policy::ROUTES,
        super::volume::ROUTES,
        super::snapshot::ROUTES,
        super::traffic::ROUTES,
        super::event::ROUTES,
        super::audit::ROUTES,
        super::usage::ROUTES,
        super::node::ROUTES,
        super::drain::ROUTES,
        super::host::ROUTES,
        super::token::ROUTES,
        super::insight::ROUTES,
        super::timeline::ROUTES,
    ];
    parts.into_iter().flatten().chain(super::internal::ROUTES).copied().collect()
}
