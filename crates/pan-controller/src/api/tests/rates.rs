//! Who asks too often, and who may ask as often as it likes.

use super::harness::{Answer, Front, grant, request, world};
use crate::handle::View;
use pan_api::token::{AccessRole, AccessToken};
use pan_model::host::Role;
use std::num::NonZeroU32;

const fn bearer(id: u64) -> AccessToken {
    AccessToken { id, secret: [1; 32] }
}

/// Two tokens of partition acme, whose quota is one request a second, and one of each other place.
fn limited() -> View {
    let mut view = world();
    for (id, role, partition) in [
        (1, AccessRole::Administrator, Some("acme")),
        (2, AccessRole::Monitor, Some("acme")),
        (3, AccessRole::Monitor, Some("rival")),
        (4, AccessRole::PanMonitor, None),
    ] {
        grant(&mut view, &bearer(id), role, partition);
    }
    let acme = view.partitions.get_mut(&"acme".parse().unwrap()).unwrap();
    acme.spec.quota.get_or_insert_default().requests = NonZeroU32::new(1);
    view
}

async fn ask(front: &Front, id: u64, path: &str) -> Answer {
    front.raw(&request("GET", path, &[("Authorization", format!("Bearer {}", bearer(id).text()))], b"")).await
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_ask_again_and_of_nothing_but_itself() {
    let front = Front::start(limited());
    let mut refused = Vec::new();
    // However slow this machine is, so many requests are more than may be made.
    for _ in 0..400 {
        let answer = ask(&front, 1, "/v1/partitions/acme/servers").await;
        if answer.status == 429 {
            refused.push(answer);
            break;
        }
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let refused = refused.pop().expect("the quota holds");
    refused.refuses(429, "PAN-402", "this token makes more requests than the 1 a second");
    assert_eq!(refused.headers["retry-after"], "1");
    // What another token of the partition may make is used up with it; whoever is elsewhere may ask.
    let mut words = String::new();
    for _ in 0..400 {
        let answer = ask(&front, 2, "/v1/nothing").await;
        words = answer.body.clone();
        if answer.status == 429 {
            break;
        }
    }
    assert!(
        words.contains("partition acme makes more requests than the 1 a second") || words.contains("this token makes more requests"),
        "{words}"
    );
    for id in [3, 4] {
        assert_eq!(ask(&front, id, "/v1/servers").await.status, 200);
    }
    assert!(!words.contains("rival") && front.refused.lock().unwrap().is_empty(), "too many requests are no refusals of a change");
}

#[tokio::test]
async fn the_first_administrator_and_other_controllers_are_never_too_many() {
    let front = Front::start(limited());
    let acme: Vec<u16> = {
        let controller = front.host_client("c2", &[Role::Controller]);
        let text = bearer(1).text();
        let mut all = Vec::new();
        for _ in 0..40 {
            let passed = controller.pass_on(hyper::Method::GET, "/v1/partitions/acme/servers", &text, bytes::Bytes::new()).await;
            all.push(passed.map_or_else(|error| error.status(), |_| 200));
        }
        all
    };
    assert!(acme.iter().all(|status| *status == 200), "what was passed on is counted where it came in: {acme:?}");
    let client = front.client();
    for _ in 0..500 {
        client.get::<Vec<serde_json::Value>>("/v1/partitions/acme/services").await.unwrap();
    }
}

#[tokio::test]
async fn metrics_are_for_roles_of_the_pan_and_for_controllers() {
    let front = Front::start(limited());
    assert_eq!(ask(&front, 4, "/metrics").await.status, 200);
    ask(&front, 3, "/metrics").await.refuses(403, "PAN-401", "may not");
    front.anonymous("GET", "/metrics").await.refuses(401, "PAN-400", "credentials");
    assert!(front.host_client("c2", &[Role::Controller]).pass_on(hyper::Method::GET, "/metrics", "", bytes::Bytes::new()).await.is_ok());
    let node = front.host_client("n1", &[Role::Node]).pass_on(hyper::Method::GET, "/metrics", "", bytes::Bytes::new()).await;
    assert_eq!(node.unwrap_err().status(), 401);
}
