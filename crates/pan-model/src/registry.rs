//! Registries that a node may ask for images, as its operator lists them.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// One line of the list: `HOST`, `HOST:PORT` or `HOST:*` over HTTPS, the same after `http://` without TLS, or `*` for whatever is public.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryRule {
    /// Over TLS, or in the clear.
    pub security: Security,
    /// Which host; all without.
    pub host: Option<String>,
    /// On which ports.
    pub ports: Ports,
}

/// How a registry is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// HTTPS.
    Tls,
    /// HTTP.
    Clear,
}

/// Ports of a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ports {
    /// Whichever is asked for.
    Any,
    /// This one.
    One(u16),
}

impl Security {
    /// The port of the scheme.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Tls => 443,
            Self::Clear => 80,
        }
    }
}

/// Splits `HOST`, `HOST:PORT` or `[ADDRESS]:PORT`; the host is without brackets and in small letters.
#[must_use]
pub fn split_host(text: &str) -> (String, Option<&str>) {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    (host.to_ascii_lowercase(), port)
}

impl FromStr for RegistryRule {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no registry: expected HOST, HOST:PORT, HOST:* or the same after http://, or *");
        if text == "*" {
            return Ok(Self { security: Security::Tls, host: None, ports: Ports::Any });
        }
        let (security, rest) = match text.strip_prefix("http://") {
            Some(rest) => (Security::Clear, rest),
            None => (Security::Tls, text.strip_prefix("https://").unwrap_or(text)),
        };
        let (host, port) = split_host(rest);
        let ports = match port {
            None => Ports::One(security.port()),
            Some("*") => Ports::Any,
            Some(port) => Ports::One(port.parse().map_err(|_| wrong())?),
        };
        let plain = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':'));
        if host.is_empty() || !plain {
            return Err(wrong());
        }
        Ok(Self { security, host: Some(host), ports })
    }
}

impl fmt::Display for RegistryRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(host) = &self.host else { return f.write_str("*") };
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let scheme = match self.security {
            Security::Tls => "",
            Security::Clear => "http://",
        };
        match self.ports {
            Ports::Any => write!(f, "{scheme}{host}:*"),
            Ports::One(port) if port == self.security.port() => write!(f, "{scheme}{host}"),
            Ports::One(port) => write!(f, "{scheme}{host}:{port}"),
        }
    }
}

impl Serialize for RegistryRule {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RegistryRule {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_as_they_are_written() {
        for text in ["*", "r.example", "r.example:5000", "r.example:*", "http://127.0.0.1:*", "http://r.example", "[fd00::1]:5000"] {
            assert_eq!(text.parse::<RegistryRule>().map(|rule| rule.to_string()).as_deref(), Ok(text));
        }
        assert_eq!("https://R.example:443".parse::<RegistryRule>().unwrap().to_string(), "r.example");
        for bad in ["", "http://", "r.example:x", "r.example/path", "*.example", "a b"] {
            assert!(bad.parse::<RegistryRule>().is_err(), "{bad}");
        }
    }
}
