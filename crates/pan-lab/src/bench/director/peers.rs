//! Who passes requests on, and what each is told. Nothing is tuned but what is asked of all: one thread, kept connections to the server, the
//! client's address in a header, no access log. Pure.

use std::net::SocketAddrV4;
use std::path::Path;
use std::str::FromStr;

use super::wire::Middle;
use super::work::{DirectorCase, How};

/// A product that is measured beside Panloom's proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProxyPeer {
    /// HAProxy in its HTTP mode, and in its TCP mode where connections are passed on.
    Haproxy,
    /// nginx with `proxy_pass`; not where connections are passed on.
    Nginx,
}

impl ProxyPeer {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Haproxy, Self::Nginx];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
        }
    }

    /// Its program, and the Debian package that has it.
    pub(super) const fn program(self) -> (&'static str, &'static str) {
        match self {
            Self::Haproxy => ("/usr/sbin/haproxy", "haproxy"),
            Self::Nginx => ("/usr/sbin/nginx", "nginx-light"),
        }
    }
}

impl FromStr for ProxyPeer {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|peer| peer.as_str() == text);
        known.ok_or_else(|| format!("{text:?} cannot be measured: expected {}", Self::ALL.map(Self::as_str).join(" or ")))
    }
}

/// The server's port for proxies, and the one for those that have all processors.
const SERVER: (u16, u16) = (80, 81);
/// The public port of the director's rules.
pub(super) const PUBLIC: u16 = 8080;
const HAPROXY_TCP: u16 = 8013;

/// Where the server is for the proxies.
fn server_address() -> SocketAddrV4 {
    SocketAddrV4::new(Middle::Proxies.server(), SERVER.0)
}

/// Where the server is for everything else.
pub(super) fn server_of(middle: Middle) -> SocketAddrV4 {
    SocketAddrV4::new(middle.server(), SERVER.1)
}

/// Who passes something on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proxy {
    Own,
    Peer(ProxyPeer),
    /// Nobody: the kernel forwards.
    Routed,
}

impl Proxy {
    /// Who is asked in a case, of those that are there.
    pub fn takes_part(self, how: How) -> bool {
        match self {
            Self::Own | Self::Peer(ProxyPeer::Haproxy) => true,
            Self::Peer(ProxyPeer::Nginx) => how != How::Four,
            Self::Routed => how == How::Four,
        }
    }

    /// Where it listens, in clear and by TLS.
    pub fn ports(self) -> (u16, u16) {
        match self {
            Self::Own | Self::Routed => (8001, 8002),
            Self::Peer(ProxyPeer::Haproxy) => (8011, 8012),
            Self::Peer(ProxyPeer::Nginx) => (8021, 8022),
        }
    }

    /// Where a client asks.
    pub fn target(self, case: DirectorCase) -> SocketAddrV4 {
        let (clear, tls) = self.ports();
        match (case.how, self) {
            (How::Seven, _) => SocketAddrV4::new(Middle::Proxies.front(), clear),
            (How::Tls, _) => SocketAddrV4::new(Middle::Proxies.front(), tls),
            (How::Four, Self::Own) => SocketAddrV4::new(Middle::Rules.front(), PUBLIC),
            (How::Four, Self::Peer(_)) => SocketAddrV4::new(Middle::Proxies.front(), HAPROXY_TCP),
            (How::Four, Self::Routed) => server_of(Middle::Plain),
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Own => super::super::report::OWN,
            Self::Peer(peer) => peer.as_str(),
            Self::Routed => "routed",
        }
    }

    /// Its configuration. `folder` has `cert.pem`, `key.pem`, and both in `both.pem`.
    pub fn config(self, folder: &Path, certificate: &Certificate) -> String {
        let ((clear, tls), folder) = (self.ports(), folder.display());
        let (front, server) = (Middle::Proxies.front(), server_address());
        match self {
            Self::Own | Self::Routed => own(clear, tls, certificate),
            Self::Peer(ProxyPeer::Haproxy) => format!(
                "global
  nbthread 1
  maxconn 4000
defaults
  mode http
  timeout connect 1s
  timeout client 60s
  timeout server 30s
  timeout http-request 10s
  option http-keep-alive
  option forwardfor
  http-reuse always
frontend clear
  bind {front}:{clear}
  default_backend server
frontend safe
  bind {front}:{tls} ssl crt {folder}/both.pem alpn http/1.1
  default_backend server
backend server
  server one {server}
"
            ),
            Self::Peer(ProxyPeer::Nginx) => format!(
                "worker_processes 1;
daemon off;
pid {folder}/nginx-proxy.pid;
error_log stderr;
events {{ worker_connections 20000; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  upstream server {{ server {server}; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen {front}:{clear};
    listen {front}:{tls} ssl;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_certificate {folder}/cert.pem;
    ssl_certificate_key {folder}/key.pem;
    location / {{
      proxy_pass http://server;
      proxy_http_version 1.1;
      proxy_set_header Connection '';
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
    }}
  }}
}}
"
            ),
        }
    }
}

/// A certificate and its key, PEM.
#[derive(Debug, Clone)]
pub(super) struct Certificate {
    pub cert: String,
    pub key: String,
}

fn own(clear: u16, tls: u16, certificate: &Certificate) -> String {
    let service = |name: &str, port: u16, tls: serde_json::Value| {
        serde_json::json!({
            "name": name, "listen": [format!("{}:{port}", Middle::Proxies.front())], "tls": tls, "routes": [{"cluster": "server"}],
            "clusters": [{"name": "server", "servers": [{"name": "one", "index": 1, "address": server_address().to_string(), "state": "up"}]}],
        })
    };
    let shown = serde_json::json!([{"hosts": ["bench.example"], "cert": certificate.cert, "key": certificate.key}]);
    serde_json::json!({"services": [service("clear", clear, serde_json::json!([])), service("safe", tls, shown)]}).to_string()
}

/// What the server is told: two files, from memory.
pub(super) fn server(folder: &Path, port: u16) -> String {
    let folder = folder.display();
    format!(
        "worker_processes 1;
daemon off;
pid {folder}/nginx-server-{port}.pid;
error_log stderr;
events {{ worker_connections 20000; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  open_file_cache max=10;
  keepalive_requests 1000000000;
  server {{ listen {port}; root {folder}/files; }}
}}
"
    )
}

/// HAProxy as it passes connections on, on as many threads as there are processors, as it does by itself.
pub(super) fn haproxy_tcp() -> String {
    let (front, server) = (Middle::Proxies.front(), server_of(Middle::Proxies));
    format!(
        "global
  maxconn 4000
defaults
  mode tcp
  timeout connect 1s
  timeout client 60s
  timeout server 60s
listen all
  bind {front}:{HAPROXY_TCP}
  server one {server}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use pan_model::proxy::ProxySpec;

    #[test]
    fn our_document_is_one() {
        let certificate = Certificate { cert: "c".into(), key: "k".into() };
        let spec: ProxySpec = serde_json::from_str(&Proxy::Own.config(Path::new("/x"), &certificate)).unwrap();
        assert_eq!((spec.services.len(), spec.services[1].tls.len()), (2, 1));
        assert_eq!("haproxy".parse(), Ok(ProxyPeer::Haproxy));
        assert!("envoy".parse::<ProxyPeer>().unwrap_err().contains("haproxy or nginx"));
    }
}
