//! `GET …/logs?follow=true&tail=N`: what a server wrote, and what it writes.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use pan_api::ApiError;
use pan_model::{Code, PartitionName, ServerKey, ServerName};
use serde::Deserialize;

use super::routes::{Inside, Refusal};
use crate::logs;
use crate::names;

/// How often a followed log is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Most that is handed on at once.
const CHUNK_MAX: u64 = 256 << 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    #[serde(default)]
    follow: bool,
    tail: Option<usize>,
}

/// See the module.
pub(super) async fn logs(
    State(inside): State<Arc<Inside>>,
    Path((partition, name)): Path<(PartitionName, ServerName)>,
    Query(wish): Query<Wish>,
) -> Result<Response, Refusal> {
    let key = ServerKey { partition, name };
    inside.find(&key)?;
    let log = inside.host.paths.log(&names::id(&key));
    let first = log.clone();
    let read = tokio::task::spawn_blocking(move || logs::tail(&first, wish.tail)).await;
    let read = read.map_err(io::Error::other).and_then(|read| read);
    let (text, end) =
        read.map_err(|error| Refusal(ApiError::new(Code::Internal, format!("the log of server {key} cannot be read: {error}"))))?;
    let text = Bytes::from(text);
    let body = if wish.follow { follow(log, text, end) } else { Body::from(text) };
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response())
}

/// `text` first, then what comes after `end`, until the log is removed.
fn follow(log: PathBuf, text: Bytes, end: u64) -> Body {
    let first = (!text.is_empty()).then_some(text);
    Body::from_stream(stream::unfold((log, first, end), async |(log, first, mut end)| {
        if let Some(text) = first {
            return Some((Ok::<_, io::Error>(text), (log, None, end)));
        }
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let path = log.clone();
            let read = tokio::task::spawn_blocking(move || logs::since(&path, end, CHUNK_MAX)).await;
            let (text, now) = match read.ok()? {
                // Not made yet, or gone with its server: the latter is found out by the next look-up.
                Err(error) if error.kind() == io::ErrorKind::NotFound && end == 0 => continue,
                read => read.ok()?,
            };
            end = now;
            if !text.is_empty() {
                return Some((Ok(Bytes::from(text)), (log, None, end)));
            }
        }
    }))
}
