//! Routes of services.

use super::call::{Call, not_found};
use super::route::{Answering, CASCADE, Method, Route, ready};
use crate::auth::{Noun, Verb};
use crate::core::request::{Kind, Request};
use crate::handle::Principal;
use pan_api::ApiError;
use pan_api::service::Service;
use pan_model::{PartitionName, ServiceName};

const ONE: &str = "/v1/partitions/{partition}/services/{service}";

pub const ROUTES: &[Route] = &[
    Route::watched::<Vec<Service>, Service>("/v1/services", "The services of all partitions.", Noun::Service, all),
    Route::watched::<Vec<Service>, Service>("/v1/partitions/{partition}/services", "The services of a partition.", Noun::Service, list),
    Route::watched::<Service, Service>(ONE, "A service.", Noun::Service, one),
    Route::act(Method::Delete, ONE, "Delete a service.", (Verb::Change, Noun::Service), delete).with(&[CASCADE]),
];

fn all(call: Call<Principal>) -> Answering {
    ready(call.list(|scope| scope.services(None)))
}

fn list(call: Call<Principal>) -> Answering {
    ready(call.partition().and_then(|within| call.list(move |scope| scope.services(Some(&within)))))
}

fn key(call: &Call<Principal>) -> Result<(PartitionName, ServiceName), ApiError> {
    Ok((call.partition()?, call.name("service")?))
}

fn show((partition, service): &(PartitionName, ServiceName)) -> String {
    format!("service {:?} in partition {partition}", service.as_str())
}

fn one(call: Call<Principal>) -> Answering {
    ready(key(&call).and_then(|key| call.one(show(&key), move |scope| scope.service(&key))))
}

fn delete(call: Call<Principal>) -> Answering {
    Box::pin(async move {
        let key = key(&call)?;
        call.scope().service(&key).ok_or_else(|| not_found(show(&key)))?;
        let (partition, service) = key;
        let name = service.to_string();
        call.request(Request::Delete { kind: Kind::Service, partition: Some(partition), name, cascade: call.flag("cascade")? }).await
    })
}
