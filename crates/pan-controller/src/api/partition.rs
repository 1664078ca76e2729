//! Routes of partitions.

use super::call::Call;
use super::route::{Answering, CASCADE, Method, Route, ready};
use crate::auth::{Noun, Verb};
use crate::core::request::{Kind, Request};
use crate::handle::Principal;
use pan_api::partition::Partition;
use pan_model::PartitionName;

pub const ROUTES: &[Route] = &[
    Route::watched::<Vec<Partition>, Partition>("/v1/partitions", "All partitions.", Noun::Partition, list),
    Route::watched::<Partition, Partition>("/v1/partitions/{partition}", "A partition.", Noun::Partition, one),
    Route::act(Method::Delete, "/v1/partitions/{partition}", "Delete a partition.", (Verb::Change, Noun::Partition), delete)
        .with(&[CASCADE]),
];

fn list(call: Call<Principal>) -> Answering {
    ready(call.list(|scope| scope.partitions()))
}

fn one(call: Call<Principal>) -> Answering {
    ready(call.name::<PartitionName>("partition").and_then(|name| {
        let what = format!("partition {:?}", name.as_str());
        call.one(what, move |scope| scope.partition(&name))
    }))
}

fn delete(call: Call<Principal>) -> Answering {
    Box::pin(async move {
        let name = call.partition()?.to_string();
        let cascade = call.flag("cascade")?;
        call.request(Request::Delete { kind: Kind::Partition, partition: None, name, cascade }).await
    })
}
