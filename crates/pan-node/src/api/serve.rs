//! Listening on the host's addresses, TLS, and the check that the peer is a controller.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use pan_api::door::{Arrival, Door, Seats};
use pan_api::hostlisten;
use pan_api::tls::peer_identity;
use pan_model::host::Role;
use pan_model::host_config::{HostConfig, NODE_PORT};
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::routes::{Inside, denial, router};

/// Connections at the same time: people who look at logs, through a handful of controllers.
const SEATS: Seats = Seats { hosts: 256, others: 0, each: 128 };
/// For the TLS handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// For being idle, and for the head of a request.
const HEAD_MAX: Duration = Duration::from_secs(30);

#[derive(Clone)]
struct Front {
    tls: TlsAcceptor,
    allowed: Router,
    denied: Router,
}

/// Serves for ever, on the host's own address and its addresses on both fabrics.
pub(crate) async fn serve(config: &HostConfig, tls: Arc<ServerConfig>, inside: Arc<Inside>) {
    let door = Door::new(config, SEATS, inside.host.counts.connections_refused.clone());
    let front = Front { tls: TlsAcceptor::from(tls), allowed: router(inside), denied: denial() };
    hostlisten::serve(config, NODE_PORT, &door, move |stream, arrival| front.clone().connection(stream, arrival)).await;
}

impl Front {
    async fn connection(self, stream: TcpStream, arrival: Arrival) {
        // A connection without it works, only with a delay.
        let _ = stream.set_nodelay(true);
        let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_MAX, self.tls.accept(stream)).await else {
            tracing::debug!("a TLS handshake failed or took too long");
            return;
        };
        let Some(_seat) = arrival.host() else { return };
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
