//! Trust in an authority of which only the fingerprint is known: for a machine's very first call to a PAN.

use super::{TlsError, provider};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// The fingerprint of an authority: SHA-256 of its certificate (DER).
///
/// # Errors
/// [`TlsError::Pem`] when the text holds no certificate.
pub fn fingerprint(ca_pem: &str) -> Result<[u8; 32], TlsError> {
    Ok(Sha256::digest(&super::certificates(ca_pem)?[0]).into())
}

/// Settings of a client without a certificate, which trusts the one authority that has this fingerprint. The server must
/// show that authority's certificate together with its own; everything else is checked as usual.
///
/// # Errors
/// [`TlsError::Setup`].
pub fn pinned_client_config(fingerprint: [u8; 32]) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let mut config = builder
        .map_err(|error| TlsError::Setup(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned { fingerprint }))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct Pinned {
    fingerprint: [u8; 32],
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        server: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let pinned = |cert: &&CertificateDer<'_>| <[u8; 32]>::from(Sha256::digest(cert)) == self.fingerprint;
        let authority = intermediates.iter().find(pinned).ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let usual = WebPkiServerVerifier::builder_with_provider(roots.into(), provider()).build();
        usual.map_err(|error| Error::General(error.to_string()))?.verify_server_cert(server, &[], name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signed, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signed, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::Authority;
    use crate::tls::{ClientCerts, certificates};
    use pan_model::host::Role;
    use std::sync::Arc;

    /// The handshake's outcome, in memory.
    fn shake(client: Arc<ClientConfig>, server: Arc<rustls::ServerConfig>, name: &str) -> Result<(), Error> {
        let mut client = rustls::ClientConnection::new(client, ServerName::try_from(name.to_owned()).unwrap())?;
        let mut server = rustls::ServerConnection::new(server)?;
        while client.is_handshaking() || server.is_handshaking() {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).unwrap();
            server.read_tls(&mut bytes.as_slice()).unwrap();
            server.process_new_packets()?;
            let mut bytes = Vec::new();
            server.write_tls(&mut bytes).unwrap();
            client.read_tls(&mut bytes.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        Ok(())
    }

    #[test]
    fn only_the_authority_of_the_fingerprint_vouches_and_only_for_its_own() {
        let (ours, other) = (Authority::create().unwrap(), Authority::create().unwrap());
        let serve = |shown: &Authority, issuer: &Authority| {
            let issued = issuer.issue_host(&"c1".parse().unwrap(), &[Role::Controller], &[]).unwrap();
            crate::tls::server_config(shown.cert_pem(), &issued.cert_pem, &issued.key_pem, ClientCerts::Optional).unwrap()
        };
        let pin = |authority: &Authority| pinned_client_config(fingerprint(authority.cert_pem()).unwrap()).unwrap();
        shake(pin(&ours), serve(&ours, &ours), "c1").unwrap();
        shake(pin(&ours), serve(&ours, &ours), "c2").unwrap_err();
        shake(pin(&other), serve(&ours, &ours), "c1").unwrap_err();
        // The authority's certificate is no secret: showing it proves nothing.
        shake(pin(&ours), serve(&ours, &other), "c1").unwrap_err();
        assert_ne!(fingerprint(ours.cert_pem()).unwrap(), fingerprint(other.cert_pem()).unwrap());
        assert_eq!(certificates(ours.cert_pem()).unwrap().len(), 1);
    }
}
