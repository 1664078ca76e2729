//! The PROXY protocol on either side.

use super::rig::*;
use pan_proxy::proxied::{self, Ends};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const ASK: &str = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn who_is_in_front_says_who_the_client_is() {
    let origin = Origin::start("a").await;
    let running = run(&spec(&[origin.address], r#", "proxyProtocol": "expected""#, ""));
    let ends = Ends { client: "192.0.2.7:1000".parse().unwrap(), server: "198.51.100.1:444".parse().unwrap() };
    let two = [proxied::header(&ends), ASK.into()].concat();
    let one = format!("PROXY TCP4 192.0.2.7 198.51.100.1 1000 444\r\n{ASK}").into_bytes();
    for request in [one, two] {
        assert_eq!(body(&talk(running.address, &request).await), "a");
    }
    for seen in origin.seen() {
        assert_eq!(
            (&seen.headers["x-forwarded-for"], &seen.headers["x-forwarded-port"]),
            (&"192.0.2.7".parse().unwrap(), &"444".parse().unwrap())
        );
    }
    // A health check of what is in front speaks for itself.
    assert_eq!(body(&talk(running.address, format!("PROXY UNKNOWN\r\n{ASK}")).await), "a");
    assert_eq!(origin.seen()[2].headers["x-forwarded-for"], "127.0.0.1");
    assert_eq!(talk(running.address, ASK).await, "", "without it nobody is spoken to");
    assert_eq!(origin.seen().len(), 3);
}

#[tokio::test]
async fn a_server_that_wants_to_know_is_told_for_each_request() {
    let server = Raw::start(|mut stream| async move {
        let mut first = [0; 16];
        stream.read_exact(&mut first).await.unwrap();
        let two = proxied::two(&first).unwrap();
        let mut rest = vec![0; two.length];
        stream.read_exact(&mut rest).await.unwrap();
        let client = two.ends(&rest).unwrap().unwrap().client.to_string();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") && matches!(stream.read_buf(&mut request).await, Ok(1..)) {}
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{client}", client.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
        // The connection stays open; a second request on it would have no answer.
        let _ = stream.read(&mut [0; 1]).await;
    })
    .await;
    let running = run(&spec(&[server.address], "", r#", "announce": true"#));
    let mut stream = tokio::net::TcpStream::connect(running.address).await.unwrap();
    let own = stream.local_addr().unwrap().to_string();
    for _ in 0..2 {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        assert_eq!(body(&one_answer(&mut stream).await), own);
    }
    let mut many = spec(&[server.address], "", r#", "announce": true"#);
    many.services[0].clusters[0].protocol = pan_model::proxy::Protocol::Http2;
    assert!(running.proxy.apply(&many).unwrap_err().to_string().starts_with("services[0].clusters[0].announce: "));
}
