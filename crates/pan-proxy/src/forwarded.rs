//! What a request and an answer look like on the other side: without what was meant for this hop only (RFC 9110, 7.6.1), and
//! with what the next would otherwise not know (RFC 7239, RFC 9110 7.6.3, and `X-Forwarded-*`, which more servers read).

use hyper::HeaderMap;
use hyper::header::{CONNECTION, CONTENT_LENGTH, FORWARDED, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE, VIA};
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
        values.flat_map(|value| value.split(',')).filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok()).collect()
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

/// Where a request came from.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The client.
    pub client: IpAddr,
    /// What it connected to.
    pub local: SocketAddr,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The host it asked for, as it wrote it.
    pub authority: &'a str,
    /// The version it spoke, as `Via` has it: `1.1`.
    pub version: &'static str,
}

/// Says where a request came from.
pub fn tell(headers: &mut HeaderMap, origin: &Origin<'_>, mode: Forwarding) {
    match mode {
        Forwarding::Replace => forget(headers),
        Forwarding::Append => {}
    }
    headers.remove(PROXY);
    let node = match origin.client {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("\"[{address}]\""),
    };
    let mut forwarded = format!("for={node};proto={}", origin.scheme);
    if !origin.authority.is_empty() && !origin.authority.contains(['"', '\\']) {
        forwarded.push_str(&format!(";host=\"{}\"", origin.authority));
    }
    append(headers, FORWARDED, &forwarded);
    append(headers, X_FORWARDED_FOR, &origin.client.to_string());
    // Who is in front knows these better: they are about the client's own request.
    absent(headers, X_FORWARDED_PROTO, origin.scheme);
    absent(headers, X_FORWARDED_HOST, origin.authority);
    absent(headers, X_FORWARDED_PORT, &origin.local.port().to_string());
    append(headers, VIA, &format!("{} panloom", origin.version));
}

/// Takes out what a client says of where it comes from. Servers of CGI and its like read `_` and `-` as one character, so names
/// that differ in that alone are the same.
fn forget(headers: &mut HeaderMap) {
    ORIGIN.iter().for_each(|name| drop(headers.remove(name)));
    let alike = |name: &&HeaderName| name.as_str().contains('_') && is_origin(&name.as_str().replace('_', "-"));
    let alike: Vec<HeaderName> = headers.keys().filter(alike).cloned().collect();
    alike.iter().for_each(|name| drop(headers.remove(name)));
}

fn is_origin(text: &str) -> bool {
    ORIGIN.iter().any(|name| name.as_str() == text)
}

/// Adds to the list that is there, in one line.
fn append(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    let before: Vec<&str> = headers.get_all(&name).iter().filter_map(|value| value.to_str().ok()).collect();
    let text = if before.is_empty() { text.to_owned() } else { format!("{}, {text}", before.join(", ")) };
    if let Ok(value) = HeaderValue::from_str(&text) {
        headers.insert(name, value);
    }
}

fn absent(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if !text.is_empty()
        && !headers.contains_key(&name)
        && let Ok(value) = HeaderValue::from_str(text)
    {
        headers.insert(name, value);
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

    const ORIGINS: Origin<'_> = Origin {
        client: IpAddr::V6(std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)),
        local: SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(198, 18, 0, 10)), 443),
        scheme: "https",
        authority: "shop.example:443",
        version: "2",
    };

    #[test]
    fn a_client_cannot_say_that_it_is_somebody_else() {
        let mut map =
            headers(&[("forwarded", "for=1.2.3.4"), ("x-forwarded-for", "1.2.3.4"), ("x-forwarded-proto", "http"), ("via", "1.0 a")]);
        tell(&mut map, &ORIGINS, Forwarding::Replace);
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
            tell(&mut map, &ORIGINS, mode);
            map
        };
        let replaced = of(Forwarding::Replace);
        assert!(said.iter().all(|(name, _)| !replaced.contains_key(*name)), "{replaced:?}");
        assert!(replaced.contains_key("x_other"));
        let appended = of(Forwarding::Append);
        assert!(appended.contains_key("x-real-ip") && !appended.contains_key("proxy"), "{appended:?}");
    }

    #[test]
    fn what_is_in_front_is_believed_where_the_service_says_so() {
        let mut map = headers(&[("x-forwarded-for", "1.2.3.4"), ("x-forwarded-for", "5.6.7.8"), ("x-forwarded-proto", "http")]);
        tell(&mut map, &Origin { client: [10, 0, 0, 1].into(), authority: "", ..ORIGINS }, Forwarding::Append);
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
