//! What a proxy is to do, whole: the document that it is given. Nothing here is checked beyond its form; what does not fit
//! together is found where the parts are compiled, and named with its place.

use super::edit::EditSpec;
use super::limits::{Limits, Timeouts};
use super::route::RouteSpec;
use crate::Span;
use crate::service::BackendState;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddr;

/// All services of a proxy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ProxySpec {
    /// In any order; names differ.
    pub services: Vec<ServiceSpec>,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ServiceSpec {
    /// What logs and metrics call it.
    pub name: String,
    /// Where it listens; each address is one service's.
    pub listen: Vec<SocketAddr>,
    /// Certificates; without any, connections are in clear. The first is shown to who asks for a name that none has.
    #[serde(default)]
    pub tls: Vec<CertificateSpec>,
    /// Where requests go.
    pub routes: Vec<RouteSpec>,
    /// Who answers.
    pub clusters: Vec<ClusterSpec>,
    /// Edits of every request and answer, before the route's own.
    #[serde(default)]
    pub edits: EditSpec,
    /// How much a client may send.
    #[serde(default)]
    pub limits: Limits,
    /// How long each phase may take.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// When a request is sent again.
    #[serde(default)]
    pub retry: RetrySpec,
    /// What becomes of forwarding headers that a client sends.
    #[serde(default)]
    pub forwarding: Forwarding,
    /// Whether connections begin by saying who the client is.
    #[serde(default)]
    pub proxy_protocol: ProxyProtocol,
}

/// A certificate and the names that it is shown for.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CertificateSpec {
    /// Names, in lower case; `*.example` stands for every name with one more label.
    pub hosts: Vec<String>,
    /// The chain, PEM.
    pub cert: String,
    /// Its key, PEM.
    pub key: String,
}

impl fmt::Debug for CertificateSpec {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("CertificateSpec").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

/// Servers among which requests are spread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ClusterSpec {
    /// What routes call it.
    pub name: String,
    /// Its servers.
    pub servers: Vec<BackendSpec>,
    /// How they share.
    #[serde(default)]
    pub balance: BalanceSpec,
    /// What they speak.
    #[serde(default)]
    pub protocol: Protocol,
    /// Whether they are told by the PROXY protocol, version 2, who the client is. Each request then has a connection of its own:
    /// one that is kept would speak for the client before. Not with `http2`.
    #[serde(default)]
    pub announce: bool,
}

/// What servers of a cluster speak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 in clear with prior knowledge (RFC 9113, 3.3), which gRPC wants.
    Http2,
}

/// The PROXY protocol at a service's addresses. Whoever may connect there may then say that he is anybody.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    /// No.
    #[default]
    Off,
    /// Version 1 or 2; a connection without it ends.
    Expected,
}

/// A server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct BackendSpec {
    /// Its name, for logs and metrics.
    pub name: String,
    /// Its number within the cluster, for as long as it lives.
    pub index: u32,
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether it takes requests.
    pub state: BackendState,
    /// Its share.
    #[serde(default = "hundred")]
    pub weight: u32,
    /// How fast its node is, 100 being usual.
    #[serde(default = "hundred")]
    pub capability: u32,
    /// Servers of a tier have requests only while none of those before it can.
    #[serde(default)]
    pub tier: u32,
}

fn hundred() -> u32 {
    100
}

/// How a cluster's servers share.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct BalanceSpec {
    /// The way, by a name of docs/balancing.md; `round-robin` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The steps of `tandem`: `round-robin`, `capability`, `capacity`, `specifics`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<String>,
    /// What decides affinity: `client`, `path`, `header:NAME` or `cookie:NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Sticky sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<StickySpec>,
    /// How long a server that comes up has less than its share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<Span>,
    /// Most requests at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<CapSpec>,
}

/// Who comes back goes to the same server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct StickySpec {
    /// By a cookie of this name, which the proxy sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
    /// By a header of this name; by the client's address if neither is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// Forgotten when unused for so long; a cookie lasts so long from when it was set.
    #[serde(rename = "for")]
    pub lasts: Span,
}

/// Caps and the queue before them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CapSpec {
    /// Most requests at a server.
    pub connections: u32,
    /// Most that wait when all servers have so many.
    #[serde(default)]
    pub queue: usize,
    /// How long one waits.
    #[serde(default = "queue_wait")]
    pub queue_wait: Span,
}

fn queue_wait() -> Span {
    Span::millis(2_000)
}

/// When a request is sent to another server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RetrySpec {
    /// Times that a request is sent, the first included.
    #[serde(default = "attempts")]
    pub attempts: u32,
    /// Retries in hundredths of the requests, besides ten a second.
    #[serde(default = "budget")]
    pub budget_percent: u32,
    /// Servers recognise requests by their `Idempotency-Key`: one that has it may be sent again whatever its method.
    #[serde(default)]
    pub keyed: bool,
}

fn attempts() -> u32 {
    3
}

fn budget() -> u32 {
    20
}

impl Default for RetrySpec {
    fn default() -> Self {
        Self { attempts: attempts(), budget_percent: budget(), keyed: false }
    }
}

/// What becomes of `Forwarded`, `X-Forwarded-*` and `X-Real-IP` as a client sends them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Forwarding {
    /// Taken out: a client can write whatever it likes there.
    #[default]
    Replace,
    /// Kept, and added to: what is in front of this proxy can be trusted.
    Append,
}

/// Something that does not fit, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct Misfit {
    /// As a path into the document: `routes[2].match.path`.
    pub place: String,
    /// What is wrong and what was expected.
    pub reason: String,
}

impl Misfit {
    /// Of a place.
    pub fn new(place: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { place: place.into(), reason: reason.into() }
    }

    /// The same, one level further in.
    #[must_use]
    pub fn within(self, outer: impl fmt::Display) -> Self {
        Self { place: format!("{outer}.{}", self.place), ..self }
    }
}
