//! Streams of changes.

use super::harness::{DEADLINE, Front, event, grant, server, soon, world};
use pan_api::client::Lines;
use pan_api::event::{Change, ChangeKind, Event};
use pan_api::server::Server;
use pan_api::token::{AccessRole, AccessToken};
use pan_model::server::ServerState;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

async fn next<T: serde::de::DeserializeOwned>(lines: &mut Lines<Change<T>>) -> (ChangeKind, T) {
    let change = soon(lines.next()).await.unwrap().unwrap();
    (change.kind, change.object)
}

#[tokio::test]
async fn a_watch_begins_with_what_is_there_and_goes_on_with_changes() {
    let front = Front::start(world());
    let mut lines = front.client().stream::<Change<Server>>("/v1/partitions/acme/servers?watch=true").await.unwrap();
    let (kind, first) = next(&mut lines).await;
    assert_eq!((kind, first.state), (ChangeKind::Added, ServerState::Running));
    // A change elsewhere is no change here.
    let (own, mut view) = (first.clone(), world());
    view.servers.retain(|key, _| key.partition == own.partition);
    front.show(view.clone());
    let moved: Server = serde_json::from_value(server("acme", "n2", "starting")).unwrap();
    *view.servers.values_mut().next().unwrap() = moved.clone();
    front.show(view.clone());
    assert_eq!(next(&mut lines).await, (ChangeKind::Modified, moved.clone()));
    view.servers.clear();
    front.show(view);
    assert_eq!(next(&mut lines).await, (ChangeKind::Deleted, moved));
    front.show(world());
    assert_eq!(next(&mut lines).await, (ChangeKind::Added, first));
}

#[tokio::test]
async fn one_object_can_be_watched() {
    let front = Front::start(world());
    let path = "/v1/partitions/acme/servers/web-1?watch=true";
    let mut lines = front.client().stream::<Change<Server>>(path).await.unwrap();
    assert_eq!(next(&mut lines).await.0, ChangeKind::Added);
    let mut view = world();
    view.servers.clear();
    front.show(view);
    assert_eq!(next(&mut lines).await.0, ChangeKind::Deleted);
    let gone = front.client().stream::<Change<Server>>(path).await.err().unwrap();
    assert_eq!(gone.code, pan_model::Code::NotFound);
}

#[tokio::test]
async fn events_are_told_once() {
    let front = Front::start(world());
    let mut lines = front.client().stream::<Change<Event>>("/v1/partitions/acme/events?watch=true").await.unwrap();
    assert_eq!(next(&mut lines).await.1.number, 1);
    let mut view = world();
    // The oldest is forgotten, which is no news.
    let kept = [2, 3].map(|number| Arc::new(event(number, Some("acme"), "server", "web-1", "Later"))).to_vec();
    view.events.insert(Some("acme".parse().unwrap()), kept);
    front.show(view);
    assert_eq!((next(&mut lines).await.1.number, next(&mut lines).await.1.number), (2, 3));
    // A partition of the same name begins anew.
    front.show(world());
    assert_eq!(next(&mut lines).await, (ChangeKind::Added, event(1, Some("acme"), "server", "web-1", "ServerRunning")));
}

#[tokio::test]
async fn a_quiet_watch_shows_that_it_lives() {
    let front = Front::start(world());
    let mut chunks = front.client().bytes("/v1/nodes/n1?watch=true").await.unwrap();
    assert!(soon(chunks.next()).await.unwrap().unwrap().starts_with(b"{\"type\":\"added\""));
    assert_eq!(soon(chunks.next()).await.unwrap().unwrap().as_ref(), b"\n");
}

#[tokio::test]
async fn a_watch_of_nothing_begins_at_once() {
    let front = Front::start(crate::handle::View::default());
    let mut chunks = front.client().bytes("/v1/servers?watch=true").await.unwrap();
    assert_eq!(soon(chunks.next()).await.unwrap().unwrap().as_ref(), b"\n");
}

#[tokio::test]
async fn a_watch_ends_with_its_client() {
    let front = Front::start(world());
    let idle = front.changes.receiver_count();
    let mut lines = front.client().stream::<Value>("/v1/servers?watch=true").await.unwrap();
    soon(lines.next()).await.unwrap().unwrap();
    assert_eq!(front.changes.receiver_count(), idle + 1);
    drop(lines);
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while front.changes.receiver_count() > idle {
        assert!(tokio::time::Instant::now() < deadline, "the watch goes on without anybody");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_watch_ends_when_its_token_does() {
    let mut view = world();
    let token = AccessToken { id: 7, secret: [7; 32] };
    grant(&mut view, &token, AccessRole::Monitor, Some("acme"));
    let front = Front::start(view.clone());
    let client = front.client_with(&token.text());
    let mut lines = client.stream::<Change<Server>>("/v1/servers?watch=true").await.unwrap();
    assert_eq!(next(&mut lines).await.0, ChangeKind::Added);
    // Revoked: nothing more is told, not even what changed with it.
    view.grants.clear();
    view.servers.clear();
    front.show(view);
    assert!(soon(lines.next()).await.is_none_or(|line| line.is_err()));
    let again = client.stream::<Change<Server>>("/v1/servers?watch=true").await.err().unwrap();
    assert_eq!(again.code, pan_model::Code::Unauthenticated);
}
