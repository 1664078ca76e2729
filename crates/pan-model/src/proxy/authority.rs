//! What stands for a host and its port.

use std::net::Ipv6Addr;

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
}
