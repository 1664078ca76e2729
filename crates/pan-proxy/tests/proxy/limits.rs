//! How much, and for how long.

use super::rig::*;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

#[tokio::test]
async fn heads_and_bodies_are_bounded() {
    let origin = Origin::start("a").await;
    let running = run(&spec(&[origin.address], r#", "limits": {"head": "1KiB", "headers": 10, "body": "100B"}"#, ""));
    let long = format!("GET / HTTP/1.1\r\nhost: x\r\nlong: {}\r\n\r\n", "x".repeat(1100));
    assert_eq!(status(&talk(running.address, long).await), 431);
    let many = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(10));
    assert_eq!(status(&talk(running.address, many).await), 431);
    let post = |framing: &str, body: &str| format!("POST /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{framing}\r\n\r\n{body}");
    assert_eq!(status(&talk(running.address, post("content-length: 100", &"x".repeat(100))).await), 200);
    assert_eq!(status(&talk(running.address, post("content-length: 101", &"x".repeat(101))).await), 413);
    let chunks = format!("{}0\r\n\r\n", "14\r\nxxxxxxxxxxxxxxxxxxxx\r\n".repeat(6));
    assert_eq!(status(&talk(running.address, post("transfer-encoding: chunked", &chunks)).await), 413);
    assert_eq!(origin.seen().len(), 1, "no server had a whole request of those refused");
}

/// A head a byte at a time holds a connection no longer than one that never comes.
#[tokio::test]
async fn a_slow_head_is_refused_however_it_trickles() {
    let origin = Origin::start("a").await;
    let running = run(&spec(&[origin.address], r#", "timeouts": {"head": "300ms"}"#, ""));
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let began = Instant::now();
    let (mut reading, mut writing) = stream.split();
    let trickle = async {
        let mut beats = tokio::time::interval(Duration::from_millis(20));
        writing.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n").await.unwrap();
        while writing.write_all(b"a: b\r\n").await.is_ok() {
            beats.tick().await;
        }
    };
    let mut answer = Vec::new();
    tokio::select! {
        () = trickle => {}
        read = reading.read_to_end(&mut answer) => drop(read),
    }
    let answer = String::from_utf8(answer).unwrap();
    assert_eq!(status(&answer), 408);
    assert!((Duration::from_millis(300)..LONG).contains(&began.elapsed()), "{:?}", began.elapsed());
    // One that sends nothing is not even told.
    let mut silent = TcpStream::connect(running.address).await.unwrap();
    assert_eq!(rest(&mut silent).await, "");
}

/// A head has its time from its own first byte, though that came with the last of a body that took longer.
#[tokio::test]
async fn a_head_after_a_long_body_is_not_late() {
    let origin = Origin::start("a").await;
    let running = run(&spec(&[origin.address], r#", "timeouts": {"head": "1s"}"#, ""));
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let mut beats = tokio::time::interval(Duration::from_millis(20));
    let began = Instant::now();
    stream.write_all(b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
    while began.elapsed() < Duration::from_millis(1_100) {
        stream.write_all(b"1\r\na\r\n").await.unwrap();
        beats.tick().await;
    }
    stream.write_all(b"0\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n").await.unwrap();
    assert_eq!(status(&one_answer(&mut stream).await), 200);
    stream.write_all(b"\r\n").await.unwrap();
    assert_eq!(status(&rest(&mut stream).await), 200);
}

#[tokio::test]
async fn a_connection_without_a_request_ends() {
    let origin = Origin::start("a").await;
    let running = run(&spec(&[origin.address], r#", "timeouts": {"idle": "200ms"}"#, ""));
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert_eq!(status(&one_answer(&mut stream).await), 200);
    let began = Instant::now();
    assert_eq!(rest(&mut stream).await, "");
    assert!(began.elapsed() >= Duration::from_millis(150), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_body_that_does_not_go_on_is_given_up() {
    let origin = Origin::start("a").await;
    let running = run(&spec(&[origin.address], r#", "timeouts": {"body": "200ms"}"#, ""));
    let answer = talk(running.address, "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf").await;
    assert_eq!(status(&answer), 408);
    assert!(origin.seen().is_empty());
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up() {
    let silent = Raw::start(|mut stream| async move { while let Ok(1..) = stream.read(&mut [0; 1024]).await {} }).await;
    let running = run(&spec(&[silent.address], r#", "timeouts": {"request": "200ms"}"#, ""));
    let answer = get(running.address, "/").await;
    assert_eq!((status(&answer), header(&answer, "pan-outcome")), (504, Some("unknown")));
}

#[tokio::test]
async fn an_answer_that_does_not_go_on_breaks_off() {
    let stuck = Raw::start(|mut stream| async move {
        let _ = stream.read(&mut [0; 1024]).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await.unwrap();
        let _ = stream.read(&mut [0; 1024]).await;
    })
    .await;
    let running = run(&spec(&[stuck.address], r#", "timeouts": {"body": "200ms"}"#, ""));
    let answer = get(running.address, "/").await;
    assert_eq!((status(&answer), body(&answer)), (200, "half"));
    until("it is counted", || running.proxy.counts()[0].cut == 1).await;
}

/// A client that asks for much and reads nothing.
#[tokio::test]
async fn a_client_that_does_not_read_is_given_up() {
    let origin = Origin::start("a").await;
    let running = run(&spec(&[origin.address], r#", "timeouts": {"body": "300ms"}"#, ""));
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(b"GET /big/50000000 HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    until("it is served", || running.proxy.counts()[0].connections == 1).await;
    until("it is given up", || running.proxy.counts()[0].connections == 0).await;
    assert!(rest(&mut stream).await.len() < 50_000_000);
}

#[tokio::test]
async fn the_whole_of_a_request_is_bounded() {
    let dripping = Raw::start(|mut stream| async move {
        let _ = stream.read(&mut [0; 1024]).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n").await.unwrap();
        let mut beats = tokio::time::interval(Duration::from_millis(10));
        while stream.write_all(b"x").await.is_ok() {
            beats.tick().await;
        }
    })
    .await;
    let running = run(&spec(&[dripping.address], r#", "timeouts": {"whole": "300ms"}"#, ""));
    let answer = get(running.address, "/").await;
    assert_eq!(status(&answer), 200);
    assert!(body(&answer).len() < 1000, "{}", body(&answer).len());
}

#[tokio::test]
async fn connections_are_bounded() {
    let origin = Origin::start("a").await;
    let running = run(&spec(&[origin.address], r#", "limits": {"connections": 2}"#, ""));
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        assert_eq!(status(&one_answer(&mut stream).await), 200);
        held.push(stream);
    }
    assert_eq!(get(running.address, "/").await, "");
    held.pop();
    until("one has ended", || running.proxy.counts()[0].connections == 1).await;
    assert_eq!(status(&get(running.address, "/").await), 200);
}
