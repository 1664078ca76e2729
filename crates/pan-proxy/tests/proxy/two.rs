//! HTTP/2 on either side, and what gRPC needs of it.

use super::rig::*;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream};

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

/// Resets every stream.
async fn resetting(reason: h2::Reason) -> Raw {
    Raw::start(move |stream| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((_, mut answer))) = connection.accept().await {
            answer.send_reset(reason);
        }
    })
    .await
}

/// A stream that was refused was not processed (RFC 9113, 8.7); any other reset says nothing of that.
#[tokio::test]
async fn only_a_refused_stream_is_sent_again_whatever_the_method() {
    for (reason, method, again) in [
        (h2::Reason::REFUSED_STREAM, "POST", true),
        (h2::Reason::INTERNAL_ERROR, "POST", false),
        (h2::Reason::CANCEL, "POST", false),
        (h2::Reason::INTERNAL_ERROR, "GET", true),
    ] {
        let (bad, good) = (resetting(reason).await, Origin::speaking("good", Version::Two).await);
        let running = run(&spec(&[bad.address, good.address], "", r#", "protocol": "http2", "balance": {"policy": "first"}"#));
        let answer = ask(&client(running.address).await, request(method, "/echo", "hello")).await;
        assert_eq!(good.seen().len(), usize::from(again), "{reason:?} {method}");
        if again {
            assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b"hello"[..]), "{reason:?} {method}");
        } else {
            assert_eq!(
                (answer.status, &answer.headers["pan-outcome"]),
                (StatusCode::BAD_GATEWAY, &"unknown".parse().unwrap()),
                "{reason:?}"
            );
        }
    }
}

/// Servers that end a connection in which requests are under way.
#[tokio::test]
async fn a_connection_that_ends_is_replaced_and_its_posts_are_not_sent_again() {
    let dying = Raw::start(|stream| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let _held = connection.accept().await;
        // It ends with the stream unanswered.
    })
    .await;
    let good = Origin::speaking("good", Version::Two).await;
    let running = run(&spec(&[dying.address, good.address], "", r#", "protocol": "http2", "balance": {"policy": "first"}"#));
    let sender = client(running.address).await;
    for _ in 0..3 {
        let answer = ask(&sender, request("POST", "/echo", "hello")).await;
        assert_eq!((answer.status, &answer.headers["pan-outcome"]), (StatusCode::BAD_GATEWAY, &"unknown".parse().unwrap()));
    }
    assert!(good.seen().is_empty());
    let answer = ask(&sender, request("GET", "/echo", "hello")).await;
    assert_eq!((answer.status, &answer.body[..], good.seen().len()), (StatusCode::OK, &b"hello"[..], 1));
}

/// A connection that the server closed at rest is no reason to fail, or to blame the server. The proxy learns of that and of the
/// next request at one time.
#[tokio::test]
async fn a_connection_that_was_closed_at_rest_is_replaced() {
    let listener = TcpListener::bind(ANY).await.unwrap();
    let running = run(&spec(&[listener.local_addr().unwrap()], "", r#", "protocol": "http2""#));
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    for turn in 0..100 {
        // At once, so that this cannot wait for anything between.
        assert!(stream.try_write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi").is_ok());
        let (accepted, _) = tokio::time::timeout(LONG, listener.accept()).await.expect("it is replaced").unwrap();
        let mut server = h2::server::handshake(accepted).await.unwrap();
        let (request, mut answer) = server.accept().await.unwrap().unwrap();
        answer.send_response(hyper::Response::new(()), true).unwrap();
        let answered = async { drop(tokio::time::timeout(LONG, server.accept()).await) };
        let read = tokio::select! {
            read = one_answer(&mut stream) => read,
            () = answered => panic!("another request"),
        };
        assert_eq!(status(&read), 200, "turn {turn}");
        drop((request, answer, server));
    }
    let counts = running.proxy.counts().remove(0);
    assert_eq!((counts.servers[0].failures, counts.retries, counts.unknown), (0, 0, 0));
}

#[tokio::test]
async fn heads_are_bounded() {
    let origin = Origin::start("a").await;
    let running = run(&spec(&[origin.address], r#", "limits": {"head": "1KiB", "headers": 10}"#, ""));
    let mut long = request("GET", "/", "");
    long.headers_mut().insert("long", "x".repeat(2000).parse().unwrap());
    let mut sender = client(running.address).await;
    let refused = tokio::time::timeout(LONG, sender.send_request(long)).await.unwrap();
    assert!(refused.is_err() || refused.unwrap().status() == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    let mut many = request("GET", "/", "");
    // With the one that it has.
    for _ in 0..10 {
        many.headers_mut().append("a", "b".parse().unwrap());
    }
    assert_eq!(ask(&client(running.address).await, many).await.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
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

#[tokio::test]
async fn a_host_that_is_none_is_refused() {
    let origin = Origin::start("a").await;
    let running = run(&spec(&[origin.address], "", ""));
    let sender = client(running.address).await;
    for hosts in [&["a b"][..], &["x@evil"], &["\u{e4}"], &["x", "y"]] {
        let mut bad = request("GET", "/", "");
        for host in hosts {
            bad.headers_mut().append("host", host.as_bytes().try_into().unwrap());
        }
        assert_eq!(ask(&sender, bad).await.status, StatusCode::BAD_REQUEST, "{hosts:?}");
    }
    assert!(origin.seen().is_empty());
    assert_eq!(ask(&sender, request("GET", "/", "")).await.status, StatusCode::OK, "the connection goes on");
}

/// `*` is a path of OPTIONS alone, whichever version asks for it; other paths without a slash h2 refuses itself.
#[tokio::test]
async fn a_path_without_a_slash_is_refused() {
    let origin = Origin::start("a").await;
    let running = run(&spec(&[origin.address], "", ""));
    let sender = client(running.address).await;
    let asking = |method: &str| {
        let mut parts = hyper::Uri::from_static("http://shop.example/").into_parts();
        parts.path_and_query = Some("*".parse().unwrap());
        let mut bare = request(method, "/", "");
        *bare.uri_mut() = hyper::Uri::from_parts(parts).unwrap();
        bare
    };
    assert_eq!(ask(&sender, asking("GET")).await.status, StatusCode::BAD_REQUEST);
    assert!(origin.seen().is_empty());
    assert_eq!(ask(&sender, asking("OPTIONS")).await.status, StatusCode::OK, "the connection goes on");
    assert_eq!(origin.seen()[0].target, "*");
}

/// A client that asks for much, gives no room for it, and says that it is there.
#[tokio::test]
async fn a_client_that_takes_nothing_is_given_up() {
    let origin = Origin::start("a").await;
    let running = run(&spec(&[origin.address], r#", "timeouts": {"body": "300ms"}"#, ""));
    for path in ["/big/100000", "/a/%2e%2e/own"] {
        let stream = TcpStream::connect(running.address).await.unwrap();
        let (mut sender, connection) = h2::client::Builder::new().initial_window_size(0).handshake::<_, Bytes>(stream).await.unwrap();
        let ended = tokio::spawn(connection);
        let asked = Request::builder().uri(format!("http://shop.example{path}")).body(()).unwrap();
        let (answer, _) = sender.send_request(asked, true).unwrap();
        let _held = tokio::time::timeout(LONG, answer).await.unwrap().unwrap();
        let _ = tokio::time::timeout(LONG, ended).await.expect("the connection ends");
        until("it is given up", || running.proxy.counts()[0].connections == 0).await;
    }
}
