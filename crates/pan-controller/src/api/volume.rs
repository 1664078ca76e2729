//! Routes of volumes.

use super::call::{Call, not_found};
use super::route::{Answering, CASCADE, Method, Route, ready};
use crate::auth::{Noun, Verb};
use crate::core::request::{Kind, Request};
use crate::handle::Principal;
use pan_api::ApiError;
use pan_api::volume::{RecoverVolume, ResizeVolume, Volume};
use pan_model::{Code, VolumeKey, VolumeName};

const ONE: &str = "/v1/partitions/{partition}/volumes/{volume}";

pub const ROUTES: &[Route] = &[
    Route::watched::<Vec<Volume>, Volume>("/v1/volumes", "The volumes of all partitions.", Noun::Volume, all),
    Route::watched::<Vec<Volume>, Volume>("/v1/partitions/{partition}/volumes", "The volumes of a partition.", Noun::Volume, list),
    Route::watched::<Volume, Volume>(ONE, "A volume.", Noun::Volume, one),
    Route::act(Method::Delete, ONE, "Delete a volume that no server has.", (Verb::Change, Noun::Volume), delete).with(&[CASCADE]),
    Route::act(
        Method::Post,
        "/v1/partitions/{partition}/volumes/{volume}/resize",
        "Let a volume grow.",
        (Verb::Change, Noun::Volume),
        resize,
    )
    .taking::<ResizeVolume>(),
    Route::act(
        Method::Post,
        "/v1/partitions/{partition}/volumes/{volume}/recover",
        "Go on with what is left of a volume, all copies of which that had everything are lost.",
        (Verb::Change, Noun::Volume),
        recover,
    )
    .taking::<RecoverVolume>(),
];

fn all(call: Call<Principal>) -> Answering {
    ready(call.list(|scope| scope.volumes(None)))
}

fn list(call: Call<Principal>) -> Answering {
    ready(call.partition().and_then(|within| call.list(move |scope| scope.volumes(Some(&within)))))
}

fn key(call: &Call<Principal>) -> Result<VolumeKey, ApiError> {
    Ok(VolumeKey { partition: call.partition()?, name: call.name::<VolumeName>("volume")? })
}

fn show(key: &VolumeKey) -> String {
    format!("volume {:?} in partition {}", key.name.as_str(), key.partition)
}

fn one(call: Call<Principal>) -> Answering {
    ready(key(&call).and_then(|key| call.one(show(&key), move |scope| scope.volume(&key))))
}

fn delete(call: Call<Principal>) -> Answering {
    Box::pin(async move {
        let key = seen(&call)?;
        let VolumeKey { partition, name } = key;
        let cascade = call.flag("cascade")?;
        call.request(Request::Delete { kind: Kind::Volume, partition: Some(partition), name: name.to_string(), cascade }).await
    })
}

/// The volume, if the caller may see it.
pub fn seen(call: &Call<Principal>) -> Result<VolumeKey, ApiError> {
    let key = key(call)?;
    call.scope().volume(&key).ok_or_else(|| not_found(show(&key)))?;
    Ok(key)
}

fn resize(call: Call<Principal>) -> Answering {
    Box::pin(async move {
        let (volume, ResizeVolume { size }) = (seen(&call)?, call.body()?);
        call.request(Request::ResizeVolume { volume, size }).await
    })
}

fn recover(call: Call<Principal>) -> Answering {
    Box::pin(async move {
        let (volume, RecoverVolume { accept_data_loss }) = (seen(&call)?, call.body()?);
        if accept_data_loss != volume.name {
            let text = format!("acceptDataLoss names {accept_data_loss}, and this is {}: expected the same name twice", volume.name);
            return Err(ApiError::new(Code::Invalid, text));
        }
        call.request(Request::RecoverVolume(volume)).await
    })
}
