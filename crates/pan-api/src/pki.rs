//! The PAN's own certification authority: makes the certificates that hosts show each other.
//!
//! A host's certificate carries its name as common name, its roles as one organisational unit
//! (`controller,node`), and its name and addresses as alternative names, so that the same certificate serves as
//! server and as client. Keys are ECDSA P-256. A certificate that the PAN's own controllers sign also carries the number
//! under which it was issued, by which it can be revoked; those that a laboratory is born with have a random one.
//! Nothing here reads or writes files.

use pan_model::HostName;
use pan_model::host::Role;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use sha2::{Digest, Sha256};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// Years that the authority is valid, and the certificates that a laboratory is born with.
const YEARS_VALID: i32 = 20;
/// How much earlier than now a certificate begins, so that hosts whose clocks differ still understand each other.
pub(crate) const CLOCKS_APART_MAX: Duration = Duration::from_secs(3600);

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
    /// What a host sent is no request that its own key has signed.
    #[error("the signing request cannot be used: {0}")]
    Request(#[source] rcgen::Error),
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

/// What a new host sends to be certified: a request, and the key that stays with it. Both PEM.
pub struct Requested {
    /// Goes to the authority.
    pub request_pem: String,
    /// Never leaves the host; keep it 0600.
    pub key_pem: String,
}

impl Requested {
    /// A request of a host, with a new key, or with the key that it has.
    ///
    /// # Errors
    /// [`PkiError`] when the random source fails, or the text is no key.
    pub fn of(name: &HostName, key_pem: Option<&str>) -> Result<Self, PkiError> {
        let key = match key_pem {
            Some(pem) => KeyPair::from_pem(pem).map_err(|source| PkiError::Load { what: "key", source })?,
            None => KeyPair::generate().map_err(PkiError::Key)?,
        };
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name.as_str());
        let request = params.serialize_request(&key).and_then(|request| request.pem());
        Ok(Self { request_pem: request.map_err(|source| PkiError::Sign { name: name.to_string(), source })?, key_pem: key.serialize_pem() })
    }
}

/// A request that was signed with the key it is about. What else it asks for does not count: the controller knows better.
pub struct Request(CertificateSigningRequestParams);

impl Request {
    /// Reads it and checks its signature.
    ///
    /// # Errors
    /// [`PkiError::Request`].
    pub fn read(pem: &str) -> Result<Self, PkiError> {
        CertificateSigningRequestParams::from_pem(pem).map(Self).map_err(PkiError::Request)
    }

    /// SHA-256 of the key in it, by which the same host is known when it asks again.
    #[must_use]
    pub fn key_digest(&self) -> [u8; 32] {
        Sha256::digest(self.0.public_key.subject_public_key_info()).into()
    }
}

/// What a host's certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The host.
    pub name: HostName,
    /// What it may do.
    pub roles: Vec<Role>,
    /// Addresses it may serve at besides its name.
    pub addresses: Vec<IpAddr>,
    /// The number under which it is issued.
    pub serial: u64,
    /// How long it is good.
    pub valid: Duration,
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

    /// A certificate for a host with a key of its own, for those who set up a PAN on one machine.
    ///
    /// # Errors
    /// [`PkiError`] when the random source or the signature fails.
    pub fn issue_host(&self, name: &HostName, roles: &[Role], addresses: &[IpAddr]) -> Result<Issued, PkiError> {
        let signed = |source| PkiError::Sign { name: name.to_string(), source };
        let key = KeyPair::generate().map_err(PkiError::Key)?;
        let mut params = host_params(name, roles, addresses).map_err(signed)?;
        validity(&mut params);
        let cert = params.signed_by(&key, &self.issuer).map_err(signed)?;
        Ok(Issued { cert_pem: cert.pem(), key_pem: key.serialize_pem() })
    }

    /// A certificate, PEM, for the key of a request.
    ///
    /// # Errors
    /// [`PkiError::Sign`] when the signature fails.
    pub fn certify(&self, request: &Request, grant: &Grant) -> Result<String, PkiError> {
        let signed = |source| PkiError::Sign { name: grant.name.to_string(), source };
        let mut params = host_params(&grant.name, &grant.roles, &grant.addresses).map_err(signed)?;
        params.serial_number = Some(SerialNumber::from(grant.serial));
        let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        params.not_before = epoch + since_1970.saturating_sub(CLOCKS_APART_MAX);
        params.not_after = epoch + since_1970 + grant.valid;
        Ok(params.signed_by(&request.0.public_key, &self.issuer).map_err(signed)?.pem())
    }
}

/// The DNS name in certificates of those who may read and write the PAN's records in etcd: controllers, and etcd's members
/// (which have no role). Without it a node's certificate, being of the same authority, would do as well.
pub const STORE_NAME: &str = "store.pan.internal";

fn host_params(name: &HostName, roles: &[Role], addresses: &[IpAddr]) -> Result<CertificateParams, rcgen::Error> {
    // Whoever may pass for `localhost` may pass for a controller to whoever calls one from the same machine.
    let local = roles.is_empty() || roles.contains(&Role::Controller);
    let mut names = vec![name.to_string()];
    if local {
        names.extend(["localhost".to_owned(), STORE_NAME.to_owned()]);
    }
    let mut params = CertificateParams::new(names)?;
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let loopback = loopback.iter().filter(|_| local);
    let further = addresses.iter().filter(|address| !address.is_loopback());
    params.subject_alt_names.extend(loopback.chain(further).map(|address| SanType::IpAddress(*address)));
    params.distinguished_name.push(DnType::CommonName, name.as_str());
    if !roles.is_empty() {
        let roles: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
        params.distinguished_name.push(DnType::OrganizationalUnitName, roles.join(","));
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
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
        assert_eq!(peer.serial, 0, "a random number is none that could be revoked");
        assert!(Authority::load("nonsense", first.key_pem()).is_err());
        assert!(Authority::load(first.cert_pem(), "nonsense").is_err());
    }

    #[test]
    fn a_certificate_says_what_the_controller_granted_and_not_what_was_asked_for() {
        let authority = Authority::create().unwrap();
        let asked = Requested::of(&HostName::new("c1").unwrap(), None).unwrap();
        let request = Request::read(&asked.request_pem).unwrap();
        let name = HostName::new("n5").unwrap();
        let grant =
            Grant { name: name.clone(), roles: vec![Role::Node], addresses: Vec::new(), serial: 7, valid: Duration::from_secs(600) };
        let pem = authority.certify(&request, &grant).unwrap();
        let der = crate::tls::certificates(&pem).unwrap();
        let peer = crate::tls::peer_identity(&der[0]).unwrap();
        let now = jiff::Timestamp::now().as_second();
        assert_eq!((peer.host, peer.roles, peer.serial), (name, vec![Role::Node], 7));
        assert!((now + 590..=now + 600).contains(&peer.ends), "{} is not ten minutes after {now}", peer.ends);
        crate::tls::server_config(authority.cert_pem(), &pem, &asked.key_pem, crate::tls::ClientCerts::Required).unwrap();
        let again = Requested::of(&HostName::new("n5").unwrap(), Some(&asked.key_pem)).unwrap();
        assert_eq!(Request::read(&again.request_pem).unwrap().key_digest(), request.key_digest());
        for bad in ["", "nonsense", pem.as_str(), &asked.request_pem.replace('A', "B")] {
            assert!(Request::read(bad).is_err(), "{bad}");
        }
    }
}
