//! What could be read in two ways is refused, with 400, and no server sees any of it.

use super::rig::*;

async fn check(running: &Running, origin: &Origin, request: &str, wanted: u16) {
    let before = origin.seen().len();
    let answer = talk(running.address, request).await;
    assert_eq!(status(&answer), wanted, "{request:?}: {answer}");
    assert_eq!(header(&answer, "connection"), Some("close"), "{request:?}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{request:?}: {answer}");
    assert_eq!(origin.seen().len(), before, "{request:?}");
}

#[tokio::test]
async fn heads_that_two_readers_read_differently_are_refused() {
    let origin = Origin::start("a").await;
    let running = run(&spec(&[origin.address], "", ""));
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
    let post = |headers: &str, body: &str| format!("POST / HTTP/1.1\r\nhost: x\r\n{headers}\r\n\r\n{body}{smuggled}");
    for (headers, body) in [
        ("content-length: 5\r\ntransfer-encoding: chunked", "0\r\n\r\n"),
        ("transfer-encoding: chunked\r\ncontent-length: 5", "0\r\n\r\n"),
        ("content-length: 0\r\ncontent-length: 5", "abcde"),
        ("content-length: 5\r\ncontent-length: 5", "abcde"),
        ("content-length: 5, 5", "abcde"),
        ("content-length: +5", "abcde"),
        ("transfer-encoding: xchunked", ""),
        ("transfer-encoding: identity, chunked", "0\r\n\r\n"),
        ("transfer-encoding\r\n : chunked", "0\r\n\r\n"),
        ("transfer-encoding : chunked", "0\r\n\r\n"),
        ("content-length : 5", "abcde"),
        ("x: y\r\n transfer-encoding: chunked", ""),
        ("x: y\ntransfer-encoding: chunked", ""),
        ("x: y\rtransfer-encoding: chunked", ""),
        ("x: y\0z", ""),
        ("host: y", ""),
    ] {
        check(&running, &origin, &post(headers, body), 400).await;
    }
    for request in [
        "GET / HTTP/1.1\nhost: x\n\n",
        "GET /  HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n",
    ] {
        check(&running, &origin, request, 400).await;
    }
    for target in ["shop.example", "shop.example:80", "a/b", "*", "http:///a", "ftp://shop.example/"] {
        check(&running, &origin, &format!("GET {target} HTTP/1.1\r\nhost: x\r\n\r\n"), 400).await;
    }
    for host in ["a b", "x@evil", "x:1@evil", "\u{e4}", "x/y", "x:y"] {
        check(&running, &origin, &format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n"), 400).await;
    }
    check(&running, &origin, "GET http://x@evil/ HTTP/1.1\r\nhost: x\r\n\r\n", 400).await;
    check(&running, &origin, "GET / HTTP/3.0\r\nhost: x\r\n\r\n", 505).await;
    check(&running, &origin, "CONNECT x:80 HTTP/1.1\r\nhost: x\r\n\r\n", 501).await;
    for path in ["/a/../b", "/%2e%2e/b", "/a%2fb", "/a%00"] {
        check(&running, &origin, &format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"), 400).await;
    }
}

#[tokio::test]
async fn a_bad_chunk_ends_the_request_and_what_follows_is_not_read() {
    let origin = Origin::start("a").await;
    let running = run(&spec(&[origin.address], "", ""));
    let head = "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    for body in [
        "x\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "1\r\na\r\n-1\r\n",
        "11111111111111111\r\n",
    ] {
        check(&running, &origin, &format!("{head}{body}GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n"), 400).await;
    }
}

#[tokio::test]
async fn a_refusal_comes_after_the_answers_to_requests_before_it() {
    let origin = Origin::start("a").await;
    let running = run(&spec(&[origin.address], "", ""));
    let good = "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\ngood";
    let answer = talk(running.address, format!("{good}{good}GET / HTTP/1.1\r\nbad\r\n\r\n{good}")).await;
    let codes: Vec<&str> = answer.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(codes, ["200", "200", "400"], "{answer}");
    assert_eq!(origin.seen().len(), 2);
}
