//! What a tenant's certificate says: checked once, when it is given.

use pan_model::tls::Secret;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Of a certificate, what decides to whom it is shown and how long it is good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateFacts {
    /// The names that it is for, in lower case: its subjectAltName, of which `*.example` stands for every name with one more label.
    pub names: Vec<String>,
    /// When it expires, RFC 3339.
    pub expires: String,
}

/// Why a certificate and its key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Of the certificate.
    #[error("{0}")]
    Cert(String),
    /// Of the key.
    #[error("{0}")]
    Key(String),
}

/// Reads a chain, whose first certificate is the service's own, and its key, both PEM.
///
/// # Errors
/// [`CertificateError`]: one of them is something else, or they do not belong together. Nothing of the key is in it.
pub fn read(cert: &str, key: &Secret) -> Result<CertificateFacts, CertificateError> {
    let chain = CertificateDer::pem_slice_iter(cert.as_bytes()).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| CertificateError::Cert(format!("not PEM of certificates: {error}")))?;
    let Some(first) = chain.first() else {
        return Err(CertificateError::Cert("no certificate in it: expected PEM, the service's own first".to_owned()));
    };
    let facts = facts(first)?;
    let key = PrivateKeyDer::from_pem_slice(key.text().as_bytes());
    let key = key.map_err(|_| CertificateError::Key("not PEM of a private key".to_owned()))?;
    CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider())
        .map_err(|error| CertificateError::Key(format!("does not go with the certificate: {error}")))?;
    Ok(facts)
}

fn facts(certificate: &CertificateDer<'_>) -> Result<CertificateFacts, CertificateError> {
    let unreadable = |error: String| CertificateError::Cert(format!("not a certificate: {error}"));
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|error| unreadable(error.to_string()))?;
    let names = certificate.subject_alternative_name().map_err(|error| unreadable(error.to_string()))?;
    let names = names.into_iter().flat_map(|extension| &extension.value.general_names).filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    let expires = jiff::Timestamp::from_second(certificate.validity().not_after.timestamp());
    let expires = expires.map_err(|error| unreadable(error.to_string()))?;
    Ok(CertificateFacts { names: names.collect(), expires: format!("{expires:.6}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(names: &[&str]) -> (String, Secret) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        (made.cert.pem(), Secret::new(made.signing_key.serialize_pem()))
    }

    #[test]
    fn names_and_the_end_are_read() {
        let (cert, key) = made(&["Shop.example", "*.shop.example"]);
        let facts = read(&cert, &key).unwrap();
        assert_eq!(facts.names, ["shop.example", "*.shop.example"]);
        assert!(facts.expires.starts_with("4096-01-01T"), "{}", facts.expires);
    }

    #[test]
    fn what_is_something_else_is_told() {
        let (cert, key) = made(&["a.example"]);
        let (_, other) = made(&["b.example"]);
        let said = |cert: &str, key: &Secret| read(cert, key).unwrap_err();
        assert!(matches!(said("hello", &key), CertificateError::Cert(text) if text.contains("no certificate in it")));
        assert!(matches!(said(key.text(), &key), CertificateError::Cert(text) if text.contains("no certificate in it")));
        assert!(matches!(said(&cert.replace("MII", "XXX"), &key), CertificateError::Cert(_)));
        assert!(
            matches!(said(&cert, &Secret::new(cert.clone())), CertificateError::Key(text) if text.contains("not PEM of a private key"))
        );
        assert!(matches!(said(&cert, &other), CertificateError::Key(text) if text.contains("does not go with the certificate")));
    }
}
