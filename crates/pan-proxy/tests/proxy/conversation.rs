//! What goes through, and how it looks on the other side.

use super::rig::*;
use pan_proxy::Settings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn requests_and_answers_go_through() {
    let origin = Origin::start("a").await;
    let running = run(&spec(&[origin.address], "", ""));
    let answer = get(running.address, "/a%20b?c=d&e").await;
    assert_eq!((status(&answer), body(&answer)), (200, "a"));
    let seen = origin.seen().remove(0);
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("GET", "/a%20b?c=d&e"));
    let said = |name: &str| seen.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(said("host").as_deref(), Some("shop.example"));
    assert_eq!(said("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(said("x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(said("x-forwarded-port"), Some(running.address.port().to_string()));
    assert_eq!(said("forwarded").as_deref(), Some("for=127.0.0.1;proto=http;host=\"shop.example\""));
    assert_eq!(said("via").as_deref(), Some("1.1 panloom"));
    assert_eq!(said("connection"), None);
}

#[tokio::test]
async fn a_whole_address_is_sent_on_as_its_path() {
    let origin = Origin::start("a").await;
    let running = run(&spec(&[origin.address], "", ""));
    for (line, target, host) in [
        ("GET http://shop.example", "/", "shop.example"),
        ("GET http://shop.example:81?a", "/?a", "shop.example:81"),
        ("GET HTTPS://shop.example/a?b", "/a?b", "shop.example"),
        ("OPTIONS *", "*", "other.example"),
    ] {
        talk(running.address, format!("{line} HTTP/1.1\r\nhost: other.example\r\nconnection: close\r\n\r\n")).await;
        let seen = origin.seen().pop().expect("it was sent");
        assert_eq!((seen.target.as_str(), seen.headers["host"].to_str().unwrap()), (target, host), "{line}");
    }
}

#[tokio::test]
async fn connections_are_kept_on_both_sides() {
    let origin = Origin::start("a").await;
    let running = run(&spec(&[origin.address], "", ""));
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    for turn in 0..5 {
        stream.write_all(format!("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nturn{turn}").as_bytes()).await.unwrap();
        assert_eq!(body(&one_answer(&mut stream).await), format!("turn{turn}"));
    }
    let seen = origin.seen();
    assert!(seen.iter().all(|seen| seen.connection == 0), "one connection to the server is enough");
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    assert_eq!(body(&rest(&mut stream).await), "a", "HTTP/1.0 ends the connection");
    assert_eq!(running.proxy.counts()[0].statuses[2], 6);
}

#[tokio::test]
async fn requests_may_come_before_answers() {
    let origin = Origin::start("a").await;
    let running = run(&spec(&[origin.address], "", ""));
    let one = "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nab";
    let last = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = talk(running.address, format!("{one}{one}{last}")).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3, "{answer}");
    assert!(answer.ends_with("\r\n\r\na"), "{answer}");
}

#[tokio::test]
async fn bodies_stream_in_chunks_both_ways() {
    let origin = Origin::start("a").await;
    let running = run(&spec(&[origin.address], "", ""));
    let head = "POST /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    let answer = talk(running.address, format!("{head}3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n")).await;
    assert_eq!((status(&answer), body(&answer)), (200, "abcdefg"));
    let large = 3_000_000;
    let answer = get(running.address, &format!("/big/{large}")).await;
    assert_eq!(body(&answer).len(), large);
    let sent = "z".repeat(large);
    let request = format!("PUT /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {large}\r\n\r\n{sent}");
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let (mut reading, mut writing) = stream.split();
    let mut answer = Vec::new();
    let (wrote, read) = tokio::join!(writing.write_all(request.as_bytes()), reading.read_to_end(&mut answer));
    wrote.unwrap();
    read.unwrap();
    assert_eq!(body(&String::from_utf8(answer).unwrap()).len(), large);
}

#[tokio::test]
async fn who_waits_to_be_told_to_go_on_is_told() {
    let origin = Origin::start("a").await;
    let running = run(&spec(&[origin.address], "", ""));
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(b"POST /echo HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n").await.unwrap();
    assert_eq!(one_answer(&mut stream).await, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hi").await.unwrap();
    let answer = one_answer(&mut stream).await;
    assert_eq!((status(&answer), body(&answer)), (200, "hi"));
}

#[tokio::test]
async fn an_answer_to_head_has_no_body_and_its_length() {
    let origin = Origin::start("a").await;
    let running = run(&spec(&[origin.address], "", ""));
    let ask = |method: &str| format!("{method} /big/77 HTTP/1.1\r\nhost: x\r\n\r\n");
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(ask("HEAD").as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert_eq!(header(&String::from_utf8(head).unwrap(), "content-length"), Some("77"));
    stream.write_all(ask("GET").as_bytes()).await.unwrap();
    assert_eq!(body(&one_answer(&mut stream).await).len(), 77);
}

#[tokio::test]
async fn what_is_of_one_hop_goes_no_further() {
    let origin = Origin::start("a").await;
    let running = run(&spec(&[origin.address], "", ""));
    let answer =
        talk(running.address, "GET /hop HTTP/1.1\r\nhost: x\r\nconnection: close, x-mine\r\nx-mine: 1\r\nx-forwarded-for: 1.2.3.4\r\n\r\n")
            .await;
    assert_eq!((header(&answer, "x-private"), header(&answer, "x-public")), (None, Some("1")));
    let seen = origin.seen().remove(0);
    assert!(!seen.headers.contains_key("x-mine"));
    assert_eq!(seen.headers["x-forwarded-for"], "127.0.0.1");
}

#[tokio::test]
async fn routes_redirects_and_edits() {
    let (shop, api) = (Origin::start("shop").await, Origin::start("api").await);
    let mut spec = spec(&[shop.address], "", "");
    let text = format!(
        r#"{{"name": "www", "listen": ["{ANY}"],
        "edits": {{"response": {{"set": {{"x-served-by": "pan"}}}}}},
        "routes": [
            {{"match": {{"host": "api.example"}}, "cluster": "api", "edits": {{"request": {{"set": {{"x-api": "1"}}}}}}}},
            {{"match": {{"path": "/old"}}, "redirect": {{"path": "/new", "scheme": "https"}}}},
            {{"match": {{"path": "/shop"}}, "cluster": "shop"}}],
        "clusters": [
            {{"name": "shop", "servers": [{{"name": "s", "index": 1, "address": "{}", "state": "up"}}]}},
            {{"name": "api", "servers": [{{"name": "a", "index": 1, "address": "{}", "state": "up"}}]}}]}}"#,
        shop.address, api.address
    );
    spec.services = vec![serde_json::from_str(&text).unwrap()];
    let running = run(&spec);
    let answer = talk(running.address, "GET /shop HTTP/1.1\r\nhost: API.example:81\r\nconnection: close\r\n\r\n").await;
    assert_eq!((body(&answer), header(&answer, "x-served-by")), ("api", Some("pan")));
    assert_eq!(api.seen()[0].headers["x-api"], "1");
    assert_eq!(api.seen()[0].headers["host"], "API.example:81");
    let answer = get(running.address, "/shop/1").await;
    assert_eq!(body(&answer), "shop");
    let answer = get(running.address, "/old/1?q").await;
    assert_eq!((status(&answer), header(&answer, "location")), (308, Some("https://shop.example/new?q")));
    assert_eq!(status(&get(running.address, "/").await), 404);
    // A target with a host comes before the header.
    let answer = talk(running.address, "GET http://api.example/ HTTP/1.1\r\nhost: other\r\nconnection: close\r\n\r\n").await;
    assert_eq!(body(&answer), "api");
}

#[tokio::test]
async fn every_request_has_a_line_and_is_counted() {
    let origin = Origin::start("a").await;
    let (lines, mut log) = tokio::sync::mpsc::channel(10);
    let running = run_with(&spec(&[origin.address], "", ""), Settings { threads: Some(1), access: Some(lines), ..Settings::default() });
    let request = "POST /echo?secret=1 HTTP/1.1\r\nhost: shop.example\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc";
    assert_eq!(body(&talk(running.address, request).await), "abc");
    let line: serde_json::Value = serde_json::from_str(&log.recv().await.unwrap()).unwrap();
    for (field, wanted) in [
        ("service", "www"),
        ("client", "127.0.0.1"),
        ("method", "POST"),
        ("host", "shop.example"),
        ("path", "/echo"),
        ("protocol", "HTTP/1.1"),
        ("server", "web-1"),
    ] {
        assert_eq!(line[field], wanted, "{line}");
    }
    for (field, wanted) in [("status", 200), ("received", 3), ("sent", 3), ("attempts", 1)] {
        assert_eq!(line[field], wanted, "{line}");
    }
    talk(running.address, "GET / HTTP/1.1\r\n\r\n").await;
    let line: serde_json::Value = serde_json::from_str(&log.recv().await.unwrap()).unwrap();
    assert_eq!((&line["status"], &line["note"]), (&400.into(), &"expected one Host header, with a host and perhaps a port".into()));
    let counts = running.proxy.counts().remove(0);
    assert_eq!((counts.statuses, counts.refused, counts.in_flight), ([0, 0, 1, 0, 1, 0], 1, 0));
    assert_eq!((counts.received, counts.sent >= 3, counts.durations.iter().sum::<u64>()), (3, true, 2));
    let server = &counts.servers[0];
    assert_eq!((server.server.as_str(), server.attempts, server.failures, server.in_flight), ("web-1", 1, 0, 0));
}

#[tokio::test]
async fn a_new_document_is_in_force_at_the_next_request_or_not_at_all() {
    let (old, new) = (Origin::start("old").await, Origin::start("new").await);
    let running = run(&spec(&[old.address], "", ""));
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let ask = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    stream.write_all(ask).await.unwrap();
    assert_eq!(body(&one_answer(&mut stream).await), "old");
    let mut bad = spec(&[new.address], "", "");
    bad.services[0].routes[0].cluster = Some("none".to_owned());
    let error = running.proxy.apply(&bad).unwrap_err();
    assert_eq!(error.to_string(), "services[0].routes[0].cluster: there is no cluster \"none\"");
    stream.write_all(ask).await.unwrap();
    assert_eq!(body(&one_answer(&mut stream).await), "old");
    running.proxy.apply(&spec(&[new.address], "", "")).unwrap();
    stream.write_all(ask).await.unwrap();
    assert_eq!(body(&one_answer(&mut stream).await), "new", "on the same connection");
}

#[tokio::test]
async fn several_threads_share_an_address() {
    let origin = Origin::start("a").await;
    let running = run_with(&spec(&[origin.address], "", ""), Settings { threads: Some(3), ..Settings::default() });
    for _ in 0..20 {
        assert_eq!(body(&get(running.address, "/").await), "a");
    }
    assert_eq!(running.proxy.counts()[0].statuses[2], 20);
}

/// RFC 9112, 6.3: the chunks are the body, whatever the length says.
#[tokio::test]
async fn a_length_beside_chunks_is_not_passed_on() {
    let both = Raw::start(|mut stream| async move {
        let _ = stream.read(&mut [0; 1024]).await;
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(format!("{head}3\r\nabc\r\n0\r\n\r\n").as_bytes()).await.unwrap();
        let _ = stream.read(&mut [0; 1024]).await;
    })
    .await;
    let running = run(&spec(&[both.address], "", ""));
    let answer = get(running.address, "/").await;
    assert_eq!((status(&answer), header(&answer, "content-length"), header(&answer, "transfer-encoding")), (200, None, Some("chunked")));
    assert!(answer.ends_with("3\r\nabc\r\n0\r\n\r\n"), "{answer}");
}
