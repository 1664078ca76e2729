//! Routes of imports.

use super::call::{Call, not_found};
use super::route::{Answering, CASCADE, Method, Route, ready};
use crate::auth::{Noun, Verb};
use crate::core::request::{Kind, Request};
use crate::handle::Principal;
use pan_api::ApiError;
use pan_api::import::Import;
use pan_model::{Name, PartitionName};

const ONE: &str = "/v1/partitions/{partition}/imports/{import}";

pub const ROUTES: &[Route] = &[
    Route::watched::<Vec<Import>, Import>("/v1/imports", "The imports of all partitions.", Noun::Import, all),
    Route::watched::<Vec<Import>, Import>("/v1/partitions/{partition}/imports", "The imports of a partition.", Noun::Import, list),
    Route::watched::<Import, Import>(ONE, "An import.", Noun::Import, one),
    Route::act(Method::Delete, ONE, "Delete an import.", (Verb::Change, Noun::Import), delete).with(&[CASCADE]),
];

fn all(call: Call<Principal>) -> Answering {
    ready(call.list(|scope| scope.imports(None)))
}

fn list(call: Call<Principal>) -> Answering {
    ready(call.partition().and_then(|within| call.list(move |scope| scope.imports(Some(&within)))))
}

fn key(call: &Call<Principal>) -> Result<(PartitionName, Name), ApiError> {
    Ok((call.partition()?, call.name("import")?))
}

fn show((partition, import): &(PartitionName, Name)) -> String {
    format!("import {:?} in partition {partition}", import.as_str())
}

fn one(call: Call<Principal>) -> Answering {
    ready(key(&call).and_then(|key| call.one(show(&key), move |scope| scope.import(&key))))
}

fn delete(call: Call<Principal>) -> Answering {
    Box::pin(async move {
        let key = key(&call)?;
        call.scope().import(&key).ok_or_else(|| not_found(show(&key)))?;
        let (partition, import) = key;
        let name = import.to_string();
        call.request(Request::Delete { kind: Kind::Import, partition: Some(partition), name, cascade: call.flag("cascade")? }).await
    })
}
