//! The routes, what they are answered from, and how they refuse.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use pan_api::ApiError;
use pan_api::metrics::MEDIA;
use pan_api::report::ServerReport;
use pan_model::{Code, ServerKey};

use super::{exec, logs};
use crate::agent::Servers;
use crate::host::Host;

/// What requests are answered from.
pub(crate) struct Inside {
    pub servers: Servers,
    pub host: Arc<Host>,
    pub run_dir: PathBuf,
}

impl Inside {
    /// What is known of a server that is here.
    pub(super) fn find(&self, key: &ServerKey) -> Result<ServerReport, Refusal> {
        let servers: Arc<BTreeMap<ServerKey, ServerReport>> = self.servers.borrow().clone();
        let found = servers.get(key).cloned();
        found.ok_or_else(|| Refusal(ApiError::new(Code::NotFound, format!("server {key} is not on this node"))))
    }
}

/// As large as the controller takes it: standard input, in base64, with its command.
const BODY_MAX: usize = 4 << 20;

pub(super) fn router(inside: Arc<Inside>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/internal/v1/servers/{partition}/{name}/logs", get(logs::logs))
        .route("/internal/v1/servers/{partition}/{name}/exec", post(exec::exec))
        .fallback(async || Refusal(ApiError::new(Code::NotFound, "the node's agent has no such path")))
        .layer(axum::extract::DefaultBodyLimit::max(BODY_MAX))
        .with_state(inside)
}

async fn metrics(State(inside): State<Arc<Inside>>) -> Response {
    let servers: Vec<ServerReport> = inside.servers.borrow().values().cloned().collect();
    let page = tokio::task::spawn_blocking(move || inside.host.metrics(&servers, &inside.run_dir)).await;
    match page {
        Ok(page) => ([(CONTENT_TYPE, MEDIA)], page).into_response(),
        Err(lost) => Refusal(ApiError::new(Code::Internal, format!("the page was lost: {lost}"))).into_response(),
    }
}

/// What a peer gets that is no controller.
pub(super) fn denial() -> Router {
    Router::new().fallback(async || {
        Refusal(ApiError::new(Code::Denied, "the node's agent answers controllers only: the certificate lacks that role"))
    })
}

/// An error as an answer.
pub(super) struct Refusal(pub(super) ApiError);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self.0)).into_response()
    }
}
