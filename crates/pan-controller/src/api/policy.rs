//! Routes of policies.

use super::answer;
use super::call::{Call, not_found};
use super::dispatch::wall;
use super::insight::ask;
use super::outlook::ROWS_MAX;
use super::route::{Answering, CASCADE, Method, Param, Route, ready};
use crate::auth::{Noun, Verb};
use crate::core::request::{Kind, Request};
use crate::handle::Principal;
use jiff::Timestamp;
use pan_api::ApiError;
use pan_api::policy::{Outlook, Policy};
use pan_model::{Code, Name, PartitionName};

const ONE: &str = "/v1/partitions/{partition}/policies/{policy}";
const OUTLOOK: &str = "/v1/partitions/{partition}/outlook";
/// Days that are looked ahead unless asked otherwise, and at most.
const DAYS: u32 = 7;
const DAYS_MAX: u32 = 366;

const AHEAD: Param = Param { name: "days", kind: "integer", summary: "how many days to look ahead; 7 when absent, at most 366" };
const AT: Param =
    Param { name: "at", kind: "string", summary: "one moment instead (RFC 3339), and whether it could be had as the PAN is now" };

pub const ROUTES: &[Route] = &[
    Route::watched::<Vec<Policy>, Policy>("/v1/policies", "The policies of all partitions.", Noun::Policy, all),
    Route::watched::<Vec<Policy>, Policy>("/v1/partitions/{partition}/policies", "The policies of a partition.", Noun::Policy, list),
    Route::watched::<Policy, Policy>(ONE, "A policy.", Noun::Policy, one),
    Route::act(Method::Delete, ONE, "Delete a policy.", (Verb::Change, Noun::Policy), delete).with(&[CASCADE]),
    Route::get::<Vec<Outlook>>(OUTLOOK, "What policies make of a partition's clusters in the days to come.", Noun::Policy, outlook)
        .with(&[AHEAD, AT]),
];

fn all(call: Call<Principal>) -> Answering {
    ready(call.list(|scope| scope.policies(None)))
}

fn list(call: Call<Principal>) -> Answering {
    ready(call.partition().and_then(|within| call.list(move |scope| scope.policies(Some(&within)))))
}

fn key(call: &Call<Principal>) -> Result<(PartitionName, Name), ApiError> {
    Ok((call.partition()?, call.name("policy")?))
}

fn show((partition, policy): &(PartitionName, Name)) -> String {
    format!("policy {:?} in partition {partition}", policy.as_str())
}

fn one(call: Call<Principal>) -> Answering {
    ready(key(&call).and_then(|key| call.one(show(&key), move |scope| scope.policy(&key))))
}

fn delete(call: Call<Principal>) -> Answering {
    Box::pin(async move {
        let key = key(&call)?;
        call.scope().policy(&key).ok_or_else(|| not_found(show(&key)))?;
        let (partition, policy) = key;
        let name = policy.to_string();
        call.request(Request::Delete { kind: Kind::Policy, partition: Some(partition), name, cascade: call.flag("cascade")? }).await
    })
}

fn outlook(call: Call<Principal>) -> Answering {
    Box::pin(async move {
        let partition = call.partition()?;
        let (days, at) = (call.query::<u32>("days")?, call.query::<Timestamp>("at")?);
        let invalid = |text: String| ApiError::new(Code::Invalid, text);
        if days.is_some() && at.is_some() {
            return Err(invalid("either days ahead or one moment: give one of `days` and `at`".into()));
        }
        let days = days.unwrap_or(DAYS);
        if !(1..=DAYS_MAX).contains(&days) {
            return Err(invalid(format!("{days} days: expected 1 to {DAYS_MAX}")));
        }
        let (scope, now) = (call.scope(), Timestamp::from_microsecond(wall()).unwrap_or(Timestamp::UNIX_EPOCH));
        let rows = ask(&call, move || match at {
            Some(at) => Some(scope.outlook().simulate(&partition, at)),
            None => scope.outlook().forecast(&partition, now, days),
        });
        let rows = rows.await?.ok_or_else(|| invalid(format!("more than {ROWS_MAX} changes: ask for fewer days")))?;
        Ok(answer::json(&rows))
    })
}
