//! Listening on the host's addresses, TLS, and the check that the peer is a controller.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use pan_api::tls::peer_identity;
use pan_model::host::Role;
use pan_model::host_config::{HostConfig, NODE_PORT};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::routes::{Inside, denial, router};

/// Connections at the same time: people who look at logs, through a handful of controllers.
const CONNECTIONS_MAX: usize = 256;
/// For the TLS handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// For being idle, and for the head of a request.
const HEAD_MAX: Duration = Duration::from_secs(30);
/// Pause before an address that is not there yet is tried again.
const BIND_AGAIN: Duration = Duration::from_secs(1);
/// Pause after a failure to accept, most likely for want of descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

#[derive(Clone)]
struct Front {
    tls: TlsAcceptor,
    allowed: Router,
    denied: Router,
    places: Arc<Semaphore>,
}

/// Serves for ever, on the host's own address and its addresses on both fabrics.
pub(crate) async fn serve(config: &HostConfig, tls: Arc<ServerConfig>, inside: Arc<Inside>) {
    let front =
        Front { tls: TlsAcceptor::from(tls), allowed: router(inside), denied: denial(), places: Arc::new(Semaphore::new(CONNECTIONS_MAX)) };
    let mut addresses = vec![config.address, config.fabrics.a.address.addr(), config.fabrics.b.address.addr()];
    addresses.sort();
    addresses.dedup();
    let mut listeners = JoinSet::new();
    for address in addresses {
        listeners.spawn(listen(address, front.clone()));
    }
    while listeners.join_next().await.is_some() {}
}

async fn listen(address: IpAddr, front: Front) {
    let address = SocketAddr::new(address, NODE_PORT);
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            // The address may come with the first desired state, or with the interface.
            Err(error) => {
                tracing::debug!(%error, %address, "cannot listen yet");
                tokio::time::sleep(BIND_AGAIN).await;
            }
        }
    };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    if let Ok(place) = front.places.clone().try_acquire_owned() {
                        let front = front.clone();
                        connections.spawn(async move {
                            front.connection(stream).await;
                            drop(place);
                        });
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, %address, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            },
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection's task failed");
                }
            }
        }
    }
}

impl Front {
    async fn connection(self, stream: TcpStream) {
        // A connection without it works, only with a delay.
        let _ = stream.set_nodelay(true);
        let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_MAX, self.tls.accept(stream)).await else {
            tracing::debug!("a TLS handshake failed or took too long");
            return;
        };
        let (_, connection) = stream.get_ref();
        let shown = connection.peer_certificates().and_then(|chain| chain.first());
        let is_controller = shown.and_then(|certificate| peer_identity(certificate).ok()).is_some_and(|peer| peer.has(Role::Controller));
        let router = if is_controller { self.allowed } else { self.denied };
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_MAX);
        if let Err(error) = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).await {
            tracing::debug!(%error, "a connection broke");
        }
    }
}
