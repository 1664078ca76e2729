//! Routes of what partitions used.

use super::answer;
use super::call::Call;
use super::event::Since;
use super::insight::ask;
use super::route::{Answering, Param, Route};
use crate::auth::Noun;
use crate::core::usage::hour_of;
use crate::handle::Principal;
use axum::response::Response;
use pan_api::ApiError;
use pan_api::usage::{ROWS_MAX, Usage};
use pan_model::{Code, PartitionName};

const FROM: Param =
    Param { name: "from", kind: "string", summary: "from this hour on: RFC 3339, or a duration ago like 5h; a day ago if it is not given" };
const TO: Param = Param { name: "to", kind: "string", summary: "only hours that began before then; all if it is not given" };
const QUERY: &[Param] = &[FROM, TO];
/// What is told when nobody says from when on, microseconds.
const DAY: i64 = 24 * 3_600_000_000;

pub const ROUTES: &[Route] = &[
    Route::get::<Vec<Usage>>("/v1/usage", "What partitions used, hour by hour; those that are no more included.", Noun::Usage, all)
        .with(QUERY),
    Route::get::<Vec<Usage>>("/v1/partitions/{partition}/usage", "What a partition used, hour by hour.", Noun::Usage, of).with(QUERY),
];

fn all(call: Call<Principal>) -> Answering {
    Box::pin(rows(call, None))
}

fn of(call: Call<Principal>) -> Answering {
    Box::pin(async move {
        let within = call.partition()?;
        rows(call, Some(within)).await
    })
}

async fn rows(call: Call<Principal>, within: Option<PartitionName>) -> Result<Response, ApiError> {
    let micros = |name| Ok::<_, ApiError>(call.query::<Since>(name)?.map(|since| since.0.as_microsecond()));
    let from = micros("from")?.unwrap_or_else(|| jiff::Timestamp::now().as_microsecond() - DAY);
    let to = micros("to")?.unwrap_or(i64::MAX);
    let scope = call.scope();
    // Ten megabytes are not written while others wait.
    let told = ask(&call, move || scope.usage(within.as_ref(), hour_of(from), to, ROWS_MAX).map(|rows| answer::json(&rows))).await?;
    told.ok_or_else(|| {
        let text = format!("that are more than {ROWS_MAX} hours of clusters: ask for a shorter time (from, to), or for one partition");
        ApiError::new(Code::Invalid, text)
    })
}
