//! What a request must look like: every refusal is JSON of the one shape.

use super::harness::{DEADLINE, Front, TOKEN, grant, request, soon, world};
use crate::api::dispatch::BODY_MAX;
use crate::core::request::Request;
use crate::handle::View;
use crate::server::Limits;
use pan_api::requests::StoreMember;
use pan_api::token::{AccessRole, AccessToken};
use pan_store::Sign;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const TENANT: AccessToken = AccessToken { id: 0x7e4a, secret: [7; 32] };
const JSON: (&str, &str) = ("Content-Type", "application/json");
const SCALE: &str = "/v1/partitions/acme/clusters/web/scale";

#[tokio::test]
async fn queries_are_exact() {
    let front = Front::start(world());
    for (path, says) in [
        ("/v1/servers?wacht=true", "unknown query parameter \"wacht\": expected watch"),
        ("/v1/version?x=1", "expected none"),
        ("/v1/servers?watch=yes", "watch=\"yes\""),
        ("/v1/servers?watch=true&watch=true", "twice"),
        ("/v1/certify?failures=-1", "failures=\"-1\""),
        ("/v1/events?since=yesterday", "RFC 3339"),
        ("/v1/events?since=5q", "expected a time"),
    ] {
        let path = path.replace(' ', "%20");
        let answer = front.send("GET", &path, &[], b"").await;
        if says == "RFC 3339" {
            answer.refuses(400, "PAN-100", "expected a time like");
        } else {
            answer.refuses(400, "PAN-100", says);
        }
    }
}

#[tokio::test]
async fn a_body_that_nobody_wanted_and_comes_late_breaks_no_connection() {
    let front = Front::start(world());
    let mut stream = front.connection().await;
    let body = br#"{"servers":2}"#;
    let head = format!("POST {SCALE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut bytes = [0; 1];
    let early = tokio::time::timeout(Duration::from_millis(100), stream.read(&mut bytes)).await;
    assert!(early.is_err(), "who closes now loses what is on its way");
    stream.write_all(body).await.unwrap();
    stream.write_all(&request("GET", "/v1/version", &[], b"")).await.unwrap();
    let mut text = String::new();
    let _ = soon(stream.read_to_string(&mut text)).await;
    assert_eq!(text.matches("HTTP/1.1 ").count(), 2, "{text}");
    assert!(text.starts_with("HTTP/1.1 401 "), "{text}");
}

#[tokio::test]
async fn bodies_are_exact() {
    let front = Front::start(world());
    for (body, says) in [
        ("", "request body"),
        ("{", "EOF"),
        ("[]", "invalid"),
        (r#"{"servers":"3"}"#, "u32"),
        (r#"{"servers":3,"x":1}"#, "unknown field `x`"),
    ] {
        front.send("POST", SCALE, &[JSON], body.as_bytes()).await.refuses(400, "PAN-100", says);
    }
    front.send("POST", SCALE, &[JSON], b"\xff\xfe").await.refuses(400, "PAN-100", "request body");
    front.send("POST", SCALE, &[("Content-Type", "text/yaml")], b"servers: 3").await.refuses(415, "PAN-100", "application/json");
    front.send("POST", SCALE, &[], br#"{"servers":3}"#).await.refuses(415, "PAN-100", "application/json");
    front.send("POST", "/v1/nodes/n1/drain", &[JSON], br#"{"force":true}"#).await.refuses(400, "PAN-100", "no request body");
    assert!(front.asked.lock().unwrap().is_empty());
    for body in ["", "{}", "null"] {
        assert_eq!(front.send("POST", "/v1/nodes/n1/drain", &[], body.as_bytes()).await.status, 204);
    }
    assert_eq!(front.send("POST", SCALE, &[("Content-Type", "application/json; charset=utf-8")], br#"{"servers":3}"#).await.status, 204);
    assert!(matches!(front.asked.lock().unwrap().last(), Some(Request::Scale { servers: 3, .. })));
}

#[tokio::test]
async fn bodies_are_bounded() {
    let front = Front::start(world());
    let fits = format!("{{\"files\":[],\"dryRun\":true{}}}", " ".repeat(BODY_MAX - 26));
    assert_eq!(fits.len(), BODY_MAX);
    assert_eq!(front.send("POST", "/v1/apply", &[JSON], fits.as_bytes()).await.status, 200);
    front.send("POST", "/v1/apply", &[JSON], &vec![b' '; BODY_MAX + 1]).await.refuses(413, "PAN-100", "at most 4194304 bytes");
    // A length that is only claimed is refused at once.
    let claimed = format!("POST /v1/apply HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 999999999999\r\n\r\n");
    front.raw(claimed.as_bytes()).await.refuses(413, "PAN-100", "too large");
    // So is one that is not claimed, once it is too much.
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 20, "x".repeat(1 << 20));
    let chunked = format!(
        "POST /v1/apply HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
        chunk.repeat(5)
    );
    front.raw(chunked.as_bytes()).await.refuses(413, "PAN-100", "too large");
}

#[tokio::test]
async fn methods_and_paths_are_exact() {
    let front = Front::start(world());
    let answer = front.send("PUT", "/v1/partitions/acme", &[], b"").await;
    answer.refuses(405, "PAN-100", "PUT does not work here: expected GET, DELETE");
    assert_eq!(answer.headers["allow"], "GET, DELETE");
    front.raw(&request("POST", "/healthz", &[], b"")).await.refuses(405, "PAN-100", "GET");
    for path in ["/v1/nothing", "/v1", "/v1/partitions/acme/", "//v1/servers", "/v1/partitions/%ff"] {
        let answer = front.send("GET", path, &[], b"").await;
        assert!(matches!(answer.status, 400 | 404), "{path} {answer:?}");
        assert!(answer.json()["code"].is_string());
    }
    assert_eq!(front.raw(b"nonsense\r\n\r\n").await.status, 400);
}

#[tokio::test]
async fn who_says_nothing_is_shown_out() {
    let front = Front::start_within(Limits { handshake: Duration::from_millis(100), head: DEADLINE }, world());
    let mut silent = TcpStream::connect(front.address).await.unwrap();
    let read = soon(silent.read(&mut [0; 16])).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    // Others were and are served.
    assert_eq!(front.anonymous("GET", "/healthz").await.status, 200);
}

/// However many connections somebody opens and says nothing on, others are let in.
#[tokio::test]
async fn who_says_nothing_keeps_nobody_out() {
    let front = Front::start(world());
    let mut idle = Vec::new();
    for _ in 0..600 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        idle.push(socket.connect(front.address).await.unwrap());
    }
    let began = Instant::now();
    assert_eq!(front.anonymous("GET", "/healthz").await.status, 200);
    front.post("/v1/nodes/n1/cordon", &json!({})).await;
    assert!(began.elapsed() < DEADLINE / 4, "{:?}", began.elapsed());
    let refused = front.metrics.connections_refused.get();
    assert!((1..600).contains(&refused), "{refused} of them were turned away");
    drop(idle);
}

#[tokio::test]
async fn who_has_lost_its_store_says_so_and_changes_nothing() {
    let front = Front::start(world());
    front.store_lost.store(Some(Arc::new("input/output error".to_owned())));
    front.anonymous("GET", "/healthz").await.refuses(503, "PAN-603", "input/output error");
    front.post("/v1/nodes/n1/cordon", &json!({})).await.refuses(503, "PAN-603", "input/output error");
    assert_eq!(front.send("GET", "/v1/version", &[], b"").await.status, 200);
    let sign = |name: &str, silence: Option<&str>| Sign { member: name.to_owned(), silence: silence.map(str::to_owned) };
    front.members.store(Arc::new(vec![sign("e1", Some("gone")), sign("e2", Some("no leader")), sign("e3", None)]));
    front.post("/v1/nodes/n1/cordon", &json!({})).await.refuses(
        503,
        "PAN-603",
        "error; of the 3 members of the store these do not answer: e1, e2",
    );
    let mut view = world();
    grant(&mut view, &TENANT, AccessRole::Administrator, Some("acme"));
    front.show(view);
    let theirs = [("Authorization", format!("Bearer {}", TENANT.text()))];
    let tenants = front.raw(&request("DELETE", "/v1/partitions/acme/services/www", &theirs, b"")).await;
    tenants.refuses(503, "PAN-603", "no controller can decide at present; nothing was changed");
    let strangers = front.anonymous("GET", "/healthz").await;
    assert!(!strangers.body.contains("e1"), "what there is of the store is nothing for everybody: {strangers:?}");
    front.store_lost.store(None);
    assert_eq!(front.anonymous("GET", "/healthz").await.status, 200);
}

#[tokio::test]
async fn the_status_tells_of_members_of_the_store() {
    let member = |name: &str, reason: Option<&str>| StoreMember {
        name: name.to_owned(),
        answers: reason.is_none(),
        reason: reason.map(str::to_owned),
    };
    let front = Front::start(View { store: vec![member("e1", None), member("e2", Some("gone"))], ..world() });
    let answer = front.send("GET", "/v1/status", &[], b"").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["store"], json!([{"name": "e1", "answers": true}, {"name": "e2", "answers": false, "reason": "gone"}]));
    let named = |of: &serde_json::Value| of["hosts"].as_array().unwrap().len();
    let told: usize = answer.json()["hosts"].as_array().unwrap().iter().map(named).sum();
    assert_eq!(told, world().hosts.len());
}

#[tokio::test]
async fn who_never_finishes_a_request_is_shown_out() {
    let front = Front::start_within(Limits { handshake: DEADLINE, head: Duration::from_millis(100) }, world());
    // 408 or nothing: what matters is that the connection ends.
    let answer = front.raw(b"GET /healthz HTTP/1.1\r\nHost:").await;
    assert!(matches!(answer.status, 0 | 400 | 408), "{answer:?}");
}

#[tokio::test]
async fn applies_are_read_before_they_are_asked_for() {
    let front = Front::start(world());
    let file = |text: &str| json!({"files": [{"name": "demo.yaml", "text": text}]});
    let good = "api: pan/v1\nkind: Partition\nname: new\nspec: {network: 10.0.0.0/24}\n";
    let answer = front.post("/v1/apply", &file(good)).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "[]"));
    assert!(matches!(front.asked.lock().unwrap().as_slice(), [Request::Apply { documents, dry_run: false }] if documents.len() == 1));
    let bad = front.post("/v1/apply", &file("api: pan/v1\nkind: Partition\nname: new\nspec: {netwrok: 10.0.0.0/24}\n")).await;
    bad.refuses(400, "PAN-100", "demo.yaml:4:");
    assert_eq!((&bad.json()["problems"][0]["source"], &bad.json()["problems"][0]["line"]), (&json!("demo.yaml"), &json!(4)));
    assert_eq!(front.asked.lock().unwrap().len(), 1);
    // Documents without a partition take the one of the query.
    let cluster = "api: pan/v1\nkind: Cluster\nname: c\nspec: {servers: 1, image: host, command: [sleep]}\n";
    assert_eq!(front.post("/v1/apply?partition=acme", &file(cluster)).await.status, 200);
    assert_eq!(front.post("/v1/apply", &file(cluster)).await.status, 400);
}
