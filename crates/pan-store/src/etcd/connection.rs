//! One connection to one member: TCP, TLS with both sides' certificates, HTTP/2.

use std::sync::Arc;

use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::endpoint::Endpoint;
use super::failure::Failure;
use super::grpc::Outgoing;
use super::timing::Timing;
use crate::error::BoxError;

/// HTTP/2's flow control, per stream and connection. Listings are large and rare, and come one at a time.
const WINDOW_BYTES: u32 = 4 << 20;

/// How to connect, the same for all members.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    tls: Arc<ClientConfig>,
    timing: Timing,
}

/// A live connection. It closes when the last clone is dropped.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) sender: SendRequest<Outgoing>,
    pub(super) endpoint: Endpoint,
    driver: Arc<Driver>,
}

/// The task that moves the bytes. It ends with its handle, so that a member that hangs cannot keep it.
#[derive(Debug)]
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    /// Whether both are clones of one connection.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.driver, &other.driver)
    }
}

impl Connector {
    /// Uses `tls` with the protocol that members speak.
    pub(super) fn new(tls: &ClientConfig, timing: Timing) -> Self {
        let mut tls = tls.clone();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Self { tls: Arc::new(tls), timing }
    }

    /// A new connection to `endpoint`.
    pub(super) async fn connect(&self, endpoint: &Endpoint) -> Result<Connection, Failure> {
        let opened = tokio::time::timeout(self.timing.connect, self.open(endpoint)).await;
        let opened = opened.unwrap_or_else(|_| Err(format!("no connection within {:?}", self.timing.connect).into()));
        opened.map_err(|source| Failure::NotSent { endpoint: endpoint.clone(), source })
    }

    async fn open(&self, endpoint: &Endpoint) -> Result<Connection, BoxError> {
        let stream = TcpStream::connect(endpoint.address()).await?;
        stream.set_nodelay(true)?;
        let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(endpoint.name(), stream).await?;
        let mut builder = Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(WINDOW_BYTES).initial_connection_window_size(2 * WINDOW_BYTES);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(async move {
            // How it ended is told to every call under way.
            let _ = connection.await;
        });
        Ok(Connection { sender, endpoint: endpoint.clone(), driver: Arc::new(Driver(driver)) })
    }
}
