//! The PAN's own certification authority: makes the certificates that hosts show each other.
//!
//! A host's certificate carries its name as common name, its roles as one organisational unit
//! (`controller,node`), and its name and addresses as alternative names, so that the same certificate serves as
//! server and as client. Keys are ECDSA P-256. Nothing here reads or writes files.

use pan_model::HostName;
use pan_model::host::Role;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Years that a certificate is valid: longer than any machine lives, since nothing renews them by itself.
const YEARS_VALID: i32 = 20;

/// Why a certificate could not be made or an authority not be read.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A key pair could not be made.
    #[error("cannot make a key pair")]
    Key(#[source] rcgen::Error),
    /// The authority's certificate or key is not what it should be.
    #[error("cannot read the authority's {what} (expected PEM)")]
    Load {
        /// `certificate` or `key`.
        what: &'static str,
        /// The reason.
        #[source]
        source: rcgen::Error,
    },
    /// A certificate could not be signed.
    #[error("cannot make a certificate for {name}")]
    Sign {
        /// Whom it was for.
        name: String,
        /// The reason.
        #[source]
        source: rcgen::Error,
    },
}

/// A certificate and its key, both PEM.
#[derive(Clone)]
pub struct Issued {
    /// The certificate.
    pub cert_pem: String,
    /// Its private key; keep it 0600.
    pub key_pem: String,
}

/// The authority of one PAN.
pub struct Authority {
    cert_pem: String,
    key_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new authority with a new key.
    ///
    /// # Errors
    /// [`PkiError`] when the random source or the signature fails.
    pub fn create() -> Result<Self, PkiError> {
        let key = KeyPair::generate().map_err(PkiError::Key)?;
        let key_pem = key.serialize_pem();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "PAN authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        validity(&mut params);
        let signed = |source| PkiError::Sign { name: "the authority".into(), source };
        let cert_pem = params.self_signed(&key).map_err(signed)?.pem();
        Ok(Self { cert_pem, key_pem, issuer: Issuer::new(params, key) })
    }

    /// The authority that was saved as these two texts.
    ///
    /// # Errors
    /// [`PkiError::Load`] naming the text that cannot be read.
    pub fn load(cert_pem: &str, key_pem: &str) -> Result<Self, PkiError> {
        let key = KeyPair::from_pem(key_pem).map_err(|source| PkiError::Load { what: "key", source })?;
        let issuer = Issuer::from_ca_cert_pem(cert_pem, key).map_err(|source| PkiError::Load { what: "certificate", source })?;
        Ok(Self { cert_pem: cert_pem.to_owned(), key_pem: key_pem.to_owned(), issuer })
    }

    /// The certificate that everybody in the PAN trusts.
    #[must_use]
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// The authority's private key; keep it 0600.
    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// A certificate for a host; also valid for `localhost` and the loopback addresses.
    ///
    /// # Errors
    /// [`PkiError`] when the random source or the signature fails.
    pub fn issue_host(&self, name: &HostName, roles: &[Role], addresses: &[IpAddr]) -> Result<Issued, PkiError> {
        let signed = |source| PkiError::Sign { name: name.to_string(), source };
        let key = KeyPair::generate().map_err(PkiError::Key)?;
        let mut params = CertificateParams::new([name.to_string(), "localhost".to_owned()]).map_err(signed)?;
        let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        let further = addresses.iter().filter(|address| !address.is_loopback());
        params.subject_alt_names.extend(loopback.iter().chain(further).map(|address| SanType::IpAddress(*address)));
        params.distinguished_name.push(DnType::CommonName, name.as_str());
        if !roles.is_empty() {
            let roles: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
            params.distinguished_name.push(DnType::OrganizationalUnitName, roles.join(","));
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        validity(&mut params);
        let cert = params.signed_by(&key, &self.issuer).map_err(signed)?;
        Ok(Issued { cert_pem: cert.pem(), key_pem: key.serialize_pem() })
    }
}

/// From yesterday on, so that hosts whose clocks differ by hours still understand each other.
fn validity(params: &mut CertificateParams) {
    let yesterday = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date().yesterday().unwrap_or(jiff::civil::date(2000, 1, 1));
    let month = u8::try_from(yesterday.month()).expect("a month is 1 to 12");
    // The 28th exists in every month of every year.
    let day = u8::try_from(yesterday.day().min(28)).expect("a day is 1 to 28");
    let year = i32::from(yesterday.year());
    params.not_before = rcgen::date_time_ymd(year, month, day);
    params.not_after = rcgen::date_time_ymd(year + YEARS_VALID, month, day);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reloaded_authority_issues_certificates_of_the_same_ca() {
        let first = Authority::create().unwrap();
        let again = Authority::load(first.cert_pem(), first.key_pem()).unwrap();
        let name = HostName::new("c1").unwrap();
        let issued = again.issue_host(&name, &[Role::Controller, Role::Node], &["10.201.0.11".parse().unwrap()]).unwrap();
        let der = crate::tls::certificates(&issued.cert_pem).unwrap();
        let peer = crate::tls::peer_identity(&der[0]).unwrap();
        assert_eq!((peer.host, peer.roles), (name, vec![Role::Controller, Role::Node]));
        assert!(Authority::load("nonsense", first.key_pem()).is_err());
        assert!(Authority::load(first.cert_pem(), "nonsense").is_err());
    }
}
