//! The client that hosts use among each other: mutual TLS, JSON, newline-delimited streams.

use crate::ApiError;
pub use crate::lines::{Chunks, Lines};
pub use crate::tls::TlsMaterial;
pub use crate::transport::Timeouts;
use crate::transport::{Target, Transport, Way, json};
use bytes::Bytes;
use hyper::Method;
use pan_model::{Code, HostName};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// How to call another host.
#[derive(Debug, Clone, Copy)]
pub struct HostOptions {
    /// The local address to call from, which chooses the fabric.
    pub bind: Option<IpAddr>,
    /// How long things may take. Default: 1 s to connect, 10 s to answer.
    pub timeouts: Timeouts,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self { bind: None, timeouts: Timeouts { connect: Duration::from_secs(1), request: Duration::from_secs(10) } }
    }
}

/// A client of one other host. Cheap to make; connects when first asked.
pub struct HostClient {
    transport: Transport,
}

impl HostClient {
    /// A client of the host at `address`, which must show a certificate for `peer` (for its IP address when `None`).
    /// `tls` comes from [`TlsMaterial::client_config`] and may be shared.
    #[must_use]
    pub fn new(tls: Arc<ClientConfig>, address: SocketAddr, peer: Option<&HostName>, options: HostOptions) -> Self {
        let expected = match peer {
            Some(name) => ServerName::try_from(name.to_string()).expect("a host name is a DNS label"),
            None => ServerName::IpAddress(address.ip().into()),
        };
        let label = peer.map_or_else(|| format!("the host at {address}"), |name| format!("host {name} at {address}"));
        let target = Target {
            ways: vec![Way { authority: address.to_string(), expected }],
            tls,
            bind: options.bind,
            token: None,
            cache_control: None,
            timeouts: options.timeouts,
            label,
            silent: Code::HostUnreachable,
            stranger: Code::HostUnreachable,
        };
        Self { transport: Transport::new(target) }
    }

    /// GET.
    ///
    /// # Errors
    /// What the host says, or `Code::HostUnreachable`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        self.transport.call(Method::GET, path, None).await
    }

    /// POST; an empty answer reads as `()`.
    ///
    /// # Errors
    /// As [`HostClient::get`]; when the connection broke the request may have been acted on.
    pub async fn post<B: Serialize + ?Sized + Sync, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T, ApiError> {
        self.transport.call(Method::POST, path, Some(json(body)?)).await
    }

    /// Connects, if there is no connection yet: what is asked next is at least sent.
    ///
    /// # Errors
    /// `Code::HostUnreachable`; nothing was sent.
    pub async fn reach(&self) -> Result<(), ApiError> {
        self.transport.reach().await
    }

    /// Passes on somebody's request, with the token that came with it, and gives back the answer as it is.
    ///
    /// # Errors
    /// As [`HostClient::post`].
    pub async fn pass_on(&self, method: Method, path: &str, token: &str, body: Bytes) -> Result<Bytes, ApiError> {
        self.transport.call_bytes_as(method, path, Some(token), Some(body)).await
    }

    /// GET of newline-delimited JSON.
    ///
    /// # Errors
    /// As [`HostClient::get`], before the first line.
    pub async fn stream<T: DeserializeOwned>(&self, path: &str) -> Result<Lines<T>, ApiError> {
        self.transport.open_lines(Method::GET, path, None).await
    }

    /// POST whose answer is newline-delimited JSON.
    ///
    /// # Errors
    /// As [`HostClient::post`], before the first line.
    pub async fn post_stream<B: Serialize + ?Sized + Sync, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<Lines<T>, ApiError> {
        self.transport.open_lines(Method::POST, path, Some(json(body)?)).await
    }

    /// GET of bytes, all of them.
    ///
    /// # Errors
    /// As [`HostClient::get`].
    pub async fn whole(&self, path: &str) -> Result<Bytes, ApiError> {
        self.transport.call_bytes(Method::GET, path, None).await
    }

    /// GET of bytes as they come.
    ///
    /// # Errors
    /// As [`HostClient::get`], before the first bytes.
    pub async fn bytes(&self, path: &str) -> Result<Chunks, ApiError> {
        self.transport.open(Method::GET, path, None).await
    }

    /// POST whose answer is bytes as they come.
    ///
    /// # Errors
    /// As [`HostClient::post`], before the first bytes.
    pub async fn post_bytes<B: Serialize + ?Sized + Sync>(&self, path: &str, body: &B) -> Result<Chunks, ApiError> {
        self.transport.open(Method::POST, path, Some(json(body)?)).await
    }
}
