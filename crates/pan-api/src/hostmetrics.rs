//! `GET /metrics` of a host role that has no other HTTPS interface: on the host's addresses, for controllers only, as
//! everything a host answers.

use crate::hostlisten::{self, Places};
use crate::metrics::MEDIA;
use crate::tls::{ClientCerts, TlsError, TlsMaterial, peer_identity};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use pan_model::host::Role;
use pan_model::host_config::HostConfig;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

/// Connections at the same time: a few collectors, each with one.
const CONNECTIONS_MAX: usize = 16;
/// For the TLS handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// For being idle, and for the head of a request; collectors come every minute at least.
const HEAD_MAX: Duration = Duration::from_secs(90);

/// Makes the text of a page.
pub type Render = Arc<dyn Fn() -> String + Send + Sync>;

#[derive(Clone)]
struct Front {
    tls: TlsAcceptor,
    render: Render,
}

/// Serves for ever on `port` of the host's own address and of its addresses on both fabrics.
///
/// # Errors
/// The host's certificate cannot be used.
pub async fn serve(config: &HostConfig, port: u16, render: Render) -> Result<(), TlsError> {
    let tls = TlsAcceptor::from(TlsMaterial::read(&config.tls)?.server_config(ClientCerts::Required)?);
    let front = Front { tls, render };
    let places = Places { port, connections_max: CONNECTIONS_MAX };
    hostlisten::serve(config, places, move |stream| front.clone().connection(stream)).await;
    Ok(())
}

impl Front {
    async fn connection(self, stream: TcpStream) {
        let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_MAX, self.tls.accept(stream)).await else {
            tracing::debug!("a TLS handshake failed or took too long");
            return;
        };
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let is_controller = shown.and_then(|certificate| peer_identity(certificate).ok()).is_some_and(|peer| peer.has(Role::Controller));
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            let answer = self.answer(&request, is_controller);
            async move { Ok::<_, Infallible>(answer) }
        });
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_MAX);
        if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
            tracing::debug!(%error, "a connection broke");
        }
    }

    fn answer<B>(&self, request: &Request<B>, is_controller: bool) -> Response<Full<Bytes>> {
        let (status, text) = match (is_controller, request.method(), request.uri().path()) {
            (false, _, _) => (StatusCode::FORBIDDEN, "this host answers controllers only: the certificate lacks that role\n".to_owned()),
            (true, &Method::GET, "/metrics") => (StatusCode::OK, (self.render)()),
            (true, _, _) => (StatusCode::NOT_FOUND, "this host has GET /metrics and nothing else\n".to_owned()),
        };
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA));
        response
    }
}
