//! What a controller tells and signs for hosts: the PAN's authority, and what stands alike in every host's configuration.
//!
//! It holds the authority's private key, and gives away nothing but signatures made with it.

use crate::seal::Sealer;
use pan_api::ApiError;
use pan_api::capability::SigningKey;
use pan_api::keyfile::hex;
use pan_api::keys::Keys;
use pan_api::pki::{Authority, Grant, PkiError, Request};
use pan_api::tls::{TlsError, fingerprint};
use pan_api::volume::Claim;
use pan_member::{KeyRing, host_key};
use pan_model::host::Role;
use pan_model::host_config::{HostConfig, PeerAddress};
use pan_model::{Code, HostName, VolumeId};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Why it cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// The key cannot be read.
    #[error("cannot read the authority's key {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
    /// It is no key, or the certificate none.
    #[error(transparent)]
    Authority(#[from] PkiError),
    /// The authority's certificate cannot be read.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Whom a certificate is for.
pub(crate) struct Identity {
    pub name: HostName,
    pub roles: Vec<Role>,
    pub addresses: Vec<IpAddr>,
}

/// The authority and how others know it.
pub(crate) struct Signer {
    authority: Authority,
    /// See [`fingerprint`].
    pub fingerprint: [u8; 32],
}

/// What a new host is told.
pub(crate) struct Site {
    signer: Option<Signer>,
    certificates_valid: Duration,
    pub ca_pem: String,
    root: [u8; 32],
    pub profile: String,
    pub controllers: Vec<PeerAddress>,
    pub lessors: Vec<PeerAddress>,
    pub directors: Vec<PeerAddress>,
}

impl Site {
    /// Reads the authority's key, if this controller was given one.
    pub fn open(config: &HostConfig, ca_pem: &str, root: [u8; 32]) -> Result<Self, SiteError> {
        let controller = config.controller.as_ref();
        let signer = match controller.and_then(|controller| controller.authority_key.clone()) {
            None => None,
            Some(path) => {
                let key = std::fs::read_to_string(&path).map_err(|source| SiteError::Read { path, source })?;
                Some(Signer { authority: Authority::load(ca_pem, &key)?, fingerprint: fingerprint(ca_pem)? })
            }
        };
        Ok(Self {
            signer,
            certificates_valid: controller.map(|controller| controller.certificates_valid.0).unwrap_or_default(),
            ca_pem: ca_pem.to_owned(),
            root,
            profile: config.profile.clone(),
            controllers: config.controllers.clone(),
            lessors: config.lessors.clone(),
            directors: config.directors.clone(),
        })
    }

    /// The authority.
    ///
    /// # Errors
    /// `State`: this controller was not given its key.
    pub fn authority(&self) -> Result<&Signer, ApiError> {
        let text = "this controller does not hold the authority's key (`authorityKey` in its configuration), so it can certify no host";
        self.signer.as_ref().ok_or_else(|| ApiError::new(Code::State, text))
    }

    /// Signs a host's certificate.
    ///
    /// # Errors
    /// As [`Site::authority`], or `Internal` when the signature fails.
    pub fn certify(&self, request: &Request, identity: Identity, serial: u64) -> Result<String, ApiError> {
        let Identity { name, roles, addresses } = identity;
        let grant = Grant { name, roles, addresses, serial, valid: self.certificates_valid };
        let failed = |error: PkiError| ApiError::new(Code::Internal, format!("{error}: ask again with the same key"));
        self.authority()?.authority.certify(request, &grant).map_err(failed)
    }

    /// The keys that a host should have while those of `current` are used and those of `newest` handed out.
    pub fn keys(&self, host: &HostName, roles: &[Role], (current, newest): (u64, u64)) -> Keys {
        let pan = KeyRing::at(&self.root, current, newest);
        let digits = |ring: KeyRing| ring.iter().map(|key| hex(key)).collect::<Vec<_>>();
        let everybodys = if self.judges(host, roles) { digits(pan) } else { Vec::new() };
        let public = |period| SigningKey::of_period(&self.root, period).public();
        let capability = if roles.contains(&Role::Storage) { KeyRing::periods(current, newest).map(public).collect() } else { Vec::new() };
        Keys { current, newest, own: digits(pan.derive(|key| host_key(key, host))), pan: everybodys, capability }
    }

    /// Signs the right to write a volume, with the key of a period.
    pub fn seal(&self, period: u64, host: &HostName, volume: VolumeId, claim: &mut Claim) {
        let mut sealer = Sealer::new(self.root);
        sealer.turn(period);
        sealer.seal(host, volume, claim);
    }

    /// Whether a host judges others' heartbeats, for which it needs everybody's key.
    pub fn judges(&self, name: &HostName, roles: &[Role]) -> bool {
        roles.iter().any(|role| matches!(role, Role::Controller | Role::Director)) || self.lessors.iter().any(|lessor| lessor.name == *name)
    }
}
