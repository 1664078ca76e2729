//! Routes into the requests of a service of layer 7: where one would go, and what was counted. Its partition's proxy answers, at the director that
//! owns the address.

use super::answer;
use super::call::{Call, not_found};
use super::route::{Access, Answering, Gives, Method, Route, schema};
use crate::auth::{Noun, Verb};
use crate::handle::Principal;
use pan_api::ApiError;
use pan_api::client::escape;
use pan_api::hostclient::{HostClient, HostOptions};
use pan_api::metrics::MEDIA;
use pan_api::service::Service;
use pan_api::traffic::{Trace, TraceRequest, page};
use pan_model::host_config::DIRECTOR_METRICS_PORT;
use pan_model::proxy::{Explained, Question, ServiceCounts};
use pan_model::service::Layer;
use pan_model::{Code, PartitionName, ServiceName};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

/// Of a request that is wondered about: what a client may send usually is as much.
const PATH_MAX: usize = 8 << 10;
const HEADERS_MAX: usize = 16 << 10;
const NAME_MAX: usize = 255;
/// As it travels: an address of HTTP is no longer (the `http` crate ends at 65,534 bytes).
const QUESTION_MAX: usize = 60 << 10;
/// Questions at once, about one partition and in all: a director has 32 seats for each controller, and others ask there, too.
const ASKED_MAX: (usize, usize) = (4, 16);
/// Nobody's address (RFC 5737).
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

pub const ROUTES: &[Route] = &[
    Route {
        method: Method::Post,
        path: "/v1/partitions/{partition}/services/{service}/trace",
        summary: "Where a request would go, and why; nothing is sent.",
        access: Access::Role(Verb::Read, Noun::Service, trace),
        query: &[],
        takes: Some(schema::<TraceRequest>),
        gives: Gives::Json(schema::<Trace>),
    },
    Route {
        method: Method::Get,
        path: "/v1/partitions/{partition}/services/{service}/metrics",
        summary: "What was counted of a service of layer 7 and its servers, for Prometheus.",
        access: Access::Role(Verb::Read, Noun::Service, metrics),
        query: &[],
        takes: None,
        gives: Gives::Text,
    },
];

/// The service, if it is one whose requests are known.
fn service(call: &Call<Principal>) -> Result<Service, ApiError> {
    let key: (PartitionName, ServiceName) = (call.partition()?, call.name("service")?);
    let found = call.scope().service(&key).ok_or_else(|| not_found(format_args!("service {:?} in partition {}", key.1.as_str(), key.0)))?;
    if found.spec.layer == Layer::Four {
        let text = format!(
            "service {} is of layer 4: it knows connections, whatever they carry; `pan why service {}` says where they go",
            key.1, key.1
        );
        return Err(ApiError::new(Code::State, text));
    }
    Ok(found)
}

/// Asks the proxy of a partition.
async fn ask<T: DeserializeOwned>(call: &Call<Principal>, service: &Service, page: &str) -> Result<T, ApiError> {
    let silent = || {
        let text = format!("the director of service {} does not say at present: try again in a moment", service.name);
        ApiError::new(Code::State, text)
    };
    let _turn = Turn::take(&call.app.asked, &service.partition)?;
    let (director, address) = call.scope().director_of(&(service.partition.clone(), service.name.clone())).ok_or_else(silent)?;
    let address = SocketAddr::new(address, DIRECTOR_METRICS_PORT);
    let client = HostClient::new(call.agent_tls(), address, Some(&director), HostOptions::default());
    client.get(&format!("/internal/v1/proxies/{}/{page}", service.partition)).await.map_err(|error| match error.code {
        Code::Invalid => ApiError::new(Code::Invalid, error.message),
        // Which host it is concerns the PAN's operators alone.
        _ => {
            tracing::debug!(%director, %error, "a proxy does not say");
            silent()
        }
    })
}

/// Who asks about partitions now.
pub type Asked = Arc<Mutex<BTreeMap<PartitionName, usize>>>;

/// A place among them, until it is dropped.
struct Turn {
    asked: Asked,
    partition: PartitionName,
}

impl Turn {
    fn take(asked: &Asked, partition: &PartitionName) -> Result<Self, ApiError> {
        let mut all = asked.lock().unwrap_or_else(PoisonError::into_inner);
        let (own, whole) = (all.get(partition).copied().unwrap_or_default(), all.values().sum::<usize>());
        if own >= ASKED_MAX.0 || whole >= ASKED_MAX.1 {
            return Err(ApiError::new(Code::State, "too many ask at present: try again in a moment"));
        }
        all.insert(partition.clone(), own + 1);
        Ok(Self { asked: asked.clone(), partition: partition.clone() })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut all = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = all.get_mut(&self.partition) {
            *own -= 1;
        }
        all.retain(|_, own| *own > 0);
    }
}

fn question(service: &ServiceName, asked: TraceRequest) -> Result<Question, ApiError> {
    let headers: usize = asked.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let parts = [
        ("path", asked.path.len(), PATH_MAX),
        ("headers", headers, HEADERS_MAX),
        ("host", length(&asked.host), NAME_MAX),
        ("method", length(&asked.method), NAME_MAX),
    ];
    for (what, length, most) in parts {
        if length > most {
            return Err(ApiError::new(Code::Invalid, format!("{what}: {length} bytes: expected at most {most}")));
        }
    }
    Ok(Question {
        service: service.to_string(),
        path: asked.path,
        method: asked.method,
        host: asked.host.unwrap_or_default(),
        headers: asked.headers,
        client: asked.client.unwrap_or(NOBODY),
    })
}

fn trace(call: Call<Principal>) -> Answering {
    Box::pin(async move {
        let service = service(&call)?;
        let text = serde_json::to_string(&question(&service.name, call.body()?)?).unwrap_or_default();
        let text = escape(&text);
        if text.len() > QUESTION_MAX {
            return Err(ApiError::new(Code::Invalid, "path and headers are too long together once they are escaped: ask with less"));
        }
        let said: Explained = ask(&call, &service, &format!("explain?question={text}")).await?;
        Ok(answer::json(&Trace::new(service.partition, service.name, &service.spec, said)))
    })
}

fn metrics(call: Call<Principal>) -> Answering {
    Box::pin(async move {
        let service = service(&call)?;
        let counts: Vec<ServiceCounts> = ask(&call, &service, "counts").await?;
        let servers: BTreeSet<&str> = service.backends.iter().map(|backend| backend.server.as_str()).collect();
        Ok(answer::text(MEDIA, page(&service.name, &counts, &servers).unwrap_or_default()))
    })
}
