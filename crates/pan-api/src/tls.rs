//! TLS settings of servers and clients of a PAN, and who a peer is by its certificate.
//!
//! Only the PAN's own authority is trusted; the machine's trust store is never read.

mod live;
mod pinned;

pub use live::LiveTls;
pub use pinned::{fingerprint, pinned_client_config};

use pan_model::HostName;
use pan_model::host::Role;
use pan_model::host_config::TlsFiles;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Whether a server wants its clients to show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCerts {
    /// A client may show one; one that is shown must be good.
    Optional,
    /// A client must show one.
    Required,
}

/// Why TLS cannot be set up, or a peer not be named.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
    /// A text is not PEM of what it should be.
    #[error("the {what} is not PEM: {reason}")]
    Pem {
        /// What it should be.
        what: &'static str,
        /// The reason.
        reason: String,
    },
    /// Certificate, key and authority do not fit each other.
    #[error("certificate, key and authority do not fit each other: {0}")]
    Setup(String),
    /// A peer's certificate names no host or an unknown role.
    #[error("the peer's certificate {0}")]
    Peer(String),
}

/// A host's certificates as texts.
#[derive(Clone)]
pub struct TlsMaterial {
    /// The PAN's authority.
    pub ca_pem: String,
    /// The host's certificate.
    pub cert_pem: String,
    /// Its key.
    pub key_pem: String,
}

impl TlsMaterial {
    /// Reads the files that a host's configuration names.
    ///
    /// # Errors
    /// [`TlsError::Read`] naming the file.
    pub fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let text = |path: &Path| std::fs::read_to_string(path).map_err(|source| TlsError::Read { path: path.to_owned(), source });
        Ok(Self { ca_pem: text(&files.ca)?, cert_pem: text(&files.cert)?, key_pem: text(&files.key)? })
    }

    /// Settings for serving with this certificate.
    ///
    /// # Errors
    /// As [`server_config`].
    pub fn server_config(&self, clients: ClientCerts) -> Result<Arc<ServerConfig>, TlsError> {
        server_config(&self.ca_pem, &self.cert_pem, &self.key_pem, clients)
    }

    /// Settings for calling with this certificate.
    ///
    /// # Errors
    /// As [`client_config`].
    pub fn client_config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        client_config(&self.ca_pem, Some((&self.cert_pem, &self.key_pem)))
    }
}

type ServerBuilder = rustls::ConfigBuilder<ServerConfig, rustls::server::WantsServerCert>;

/// Settings of a server whose clients are checked against the same authority.
///
/// # Errors
/// [`TlsError`] when a text is not PEM or the key does not belong to the certificate.
pub fn server_config(ca_pem: &str, cert_pem: &str, key_pem: &str, clients: ClientCerts) -> Result<Arc<ServerConfig>, TlsError> {
    let (chain, key) = (chain(ca_pem, cert_pem, clients)?, private_key(key_pem)?);
    server_config_with(ca_pem, clients, |builder| builder.with_single_cert(chain, key).map_err(|error| TlsError::Setup(error.to_string())))
}

fn server_config_with(
    ca_pem: &str,
    clients: ClientCerts,
    shows: impl FnOnce(ServerBuilder) -> Result<ServerConfig, TlsError>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(ca_pem)?.into(), provider());
    let verifier = match clients {
        ClientCerts::Optional => verifier.allow_unauthenticated(),
        ClientCerts::Required => verifier,
    };
    let verifier = verifier.build().map_err(|error| TlsError::Setup(error.to_string()))?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Setup(error.to_string()))?
        .with_client_cert_verifier(verifier);
    let mut config = shows(builder)?;
    // A session that is taken up again shows no certificate: one that was revoked or has ended would live on in it.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Where strangers may call, the authority's own certificate is shown as well: one who knows only its fingerprint can then
/// check it ([`pinned_client_config`]).
fn chain(ca_pem: &str, cert_pem: &str, clients: ClientCerts) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let mut chain = certificates(cert_pem)?;
    if clients == ClientCerts::Optional {
        chain.extend(certificates(ca_pem)?);
    }
    Ok(chain)
}

/// Settings of a client that trusts the authority and shows `identity` (certificate, key) when asked.
///
/// # Errors
/// [`TlsError`] when a text is not PEM or the key does not belong to the certificate.
pub fn client_config(ca_pem: &str, identity: Option<(&str, &str)>) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Setup(error.to_string()))?
        .with_root_certificates(roots(ca_pem)?);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            builder.with_client_auth_cert(certificates(cert)?, private_key(key)?).map_err(|error| TlsError::Setup(error.to_string()))?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Who a peer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    /// Its name.
    pub host: HostName,
    /// The roles its certificate allows.
    pub roles: Vec<Role>,
    /// The number under which the certificate was issued; 0 if it was not issued by the PAN's controllers.
    pub serial: u64,
    /// When the certificate ends, seconds since 1970.
    pub ends: i64,
    /// Addresses it may serve at besides its name, those of the machine itself left out.
    pub addresses: Vec<IpAddr>,
}

impl PeerIdentity {
    /// Whether the certificate allows a role.
    #[must_use]
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }
}

/// When a certificate begins and ends, seconds since 1970.
///
/// # Errors
/// [`TlsError::Peer`] when it cannot be read.
pub(crate) fn validity(cert_der: &[u8]) -> Result<(i64, i64), TlsError> {
    let (_, cert) = X509Certificate::from_der(cert_der).map_err(|error| TlsError::Peer(format!("cannot be read: {error}")))?;
    Ok((cert.validity().not_before.timestamp(), cert.validity().not_after.timestamp()))
}

/// Reads a peer's certificate, which the TLS handshake has already checked.
///
/// # Errors
/// [`TlsError::Peer`] when it names no host or an unknown role.
pub fn peer_identity(cert_der: &[u8]) -> Result<PeerIdentity, TlsError> {
    let bad = |what: String| TlsError::Peer(what);
    let (_, cert) = X509Certificate::from_der(cert_der).map_err(|error| bad(format!("cannot be read: {error}")))?;
    let subject = cert.subject();
    let name = subject.iter_common_name().next().and_then(|name| name.as_str().ok()).ok_or_else(|| bad("has no common name".into()))?;
    let host = HostName::new(name).map_err(|error| bad(format!("names no host: {error}")))?;
    let mut roles = Vec::new();
    for unit in subject.iter_organizational_unit() {
        let unit = unit.as_str().map_err(|error| bad(format!("has an unreadable role: {error}")))?;
        for word in unit.split(',') {
            let role = Role::ALL.into_iter().find(|role| role.as_str() == word);
            roles.push(role.ok_or_else(|| bad(format!("carries the unknown role {word:?}")))?);
        }
    }
    // A number of more than eight bytes is a random one.
    let serial = cert.raw_serial().iter().try_fold(0_u64, |all, byte| Some(all.checked_mul(256)? + u64::from(*byte))).unwrap_or(0);
    Ok(PeerIdentity { host, roles, serial, ends: cert.validity().not_after.timestamp(), addresses: addresses(&cert) })
}

fn addresses(cert: &X509Certificate<'_>) -> Vec<IpAddr> {
    let names = cert.subject_alternative_name().ok().flatten().map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    let address = |name: &GeneralName<'_>| match name {
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(IpAddr::from),
            16 => <[u8; 16]>::try_from(*bytes).ok().map(IpAddr::from),
            _ => None,
        },
        _ => None,
    };
    names.iter().filter_map(address).filter(|address| !address.is_loopback()).collect()
}

/// The certificates of a PEM text.
///
/// # Errors
/// [`TlsError::Pem`] when there is none or it is damaged.
pub fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bad = |reason: String| TlsError::Pem { what: "certificate", reason };
    let all = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>().map_err(|error| bad(error.to_string()))?;
    if all.is_empty() { Err(bad("no certificate in it".into())) } else { Ok(all) }
}

fn private_key(pem: &str) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| TlsError::Pem { what: "private key", reason: error.to_string() })
}

fn roots(ca_pem: &str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for cert in certificates(ca_pem)? {
        roots.add(cert).map_err(|error| TlsError::Setup(error.to_string()))?;
    }
    Ok(roots)
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
