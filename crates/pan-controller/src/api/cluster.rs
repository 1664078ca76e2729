//! Routes of clusters.

use super::call::{Call, not_found};
use super::route::{Answering, CASCADE, Method, Route, ready};
use crate::auth::{Noun, Verb};
use crate::core::request::{Kind, Request};
use crate::handle::Principal;
use pan_api::ApiError;
use pan_api::cluster::Cluster;
use pan_api::requests::Scale;
use pan_model::{ClusterName, PartitionName};

const ONE: &str = "/v1/partitions/{partition}/clusters/{cluster}";
const SCALE: &str = "/v1/partitions/{partition}/clusters/{cluster}/scale";

pub const ROUTES: &[Route] = &[
    Route::watched::<Vec<Cluster>, Cluster>("/v1/clusters", "The clusters of all partitions.", Noun::Cluster, all),
    Route::watched::<Vec<Cluster>, Cluster>("/v1/partitions/{partition}/clusters", "The clusters of a partition.", Noun::Cluster, list),
    Route::watched::<Cluster, Cluster>(ONE, "A cluster.", Noun::Cluster, one),
    Route::act(Method::Delete, ONE, "Delete a cluster and its servers.", (Verb::Change, Noun::Cluster), delete).with(&[CASCADE]),
    Route::act(Method::Post, SCALE, "Change the number of servers.", (Verb::Operate, Noun::Cluster), scale).taking::<Scale>(),
];

fn all(call: Call<Principal>) -> Answering {
    ready(call.list(|scope| scope.clusters(None)))
}

fn list(call: Call<Principal>) -> Answering {
    ready(call.partition().and_then(|within| call.list(move |scope| scope.clusters(Some(&within)))))
}

fn key(call: &Call<Principal>) -> Result<(PartitionName, ClusterName), ApiError> {
    Ok((call.partition()?, call.name("cluster")?))
}

fn show((partition, cluster): &(PartitionName, ClusterName)) -> String {
    format!("cluster {:?} in partition {partition}", cluster.as_str())
}

fn one(call: Call<Principal>) -> Answering {
    ready(key(&call).and_then(|key| call.one(show(&key), move |scope| scope.cluster(&key))))
}

/// The cluster in the path, which the caller sees.
fn seen(call: &Call<Principal>) -> Result<(PartitionName, ClusterName), ApiError> {
    let key = key(call)?;
    call.scope().cluster(&key).map(|_| key.clone()).ok_or_else(|| not_found(show(&key)))
}

fn delete(call: Call<Principal>) -> Answering {
    Box::pin(async move {
        let (partition, cluster) = seen(&call)?;
        let name = cluster.to_string();
        call.request(Request::Delete { kind: Kind::Cluster, partition: Some(partition), name, cascade: call.flag("cascade")? }).await
    })
}

fn scale(call: Call<Principal>) -> Answering {
    Box::pin(async move {
        let (partition, cluster) = seen(&call)?;
        let Scale { servers } = call.body()?;
        call.request(Request::Scale { partition, cluster, servers }).await
    })
}
