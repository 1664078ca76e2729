//! One question over HTTP/1.1, to whoever the rules allow, and each step of it within a time.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, HOST, HeaderMap, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use pan_model::registry::Security;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::error::{ImageError, cut};
use super::rules::{Rules, Way};

/// Until a connection is there, names and TLS included.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;
/// Heads of an answer: several times what registries send.
const HEADS_MAX: usize = 64 << 10;
/// One step of a name's look-up and a connection to one address.
const ADDRESS_MAX: Duration = Duration::from_secs(4);

/// Who asks.
#[derive(Clone)]
pub(super) struct Asker {
    pub rules: Rules,
    pub tls: Option<TlsConnector>,
    /// How long may nothing come.
    pub stall: Duration,
}

/// An answer whose body is still to come.
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    body: Incoming,
    stall: Duration,
    registry: String,
    _connection: Ends,
}

/// A task that ends when nobody waits for it.
struct Ends(JoinHandle<()>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Asker {
    /// GET.
    pub(super) async fn get(&self, way: &Way, path: &str, accept: &str, token: Option<&str>) -> Result<Answer, ImageError> {
        let registry = way.authority();
        let silent = |why: String| ImageError::Silent { registry: registry.clone(), why: cut(&why) };
        let stream = match tokio::time::timeout(CONNECT_MAX, self.connect(way)).await {
            Ok(stream) => stream?,
            Err(_) => return Err(silent(format!("no connection within {} s", CONNECT_MAX.as_secs()))),
        };
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(HEADS_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| silent(error.to_string()))?;
        let connection = Ends(tokio::spawn(async move {
            // Its failure reaches whoever reads the answer.
            let _ = connection.await;
        }));
        let mut request = Request::get(path).header(HOST, &registry).header(ACCEPT, accept).header(USER_AGENT, "panloom");
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request =
            request.body(Empty::<Bytes>::new()).map_err(|_| ImageError::Odd { registry: registry.clone(), why: "it sends to no path" })?;
        let answer = match tokio::time::timeout(self.stall, sender.send_request(request)).await {
            Ok(answer) => answer.map_err(|error| silent(error.to_string()))?,
            Err(_) => return Err(ImageError::Stalled { registry, waited: self.stall }),
        };
        let (parts, body) = answer.into_parts();
        Ok(Answer { status: parts.status, headers: parts.headers, body, stall: self.stall, registry, _connection: connection })
    }

    async fn connect(&self, way: &Way) -> Result<Box<dyn Stream>, ImageError> {
        let registry = way.authority();
        let silent = |why: String| ImageError::Silent { registry: registry.clone(), why: cut(&why) };
        let found = tokio::time::timeout(ADDRESS_MAX, tokio::net::lookup_host((way.host.as_str(), way.port))).await;
        let found = found.map_err(|_| silent("its name cannot be looked up in time".into()))?;
        // What the resolver says may tell of this host's network.
        let found: Vec<SocketAddr> = found.map_err(|_| silent("its name has no address".into()))?.take(ADDRESSES_MAX).collect();
        let allowed: Vec<SocketAddr> = found.into_iter().filter(|address| self.rules.address(way, address.ip())).collect();
        if allowed.is_empty() {
            return Err(ImageError::Address(registry));
        }
        let mut last = silent("no connection".into());
        for address in allowed {
            match tokio::time::timeout(ADDRESS_MAX, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return self.secure(way, stream).await,
                Ok(Err(error)) => last = silent(error.kind().to_string()),
                Err(_) => last = silent("no connection in time".into()),
            }
        }
        Err(last)
    }

    async fn secure(&self, way: &Way, stream: TcpStream) -> Result<Box<dyn Stream>, ImageError> {
        let registry = way.authority();
        match way.security {
            Security::Clear => Ok(Box::new(stream)),
            Security::Tls => {
                let odd = |why| ImageError::Odd { registry: registry.clone(), why };
                let tls =
                    self.tls.as_ref().ok_or_else(|| odd("there are no certificates here to check it by (node.images.authorities)"))?;
                let name = ServerName::try_from(way.host.clone()).map_err(|_| odd("its name cannot be in a certificate"))?;
                let secured = tls.connect(name, stream).await;
                Ok(Box::new(secured.map_err(|error| ImageError::Silent { registry, why: cut(&error.to_string()) })?))
            }
        }
    }
}

impl Answer {
    /// The next piece; `None` at the end.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, ImageError> {
        loop {
            let registry = || self.registry.clone();
            match tokio::time::timeout(self.stall, self.body.frame()).await {
                Err(_) => return Err(ImageError::Stalled { registry: registry(), waited: self.stall }),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => return Err(ImageError::Silent { registry: registry(), why: cut(&error.to_string()) }),
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// All of it, or `None` if that is more than `most`.
    pub(super) async fn whole(&mut self, most: u64) -> Result<Option<Vec<u8>>, ImageError> {
        let mut all = Vec::new();
        while let Some(piece) = self.piece().await? {
            if all.len() as u64 + piece.len() as u64 > most {
                return Ok(None);
            }
            all.extend_from_slice(&piece);
        }
        Ok(Some(all))
    }
}
