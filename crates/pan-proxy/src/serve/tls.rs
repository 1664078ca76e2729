//! TLS of a service: which certificate is shown for which name, which cipher is taken, and who comes again. A change of
//! certificates is a new one of these; connections that are open keep theirs.

use pan_model::proxy::{CertificateSpec, Misfit};
use rustls::crypto::CryptoProvider;
use rustls::server::{Acceptor, ClientHello, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

/// Certificates by name.
#[derive(Debug)]
struct Names {
    exact: BTreeMap<String, Arc<CertifiedKey>>,
    /// By what follows `*`, the dot included.
    wild: BTreeMap<String, Arc<CertifiedKey>>,
    first: Arc<CertifiedKey>,
}

impl Names {
    fn find(&self, name: Option<&str>) -> Arc<CertifiedKey> {
        let by_name = name.map(str::to_ascii_lowercase).and_then(|name| {
            let parent = || name.find('.').and_then(|dot| self.wild.get(&name[dot..]));
            self.exact.get(&name).or_else(parent)
        });
        Arc::clone(by_name.unwrap_or(&self.first))
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.find(hello.server_name()))
    }
}

/// Keys that sessions are resumed by (RFC 8446, 2.2), for all services of a proxy. They are made anew every six hours.
#[derive(Debug, Clone)]
pub struct Tickets(Arc<dyn ProducesTickets>);

impl Tickets {
    /// New ones.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new() -> Result<Self, rustls::Error> {
        rustls::crypto::ring::Ticketer::new().map(Self)
    }
}

/// How a service speaks TLS.
#[derive(Debug)]
pub struct Tls {
    /// With the cipher that costs least here.
    quick: Arc<ServerConfig>,
    /// With the one that the client likes best.
    asked: Arc<ServerConfig>,
}

impl Tls {
    /// Shakes hands. A client whose first choice is ChaCha20 has no instructions for AES (a small device): it has its choice.
    /// To all others AES-128 with SHA-256 is given, which costs half of what AES-256 with SHA-384 does and is as far from broken.
    ///
    /// # Errors
    /// What the client sends is not TLS, or none that is spoken here.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> io::Result<TlsStream<S>> {
        let begun = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let hello = begun.client_hello();
        // What is in front only tests whether servers mind what they do not know (GREASE, RFC 8701).
        let known = hello.cipher_suites().iter().find_map(|suite| rank(*suite));
        let config = if known == Some(Cipher::ChaCha) { &self.asked } else { &self.quick };
        let config = Arc::clone(config);
        begun.into_stream(config).await
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cipher {
    Aes128,
    Aes256,
    ChaCha,
}

/// Which cipher a suite is with, of those that are spoken here.
fn rank(suite: CipherSuite) -> Option<Cipher> {
    let name = suite.as_str()?;
    let ciphers = [("AES_128_GCM", Cipher::Aes128), ("AES_256_GCM", Cipher::Aes256), ("CHACHA20", Cipher::ChaCha)];
    ciphers.into_iter().find(|(part, _)| name.contains(part)).map(|(_, cipher)| cipher)
}

/// TLS settings of certificates; nothing if there are none.
///
/// # Errors
/// A text is not PEM of what it should be, or a key does not belong to its certificate.
pub fn config(specs: &[CertificateSpec], tickets: &Tickets) -> Result<Option<Tls>, Misfit> {
    let mut provider = rustls::crypto::ring::default_provider();
    // TLS 1.3 before 1.2 in each, as it was.
    provider.cipher_suites.sort_by_key(|suite| (suite.tls13().is_none(), rank(suite.suite())));
    let provider = Arc::new(provider);
    let (mut exact, mut wild, mut first) = (BTreeMap::new(), BTreeMap::new(), None);
    for (at, spec) in specs.iter().enumerate() {
        let certified = certified(spec, &provider).map_err(|misfit| misfit.within(format_args!("tls[{at}]")))?;
        first.get_or_insert_with(|| Arc::clone(&certified));
        for host in &spec.hosts {
            let known = match host.strip_prefix('*') {
                Some(parent) => wild.insert(parent.to_ascii_lowercase(), Arc::clone(&certified)),
                None => exact.insert(host.to_ascii_lowercase(), Arc::clone(&certified)),
            };
            if known.is_some() {
                return Err(Misfit::new(format!("tls[{at}].hosts"), format!("{host:?} has a certificate already")));
            }
        }
    }
    let Some(first) = first else { return Ok(None) };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Misfit::new("tls", error.to_string()))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Names { exact, wild, first }));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = Arc::clone(&tickets.0);
    let mut quick = config.clone();
    quick.ignore_client_order = true;
    Ok(Some(Tls { quick: Arc::new(quick), asked: Arc::new(config) }))
}

fn certified(spec: &CertificateSpec, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, Misfit> {
    let chain = CertificateDer::pem_slice_iter(spec.cert.as_bytes()).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| Misfit::new("cert", format!("not PEM of certificates: {error}")))?;
    if chain.is_empty() {
        return Err(Misfit::new("cert", "no certificate in it: expected PEM, the service's own first"));
    }
    let key = PrivateKeyDer::from_pem_slice(spec.key.as_bytes()).map_err(|_| Misfit::new("key", "not PEM of a private key"))?;
    let certified = CertifiedKey::from_der(chain, key, provider);
    certified.map(Arc::new).map_err(|error| Misfit::new("key", format!("does not go with the certificate: {error}")))
}
