//! TLS of a service: which certificate is shown for which name. A change of certificates is a new one of these;
//! connections that are open keep theirs.

use pan_model::proxy::{CertificateSpec, Misfit};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::BTreeMap;
use std::sync::Arc;

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

/// TLS settings of certificates; nothing if there are none.
///
/// # Errors
/// A text is not PEM of what it should be, or a key does not belong to its certificate.
pub fn config(specs: &[CertificateSpec]) -> Result<Option<Arc<ServerConfig>>, Misfit> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
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
    Ok(Some(Arc::new(config)))
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
