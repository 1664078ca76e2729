//! What a request may ask for: a target of a form that has one reading (RFC 9112, 3.2). Others have none, or two: a host alone
//! is an authority to one reader and a path to the next.

use std::net::Ipv6Addr;

/// Whether a request line of HTTP/1 may have this target: origin-form, absolute-form by `http` or `https`, or `*` with OPTIONS.
/// What CONNECT asks for is not looked at: the method is refused.
#[must_use]
pub fn is_target(method: &[u8], target: &[u8]) -> bool {
    match target {
        [b'/', ..] => true,
        b"*" => method == b"OPTIONS",
        _ => method == b"CONNECT" || is_absolute(target),
    }
}

fn is_absolute(target: &[u8]) -> bool {
    let after = |scheme: &[u8]| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    let rest = after(b"http://").or_else(|| after(b"https://"));
    rest.and_then(|rest| rest.first()).is_some_and(|first| !b"/?#".contains(first))
}

/// Whether a request may ask for this path, as a parser found it.
#[must_use]
pub fn is_path(method: &str, path: &str) -> bool {
    path.starts_with('/') || (path == "*" && method == "OPTIONS")
}

/// Whether this is a host with or without a port, and nothing else (RFC 9110, 4.2.1 and 7.2; RFC 3986, 3.2.2). Who the client
/// is, before an `@`, is none of it (RFC 9110, 4.2.4): one reader takes what is before it for the host, the next what is after.
#[must_use]
pub fn is_authority(authority: &[u8]) -> bool {
    let (host, port) = match authority {
        [b'[', inner @ ..] => {
            let Some(end) = inner.iter().position(|byte| *byte == b']') else { return false };
            if !std::str::from_utf8(&inner[..end]).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok()) {
                return false;
            }
            (&[][..], &inner[end + 1..])
        }
        _ => authority.split_at(authority.iter().position(|byte| *byte == b':').unwrap_or(authority.len())),
    };
    let port = match port {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    port && is_name(host)
}

/// `reg-name`, which an address of IPv4 is, too.
fn is_name(mut name: &[u8]) -> bool {
    while let [first, rest @ ..] = name {
        name = match (first, rest) {
            (b'%', [high, low, rest @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => rest,
            (byte, rest) if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(byte) => rest,
            _ => return false,
        };
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses() {
        for good in ["", "x", "shop.example:80", "shop.example.", "10.0.0.1:1", "[fd00::1]", "[fd00::1]:80", "a_b", "x:", "%61"] {
            assert!(is_authority(good.as_bytes()), "{good}");
        }
        for bad in [
            "a b",
            "x@evil",
            "x:1@evil",
            "\u{e4}",
            "x/y",
            "x?y",
            "x#y",
            "x:y",
            "x:1:2",
            "[fd00::1",
            "fd00::1",
            "[x]",
            "[fd00::1]x",
            "%6",
            "a\tb",
            "\"x\"",
            "a\\b",
            "<x>",
        ] {
            assert!(!is_authority(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn targets_have_one_reading() {
        let check = |method: &str, target: &str, good: bool| assert_eq!(is_target(method.as_bytes(), target.as_bytes()), good, "{target}");
        for good in ["/", "/a?b", "//a", "http://shop.example", "HTTP://shop.example/a", "https://shop.example?a"] {
            check("GET", good, true);
        }
        for bad in
            ["shop.example", "shop.example:80", "a/b", "?a", "*", "http:/a", "http://", "http:///a", "https://?a", "ftp://a/", "mailto:a"]
        {
            check("GET", bad, false);
        }
        check("OPTIONS", "*", true);
        check("OPTIONS", "*a", false);
        check("CONNECT", "shop.example:80", true);
    }

    #[test]
    fn paths_begin_with_a_slash() {
        assert!(is_path("GET", "/") && is_path("OPTIONS", "*"));
        assert!(!is_path("GET", "*") && !is_path("GET", "") && !is_path("GET", "a") && !is_path("OPTIONS", ""));
    }
}
