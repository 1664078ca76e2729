//! The agent's own HTTPS, for controllers only: logs of servers, and programs run inside them.

mod exec;
mod logs;
mod serve;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use pan_api::ApiError;
use pan_api::report::ServerReport;
use pan_model::{Code, ServerKey};

use crate::agent::Servers;
use crate::host::Host;

pub(crate) use serve::serve;

/// What requests are answered from.
pub(crate) struct Inside {
    pub servers: Servers,
    pub host: Arc<Host>,
}

impl Inside {
    /// What is known of a server that is here.
    fn find(&self, key: &ServerKey) -> Result<ServerReport, Refusal> {
        let servers: Arc<BTreeMap<ServerKey, ServerReport>> = self.servers.borrow().clone();
        let found = servers.get(key).cloned();
        found.ok_or_else(|| Refusal(ApiError::new(Code::NotFound, format!("server {key} is not on this node"))))
    }
}

fn router(inside: Arc<Inside>) -> Router {
    Router::new()
        .route("/internal/v1/servers/{partition}/{name}/logs", get(logs::logs))
        .route("/internal/v1/servers/{partition}/{name}/exec", post(exec::exec))
        .fallback(async || Refusal(ApiError::new(Code::NotFound, "the node's agent has no such path")))
        .with_state(inside)
}

/// What a peer gets that is no controller.
fn denial() -> Router {
    Router::new().fallback(async || {
        Refusal(ApiError::new(Code::Denied, "the node's agent answers controllers only: the certificate lacks that role"))
    })
}

/// An error as an answer.
struct Refusal(ApiError);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self.0)).into_response()
    }
}
