//! The controller's HTTPS front: accepts connections, checks certificates, hands requests to the router.
//!
//! It knows sockets, TLS and limits; what a request means is the router's business.

use crate::api::{App, DomainKey, Peer, router};
use crate::auth::{AdminToken, DigestError};
use crate::handle::Handle;
use crate::leftover;
use crate::site::{Site, SiteError};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use pan_api::door::{Arrival, Door, Seats};
use pan_api::keyfile::{KeyFileError, hex, read_key};
use pan_api::tls::{ClientCerts, LiveTls, TlsError, peer_identity};
use pan_linux::listen::{Over, explained};
use pan_model::host_config::{CONTROLLER_PORT, HostConfig};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt;

/// Connections that are served at the same time: of hosts, a thousand with three role processes each; of people and programs with tokens; and of
/// one address, a node with some hundred volumes, whose heads have a connection each, or many people behind one address.
const SEATS: Seats = Seats { hosts: 4096, others: 2048, each: 512 };
/// Parts of snapshots read at the same time, of 4 MiB each: storage hosts take 64 from all controllers.
const READS_MAX: usize = 16;
/// How long a TLS handshake may take.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(5);
/// How long a connection may be idle, or take to send a request's head.
const HEAD_TIME_MAX: Duration = Duration::from_secs(30);
/// How long a peer may stay silent at the TCP level before its connection ends.
const DEAD_AFTER: Duration = Duration::from_secs(3);
/// How long a request that is being answered may go on when its connection has to end; a stream never ends by itself.
const GOODBYE_MAX: Duration = Duration::from_secs(1);
/// Limits of time of one connection.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// For the TLS handshake.
    pub(crate) handshake: Duration,
    /// For being idle, and for the head of a request.
    pub(crate) head: Duration,
}

const LIMITS: Limits = Limits { handshake: HANDSHAKE_TIME_MAX, head: HEAD_TIME_MAX };
/// Pause after a failure to accept, most likely for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the controller cannot be reached by HTTPS.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration has no `controller` part.
    #[error("the configuration of host {0} has no part `controller`")]
    NoController(String),
    /// The digest of the administrator's token is none.
    #[error(transparent)]
    Token(#[from] DigestError),
    /// The PAN's key cannot be read.
    #[error(transparent)]
    PanKey(#[from] KeyFileError),
    /// Hosts cannot be certified.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// Certificates cannot be used.
    #[error("cannot set up TLS")]
    Tls(#[from] TlsError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
    /// A socket that was handed over cannot be used.
    #[error("cannot use a listening socket")]
    Socket(#[source] std::io::Error),
}

/// Listens on [`CONTROLLER_PORT`] of the host's own address and of both fabrics, and on the further addresses of the configuration.
///
/// They may come to the host later.
///
/// # Errors
/// [`ServeError::Bind`] naming the address.
fn bind(config: &HostConfig) -> Result<Vec<std::net::TcpListener>, ServeError> {
    let own = [config.address, config.fabrics.a.address.addr(), config.fabrics.b.address.addr()];
    let further = config.controller.iter().flat_map(|controller| controller.listen.iter().copied());
    let mut addresses: Vec<SocketAddr> = own.iter().map(|address| SocketAddr::new(*address, CONTROLLER_PORT)).chain(further).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let bind = |address| {
        let failed = |error| ServeError::Bind { address, source: explained(address, Over::Tcp, error) };
        pan_linux::listen::listen(address).map_err(failed)
    };
    addresses.into_iter().map(bind).collect()
}

/// Serves the public and the internal interface until it is dropped, which ends every connection: on the addresses
/// of the configuration and on `listeners`, which were handed over.
///
/// # Errors
/// [`ServeError`] when it cannot begin; once it serves it does not return.
pub async fn serve(handle: Handle, config: &HostConfig, mut listeners: Vec<std::net::TcpListener>) -> Result<(), ServeError> {
    listeners.extend(bind(config)?);
    serve_within(LIMITS, handle, config, listeners).await
}

/// Serves on the listeners alone.
pub(crate) async fn serve_within(
    limits: Limits,
    handle: Handle,
    config: &HostConfig,
    listeners: Vec<std::net::TcpListener>,
) -> Result<(), ServeError> {
    let controller = config.controller.as_ref().ok_or_else(|| ServeError::NoController(config.name.to_string()))?;
    let root = read_key(&controller.root_key)?;
    let tls = LiveTls::open(&config.tls)?;
    let acceptor = TlsAcceptor::from(tls.server_config(ClientCerts::Optional)?);
    let door = Door::new(config, SEATS, handle.metrics.connections_refused.clone());
    let app = Arc::new(App {
        handle,
        token: AdminToken::from_digest(&controller.admin_token_sha256)?,
        site: Site::open(config, tls.ca_pem(), root)?,
        // Of its digits, as they are written: names of failure domains outlive releases.
        domains: DomainKey::of(hex(&root).as_bytes()),
        agents: tls.client_config()?,
        questions: Arc::new(Semaphore::new(1)),
        reads: Arc::new(Semaphore::new(READS_MAX)),
        asked: Arc::default(),
        reading: std::sync::Mutex::default(),
        rates: std::sync::Mutex::default(),
    });
    let front = Front { limits, acceptor, router: router(app), door };
    front.run(listeners).await
}

/// What every connection needs.
#[derive(Clone)]
struct Front {
    limits: Limits,
    acceptor: TlsAcceptor,
    router: Router,
    door: Door,
}

impl Front {
    async fn run(self, listeners: Vec<std::net::TcpListener>) -> Result<(), ServeError> {
        // Room for one per listener: an arrival waits there only for this loop to turn.
        let (arrive, mut arrivals) = mpsc::channel(listeners.len().max(1));
        let mut tasks = JoinSet::new();
        for listener in listeners {
            listener.set_nonblocking(true).map_err(ServeError::Socket)?;
            let listener = TcpListener::from_std(listener).map_err(ServeError::Socket)?;
            tasks.spawn(accept(listener, self.door.clone(), arrive.clone()));
        }
        loop {
            tokio::select! {
                Some((stream, arrival)) = arrivals.recv() => {
                    let front = self.clone();
                    tasks.spawn(async move { front.connection(stream, arrival).await });
                }
                Some(ended) = tasks.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a connection's task failed");
                    }
                }
            }
        }
    }

    async fn connection(self, stream: TcpStream, arrival: Arrival) {
        let _ = stream.set_nodelay(true);
        let shaken = tokio::time::timeout(self.limits.handshake, self.acceptor.accept(stream)).await;
        let Ok(Ok(stream)) = shaken else {
            tracing::debug!("a TLS handshake failed or took too long");
            return;
        };
        let peer = match peer(&stream) {
            Ok(peer) => peer,
            Err(error) => return tracing::warn!(%error, "a connection is closed"),
        };
        let seat = if peer.0.is_some() { arrival.host() } else { arrival.other() };
        let Some(_seat) = seat else { return };
        end_in_time(&stream, &peer);
        let ended = end_of(&peer);
        let router = self.router;
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(peer.clone());
            let router = router.clone();
            async move { Ok::<_, Infallible>(leftover::answered(request.map(Body::new), |request| answer(router, request)).await) }
        });
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(self.limits.head);
        let mut serving = pin!(http.serve_connection(TokioIo::new(stream), service));
        let served = tokio::select! {
            served = serving.as_mut() => served,
            () = ended => {
                serving.as_mut().graceful_shutdown();
                tokio::time::timeout(GOODBYE_MAX, serving).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = served {
            tracing::debug!(%error, "a connection broke");
        }
    }
}

async fn answer(router: Router, request: Request) -> Response {
    match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

async fn accept(listener: TcpListener, door: Door, arrive: mpsc::Sender<(TcpStream, Arrival)>) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                if let Some(arrival) = door.arrival(from.ip())
                    && arrive.send((stream, arrival)).await.is_err()
                {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Waits until the peer's certificate ends: a connection must not outlive what it was opened with.
fn end_of(peer: &Peer) -> impl Future<Output = ()> + use<> {
    let left = peer.0.as_ref().map(|peer| u64::try_from(peer.ends.saturating_sub(jiff::Timestamp::now().as_second())).unwrap_or(0));
    async move {
        match left {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    }
}

/// Makes the connection end when the peer dies. A host that lets data lie is as good as dead; a person may have paused a pager.
fn end_in_time(stream: &TlsStream<TcpStream>, peer: &Peer) {
    let (socket, _) = stream.get_ref();
    let set = match &peer.0 {
        Some(_) => pan_linux::listen::end_when_dead(socket, DEAD_AFTER),
        None => pan_linux::listen::probe_when_idle(socket, DEAD_AFTER),
    };
    // A socket without these options works, only longer than it should.
    if let Err(error) = set {
        tracing::debug!(%error, "cannot set TCP options");
    }
}

/// Who the peer is by the certificate that the handshake checked; nobody when it showed none.
fn peer(stream: &TlsStream<TcpStream>) -> Result<Peer, TlsError> {
    let (_, connection) = stream.get_ref();
    let shown = connection.peer_certificates().and_then(|chain| chain.first());
    shown.map(|certificate| peer_identity(certificate)).transpose().map(Peer)
}
