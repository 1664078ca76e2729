//! A client's connection: TLS, which version of HTTP it speaks, its requests, its end.

use super::exchange::exchange;
use super::front;
use super::live::Service;
use super::proxy::{Shared, Worker};
use super::wire::{Speaks, Wire, WireState};
use crate::forwarded::Told;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use pan_model::proxy::ProxyProtocol;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// How long a connection may be silent that was accepted just before the end.
const GRACE: Duration = Duration::from_secs(1);

/// What HTTP/2 begins with (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What all requests of a connection have in common.
pub struct Conversation {
    /// The thread that it is on.
    pub worker: Arc<Worker>,
    /// Its service when it began.
    pub service: Arc<Service>,
    /// The address of the document that it came by.
    pub listen: SocketAddr,
    /// The client.
    pub client: SocketAddr,
    /// What the client connected to.
    pub local: SocketAddr,
    /// Whether it is by TLS.
    pub secure: bool,
    /// What servers are told of it.
    pub told: Told,
    /// Its bytes.
    pub wire: Arc<WireState>,
    _open: Open,
}

impl Conversation {
    /// As forwarding headers have it.
    pub fn scheme(&self) -> &'static str {
        scheme(self.secure)
    }
}

const fn scheme(secure: bool) -> &'static str {
    if secure { "https" } else { "http" }
}

/// Counts a connection as long as it lasts.
pub struct Open(Arc<Service>, Arc<Worker>);

impl Open {
    /// One more; nothing if there are as many as may be.
    pub fn count(service: &Arc<Service>, worker: &Arc<Worker>) -> Option<Self> {
        service.tally.connections.add(1);
        worker.shared.open.send_modify(|open| *open += 1);
        let open = Self(Arc::clone(service), Arc::clone(worker));
        (service.tally.connections.get() <= service.limits.connections as u64).then_some(open)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.tally.connections.less();
        self.1.shared.open.send_modify(|open| *open -= 1);
    }
}

/// Serves a connection until it ends.
pub async fn serve(worker: Arc<Worker>, listen: SocketAddr, mut stream: TcpStream, client: SocketAddr) {
    let Some(service) = worker.shared.live.load().service(listen) else { return };
    let Some(open) = Open::count(&service, &worker) else { return };
    let Ok(local) = connected_to(listen, &stream) else { return };
    let (client, local) = match service.proxy_protocol {
        ProxyProtocol::Off => (client, local),
        ProxyProtocol::Expected => match tokio::time::timeout(service.timeouts.head.0, front::read(&mut stream)).await {
            Ok(Ok(ends)) => ends.map_or((client, local), |ends| (ends.client, ends.server)),
            Ok(Err(_)) | Err(_) => return,
        },
    };
    let begin = Begin { worker, service, listen, client, local, open, began: Instant::now() };
    let service = Arc::clone(&begin.service);
    match &service.tls {
        None => begin.by_preface(stream).await,
        Some(tls) => {
            let accepted = tokio::time::timeout(service.timeouts.head.0, tls.accept(stream)).await;
            let Ok(Ok(stream)) = accepted else { return };
            let speaks = if stream.get_ref().1.alpn_protocol() == Some(b"h2") { Speaks::Two } else { Speaks::One };
            // A handshake has its own time.
            let begin = Begin { began: Instant::now(), ..begin };
            begin.converse(stream, speaks, Vec::new(), true).await;
        }
    }
}

/// What a client connected to; the kernel is asked only where that is not what is listened on.
fn connected_to(listen: SocketAddr, stream: &TcpStream) -> std::io::Result<SocketAddr> {
    if listen.ip().is_unspecified() || listen.port() == 0 { stream.local_addr() } else { Ok(listen) }
}

struct Begin {
    worker: Arc<Worker>,
    service: Arc<Service>,
    listen: SocketAddr,
    client: SocketAddr,
    local: SocketAddr,
    open: Open,
    began: Instant,
}

impl Begin {
    async fn by_preface(self, mut stream: TcpStream) {
        let mut early = Vec::with_capacity(1024);
        let mut draining = self.worker.shared.draining.subscribe();
        let reading = async {
            loop {
                let count = stream.read_buf(&mut early).await.unwrap_or(0);
                let length = early.len().min(PREFACE.len());
                if count == 0 || length == PREFACE.len() || early[..length] != PREFACE[..length] {
                    return count > 0;
                }
            }
        };
        let ending = async {
            let _ = draining.wait_for(|draining| *draining).await;
            tokio::time::sleep(GRACE).await;
        };
        let alive = tokio::select! {
            alive = reading => alive,
            () = ending => false,
            // What little there is, if any, is no whole head: the answer that says so comes from the wire.
            () = tokio::time::sleep(self.service.timeouts.head.0) => true,
        };
        if alive && !early.is_empty() {
            let speaks = if early.starts_with(PREFACE) { Speaks::Two } else { Speaks::One };
            self.converse(stream, speaks, early, false).await;
        }
    }

    async fn converse<S>(self, stream: S, speaks: Speaks, early: Vec<u8>, secure: bool)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { worker, service, listen, client, local, open, began } = self;
        let wire = Arc::new(WireState::new(speaks, &service.limits, began));
        let io = TokioIo::new(Wire::new(stream, Arc::clone(&wire), service.timeouts, early));
        let limits = service.limits;
        let head_max = usize::try_from(limits.head.0).unwrap_or(usize::MAX);
        let shared = Arc::clone(&worker.shared);
        let state = Arc::clone(&wire);
        let told = Told::of(client.ip(), local, scheme(secure));
        let talk = Arc::new(Conversation { worker, service, listen, client, local, secure, told, wire, _open: open });
        let answering = service_fn(move |request| {
            let talk = Arc::clone(&talk);
            async move { Ok::<_, std::convert::Infallible>(exchange(talk, request).await) }
        });
        match speaks {
            Speaks::One => {
                let mut builder = http1::Builder::new();
                // The wire has looked at heads by then, and how long they took: these only have to be no narrower.
                builder.max_headers(limits.headers.max(1)).max_buf_size(head_max.max(16 << 10) * 2).header_read_timeout(None);
                let connection = builder.serve_connection(io, answering).with_upgrades();
                run(connection, &shared, &state, |connection| connection.graceful_shutdown()).await;
            }
            Speaks::Two => {
                let mut builder = http2::Builder::new(TokioExecutor::new());
                builder
                    .max_concurrent_streams(limits.streams)
                    .max_header_list_size(u32::try_from(limits.head.0).unwrap_or(u32::MAX))
                    .timer(TokioTimer::new());
                let connection = builder.serve_connection(io, answering);
                run(connection, &shared, &state, |connection| connection.graceful_shutdown()).await;
            }
        }
    }
}

/// Runs a connection to its end, which comes with the proxy's when it has answered what it has.
async fn run<C>(connection: C, shared: &Shared, wire: &WireState, finish: impl FnOnce(Pin<&mut C>))
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut draining = shared.draining.subscribe();
    let mut connection = pin!(connection);
    let ending = async {
        let _ = draining.wait_for(|draining| *draining).await;
        // Whoever has just connected is about to ask: without an answer he would not know what became of that.
        let _ = tokio::time::timeout(GRACE, wire.begun()).await;
    };
    tokio::select! {
        // A client that went away is nobody's error.
        _ = connection.as_mut() => return,
        () = ending => finish(connection.as_mut()),
    }
    let _ = connection.await;
}
