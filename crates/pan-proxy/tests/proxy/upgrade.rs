//! WebSocket and whatever else a connection may change to.

use super::rig::*;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ASK: &str = "GET /ws HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\r\n";

#[tokio::test]
async fn after_an_upgrade_bytes_go_to_and_fro() {
    let origin = Origin::start("a").await;
    let running = run(&spec(&[origin.address], "", ""));
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(ASK.as_bytes()).await.unwrap();
    let answer = one_answer(&mut stream).await;
    assert_eq!((status(&answer), header(&answer, "upgrade"), header(&answer, "connection")), (101, Some("websocket"), Some("upgrade")));
    assert_eq!(origin.seen()[0].headers["sec-websocket-version"], "13");
    // No HTTP, and nobody looks at it.
    for text in ["\u{1}\n\nhello", "GET / HTTP/1.1\n\n", "\r\n"] {
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut echo = vec![0; text.len()];
        tokio::time::timeout(LONG, stream.read_exact(&mut echo)).await.unwrap().unwrap();
        assert_eq!(echo, text.as_bytes());
    }
    assert_eq!(running.proxy.counts()[0].servers[0].in_flight, 1, "it holds its place");
    drop(stream);
    until("the place is free", || running.proxy.counts()[0].servers[0].in_flight == 0).await;
}

#[tokio::test]
async fn a_server_that_declines_leaves_the_connection_as_it_is() {
    let origin = Origin::start("a").await;
    let running = run(&spec(&[origin.address], "", ""));
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    for _ in 0..2 {
        stream.write_all(ASK.replace("/ws", "/").as_bytes()).await.unwrap();
        let answer = one_answer(&mut stream).await;
        assert_eq!((status(&answer), body(&answer)), (200, "a"));
    }
    stream.write_all(b"GET / HTTP/1.1\r\nbad\r\n\r\n").await.unwrap();
    assert_eq!(status(&rest(&mut stream).await), 400, "it is looked at again");
}

#[tokio::test]
async fn bytes_before_the_answer_are_refused() {
    let origin = Origin::start("a").await;
    let running = run(&spec(&[origin.address], "", ""));
    let answer = talk(running.address, format!("{ASK}GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n")).await;
    assert_eq!((status(&answer), answer.matches("HTTP/1.1 ").count()), (400, 1), "{answer}");
    assert!(origin.seen().is_empty());
}

#[tokio::test]
async fn an_upgrade_that_the_proxy_does_not_offer_is_a_request_like_any_other() {
    let origin = Origin::start("a").await;
    let running = run(&spec(&[origin.address], "", ""));
    let ask = "GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade, http2-settings, close\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n";
    let answer = talk(running.address, ask).await;
    assert_eq!((status(&answer), body(&answer)), (200, "a"));
    let seen = origin.seen().remove(0);
    assert!(!seen.headers.contains_key("upgrade") && !seen.headers.contains_key("http2-settings"));
}

#[tokio::test]
async fn a_tunnel_in_which_nobody_speaks_ends() {
    let origin = Origin::start("a").await;
    let running = run(&spec(&[origin.address], r#", "timeouts": {"body": "200ms"}"#, ""));
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(ASK.as_bytes()).await.unwrap();
    assert_eq!(status(&one_answer(&mut stream).await), 101);
    let began = tokio::time::Instant::now();
    assert_eq!(rest(&mut stream).await, "");
    assert!(began.elapsed() >= Duration::from_millis(150));
}
