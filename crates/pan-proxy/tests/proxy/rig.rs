//! Servers, clients and proxies of the tests.

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pan_model::proxy::ProxySpec;
use pan_proxy::{Proxy, Settings};
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Nothing here takes so long unless it is broken.
pub const LONG: Duration = Duration::from_secs(20);

pub const ANY: &str = "127.0.0.1:0";

/// A request as a server saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// The number of the connection that it came by.
    pub connection: usize,
}

/// A well-behaved server. Its paths: `/echo` answers with the body, `/big/N` with N bytes, `/held` when [`Origin::release`]
/// is called, `/ws` changes the protocol and echoes, `/trailers` says
/// trailers, `/status/N` that status; anything else says the server's name.
pub struct Origin {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    open: watch::Sender<bool>,
    task: JoinHandle<()>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Version {
    One,
    Two,
}

impl Origin {
    pub async fn start(name: &'static str) -> Self {
        Self::speaking(name, Version::One).await
    }

    pub async fn speaking(name: &'static str, version: Version) -> Self {
        let listener = TcpListener::bind(ANY).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, open) = (Arc::new(Mutex::new(Vec::new())), watch::Sender::new(false));
        let (ledger, held) = (Arc::clone(&seen), open.clone());
        let task = tokio::spawn(async move {
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let (ledger, held) = (Arc::clone(&ledger), held.clone());
                let answering = service_fn(move |request| answer(name, connection, Arc::clone(&ledger), held.subscribe(), request));
                tokio::spawn(async move {
                    let io = TokioIo::new(stream);
                    match version {
                        Version::One => {
                            drop(hyper::server::conn::http1::Builder::new().serve_connection(io, answering).with_upgrades().await)
                        }
                        Version::Two => {
                            drop(hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, answering).await);
                        }
                    }
                });
            }
        });
        Self { address, seen, open, task }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn release(&self) {
        self.open.send_replace(true);
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Body = BoxBody<Bytes, std::io::Error>;

fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never| match never {}).boxed()
}

async fn answer(
    name: &'static str,
    connection: usize,
    ledger: Arc<Mutex<Vec<Seen>>>,
    mut held: watch::Receiver<bool>,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let upgrade = hyper::upgrade::on(&mut request);
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return Ok(Response::new(full(""))) };
    let body = body.to_bytes();
    let path = head.uri.path().to_owned();
    ledger.lock().unwrap().push(Seen {
        method: head.method.to_string(),
        target: head.uri.to_string(),
        headers: head.headers.clone(),
        body: body.to_vec(),
        connection,
    });
    let number = || path.rsplit('/').next().unwrap().parse::<usize>().unwrap();
    let frames = |frames: Vec<Result<Frame<Bytes>, std::io::Error>>| StreamBody::new(futures_util::stream::iter(frames)).boxed();
    Ok(match path.split('/').nth(1).unwrap_or_default() {
        "echo" => Response::new(full(body)),
        "big" => Response::new(full(vec![b'x'; number()])),
        "held" => {
            held.wait_for(|open| *open).await.unwrap();
            Response::new(full(name))
        }
        "trailers" => {
            let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
            Response::new(frames(vec![Ok(Frame::data(Bytes::from_static(b"data"))), Ok(Frame::trailers(trailers))]))
        }
        "status" => Response::builder().status(StatusCode::from_u16(u16::try_from(number()).unwrap()).unwrap()).body(full(name)).unwrap(),
        "hop" => {
            Response::builder().header("connection", "x-private").header("x-private", "1").header("x-public", "1").body(full(name)).unwrap()
        }
        "ws" => {
            tokio::spawn(async move {
                let mut stream = TokioIo::new(upgrade.await.unwrap());
                let mut buffer = [0; 1024];
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    stream.write_all(&buffer[..count]).await.unwrap();
                }
            });
            Response::builder().status(101).header("connection", "upgrade").header("upgrade", "websocket").body(full("")).unwrap()
        }
        _ => Response::new(full(name)),
    })
}

/// A server that does what it is told with each connection.
pub struct Raw {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Raw {
    pub async fn start<F, Fut>(handle: F) -> Self
    where
        F: Fn(TcpStream) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(ANY).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(handle(stream));
            }
        });
        Self { address, task }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An address where nobody listens.
pub async fn nobody() -> SocketAddr {
    TcpListener::bind(ANY).await.unwrap().local_addr().unwrap()
}

/// A document of one service with one cluster. `service` and `cluster` are further fields, with a comma before each.
pub fn spec(servers: &[SocketAddr], service: &str, cluster: &str) -> ProxySpec {
    let servers: Vec<String> = servers
        .iter()
        .zip(1..)
        .map(|(address, index)| format!(r#"{{"name": "web-{index}", "index": {index}, "address": "{address}", "state": "up"}}"#))
        .collect();
    let text = format!(
        r#"{{"services": [{{"name": "www", "listen": ["{ANY}"], "routes": [{{"cluster": "web"}}],
            "clusters": [{{"name": "web", "servers": [{}]{cluster}}}]{service}}}]}}"#,
        servers.join(",")
    );
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A proxy that runs.
pub struct Running {
    pub proxy: Proxy,
    pub address: SocketAddr,
}

pub fn run(spec: &ProxySpec) -> Running {
    run_with(spec, Settings { threads: Some(1), ..Settings::default() })
}

pub fn run_with(spec: &ProxySpec, settings: Settings) -> Running {
    let proxy = Proxy::start(settings).unwrap();
    proxy.apply(spec).unwrap();
    let address = proxy.address(ANY.parse().unwrap()).unwrap();
    Running { proxy, address }
}

/// Sends bytes and gives all that comes until the proxy ends the connection.
pub async fn talk(address: SocketAddr, bytes: impl AsRef<[u8]>) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // Who is refused may be told before all is sent.
    let _ = stream.write_all(bytes.as_ref()).await;
    rest(&mut stream).await
}

/// All that comes until the end.
pub async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    let reading = async {
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            answer.extend_from_slice(&buffer[..count]);
        }
    };
    tokio::time::timeout(LONG, reading).await.expect("the connection ends");
    String::from_utf8_lossy(&answer).into_owned()
}

/// One answer with `Content-Length` from a connection that goes on.
pub async fn one_answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let reading = async {
        loop {
            let text = String::from_utf8_lossy(&answer).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length =
                    head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok());
                if body.len() >= length.unwrap_or(0) {
                    return text;
                }
            }
            match stream.read_u8().await {
                Ok(byte) => answer.push(byte),
                Err(error) => panic!("{error} after {text:?}"),
            }
        }
    };
    tokio::time::timeout(LONG, reading).await.expect("an answer comes")
}

/// `GET path`, after which the connection ends.
pub async fn get(address: SocketAddr, path: &str) -> String {
    talk(address, format!("GET {path} HTTP/1.1\r\nhost: shop.example\r\nconnection: close\r\n\r\n")).await
}

pub fn status(answer: &str) -> u16 {
    let word = answer.split(' ').nth(1);
    word.and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("no answer: {answer:?}"))
}

pub fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}")).1
}

/// The value of a header.
pub fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next().unwrap_or_default();
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(": ")?;
        found.eq_ignore_ascii_case(name).then_some(value)
    })
}

/// Waits until something holds.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Ends a connection by RST.
pub fn reset(stream: TcpStream) {
    stream.set_zero_linger().unwrap();
}
