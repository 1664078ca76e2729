//! Where a request would go, and what was counted: asked of the proxy at the director that owns the address.

use super::harness::{Front, grant, host, request, serve_as, world};
use crate::handle::View;
use axum::Router;
use axum::extract::Request;
use axum::routing::get;
use pan_api::client::unescape;
use pan_api::token::{AccessRole, AccessToken};
use pan_model::ServiceSpec;
use pan_model::host::Role;
use pan_model::host_config::DIRECTOR_METRICS_PORT;
use pan_model::proxy::Question;
use serde_json::json;

const BOB: AccessToken = AccessToken { id: 0xb0b, secret: [3; 32] };

/// The services are of layer 7, and director d1 is there.
fn view(director: Option<std::net::IpAddr>) -> View {
    let mut view = world();
    let spec: ServiceSpec =
        serde_json::from_value(json!({"port": 80, "layer": 7, "cluster": "web", "routes": [{"match": {"path": "/x"}, "cluster": "api"}]}))
            .unwrap();
    view.services.values_mut().for_each(|service| service.spec = spec.clone());
    view.node_addresses.extend(director.map(|address| (host("d1"), address)));
    grant(&mut view, &BOB, AccessRole::Monitor, Some("acme"));
    view
}

/// A director that says which question it was asked.
async fn director(front: &Front, last: u8) -> std::net::IpAddr {
    let explain = |request: Request| async move {
        let text = request.uri().query().and_then(|query| query.strip_prefix("question=")).and_then(unescape).unwrap();
        let asked: Question = serde_json::from_str(&text).unwrap();
        assert_eq!((asked.service.as_str(), asked.client.to_string().as_str()), ("www", "192.0.2.1"));
        let why = format!("{} {} {} {:?}", asked.method.unwrap_or_default(), asked.host, asked.path, asked.headers);
        json!({"route": 1, "cluster": "web", "panics": false, "out": [], "scores": [], "pick": {"server": "web-1", "why": why}}).to_string()
    };
    let server = json!({"cluster": "web", "server": "web-1", "attempts": 3, "failures": 0, "inFlight": 0, "durations": [3], "micros": 9});
    let counts = json!([{"service": "www", "statuses": [0, 0, 3, 0, 0, 0], "refused": 0, "retries": 0, "unknown": 0, "cut": 0, "inFlight": 0,
        "connections": 1, "received": 0, "sent": 3, "waiting": 0, "durations": [3], "micros": 9, "servers": [server]}]);
    let router = Router::new()
        .route("/internal/v1/proxies/acme/explain", get(explain))
        .route("/internal/v1/proxies/acme/counts", get(async move || counts.to_string()));
    serve_as(front, ("d1", Role::Director), (last, DIRECTOR_METRICS_PORT), router).await
}

#[tokio::test]
async fn whoever_may_see_a_service_may_ask_its_proxy() {
    let front = Front::start(world());
    let address = director(&front, 11).await;
    front.show(view(Some(address)));
    let ask = async |method: &str, rest: &str, body: &str| {
        let headers = [("Authorization", format!("Bearer {}", BOB.text())), ("Content-Type", "application/json".to_owned())];
        front.raw(&request(method, &format!("/v1/partitions/{rest}"), &headers, body.as_bytes())).await
    };
    let body = json!({"path": "/a b?c", "method": "PUT", "host": "x.example", "headers": {"x-a": "b"}}).to_string();
    let answer = ask("POST", "acme/services/www/trace", &body).await.json();
    assert_eq!((answer["route"].as_str(), answer["cluster"].as_str()), (Some("cluster"), Some("web")), "{answer}");
    assert_eq!(answer["pick"]["why"], "PUT x.example /a b?c {\"x-a\": \"b\"}");
    // Of what is hidden nothing is said.
    ask("POST", "rival/services/www/trace", &body).await.refuses(404, "PAN-300", "rival");
    ask("POST", "acme/services/none/trace", &body).await.refuses(404, "PAN-300", "none");
    ask("POST", "acme/services/www/trace", "{}").await.refuses(400, "PAN-100", "path");
    let long = json!({"path": "x".repeat(9000)}).to_string();
    ask("POST", "acme/services/www/trace", &long).await.refuses(400, "PAN-100", "at most 8192");
    let page = ask("GET", "acme/services/www/metrics", "").await;
    let samples = pan_api::metrics::read(&page.body).unwrap();
    assert!(samples.iter().any(|one| one.name == "pan_backend_requests_total" && one.number > 2.0), "{samples:?}");
}

/// Which host does not answer is nobody's business but the PAN's operators'.
#[tokio::test]
async fn a_director_that_does_not_say_is_not_named() {
    let front = Front::start(world());
    let nobody = "127.255.255.254".parse().unwrap();
    for shown in [None, Some(nobody)] {
        front.show(view(shown));
        let answer = front.send("GET", "/v1/partitions/acme/services/www/metrics", &[], b"").await;
        answer.refuses(409, "PAN-500", "does not say at present");
        assert!(!answer.body.contains("d1"));
    }
    front.show(world());
    front.send("GET", "/v1/partitions/acme/services/www/metrics", &[], b"").await.refuses(409, "PAN-500", "of layer 4");
}
