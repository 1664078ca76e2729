//! The PROXY protocol, versions 1 and 2, as HAProxy's proxy-protocol.txt (2020/03/05) has it: who is in front of a service says
//! by it who the client is, before anything else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What version 2 begins with.
pub const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes that are read first: the shortest header of either version is longer.
pub const FIRST: usize = SIGNATURE.len();

/// The longest line of version 1, its end included.
pub const LINE_MAX: usize = 107;

/// Addresses and what may follow them; nobody sends more than certificates' names there.
pub const REST_MAX: usize = 4096;

/// The two ends of a connection as they were in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The client.
    pub client: SocketAddr,
    /// What it connected to.
    pub server: SocketAddr,
}

/// Bytes that are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no header of the PROXY protocol, which this service expects")]
pub struct NoHeader;

/// What a header of version 2 says of what follows its first 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Two {
    /// Whether it speaks for a client, and not for itself (a health check).
    proxied: bool,
    family: u8,
    /// So many bytes follow.
    pub length: usize,
}

/// Reads the first 16 bytes of version 2.
///
/// # Errors
/// They are not that.
pub fn two(bytes: &[u8; 16]) -> Result<Two, NoHeader> {
    let proxied = match bytes[12] {
        0x20 => false,
        0x21 => true,
        _ => return Err(NoHeader),
    };
    let length = usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    if bytes[..12] != SIGNATURE || length > REST_MAX {
        return Err(NoHeader);
    }
    Ok(Two { proxied, family: bytes[13], length })
}

impl Two {
    /// Reads what follows. Nothing if it speaks for itself, or of something that has no addresses.
    ///
    /// # Errors
    /// It is shorter than its addresses.
    pub fn ends(self, rest: &[u8]) -> Result<Option<Ends>, NoHeader> {
        let port = |at: usize| u16::from_be_bytes([rest[at], rest[at + 1]]);
        match (self.proxied, self.family) {
            (true, 0x11) if rest.len() >= 12 => {
                let address = |at: usize| IpAddr::V4(Ipv4Addr::new(rest[at], rest[at + 1], rest[at + 2], rest[at + 3]));
                Ok(Some(Ends { client: (address(0), port(8)).into(), server: (address(4), port(10)).into() }))
            }
            (true, 0x21) if rest.len() >= 36 => {
                let address = |at: usize| {
                    let octets: [u8; 16] = rest[at..at + 16].try_into().expect("sixteen of them");
                    IpAddr::V6(Ipv6Addr::from(octets))
                };
                Ok(Some(Ends { client: (address(0), port(32)).into(), server: (address(16), port(34)).into() }))
            }
            (true, 0x11 | 0x21) => Err(NoHeader),
            (true | false, _) => Ok(None),
        }
    }
}

/// Reads a line of version 1 with its end. Nothing if it does not say who the client is.
///
/// # Errors
/// It is not that.
pub fn one(line: &[u8]) -> Result<Option<Ends>, NoHeader> {
    let text = line.strip_suffix(b"\r\n").and_then(|line| std::str::from_utf8(line).ok()).ok_or(NoHeader)?;
    let words: Vec<&str> = text.split(' ').collect();
    match words[..] {
        ["PROXY", "UNKNOWN", ..] => Ok(None),
        ["PROXY", family @ ("TCP4" | "TCP6"), client, server, client_port, server_port] => {
            let address =
                |text: &str| text.parse::<IpAddr>().ok().filter(|address| address.is_ipv4() == (family == "TCP4")).ok_or(NoHeader);
            let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
            let port = |text: &str| text.parse::<u16>().ok().filter(|_| plain(text)).ok_or(NoHeader);
            Ok(Some(Ends { client: (address(client)?, port(client_port)?).into(), server: (address(server)?, port(server_port)?).into() }))
        }
        _ => Err(NoHeader),
    }
}

/// A header of version 2.
#[must_use]
pub fn header(ends: &Ends) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    match (ends.client.ip(), ends.server.ip()) {
        (IpAddr::V4(client), IpAddr::V4(server)) => {
            bytes.extend([0x21, 0x11, 0, 12]);
            bytes.extend(client.octets());
            bytes.extend(server.octets());
        }
        (client, server) => {
            let wide = |address: IpAddr| match address {
                IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                IpAddr::V6(address) => address.octets(),
            };
            bytes.extend([0x21, 0x21, 0, 36]);
            bytes.extend(wide(client));
            bytes.extend(wide(server));
        }
    }
    bytes.extend(ends.client.port().to_be_bytes());
    bytes.extend(ends.server.port().to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ends(client: &str, server: &str) -> Ends {
        Ends { client: client.parse().unwrap(), server: server.parse().unwrap() }
    }

    #[test]
    fn lines_of_version_1() {
        let check = |line: &str, wanted: Result<Option<Ends>, NoHeader>| assert_eq!(one(line.as_bytes()), wanted, "{line:?}");
        check("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n", Ok(Some(ends("192.0.2.1:56324", "198.51.100.1:443"))));
        check("PROXY TCP6 fd00::1 fd00::2 1 65535\r\n", Ok(Some(ends("[fd00::1]:1", "[fd00::2]:65535"))));
        check("PROXY UNKNOWN\r\n", Ok(None));
        check("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", Ok(None));
        for bad in [
            "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n",
            "PROXY TCP4 fd00::1 fd00::2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 +1 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 65536 443\r\n",
            "PROXY  TCP4 192.0.2.1 198.51.100.1 1 443\r\n",
            "GET / HTTP/1.1\r\n",
        ] {
            check(bad, Err(NoHeader));
        }
    }

    #[test]
    fn version_2_that_does_not_say_who_it_speaks_for() {
        let read = |command: u8, family: u8, rest: &[u8]| {
            let mut first = [0; 16];
            first[..12].copy_from_slice(&SIGNATURE);
            first[12..].copy_from_slice(&[command, family, 0, u8::try_from(rest.len()).unwrap()]);
            two(&first).and_then(|two| two.ends(rest))
        };
        assert_eq!(read(0x20, 0, &[]), Ok(None), "LOCAL");
        assert_eq!(read(0x21, 0x31, &[0; 216]), Ok(None), "AF_UNIX");
        assert_eq!(read(0x21, 0x11, &[0; 11]), Err(NoHeader));
        assert_eq!(read(0x21, 0x21, &[0; 35]), Err(NoHeader));
        assert_eq!(read(0x11, 0x11, &[0; 12]), Err(NoHeader));
        assert_eq!(two(&[0; 16]), Err(NoHeader));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(client: [u8; 4], server: [u8; 4], six: [u8; 16], ports: (u16, u16), wide: bool, more in proptest::collection::vec(any::<u8>(), 0..20)) {
            let client = if wide { IpAddr::V6(six.into()) } else { IpAddr::V4(client.into()) };
            let server = if wide { IpAddr::V6(six.into()) } else { IpAddr::V4(server.into()) };
            let written = Ends { client: (client, ports.0).into(), server: (server, ports.1).into() };
            let bytes = header(&written);
            let read = two(bytes[..16].try_into().unwrap()).unwrap();
            prop_assert_eq!(read.length, bytes.len() - 16);
            // Extensions may follow the addresses.
            let rest = [&bytes[16..], &more].concat();
            prop_assert_eq!(read.ends(&rest), Ok(Some(written)));
        }
    }
}
