//! Routes of snapshots: taken, removed, and read from whichever storage host has them.

use super::answer;
use super::call::{Call, not_found};
use super::inside;
use super::route::{Access, Answering, Gives, Method, Param, Route, schema};
use super::volume::seen;
use crate::auth::{Noun, Verb};
use crate::core::request::Request;
use crate::handle::Principal;
use pan_api::ApiError;
use pan_api::hostclient::{HostClient, HostOptions};
use pan_api::volume::{MAP_MAX, READ_MAX, SnapshotMap, TakeSnapshot};
use pan_model::host_config::STORAGE_METRICS_PORT;
use pan_model::{Code, Name};
use std::net::SocketAddr;

const AT: Param = Param { name: "at", kind: "integer", summary: "the first byte, at the beginning of a block of 4096" };
const LENGTH: Param = Param { name: "length", kind: "integer", summary: "so many bytes, whole blocks" };
const COPY: Param = Param { name: "copy", kind: "integer", summary: "from that one of its copies, counted from 0, and no other" };

pub const ROUTES: &[Route] = &[
    Route::act(
        Method::Post,
        "/v1/partitions/{partition}/volumes/{volume}/snapshots",
        "Keep a volume as it is.",
        (Verb::Change, Noun::Volume),
        take,
    )
    .taking::<TakeSnapshot>(),
    Route::act(
        Method::Delete,
        "/v1/partitions/{partition}/volumes/{volume}/snapshots/{snapshot}",
        "Remove a snapshot.",
        (Verb::Change, Noun::Volume),
        remove,
    ),
    Route {
        method: Method::Get,
        path: "/v1/partitions/{partition}/volumes/{volume}/snapshots/{snapshot}/data",
        summary: "Read a part of a snapshot.",
        access: Access::Role(Verb::Enter, Noun::Volume, data),
        query: &[AT, LENGTH, COPY],
        takes: None,
        gives: Gives::Bytes,
    },
    Route {
        method: Method::Get,
        path: "/v1/partitions/{partition}/volumes/{volume}/snapshots/{snapshot}/map",
        summary: "Which parts of a snapshot have data.",
        access: Access::Role(Verb::Enter, Noun::Volume, map),
        query: &[AT, LENGTH, COPY],
        takes: None,
        gives: Gives::Json(schema::<SnapshotMap>),
    },
];

fn take(call: Call<Principal>) -> Answering {
    Box::pin(async move {
        let (volume, TakeSnapshot { name }) = (seen(&call)?, call.body()?);
        call.request(Request::TakeSnapshot { volume, name }).await
    })
}

fn remove(call: Call<Principal>) -> Answering {
    Box::pin(async move {
        let (volume, name) = (seen(&call)?, call.name::<Name>("snapshot")?);
        call.request(Request::RemoveSnapshot { volume, name }).await
    })
}

/// Reads from the first storage host that has it and can.
async fn read(call: &Call<Principal>, (page, most): (&str, u64)) -> Result<bytes::Bytes, ApiError> {
    let (volume, name) = (seen(call)?, call.name::<Name>("snapshot")?);
    let place = call.scope().snapshot_place(&volume, &name);
    let place = place.ok_or_else(|| not_found(format_args!("snapshot {}@{name} that could be read", volume.name)))?;
    let needed = |name: &str| call.query::<u64>(name)?.ok_or_else(|| ApiError::new(Code::Invalid, format!("the query lacks {name}")));
    let (at, length) = (needed("at")?, needed("length")?);
    if length > most {
        return Err(ApiError::new(Code::Invalid, format!("{length} bytes at once: expected at most {most}")));
    }
    if at.checked_add(length).is_none_or(|end| end > place.size.0) {
        return Err(ApiError::new(Code::Invalid, format!("{length} bytes at {at} are not within {} bytes", place.size.0)));
    }
    let wanted = call.query::<usize>("copy")?;
    let hosts = place.hosts.into_iter().enumerate().filter(|(copy, _)| wanted.is_none_or(|wanted| wanted == *copy));
    let path = format!("/internal/v1/snapshots/{}/{page}?at={at}&length={length}", place.id);
    inside::reads(call, &volume, &name).await?;
    // It is never closed.
    let _turn = call.read_turn().await;
    let mut last = ApiError::new(Code::NotFound, "it has fewer copies");
    for (_, (host, address)) in hosts {
        let address = SocketAddr::new(address, STORAGE_METRICS_PORT);
        match HostClient::new(call.agent_tls(), address, Some(&host), HostOptions::default()).whole(&path).await {
            Ok(bytes) => return Ok(bytes),
            Err(error) => {
                tracing::debug!(%host, %error, "a snapshot cannot be read there");
                // Which host it is concerns the PAN's operators alone.
                last = ApiError::new(error.code, "none of its storage hosts could read that part of it");
            }
        }
    }
    Err(last)
}

fn data(call: Call<Principal>) -> Answering {
    Box::pin(async move { Ok(answer::bytes(read(&call, ("data", READ_MAX)).await?)) })
}

fn map(call: Call<Principal>) -> Answering {
    Box::pin(async move { Ok(answer::raw(read(&call, ("map", MAP_MAX)).await?)) })
}
