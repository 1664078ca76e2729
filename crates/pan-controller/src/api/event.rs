//! Routes of events. Their numbers only grow within a place (a partition, or the PAN itself), so a watcher is told
//! each once, and that old ones are forgotten is no news.

use super::answer;
use super::call::Call;
use super::route::{Answering, Param, Route, WATCH, ready};
use super::scope::Scope;
use super::watch::{change_line, views};
use crate::auth::Noun;
use crate::handle::Principal;
use axum::response::Response;
use jiff::Timestamp;
use pan_api::ApiError;
use pan_api::event::{ChangeKind, Event};
use pan_model::{PartitionName, Span};
use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

pub(super) const SINCE: Param =
    Param { name: "since", kind: "string", summary: "only what is from then on: RFC 3339, or a duration ago like 5m" };
const QUERY: &[Param] = &[WATCH, SINCE];

pub const ROUTES: &[Route] = &[
    Route::watched::<Vec<Event>, Event>("/v1/events", "The events of the PAN and of all partitions.", Noun::Event, all).with(QUERY),
    Route::watched::<Vec<Event>, Event>("/v1/partitions/{partition}/events", "The events of a partition.", Noun::Event, list).with(QUERY),
];

fn all(call: Call<Principal>) -> Answering {
    ready(events(call, None))
}

fn list(call: Call<Principal>) -> Answering {
    ready(call.partition().and_then(|within| events(call, Some(within))))
}

/// The moment from which on events are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Since(pub(super) Timestamp);

impl FromStr for Since {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(ago) = text.parse::<Span>() {
            let then = Timestamp::now().checked_sub(ago.0);
            return Ok(Self(then.unwrap_or(Timestamp::MIN)));
        }
        let bad = |_| "expected a time like 2026-01-31T08:00:00Z or a duration like 5m".to_owned();
        text.parse().map(Self).map_err(bad)
    }
}

impl Since {
    /// Whether an event is recent enough. One whose time cannot be read is shown rather than hidden.
    fn covers(self, event: &Event) -> bool {
        event.time.parse::<Timestamp>().map_or(true, |time| time >= self.0)
    }
}

fn events(call: Call<Principal>, within: Option<PartitionName>) -> Result<Response, ApiError> {
    let since: Option<Since> = call.query("since")?;
    let mut unseen = Unseen { within, since, next: BTreeMap::new() };
    if !call.flag("watch")? {
        return Ok(answer::json(&unseen.take(&call.scope()).iter().map(AsRef::as_ref).collect::<Vec<&Event>>()));
    }
    Ok(views(call, move |scope| {
        let mut out = Vec::new();
        for event in unseen.take(scope) {
            change_line(&mut out, ChangeKind::Added, event.as_ref());
        }
        out
    }))
}

/// Events that were not told yet.
struct Unseen {
    within: Option<PartitionName>,
    since: Option<Since>,
    /// The lowest number not told yet, by place.
    next: BTreeMap<Option<PartitionName>, u64>,
}

impl Unseen {
    /// Those of a newer state, in the order of their times.
    fn take(&mut self, scope: &Scope) -> Vec<Arc<Event>> {
        let mut found: Vec<Arc<Event>> = Vec::new();
        for (place, events) in scope.events(self.within.as_ref()) {
            let Some(last) = events.last() else { continue };
            // Numbers that went back belong to a new partition of an old one's name.
            let next = self.next.get(place).copied().filter(|next| *next <= last.number + 1).unwrap_or(0);
            let from = events.partition_point(|event| event.number < next);
            if from < events.len() {
                self.next.insert(place.clone(), last.number + 1);
            }
            found.extend(events[from..].iter().filter(|event| self.since.is_none_or(|since| since.covers(event))).cloned());
        }
        found.sort_by(|a, b| a.time.cmp(&b.time));
        found
    }
}
