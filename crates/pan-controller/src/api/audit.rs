//! Routes of the audit log, and what a refusal is called there.

use super::answer;
use super::call::Call;
use super::event::{SINCE, Since};
use super::route::{Answering, Method, Param, Route, ready};
use crate::auth::Noun;
use crate::core::audit::Attempt;
use crate::handle::Principal;
use axum::response::Response;
use pan_api::ApiError;
use pan_api::audit::{PAGE_MAX, Page};
use pan_model::{Code, PartitionName};

const FROM: Param = Param { name: "from", kind: "integer", summary: "only lines from this number on" };
const LIMIT: Param = Param { name: "limit", kind: "integer", summary: "at most so many lines; 1000 if it is not given, and never more" };
const QUERY: &[Param] = &[FROM, LIMIT, SINCE];

pub const ROUTES: &[Route] = &[
    Route::get::<Page>("/v1/audit", "Who changed what in the PAN; for roles of a partition, in that.", Noun::Audit, own).with(QUERY),
    Route::get::<Page>("/v1/partitions/{partition}/audit", "Who changed what in a partition.", Noun::Audit, of).with(QUERY),
];

fn own(call: Call<Principal>) -> Answering {
    ready(page(&call, None))
}

fn of(call: Call<Principal>) -> Answering {
    ready(call.partition().and_then(|within| page(&call, Some(&within))))
}

fn page(call: &Call<Principal>, within: Option<&PartitionName>) -> Result<Response, ApiError> {
    let since = call.query::<Since>("since")?.map(|since| since.0);
    let (from, limit) = (call.query::<u64>("from")?.unwrap_or(0), call.query::<usize>("limit")?.unwrap_or(PAGE_MAX));
    Ok(answer::json(&call.scope().audit(within).page(from, since, limit)))
}

/// What somebody attempted by a route, as far as the path says: the rest may be what is refused.
pub fn attempt<'a>(route: &Route, noun: Noun, of: Option<&PartitionName>, path: impl Iterator<Item = (&'a str, &'a str)>) -> Attempt {
    let last = route.path.rsplit('/').next().unwrap_or_default();
    let verb = match (route.method, noun, last) {
        (Method::Delete, Noun::Token, _) => "revoke",
        (Method::Delete, Noun::Host, _) => "remove",
        (Method::Delete, _, _) => "delete",
        (_, _, "tokens") => "create",
        (_, _, "drains") => "drain",
        (_, _, "snapshots") => "snapshot",
        (_, _, verb) => verb,
    };
    // In one's own partition its name says nothing.
    let names: Vec<&str> =
        path.filter(|(what, name)| *what != "partition" || of.is_none_or(|own| own.as_str() != *name)).map(|(_, name)| name).collect();
    Attempt { verb: verb.to_owned(), kind: noun.as_str(), name: names.join("/") }
}

/// Whether a failure is the PAN's no to what was asked, and not its inability to answer.
pub const fn is_refusal(code: Code) -> bool {
    match code {
        Code::Invalid
        | Code::NotYet
        | Code::Dangling
        | Code::Duplicate
        | Code::Cycle
        | Code::Conflict
        | Code::Protection
        | Code::NoCapacity
        | Code::Quota
        | Code::NotFound
        | Code::Denied
        | Code::State
        | Code::InUse
        | Code::Leaving => true,
        Code::Unauthenticated
        | Code::TooMany
        | Code::Altered
        | Code::TimedOut
        | Code::Unreachable
        | Code::HostUnreachable
        | Code::NotLeading
        | Code::InDoubt
        | Code::Internal => false,
    }
}
