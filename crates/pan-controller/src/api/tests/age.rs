//! Reads of a controller that has lost sight of what is committed.

use super::harness::{Front, TOKEN, request, soon, world};
use crate::core::age::Limit;
use crate::sure::boot_clock;
use pan_api::event::Change;
use pan_api::server::Server;
use pan_member::{Profile, Tick};
use pan_model::Code;
use pan_store::{Listing, Revision};
use std::time::Duration;

const SERVERS: &str = "/v1/partitions/acme/servers";

/// One of three controllers, which was last sure to know the newest so long ago.
fn front(ago: Duration) -> Front {
    let timing = Profile::Shared.timing(7);
    let front = Front::start_sure(Limit::of(&timing, 3), world());
    let at = u64::try_from(ago.as_nanos()).unwrap();
    front.sure.read(Tick(boot_clock().0 - at), &Listing { revision: Revision::ZERO, entries: Vec::new() });
    front
}

fn limit() -> Duration {
    Profile::Shared.timing(7).store_silence
}

async fn get(front: &Front, path: &str, headers: &[(&str, &str)]) -> super::harness::Answer {
    front.send("GET", path, headers, b"").await
}

#[tokio::test]
async fn every_read_says_how_old_it_can_be() {
    let front = front(Duration::from_millis(7));
    for (path, status) in [(SERVERS, 200), ("/v1/partitions/none/servers", 404), ("/v1/nodes/n9", 404), ("/v1/events", 200)] {
        let answer = get(&front, path, &[]).await;
        assert_eq!(answer.status, status, "{answer:?}");
        let age: u64 = answer.headers["pan-age-ms"].parse().unwrap();
        assert!((7..=4500).contains(&age), "{answer:?}");
    }
    assert!(!get(&front, "/v1/version", &[]).await.headers.contains_key("pan-age-ms"));
}

#[tokio::test]
async fn what_is_too_old_is_refused_unless_it_is_asked_for() {
    let front = front(limit() + Duration::from_secs(60));
    let answer = get(&front, SERVERS, &[]).await;
    answer.refuses(503, "PAN-603", "`pan --stale`");
    let told = get(&front, SERVERS, &[("Cache-Control", "max-stale")]).await;
    assert_eq!(told.status, 200, "{told:?}");
    assert!(told.headers["pan-age-ms"].parse::<u64>().unwrap() >= 64_500, "{told:?}");
    assert_eq!(get(&front, SERVERS, &[("Cache-Control", "max-stale=3600")]).await.status, 200);
    get(&front, SERVERS, &[("Cache-Control", "max-stale=2")]).await.refuses(503, "PAN-603", "newest");
    // Who may not look is told that, and nothing of the controller.
    let stranger = front.raw(&request("GET", SERVERS, &[("Authorization", format!("Bearer {TOKEN}x"))], b"")).await;
    assert_eq!(stranger.status, 401, "{stranger:?}");
}

#[tokio::test]
async fn one_that_shows_less_than_was_committed_is_as_old_as_its_last_proof() {
    let front = front(limit() + Duration::from_secs(60));
    let record = pan_store::Entry { key: crate::core::persist::TERM_KEY.to_owned(), value: Vec::new(), revision: Revision::new(9) };
    // Its watch hangs: the store answers, and has more than what is shown.
    front.sure.read(boot_clock(), &Listing { revision: Revision::new(9), entries: vec![record] });
    get(&front, SERVERS, &[]).await.refuses(503, "PAN-603", "newest");
    front.sure.shows(Some(Revision::new(9)));
    assert_eq!(get(&front, SERVERS, &[]).await.status, 200);
}

#[tokio::test]
async fn a_watch_ends_when_it_gets_too_old_and_says_so() {
    let front = front(Duration::from_millis(1500));
    let mut lines = front.client().stream::<Change<Server>>(&format!("{SERVERS}?watch=true")).await.unwrap();
    soon(lines.next()).await.unwrap().unwrap();
    let error = soon(lines.next()).await.unwrap().unwrap_err();
    assert_eq!(error.code, Code::NotLeading, "{error}");
    assert!(soon(lines.next()).await.is_none());
}

#[tokio::test]
async fn one_that_was_never_sure_says_nothing() {
    let front = Front::start_sure(Limit::of(&Profile::Shared.timing(7), 3), world());
    get(&front, SERVERS, &[]).await.refuses(503, "PAN-603", "never");
    let told = get(&front, SERVERS, &[("Cache-Control", "max-stale")]).await;
    assert_eq!((told.status, told.headers.get("pan-age-ms")), (200, None));
}
