//! TLS of a service: certificates, and the keys that go with them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A text that is shown to nobody: `Debug` says nothing of it, and what is shown of an object is without it. It is kept in the store, and told
/// to the director that needs it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Of a text.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("Secret")
    }
}

/// TLS at the director. Which certificate a client is shown goes by the names in it (subjectAltName, RFC 9525) and the name that the client asks
/// for (SNI, RFC 6066); the first, if none fits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ServiceTls {
    /// The chain in PEM, the service's own certificate first.
    pub cert: String,
    /// Its private key in PEM. It is never shown; where the certificate is one that the service has already, it may be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Secret>,
    /// Certificates for further names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 63))]
    pub more: Vec<CertificateAndKey>,
}

/// A further certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CertificateAndKey {
    /// As of the first.
    pub cert: String,
    /// As of the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Secret>,
}

impl ServiceTls {
    /// All certificates, each with its key and the place where it stands.
    pub fn all(&self) -> impl Iterator<Item = (String, &str, Option<&Secret>)> {
        let more = self.more.iter().enumerate().map(|(at, one)| (format!("more[{at}]."), one.cert.as_str(), one.key.as_ref()));
        std::iter::once((String::new(), self.cert.as_str(), self.key.as_ref())).chain(more)
    }

    /// As it is shown: without keys.
    #[must_use]
    pub fn shown(&self) -> Self {
        let more = self.more.iter().map(|one| CertificateAndKey { cert: one.cert.clone(), key: None }).collect();
        Self { cert: self.cert.clone(), key: None, more }
    }

    /// With the keys that were left out, of certificates that were there before. What is still without one has none.
    #[must_use]
    pub fn completed(&self, former: Option<&Self>) -> Self {
        let known = |cert: &str| {
            let mut same = former.into_iter().flat_map(Self::all).filter(|(_, other, _)| *other == cert);
            same.find_map(|(_, _, key)| key.cloned())
        };
        let key = |cert: &str, key: &Option<Secret>| key.clone().or_else(|| known(cert));
        let more = self.more.iter().map(|one| CertificateAndKey { cert: one.cert.clone(), key: key(&one.cert, &one.key) });
        Self { cert: self.cert.clone(), key: key(&self.cert, &self.key), more: more.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tls(certificates: &[(&str, Option<&str>)]) -> ServiceTls {
        let mut all = certificates
            .iter()
            .map(|(cert, key)| CertificateAndKey { cert: (*cert).to_owned(), key: key.map(|key| Secret::new(key.to_owned())) });
        let CertificateAndKey { cert, key } = all.next().unwrap();
        ServiceTls { cert, key, more: all.collect() }
    }

    #[test]
    fn what_is_shown_can_be_given_back() {
        let whole = tls(&[("a", Some("key-a")), ("b", Some("key-b"))]);
        let shown = whole.shown();
        assert_eq!(shown, tls(&[("a", None), ("b", None)]));
        assert_eq!(shown.completed(Some(&whole)), whole);
        assert_eq!(tls(&[("b", None)]).completed(Some(&whole)), tls(&[("b", Some("key-b"))]), "wherever it stood");
        assert_eq!(tls(&[("c", None)]).completed(Some(&whole)), tls(&[("c", None)]));
        assert_eq!(tls(&[("a", Some("new"))]).completed(Some(&whole)), tls(&[("a", Some("new"))]));
        assert_eq!(shown.completed(None), shown);
    }

    #[test]
    fn keys_are_not_in_what_is_written_for_people() {
        let whole = tls(&[("a", Some("key-a")), ("b", Some("key-b"))]);
        assert!(!format!("{whole:?}").contains("key-"), "{whole:?}");
        let text = serde_json::to_string(&whole).unwrap();
        assert_eq!(text, r#"{"cert":"a","key":"key-a","more":[{"cert":"b","key":"key-b"}]}"#, "the store has them");
        assert_eq!(serde_json::from_str::<ServiceTls>(&text).unwrap(), whole);
    }
}
