//! A host's certificate as it is now: one that was renewed on the disk is shown from the next handshake on, by servers and
//! clients that were set up before.

use super::{ClientCerts, TlsError, TlsMaterial, certificates, chain, peer_identity, private_key, provider, roots};
use pan_model::host_config::TlsFiles;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ServerConfig, SignatureScheme};
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

/// How often the file is looked at: a renewal comes long before the old certificate ends, so this is soon enough even for
/// those that tests make to last for seconds.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The certificate and its key.
pub struct LiveTls {
    files: TlsFiles,
    ca_pem: String,
    key_pem: String,
    shown: RwLock<Shown>,
}

struct Shown {
    /// For clients of this host; the authority's certificate is in it for strangers.
    whole: Arc<CertifiedKey>,
    /// For servers that this host calls.
    bare: Arc<CertifiedKey>,
    /// When it ends, seconds since 1970.
    ends: i64,
}

impl LiveTls {
    /// Reads the files that a host's configuration names, and looks after the certificate from then on. Must be called
    /// inside a tokio runtime.
    ///
    /// # Errors
    /// [`TlsError`]: a file cannot be read, or they do not fit each other.
    pub fn open(files: &TlsFiles) -> Result<Arc<Self>, TlsError> {
        let TlsMaterial { ca_pem, cert_pem, key_pem } = TlsMaterial::read(files)?;
        let shown = shown(&ca_pem, &cert_pem, &key_pem)?;
        let live = Arc::new(Self { files: files.clone(), ca_pem, key_pem, shown: RwLock::new(shown) });
        tokio::spawn(follow(Arc::downgrade(&live), mark(files)));
        Ok(live)
    }

    /// The authority's certificate.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The host's private key.
    pub(crate) fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// When the certificate that is shown now ends, seconds since 1970.
    #[must_use]
    pub fn ends(&self) -> i64 {
        self.shown.read().unwrap_or_else(PoisonError::into_inner).ends
    }

    /// Shows another certificate of the same key.
    ///
    /// # Errors
    /// [`TlsError`]: it is none, or of another key. The old one is shown on.
    pub fn show(&self, cert_pem: &str) -> Result<(), TlsError> {
        let shown = shown(&self.ca_pem, cert_pem, &self.key_pem)?;
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = shown;
        Ok(())
    }

    /// Settings for serving with the certificate as it is at each handshake.
    ///
    /// # Errors
    /// [`TlsError`] when the authority's certificate cannot be used.
    pub fn server_config(self: &Arc<Self>, clients: ClientCerts) -> Result<Arc<ServerConfig>, TlsError> {
        let resolver: Arc<dyn ResolvesServerCert> = match clients {
            ClientCerts::Optional => Arc::new(Whole(self.clone())),
            ClientCerts::Required => Arc::new(Bare(self.clone())),
        };
        super::server_config_with(&self.ca_pem, clients, |builder| Ok(builder.with_cert_resolver(resolver)))
    }

    /// Settings for calling with the certificate as it is at each handshake.
    ///
    /// # Errors
    /// As [`LiveTls::server_config`].
    pub fn client_config(self: &Arc<Self>) -> Result<Arc<ClientConfig>, TlsError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Setup(error.to_string()))?;
        let mut config = builder.with_root_certificates(roots(&self.ca_pem)?).with_client_cert_resolver(Arc::new(Bare(self.clone())));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn shown(ca_pem: &str, cert_pem: &str, key_pem: &str) -> Result<Shown, TlsError> {
    let own = certificates(cert_pem)?;
    let ends = peer_identity(&own[0])?.ends;
    let certified = |chain| {
        let key = CertifiedKey::from_der(chain, private_key(key_pem)?, &provider());
        key.map(Arc::new).map_err(|error| TlsError::Setup(error.to_string()))
    };
    Ok(Shown { whole: certified(chain(ca_pem, cert_pem, ClientCerts::Optional)?)?, bare: certified(own)?, ends })
}

/// What changes when the file is replaced.
fn mark(files: &TlsFiles) -> Option<(u64, i64, i64)> {
    let meta = std::fs::metadata(&files.cert).ok()?;
    Some((meta.ino(), meta.mtime(), meta.mtime_nsec()))
}

/// Shows what the file holds whenever it was replaced, for as long as anybody needs it.
async fn follow(live: Weak<LiveTls>, mut known: Option<(u64, i64, i64)>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(live) = live.upgrade() else { return };
        let looked = tokio::task::spawn_blocking(move || {
            let now = mark(&live.files);
            if now.is_some() && now != known {
                let file = live.files.cert.display();
                match std::fs::read_to_string(&live.files.cert).map_err(|error| error.to_string()) {
                    Ok(text) => match live.show(&text) {
                        Ok(()) => tracing::info!(%file, "the renewed certificate is shown"),
                        Err(error) => tracing::warn!(%file, %error, "a new certificate is of no use; the old one is shown on"),
                    },
                    Err(error) => tracing::warn!(%file, error, "a new certificate cannot be read; the old one is shown on"),
                }
            }
            now.or(known)
        });
        match looked.await {
            Ok(now) => known = now,
            // The runtime ends.
            Err(_) => return,
        }
    }
}

#[derive(Debug)]
struct Whole(Arc<LiveTls>);

#[derive(Debug)]
struct Bare(Arc<LiveTls>);

impl LiveTls {
    fn now<T>(&self, pick: impl FnOnce(&Shown) -> T) -> T {
        pick(&self.shown.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ResolvesServerCert for Whole {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.now(|shown| shown.whole.clone()))
    }
}

impl ResolvesServerCert for Bare {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.now(|shown| shown.bare.clone()))
    }
}

impl ResolvesClientCert for Bare {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.now(|shown| shown.bare.clone()))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Without the key.
impl std::fmt::Debug for LiveTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LiveTls({})", self.files.cert.display())
    }
}
