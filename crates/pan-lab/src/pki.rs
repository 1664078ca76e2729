//! The lab's secrets, made once and kept under `DATA/pki`: the authority, the key heartbeats are
//! authenticated with, the administrator's token.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use pan_api::keyfile::parse_key;
use pan_api::pki::Authority;
use sha2::{Digest, Sha256};

use crate::error::LabError;
use crate::state::write_private;

/// What a client needs to speak to a lab's API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// `https://127.0.0.1:PORT`.
    pub url: String,
    /// The administrator's token.
    pub token: String,
    /// The authority's certificate, PEM.
    pub ca_pem: String,
    /// Where that certificate lies.
    pub ca_file: PathBuf,
}

/// The secrets of a lab.
pub(crate) struct Secrets {
    pub(crate) authority: Authority,
    /// 32 bytes from which all heartbeat keys are derived.
    pub(crate) root_key: [u8; 32],
    pub(crate) admin_token: String,
}

impl Secrets {
    /// Reads them, or makes those that are missing.
    pub(crate) fn ensure(data: &Path) -> Result<Self, LabError> {
        let dir = data.join("pki");
        private_dir(&dir)?;
        let authority = match (text(&dir.join("ca.pem"))?, text(&dir.join("ca.key"))?) {
            (Some(cert), Some(key)) => Authority::load(&cert, &key)?,
            _ => {
                let made = Authority::create()?;
                write_private(&dir.join("ca.key"), made.key_pem().as_bytes())?;
                write_private(&dir.join("ca.pem"), made.cert_pem().as_bytes())?;
                made
            }
        };
        let root_key = kept(&dir.join("root.key"), || random().map(|key| hex(&key)))?;
        let admin_token = kept(&dir.join("admin.token"), || random().map(|secret| format!("pan_admin_{}", hex(&secret))))?;
        Ok(Self {
            authority,
            root_key: parse_key(&root_key).ok_or_else(|| {
                let wrong = std::io::Error::new(std::io::ErrorKind::InvalidData, "expected 64 hex digits");
                LabError::file("read", &dir.join("root.key"))(wrong)
            })?,
            admin_token,
        })
    }

    /// SHA-256 of the administrator's token, in hex: all that a controller gets to know of it.
    pub(crate) fn admin_token_sha256(&self) -> String {
        hex(&Sha256::digest(self.admin_token.as_bytes()))
    }
}

/// Reads what a client needs.
pub(crate) fn credentials(data: &Path, url: String) -> Result<Credentials, LabError> {
    let dir = data.join("pki");
    let read = |name: &str| {
        let path = dir.join(name);
        fs::read_to_string(&path).map_err(LabError::file("read", &path))
    };
    Ok(Credentials { url, token: read("admin.token")?.trim().to_owned(), ca_pem: read("ca.pem")?, ca_file: dir.join("ca.pem") })
}

/// Makes a folder only root can enter; an existing one is closed to others.
pub(crate) fn private_dir(dir: &Path) -> Result<(), LabError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(LabError::file("create", dir))?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(LabError::file("close", dir))
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn random() -> Result<[u8; 32], LabError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| LabError::Random(error.to_string()))?;
    Ok(bytes)
}

fn text(path: &Path) -> Result<Option<String>, LabError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LabError::file("read", path)(error)),
    }
}

fn kept(path: &Path, make: impl FnOnce() -> Result<String, LabError>) -> Result<String, LabError> {
    if let Some(text) = text(path)? {
        return Ok(text.trim().to_owned());
    }
    let made = make()?;
    write_private(path, made.as_bytes())?;
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_kept_and_private() {
        let data = tempfile::tempdir().unwrap();
        let first = Secrets::ensure(data.path()).unwrap();
        let again = Secrets::ensure(data.path()).unwrap();
        assert_eq!(first.root_key, again.root_key);
        assert_eq!(first.admin_token, again.admin_token);
        assert_eq!(first.authority.cert_pem(), again.authority.cert_pem());
        for entry in fs::read_dir(data.path().join("pki")).unwrap() {
            let mode = entry.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let given = credentials(data.path(), "https://x".into()).unwrap();
        assert_eq!(given.token, first.admin_token);
        assert_eq!(parse_key("00"), None);
    }
}
