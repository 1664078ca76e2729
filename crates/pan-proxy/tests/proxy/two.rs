//! HTTP/2 on either side, and what gRPC needs of it.

use super::rig::*;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::SocketAddr;
use tokio::net::TcpStream;

async fn client(address: SocketAddr) -> http2::SendRequest<Full<Bytes>> {
    let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn request(method: &str, path: &str, body: &'static str) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(format!("http://shop.example{path}"))
        .header("te", "trailers")
        .body(Full::new(Bytes::from_static(body.as_bytes())))
        .unwrap()
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    trailers: Option<HeaderMap>,
}

async fn ask(sender: &http2::SendRequest<Full<Bytes>>, request: Request<Full<Bytes>>) -> Answer {
    let mut sender = sender.clone();
    let (head, body) = tokio::time::timeout(LONG, sender.send_request(request)).await.unwrap().unwrap().into_parts();
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().cloned();
    Answer { status: head.status, headers: head.headers, body: collected.to_bytes(), trailers }
}

#[tokio::test]
async fn clients_may_speak_http_2_to_servers_that_do_not() {
    let origin = Origin::start("a").await;
    let running = run(&spec(&[origin.address], "", ""));
    let sender = client(running.address).await;
    let answers = (0..20).map(|_| ask(&sender, request("POST", "/echo", "hello")));
    for answer in futures_util::future::join_all(answers).await {
        assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b"hello"[..]));
    }
    let seen = origin.seen().remove(0);
    assert_eq!((seen.headers["host"].to_str().unwrap(), seen.headers["via"].to_str().unwrap()), ("shop.example", "2 panloom"));
    assert_eq!(running.proxy.counts()[0].connections, 1);
    assert_eq!(ask(&sender, request("GET", "/a/%2e%2e/b", "")).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(ask(&sender, request("GET", "/", "")).await.status, StatusCode::OK, "the connection goes on");
}

#[tokio::test]
async fn trailers_and_all_go_through_from_end_to_end() {
    let origin = Origin::speaking("a", Version::Two).await;
    let running = run(&spec(&[origin.address], "", r#", "protocol": "http2""#));
    let sender = client(running.address).await;
    for _ in 0..3 {
        let answer = ask(&sender, request("POST", "/trailers", "call")).await;
        assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b"data"[..]));
        assert_eq!(answer.trailers.unwrap()["grpc-status"], "0");
    }
    let seen = origin.seen();
    assert!(seen.iter().all(|seen| seen.connection == 0), "one connection carries all");
    assert_eq!((seen[0].headers["te"].to_str().unwrap(), &seen[0].body[..]), ("trailers", &b"call"[..]));
    assert_eq!(seen[0].target, "http://shop.example/trailers");
    // And a client of HTTP/1.1 reaches such a server.
    assert_eq!(body(&get(running.address, "/").await), "a");
}

#[tokio::test]
async fn a_server_of_http_2_that_is_gone_is_passed_over() {
    let origin = Origin::speaking("a", Version::Two).await;
    let running = run(&spec(&[nobody().await, origin.address], "", r#", "protocol": "http2", "balance": {"policy": "first"}"#));
    let answer = ask(&client(running.address).await, request("POST", "/echo", "hello")).await;
    assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b"hello"[..]));
    assert_eq!(answer.headers.get("pan-outcome"), None);
}

#[tokio::test]
async fn heads_are_bounded() {
    let origin = Origin::start("a").await;
    let running = run(&spec(&[origin.address], r#", "limits": {"head": "1KiB"}"#, ""));
    let mut long = request("GET", "/", "");
    long.headers_mut().insert("long", "x".repeat(2000).parse().unwrap());
    let mut sender = client(running.address).await;
    let refused = tokio::time::timeout(LONG, sender.send_request(long)).await.unwrap();
    assert!(refused.is_err() || refused.unwrap().status() == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    assert!(origin.seen().is_empty());
}

#[tokio::test]
async fn a_connection_without_a_request_ends() {
    let origin = Origin::start("a").await;
    let running = run(&spec(&[origin.address], r#", "timeouts": {"idle": "200ms"}"#, ""));
    let sender = client(running.address).await;
    assert_eq!(ask(&sender, request("GET", "/", "")).await.status, StatusCode::OK);
    until("it is ended", || running.proxy.counts()[0].connections == 0).await;
}
