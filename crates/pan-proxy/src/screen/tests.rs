//! What is refused, and that bounds do not depend on how bytes are cut.

use super::*;
use pan_model::ByteSize;
use proptest::prelude::*;

fn limits() -> Limits {
    Limits { head: ByteSize(400), headers: 5, ..Limits::default() }
}

/// What is passed and what is refused, however the bytes come.
fn check(text: &str, heads: u64, refused: Option<Refusal>) {
    for cut in [1, 2, 3, 7, usize::MAX] {
        let mut screen = Screen::new(&limits());
        let mut found = None;
        for part in text.as_bytes().chunks(cut.min(text.len().max(1))) {
            found = found.or(screen.feed(part).refused);
        }
        assert_eq!((screen.heads(), found), (heads, refused), "{text:?} in parts of {cut}");
    }
}

#[test]
fn good_requests_pass() {
    let get = "GET /a?b HTTP/1.1\r\nHost: x\r\nAccept:  */*  \r\n\r\n";
    check(get, 1, None);
    check(&get.repeat(3), 3, None);
    check("GET / HTTP/1.0\r\n\r\n", 1, None);
    check("GET http://shop.example HTTP/1.1\r\nhost: x\r\n\r\nOPTIONS * HTTP/1.0\r\n\r\n", 2, None);
    check("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nab\ncdGET / HTTP/1.0\r\n\r\n", 2, None);
    check("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\nGET / HTTP/1.0\r\n\r\n", 2, None);
    let chunked = "POST / HTTP/1.1\r\nhost: x\r\nTransfer-Encoding: Chunked\r\n\r\n";
    check(&format!("{chunked}3\r\na\nb\r\n1F;x=\"y\"\r\n{}\r\n0\r\nt: v\r\n\r\n{get}", "z".repeat(31)), 2, None);
    check(&format!("{chunked}0\r\n\r\n{get}"), 2, None);
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    let with = |header: &str| format!("POST / HTTP/1.1\r\nhost: x\r\n{header}\r\n\r\n");
    let cases = [
        ("content-length: 5\r\ntransfer-encoding: chunked", Refusal::LengthAndTransfer),
        ("transfer-encoding: chunked\r\ncontent-length: 5", Refusal::LengthAndTransfer),
        ("content-length: 5\r\ncontent-length: 6", Refusal::Length),
        ("content-length: 5\r\ncontent-length: 5", Refusal::Length),
        ("content-length: 5, 5", Refusal::Length),
        ("content-length: +5", Refusal::Length),
        ("content-length: 0x5", Refusal::Length),
        ("content-length:", Refusal::Length),
        ("content-length: 99999999999999999999", Refusal::Length),
        ("transfer-encoding: xchunked", Refusal::Transfer),
        ("transfer-encoding: gzip, chunked", Refusal::Transfer),
        ("transfer-encoding: chunked, identity", Refusal::Transfer),
        ("transfer-encoding: chunked\r\ntransfer-encoding: chunked", Refusal::Transfer),
        ("transfer-encoding : chunked", Refusal::HeaderName),
        ("content-length : 5", Refusal::HeaderName),
        ("a: b\r\n c", Refusal::Folded),
        ("a: b\r\n\tc", Refusal::Folded),
        (": b", Refusal::HeaderName),
        ("no colon", Refusal::NoColon),
        ("a: b\nc: d", Refusal::BareLf),
        ("a: b\rc: d", Refusal::BareCr),
        ("a: b\0", Refusal::Control),
        ("host: y", Refusal::Host),
        ("host: y@z", Refusal::Host),
    ];
    for (header, refusal) in cases {
        check(&with(header), 0, Some(refusal));
    }
    check("GET / HTTP/1.1\r\na: b\r\n\r\n", 0, Some(Refusal::Host));
    check("GET / HTTP/1.0\r\nhost: a b\r\n\r\n", 0, Some(Refusal::Host));
    check("GET / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n", 0, Some(Refusal::Transfer));
    for line in
        ["GET  / HTTP/1.1", "GET / HTTP/1.1 ", " GET / HTTP/1.1", "GET /", "GET / http/1.1", "G(T / HTTP/1.1", "GET /\tx HTTP/1.1", ""]
    {
        check(&format!("{line}\r\nhost: x\r\n\r\n"), 0, Some(Refusal::RequestLine));
    }
    for line in ["GET shop.example HTTP/1.1", "GET a/b HTTP/1.1", "GET * HTTP/1.1", "GET http:///a HTTP/1.0"] {
        check(&format!("{line}\r\nhost: x\r\n\r\n"), 0, Some(Refusal::Target));
    }
    check("GET / HTTP/1.2\r\nhost: x\r\n\r\n", 0, Some(Refusal::Version));
    check("GET / HTTP/1.1\nhost: x\n\n", 0, Some(Refusal::BareLf));
}

#[test]
fn bad_chunks_are_refused() {
    let after =
        |body: &str, refusal| check(&format!("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{body}"), 1, Some(refusal));
    for body in
        ["x\r\n", "\r\n", "-1\r\n", "+1\r\n", "0x1\r\n", "1 \r\n", " 1\r\n", "1\r\nabc", "1\r\na0\r\n", "11111111111111111\r\n", "1\r;\r\n"]
    {
        after(body, Refusal::Chunk);
    }
    for body in ["0\r\nbad trailer: x\r\n\r\n", "0\r\nno colon\r\n\r\n", "0\r\n: x\r\n\r\n"] {
        after(body, Refusal::Chunk);
    }
    after("1\n", Refusal::BareLf);
    after("0\r\n\n", Refusal::BareLf);
    after(&format!("1;{}", "x".repeat(5_000)), Refusal::Chunk);
}

#[test]
fn heads_are_bounded() {
    let of = |length: usize| format!("GET / HTTP/1.1\r\nhost: {}\r\n\r\n", "x".repeat(length));
    let fixed = of(0).len();
    check(&of(400 - fixed), 1, None);
    check(&of(401 - fixed), 0, Some(Refusal::HeadTooLarge));
    check(&format!("GET /{}", "x".repeat(500)), 0, Some(Refusal::HeadTooLarge));
    check("GET / HTTP/1.1\r\nhost: x\r\na: \r\na: \r\na: \r\na: \r\n\r\n", 1, None);
    check("GET / HTTP/1.1\r\nhost: x\r\na: \r\na: \r\na: \r\na: \r\na: \r\n\r\n", 0, Some(Refusal::TooManyHeaders));
}

#[test]
fn after_a_request_to_upgrade_nothing_is_read_until_it_is_answered() {
    let ask = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    let mut screen = Screen::new(&limits());
    assert_eq!(screen.feed(ask), Fed { good: ask.len(), refused: None });
    assert!(screen.held());
    let mut declined = screen.clone();
    declined.settle(Upgrade::Declined);
    assert_eq!(declined.feed(b"\x81\x05hello").refused, None, "a head so far");
    assert_eq!(declined.feed(b"\r\n").refused, Some(Refusal::Control));
    let mut agreed = screen.clone();
    agreed.settle(Upgrade::Agreed);
    assert_eq!(agreed.feed(b"\x81\x05hello\r\n\n"), Fed { good: 10, refused: None });
    assert_eq!(screen.feed(b"\x81").refused, Some(Refusal::EarlyBytes));
}

#[test]
fn an_unfinished_head_is_kept_back() {
    let mut screen = Screen::new(&limits());
    let whole = b"GET / HTTP/1.0\r\n\r\nGET / HT";
    assert_eq!(screen.feed(whole), Fed { good: 18, refused: None });
    assert!(screen.within_head());
    assert_eq!(screen.feed(b"TP/1.0\r\n\r\n"), Fed { good: 10, refused: None });
    assert!(!screen.within_head() && screen.before_or_within_head());
}

proptest! {
    /// Whatever comes, the same is refused however it is cut, and nothing is good after it.
    #[test]
    fn cuts_do_not_matter(
        parts in proptest::collection::vec(
            prop_oneof![
                Just("GET / HTTP/1.1\r\n"), Just("host: x\r\n"), Just("\r\n"), Just("\n"), Just("content-length: 3\r\n"),
                Just("transfer-encoding: chunked\r\n"), Just("3\r\nabc\r\n"), Just("0\r\n"), Just("abc"), Just(" "), Just("\r"),
                Just("upgrade: x\r\n"),
            ],
            0..12,
        ),
        cut in 1_usize..9,
    ) {
        let text = parts.concat();
        let mut whole = Screen::new(&limits());
        let at_once = whole.feed(text.as_bytes());
        let mut cutting = Screen::new(&limits());
        let mut found = None;
        for part in text.as_bytes().chunks(cut) {
            found = found.or(cutting.feed(part).refused);
        }
        prop_assert_eq!(found, at_once.refused);
        prop_assert_eq!(cutting.heads(), whole.heads());
    }
}
