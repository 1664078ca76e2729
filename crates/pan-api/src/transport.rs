//! HTTP/1.1 over TLS over TCP: what both clients share. One idle connection is kept and used again.

use crate::ApiError;
use crate::lines::{Chunks, Lines};
use crate::requests::AGE_HEADER;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use pan_model::Code;
use rustls_pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

/// Largest answer that is read whole: several times a PAN of ten thousand servers.
const ANSWER_MAX: usize = 256 << 20;

/// How long one way is tried alone: the "Connection Attempt Delay" of RFC 8305.
const PATIENCE: Duration = Duration::from_millis(250);

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Until a connection is there, TLS included.
    pub connect: Duration,
    /// From a request to the end of its answer; for a stream to its first bytes.
    pub request: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), request: Duration::from_secs(60) }
    }
}

/// Whom to call and how.
#[derive(Clone)]
pub(crate) struct Target {
    /// Where it is to be found; the first that answers is asked, and asked first the next time, unless it said that it cannot decide.
    pub(crate) ways: Vec<Way>,
    pub(crate) tls: Arc<rustls::ClientConfig>,
    /// The local address to call from.
    pub(crate) bind: Option<IpAddr>,
    pub(crate) token: Option<String>,
    /// What answers may be, of RFC 9111's words.
    pub(crate) cache_control: Option<HeaderValue>,
    pub(crate) timeouts: Timeouts,
    /// What stands in errors.
    pub(crate) label: String,
    /// The code of an error when it does not answer.
    pub(crate) silent: Code,
    /// The code when it is somebody else, who shows no certificate of the authority that is trusted.
    pub(crate) stranger: Code,
}

/// One place where a target is to be found.
#[derive(Clone)]
pub(crate) struct Way {
    /// `HOST:PORT`, resolved at each connection.
    pub(crate) authority: String,
    /// The name or address that the certificate must carry.
    pub(crate) expected: ServerName<'static>,
}

type Sender = SendRequest<Full<Bytes>>;

pub(crate) struct Transport {
    target: Target,
    idle: Mutex<Option<Connected>>,
    /// The way that answered last, and could decide.
    preferred: AtomicUsize,
    /// How old the oldest answer was that told its age.
    oldest: Mutex<Option<Duration>>,
}

/// A connection, and by which way it goes.
struct Connected {
    sender: Sender,
    way: usize,
}

/// An answer whose body has not been read.
struct Answer {
    response: Response<Incoming>,
    from: Connected,
}

impl Transport {
    pub(crate) const fn new(target: Target) -> Self {
        Self { target, idle: Mutex::new(None), preferred: AtomicUsize::new(0), oldest: Mutex::new(None) }
    }

    /// A request and its whole answer; an empty answer reads as JSON `null`.
    pub(crate) async fn call<T: DeserializeOwned>(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<T, ApiError> {
        let bytes = self.call_bytes(method, path, body).await?;
        let text: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
        serde_json::from_slice(text).map_err(|error| {
            ApiError::new(Code::Internal, format!("{} answered {path} with something else than expected: {error}", self.target.label))
        })
    }

    pub(crate) async fn call_bytes(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<Bytes, ApiError> {
        self.call_bytes_as(method, path, self.target.token.as_deref(), body).await
    }

    pub(crate) async fn call_bytes_as(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Bytes>,
    ) -> Result<Bytes, ApiError> {
        let whole = async {
            let Answer { response, from } = self.send(method, path, token, body).await?;
            let status = response.status();
            let bytes = self.read_all(response).await?;
            if status.is_success() {
                self.keep(from);
                return Ok(bytes);
            }
            let refusal = self.refusal(status.as_u16(), &bytes);
            if refusal.code == Code::NotLeading {
                self.turn_from(from.way);
            } else {
                self.keep(from);
            }
            Err(refusal)
        };
        tokio::time::timeout(self.target.timeouts.request, whole).await.unwrap_or_else(|_| Err(self.slow(path)))
    }

    /// A request whose answer is a stream, on a connection of its own.
    pub(crate) async fn open(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<Chunks, ApiError> {
        let first = async {
            let Answer { response, from } = self.send(method, path, self.target.token.as_deref(), body).await?;
            let status = response.status();
            if status.is_success() {
                return Ok(Chunks::new(response.into_body(), from.sender, self.target.label.clone(), self.target.silent));
            }
            let bytes = self.read_all(response).await?;
            let refusal = self.refusal(status.as_u16(), &bytes);
            if refusal.code == Code::NotLeading {
                self.turn_from(from.way);
            }
            Err(refusal)
        };
        tokio::time::timeout(self.target.timeouts.request, first).await.unwrap_or_else(|_| Err(self.slow(path)))
    }

    pub(crate) async fn open_lines<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<Lines<T>, ApiError> {
        Ok(Lines::new(self.open(method, path, body).await?))
    }

    /// Sends on the idle connection if there is one, else on a new one. A request that fails on a kept
    /// connection is repeated once when it was not sent, or when repeating cannot matter.
    async fn send(&self, method: Method, path: &str, token: Option<&str>, body: Option<Bytes>) -> Result<Answer, ApiError> {
        let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut kept) = kept.filter(|kept| !kept.sender.is_closed())
            && kept.sender.ready().await.is_ok()
        {
            let request = self.request(kept.way, &method, path, token, body.clone())?;
            match kept.sender.try_send_request(request).await {
                Ok(response) => {
                    self.note_age(&response);
                    return Ok(Answer { response, from: kept });
                }
                Err(failed) if failed.message().is_none() && method != Method::GET => return Err(self.broken(path, failed.error())),
                Err(_) => {}
            }
        }
        let mut fresh = self.connect().await?;
        let request = self.request(fresh.way, &method, path, token, body)?;
        let response = fresh.sender.send_request(request).await.map_err(|error| self.broken(path, &error))?;
        self.note_age(&response);
        Ok(Answer { response, from: fresh })
    }

    fn request(
        &self,
        way: usize,
        method: &Method,
        path: &str,
        token: Option<&str>,
        body: Option<Bytes>,
    ) -> Result<Request<Full<Bytes>>, ApiError> {
        let bad = |error: String| ApiError::new(Code::Invalid, format!("cannot ask for {path}: {error}"));
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.target.ways[way].authority)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body.unwrap_or_default()))
            .map_err(|error| bad(error.to_string()))?;
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| ApiError::new(Code::Unauthenticated, "the token has characters that no token has: is PAN_TOKEN right?"))?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        if let Some(value) = &self.target.cache_control {
            request.headers_mut().insert(CACHE_CONTROL, value.clone());
        }
        Ok(request)
    }

    fn note_age(&self, response: &Response<Incoming>) {
        let age = response.headers().get(AGE_HEADER).and_then(|value| value.to_str().ok()?.parse().ok()).map(Duration::from_millis);
        let mut oldest = self.oldest.lock().unwrap_or_else(PoisonError::into_inner);
        *oldest = age.max(*oldest);
    }

    /// How old the oldest answer was that told its age.
    pub(crate) fn oldest(&self) -> Option<Duration> {
        *self.oldest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers may be of any age from now on.
    pub(crate) fn accept_stale(&mut self) {
        self.target.cache_control = Some(HeaderValue::from_static("max-stale"));
    }

    pub(crate) async fn reach(&self) -> Result<(), ApiError> {
        let there = self.idle.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(|kept| !kept.sender.is_closed());
        if !there {
            let fresh = self.connect().await?;
            self.keep(fresh);
        }
        Ok(())
    }

    /// How many ways there are.
    pub(crate) const fn ways(&self) -> usize {
        self.target.ways.len()
    }

    /// The next call begins with the way after this one. Of several calls that were refused on one way at the same time the first alone
    /// moves on: the others must not lead past a way that was not asked.
    fn turn_from(&self, way: usize) {
        let next = (way + 1) % self.target.ways.len();
        let _ = self.preferred.compare_exchange(way, next, Ordering::Relaxed, Ordering::Relaxed);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // Another call may have left one of the same way.
        *idle = idle.take().filter(|kept| kept.way != way);
    }

    /// One way after the other; the next is tried as soon as one failed, or beside it when it takes long: one that stands still says nothing.
    async fn connect(&self) -> Result<Connected, ApiError> {
        let (first, count) = (self.preferred.load(Ordering::Relaxed), self.target.ways.len());
        let mut others = (0..count).map(|step| (first + step) % count);
        let (mut tried, mut failure) = (FuturesUnordered::new(), None);
        loop {
            if let Some(at) = others.next() {
                tried.push(async move { (at, self.connect_way(&self.target.ways[at]).await) });
            }
            let more = others.len() > 0;
            tokio::select! {
                Some((at, found)) = tried.next() => match found {
                    Ok(sender) => {
                        self.preferred.store(at, Ordering::Relaxed);
                        return Ok(Connected { sender, way: at });
                    }
                    Err(error) => failure = Some(error),
                },
                () = tokio::time::sleep(PATIENCE), if more => {}
                else => return Err(failure.expect("a target has at least one way")),
            }
        }
    }

    async fn connect_way(&self, way: &Way) -> Result<Sender, ApiError> {
        let connecting = async {
            let tcp = self.connect_tcp(&way.authority).await.map_err(|error| self.unreachable(&error.to_string()))?;
            let _ = tcp.set_nodelay(true);
            let connector = TlsConnector::from(self.target.tls.clone());
            let stream = connector.connect(way.expected.clone(), tcp).await.map_err(|error| self.untrusted(&error))?;
            let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| self.unreachable(&error.to_string()))?;
            tokio::spawn(async move {
                // Its failure reaches whoever waits for an answer; there is nobody else to tell.
                let _ = connection.await;
            });
            Ok(sender)
        };
        let limit = self.target.timeouts.connect;
        tokio::time::timeout(limit, connecting)
            .await
            .unwrap_or_else(|_| Err(self.unreachable(&format!("no connection within {} ms", limit.as_millis()))))
    }

    async fn connect_tcp(&self, authority: &str) -> std::io::Result<TcpStream> {
        let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
        for address in tokio::net::lookup_host(authority).await? {
            match self.connect_address(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn connect_address(&self, address: SocketAddr) -> std::io::Result<TcpStream> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(local) = self.target.bind {
            socket.bind(SocketAddr::new(local, 0))?;
        }
        socket.connect(address).await
    }

    async fn read_all(&self, response: Response<Incoming>) -> Result<Bytes, ApiError> {
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
        let body =
            body.map_err(|error| ApiError::new(self.target.silent, format!("{} broke off its answer: {error}", self.target.label)))?;
        Ok(body.to_bytes())
    }

    fn keep(&self, connected: Connected) {
        *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = Some(connected);
    }

    fn refusal(&self, status: u16, body: &[u8]) -> ApiError {
        serde_json::from_slice(body).unwrap_or_else(|_| {
            let code = match status {
                401 => Code::Unauthenticated,
                403 => Code::Denied,
                404 => Code::NotFound,
                400 | 405 | 413 | 415 | 422 => Code::Invalid,
                _ => Code::Internal,
            };
            let text = String::from_utf8_lossy(&body[..body.len().min(500)]).trim().to_owned();
            ApiError::new(code, format!("{} answered HTTP {status} {text}", self.target.label))
        })
    }

    fn unreachable(&self, reason: &str) -> ApiError {
        let label = &self.target.label;
        let todo = if self.target.silent == Code::Unreachable {
            "; is the PAN up (`pan lab hosts`), is it the right one (`pan context show`)?"
        } else {
            ""
        };
        ApiError::new(self.target.silent, format!("cannot reach {label}: {reason}{todo}"))
    }

    fn untrusted(&self, error: &std::io::Error) -> ApiError {
        let refused = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
        if matches!(refused, Some(rustls::Error::InvalidCertificate(_))) && self.target.stranger != self.target.silent {
            let label = &self.target.label;
            return ApiError::new(
                self.target.stranger,
                format!("{label} is not the one that is trusted ({error}); nothing was sent to it"),
            );
        }
        self.unreachable(&format!("TLS: {error}"))
    }

    fn broken(&self, path: &str, error: &hyper::Error) -> ApiError {
        ApiError::new(
            self.target.silent,
            format!("{} did not answer {path}: {error}; whether it acted on it is not known", self.target.label),
        )
    }

    fn slow(&self, path: &str) -> ApiError {
        let limit = self.target.timeouts.request;
        ApiError::new(self.target.silent, format!("{} did not answer {path} within {} s", self.target.label, limit.as_secs()))
    }
}

/// The JSON of a request's body.
pub(crate) fn json<B: Serialize + ?Sized>(body: &B) -> Result<Bytes, ApiError> {
    serde_json::to_vec(body).map(Bytes::from).map_err(|error| ApiError::new(Code::Internal, format!("cannot write the request: {error}")))
}
