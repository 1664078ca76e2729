//! The route of timelines: what happened to a server or a host, step by step.

use super::answer;
use super::call::{Call, not_found};
use super::route::{Answering, PARTITION, Route, ready};
use crate::auth::Noun;
use crate::handle::Principal;
use pan_api::ApiError;
use pan_api::insight::Timeline;
use pan_model::{HostName, PartitionName, ServerKey};
use std::sync::Arc;

const SUMMARY: &str = "What happened to a server (PARTITION/SERVER, or SERVER with ?partition=) or a host, newest first.";

pub const ROUTES: &[Route] = &[Route::get::<Vec<Timeline>>("/v1/timelines/{object}", SUMMARY, Noun::Event, one).with(&[PARTITION])];

fn one(call: Call<Principal>) -> Answering {
    ready(find(&call).map(|timelines| answer::json(timelines.as_ref())))
}

fn find(call: &Call<Principal>) -> Result<Arc<Vec<Timeline>>, ApiError> {
    let object: String = call.name("object")?;
    let scope = call.scope();
    let partition = call.query::<PartitionName>("partition")?.map(|name| name.to_string());
    let server = match (&partition, object.split_once('/')) {
        (Some(partition), None) => Some((partition.as_str(), object.as_str())),
        (None, Some(both)) => Some(both),
        (None, None) => None,
        (Some(_), Some(_)) => return Err(not_found(format_args!("server {object:?}"))),
    };
    let Some((partition, name)) = server else {
        let host = HostName::new(object.as_str()).ok();
        return host.and_then(|host| scope.host_timelines(&host)).ok_or_else(|| not_found(format_args!("host {object:?}")));
    };
    let key = partition.parse().ok().zip(name.parse().ok()).map(|(partition, name)| ServerKey { partition, name });
    key.and_then(|key| scope.server_timelines(&key)).ok_or_else(|| not_found(format_args!("server {partition}/{name}")))
}
