//! `GET /metrics` of a host role that has no agent's interface, and whatever else it lets be read: on the host's addresses, for controllers
//! only, as everything a host answers.

use crate::ApiError;
use crate::door::{Arrival, Door, Seats};
use crate::hostlisten;
use crate::metrics::{Count, MEDIA};
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
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

/// Connections at the same time: a few collectors, each with one, and as many for what else is read from three controllers.
const SEATS: Seats = Seats { hosts: 64, others: 0, each: 32 };
/// For the TLS handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// For being idle, and for the head of a request; collectors come every minute at least.
const HEAD_MAX: Duration = Duration::from_secs(90);

/// Makes the text of a page.
pub type Render = Arc<dyn Fn() -> String + Send + Sync>;
/// What becomes of a GET of another path, with its query; `None`: there is no such page.
pub type Pages = Arc<dyn Fn(&str, &str) -> Option<Reading> + Send + Sync>;
/// A page on its way.
pub type Reading = Pin<Box<dyn Future<Output = Result<Bytes, ApiError>> + Send>>;

#[derive(Clone)]
struct Front {
    tls: TlsAcceptor,
    render: Render,
    more: Pages,
}

/// Serves for ever on `port` of the host's own address and of its addresses on both fabrics. `refused` counts connections that are closed
/// because there are too many.
///
/// # Errors
/// The host's certificate cannot be used.
pub async fn serve(config: &HostConfig, port: u16, refused: Arc<Count>, render: Render, more: Pages) -> Result<(), TlsError> {
    let tls = TlsAcceptor::from(TlsMaterial::read(&config.tls)?.server_config(ClientCerts::Required)?);
    let front = Front { tls, render, more };
    let door = Door::new(config, SEATS, refused);
    hostlisten::serve(config, port, &door, move |stream, arrival| front.clone().connection(stream, arrival)).await;
    Ok(())
}

impl Front {
    async fn connection(self, stream: TcpStream, arrival: Arrival) {
        let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_MAX, self.tls.accept(stream)).await else {
            tracing::debug!("a TLS handshake failed or took too long");
            return;
        };
        let Some(_seat) = arrival.host() else { return };
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let is_controller = shown.and_then(|certificate| peer_identity(certificate).ok()).is_some_and(|peer| peer.has(Role::Controller));
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            let more = Some(&request).filter(|request| is_controller && request.method() == Method::GET);
            let more = more.and_then(|request| (self.more)(request.uri().path(), request.uri().query().unwrap_or_default()));
            let other = self.answer(&request, is_controller);
            async move {
                Ok::<_, Infallible>(match more {
                    Some(reading) => read(reading.await),
                    None => other,
                })
            }
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
            (true, _, _) => (StatusCode::NOT_FOUND, "this host has no such page; it has GET /metrics\n".to_owned()),
        };
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA));
        response
    }
}

fn read(page: Result<Bytes, ApiError>) -> Response<Full<Bytes>> {
    let (status, media, bytes) = match page {
        Ok(bytes) => (StatusCode::OK, "application/octet-stream", bytes),
        Err(error) => {
            let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, "application/json", serde_json::to_vec(&error).unwrap_or_default().into())
        }
    };
    let mut response = Response::new(Full::new(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response
}
