//! Where a member listens.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use hyper::http::uri::Uri;
use rustls::pki_types::ServerName;

/// The port of a URL that names none.
const PORT: u16 = 2379;

/// A member's client URL, such as `https://10.0.0.1:2379`; its certificate must name that host or address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    host: Arc<str>,
    port: u16,
    name: ServerName<'static>,
}

/// A text is not the URL of a member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a member of etcd: expected https://HOST or https://HOST:PORT")]
pub struct EndpointError {
    text: String,
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let wrong = || EndpointError { text: text.to_owned() };
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
        if uri.scheme_str() != Some("https") || !bare {
            return Err(wrong());
        }
        let host = uri.host().ok_or_else(wrong)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(host.to_owned()).map_err(|_| wrong())?;
        Ok(Self { host: host.into(), port: uri.port_u16().unwrap_or(PORT), name })
    }
}

impl Endpoint {
    /// What to look up and connect to.
    pub(super) fn address(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    pub(super) fn name(&self) -> ServerName<'static> {
        self.name.clone()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(out, "https://[{}]:{}", self.host, self.port),
            false => write!(out, "https://{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_strictly() {
        for (text, shown) in [
            ("https://10.0.0.1:2379", "https://10.0.0.1:2379"),
            ("https://e1.example", "https://e1.example:2379"),
            ("https://[fd00::1]:9/", "https://[fd00::1]:9"),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), shown);
        }
        for text in ["http://10.0.0.1:2379", "10.0.0.1:2379", "https://e1/v3", "https://e1?x", "https://-:1", ""] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }
}
