//! The end of a proxy.

use super::rig::*;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

#[tokio::test]
async fn requests_end_and_nothing_new_begins() {
    let origin = Origin::start("a").await;
    let Running { proxy, address } = run(&spec(&[origin.address], "", ""));
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert_eq!(status(&one_answer(&mut idle).await), 200);
    let mut busy = TcpStream::connect(address).await.unwrap();
    busy.write_all(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    until("it is at the server", || origin.seen().len() == 2).await;
    let draining = tokio::spawn(async move { proxy.drain(LONG).await });
    assert_eq!(rest(&mut idle).await, "", "who has no request is let go at once");
    until("nobody is accepted", || std::net::TcpStream::connect(address).is_err()).await;
    assert!(!draining.is_finished());
    origin.release();
    let answer = rest(&mut busy).await;
    assert_eq!((status(&answer), body(&answer)), (200, "a"));
    assert_eq!(header(&answer, "connection"), Some("close"));
    assert_eq!(draining.await.unwrap(), 0);
}

#[tokio::test]
async fn what_does_not_end_is_cut_and_counted() {
    let origin = Origin::start("a").await;
    let Running { proxy, address } = run(&spec(&[origin.address], "", ""));
    let mut busy = TcpStream::connect(address).await.unwrap();
    busy.write_all(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    until("it is at the server", || origin.seen().len() == 1).await;
    assert_eq!(proxy.drain(Duration::from_millis(100)).await, 1);
    drop(proxy);
    assert_eq!(rest(&mut busy).await, "");
}

#[tokio::test]
async fn an_address_that_is_taken_away_is_no_longer_listened_on() {
    let origin = Origin::start("a").await;
    let running = run(&spec(&[origin.address], "", ""));
    let mut open = TcpStream::connect(running.address).await.unwrap();
    open.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert_eq!(status(&one_answer(&mut open).await), 200);
    running.proxy.apply(&pan_model::proxy::ProxySpec::default()).unwrap();
    until("nobody is accepted", || std::net::TcpStream::connect(running.address).is_err()).await;
    open.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    assert_eq!(body(&rest(&mut open).await), "a", "who is connected ends as he began");
}
