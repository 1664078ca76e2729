//! What a request and an answer look like on the other side: without what was meant for this hop only (RFC 9110, 7.6.1), and
//! with what the next would otherwise not know (RFC 7239, RFC 9110 7.6.3, and `X-Forwarded-*`, which more servers read).

use hyper::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, Entry, FORWARDED, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE, VIA,
};
use hyper::{HeaderMap, Version};
use pan_model::proxy::Forwarding;
use std::net::{IpAddr, SocketAddr};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// No client has a reason for it, and a server of CGI takes it for the proxy that it is to use itself (CVE-2016-5385, "httpoxy").
const PROXY: HeaderName = HeaderName::from_static("proxy");

/// Headers of one hop, whether `Connection` names them or not.
pub const HOP_BY_HOP: [HeaderName; 7] = [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TE, TRANSFER_ENCODING, UPGRADE, HTTP2_SETTINGS];

/// Headers that say where a request came from.
const ORIGIN: [HeaderName; 6] = [FORWARDED, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO, X_FORWARDED_PORT, X_REAL_IP];

/// What of a request's headers goes on, and where it came from. Neither what is of one hop, nor what a client may not say; `Host` and
/// `Expect` are whoever sends it's to say.
#[must_use]
pub fn onward(headers: &HeaderMap, origin: &Origin<'_>, mode: Forwarding) -> HeaderMap {
    let listed = listed(headers).unwrap_or_default();
    // A length beside it does not hold (RFC 9112, 6.3).
    let chunked = headers.contains_key(TRANSFER_ENCODING);
    let mut onward = HeaderMap::with_capacity(headers.len() + TOLD);
    for (name, value) in headers {
        let of_hop = [HOST, EXPECT, PROXY].contains(name) || HOP_BY_HOP.contains(name) || listed.contains(name);
        let untrue = chunked && name == CONTENT_LENGTH
            || match mode {
                Forwarding::Replace => is_of_origin(name),
                Forwarding::Append => false,
            };
        if !of_hop && !untrue {
            onward.append(name.clone(), value.clone());
        }
    }
    tell(&mut onward, origin);
    onward
}

/// Takes out what is of one hop. What `Connection` names goes too, but for `Host`, which no client can take away. So does a length
/// beside `Transfer-Encoding`, which it does not hold against (RFC 9112, 6.3).
pub fn strip(headers: &mut HeaderMap) {
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    if let Some(listed) = listed(headers) {
        listed.iter().filter(|name| **name != HOST).for_each(|name| drop(headers.remove(name)));
    }
    HOP_BY_HOP.iter().for_each(|name| drop(headers.remove(name)));
}

fn listed(headers: &HeaderMap) -> Option<Vec<HeaderName>> {
    headers.contains_key(CONNECTION).then(|| {
        let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
        // Nearly always it is one of two words, of which neither names a header that is left.
        let named = values.flat_map(|value| value.split(',')).map(str::trim).filter(|name| !["keep-alive", "close"].contains(name));
        named.filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()).collect()
    })
}

/// The protocol that a request asks to change to, if it does so as RFC 9110 (7.8) has it. `h2c` is not offered: who speaks
/// HTTP/2 in clear begins with it (RFC 9113, 3.1).
#[must_use]
pub fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let named = listed(headers).is_some_and(|names| names.contains(&UPGRADE));
    let protocol = headers.get(UPGRADE).filter(|_| named)?;
    let offered = protocol.to_str().is_ok_and(|text| !text.is_empty() && !text.to_ascii_lowercase().contains("h2c"));
    offered.then(|| protocol.clone())
}

/// Whether a request says that it takes trailers; gRPC wants it passed on.
#[must_use]
pub fn takes_trailers(headers: &HeaderMap) -> bool {
    let values = headers.get_all(TE).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case("trailers"))
}

/// What requests of a connection are told of it, put into words once.
#[derive(Debug, Clone)]
pub struct Told {
    /// As `Forwarded` has it (RFC 7239, 6).
    node: String,
    client: HeaderValue,
    port: HeaderValue,
    scheme: HeaderValue,
}

impl Told {
    /// Of a client that connected to `local`, speaking `http` or `https`.
    #[must_use]
    pub fn of(client: IpAddr, local: SocketAddr, scheme: &'static str) -> Self {
        let node = match client {
            IpAddr::V4(address) => format!("for={address};proto={scheme}"),
            IpAddr::V6(address) => format!("for=\"[{address}]\";proto={scheme}"),
        };
        let word = |text: String| HeaderValue::try_from(text).expect("an address or a number is visible characters");
        Self { node, client: word(client.to_string()), port: local.port().into(), scheme: HeaderValue::from_static(scheme) }
    }
}

/// Where a request came from.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// Its connection.
    pub told: &'a Told,
    /// The host it asked for, as it wrote it.
    pub authority: &'a HeaderValue,
    /// The version it spoke.
    pub version: Version,
}

/// Headers that [`tell`] may add.
const TOLD: usize = 7;

/// Says where a request came from.
fn tell(headers: &mut HeaderMap, origin: &Origin<'_>) {
    let Origin { told, authority, version } = origin;
    let host = authority.to_str().unwrap_or_default();
    let mut forwarded = String::with_capacity(told.node.len() + ";host=\"\"".len() + host.len());
    forwarded.push_str(&told.node);
    if !host.is_empty() && !host.contains(['"', '\\']) {
        forwarded.extend([";host=\"", host, "\""]);
    }
    append(headers, FORWARDED, HeaderValue::try_from(forwarded).ok());
    append(headers, X_FORWARDED_FOR, Some(told.client.clone()));
    // Who is in front knows these better: they are about the client's own request.
    headers.entry(X_FORWARDED_PROTO).or_insert_with(|| told.scheme.clone());
    if !host.is_empty() {
        headers.entry(X_FORWARDED_HOST).or_insert_with(|| (*authority).clone());
    }
    headers.entry(X_FORWARDED_PORT).or_insert_with(|| told.port.clone());
    append(headers, VIA, Some(HeaderValue::from_static(via(*version))));
}

fn via(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0 panloom",
        Version::HTTP_2 => "2 panloom",
        _ => "1.1 panloom",
    }
}

/// Whether a header is a client's word on where it comes from. Servers of CGI and its like read `_` and `-` as one character, so
/// names that differ in that alone are the same.
fn is_of_origin(name: &HeaderName) -> bool {
    let text = name.as_str();
    ORIGIN.contains(name) || text.contains('_') && ORIGIN.iter().any(|known| known.as_str() == text.replace('_', "-"))
}

/// Adds to the list that is there, in one line.
fn append(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    let Some(value) = value else { return };
    match headers.entry(name) {
        Entry::Vacant(entry) => drop(entry.insert(value)),
        Entry::Occupied(mut entry) => {
            let all = entry.iter().chain([&value]).filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(", ");
            if let Ok(all) = HeaderValue::try_from(all) {
                entry.insert(all);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        lines.iter().for_each(|(name, value)| {
            map.append(*name, HeaderValue::from_static(value));
        });
        map
    }

    fn lines(map: &HeaderMap) -> Vec<String> {
        let mut lines: Vec<_> = map.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        lines
    }

    #[test]
    fn what_is_of_one_hop_goes_no_further() {
        let mut map = headers(&[
            ("connection", "close, X-Private"),
            ("connection", "host"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("upgrade", "h2c"),
            ("host", "x"),
            ("accept", "*/*"),
        ]);
        let onward = onward(&map, &origin(&told("fd00::1"), &HeaderValue::from_static("x")), Forwarding::Append);
        for name in map.keys().filter(|name| **name != "accept") {
            assert!(!onward.contains_key(name), "{name}");
        }
        assert_eq!(onward["accept"], "*/*");
        strip(&mut map);
        assert_eq!(lines(&map), ["accept: */*", "host: x"]);
    }

    #[test]
    fn an_upgrade_is_asked_for_in_two_headers() {
        let check =
            |lines: &[(&'static str, &'static str)], wanted: bool| assert_eq!(upgrade(&headers(lines)).is_some(), wanted, "{lines:?}");
        check(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")], true);
        check(&[("upgrade", "websocket")], false);
        check(&[("connection", "upgrade")], false);
        check(&[("connection", "upgrade"), ("upgrade", "h2c")], false);
        assert!(takes_trailers(&headers(&[("te", "gzip, Trailers")])));
        assert!(!takes_trailers(&headers(&[("te", "gzip")])));
    }

    fn told(client: &str) -> Told {
        Told::of(client.parse().unwrap(), SocketAddr::from(([198, 18, 0, 10], 443)), "https")
    }

    fn origin<'a>(told: &'a Told, authority: &'a HeaderValue) -> Origin<'a> {
        Origin { told, authority, version: Version::HTTP_2 }
    }

    #[test]
    fn a_client_cannot_say_that_it_is_somebody_else() {
        let said = [("forwarded", "for=1.2.3.4"), ("x-forwarded-for", "1.2.3.4"), ("x-forwarded-proto", "http"), ("via", "1.0 a")];
        let asked = HeaderValue::from_static("shop.example:443");
        let map = onward(&headers(&said), &origin(&told("fd00::1"), &asked), Forwarding::Replace);
        let wanted = [
            "forwarded: for=\"[fd00::1]\";proto=https;host=\"shop.example:443\"",
            "via: 1.0 a, 2 panloom",
            "x-forwarded-for: fd00::1",
            "x-forwarded-host: shop.example:443",
            "x-forwarded-port: 443",
            "x-forwarded-proto: https",
        ];
        assert_eq!(lines(&map), wanted);
    }

    /// What reads headers as variables of CGI cannot tell `_` from `-`.
    #[test]
    fn other_spellings_of_where_a_request_came_from_go_too() {
        let said = [("x_forwarded_for", "1"), ("x-forwarded_proto", "1"), ("x-real-ip", "1"), ("x_real_ip", "1"), ("proxy", "1")];
        let of = |mode| {
            let mut map = headers(&said);
            map.insert("x_other", HeaderValue::from_static("1"));
            onward(&map, &origin(&told("fd00::1"), &HeaderValue::from_static("x")), mode)
        };
        let replaced = of(Forwarding::Replace);
        assert!(said.iter().all(|(name, _)| !replaced.contains_key(*name)), "{replaced:?}");
        assert!(replaced.contains_key("x_other"));
        let appended = of(Forwarding::Append);
        assert!(appended.contains_key("x-real-ip") && !appended.contains_key("proxy"), "{appended:?}");
    }

    #[test]
    fn what_is_in_front_is_believed_where_the_service_says_so() {
        let said = headers(&[("x-forwarded-for", "1.2.3.4"), ("x-forwarded-for", "5.6.7.8"), ("x-forwarded-proto", "http")]);
        let map = onward(&said, &origin(&told("10.0.0.1"), &HeaderValue::from_static("")), Forwarding::Append);
        let wanted = [
            "forwarded: for=10.0.0.1;proto=https",
            "via: 2 panloom",
            "x-forwarded-for: 1.2.3.4, 5.6.7.8, 10.0.0.1",
            "x-forwarded-port: 443",
            "x-forwarded-proto: http",
        ];
        assert_eq!(lines(&map), wanted);
    }
}
