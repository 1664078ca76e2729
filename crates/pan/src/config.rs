//! The configuration file of a host, read strictly.

use pan_model::host::Role;
use pan_model::host_config::{EtcdConfig, HostConfig};
use std::path::{Path, PathBuf};

/// The format of the file that this version reads.
const VERSION: u16 = 1;

/// Why a host's configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It is not what it should be.
    #[error("{}: {message}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        message: String,
    },
    /// It is for another version of the program.
    #[error("{} has version {found}, this program reads version {VERSION}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u16,
    },
    /// The host does not have the role.
    #[error("{} gives host {host} the roles {roles}, not {role}", path.display())]
    Role {
        /// The file.
        path: PathBuf,
        /// The host.
        host: String,
        /// The role asked for.
        role: Role,
        /// What it has.
        roles: String,
    },
    /// It asks for what only a laboratory's hosts may do.
    #[error("{} has `laboratory`, which is for the hosts of a laboratory (`pan up`) alone: remove it", path.display())]
    Laboratory {
        /// The file.
        path: PathBuf,
    },
}

/// Reads the configuration of a member of etcd.
///
/// # Errors
/// [`ConfigError`] naming the file and what is wrong in it.
pub fn load_etcd(path: &Path) -> Result<EtcdConfig, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    let config: EtcdConfig = serde_saphyr::from_str(&text)
        .map_err(|error| ConfigError::Content { path: path.to_owned(), message: error.without_snippet().to_string() })?;
    if config.version == VERSION { Ok(config) } else { Err(ConfigError::Version { path: path.to_owned(), found: config.version }) }
}

/// Reads a host's configuration; `role`, if any, must be among its roles.
///
/// # Errors
/// [`ConfigError`] naming the file and what is wrong in it.
pub fn load(path: &Path, role: Option<Role>) -> Result<HostConfig, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    let config: HostConfig = serde_saphyr::from_str(&text)
        .map_err(|error| ConfigError::Content { path: path.to_owned(), message: error.without_snippet().to_string() })?;
    if config.version != VERSION {
        return Err(ConfigError::Version { path: path.to_owned(), found: config.version });
    }
    if let Some(role) = role.filter(|role| !config.roles.contains(role)) {
        let roles = config.roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", ");
        return Err(ConfigError::Role { path: path.to_owned(), host: config.name.to_string(), role, roles });
    }
    // Set for every process of a laboratory's hosts, and by itself it does nothing.
    if config.laboratory.is_some() && std::env::var_os("PAN_LAB").is_none() {
        return Err(ConfigError::Laboratory { path: path.to_owned() });
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "version: 1\nname: n1\nroles: [node]\naddress: 10.200.0.2\nfabrics:\n  a: {interface: a0, address: 10.201.0.2/16}\n  b: {interface: b0, address: 10.202.0.2/16}\ncontrollers: []\ntls: {ca: /x/ca.pem, cert: /x/host.pem, key: /x/host.key}\nbeatKey: /x/beat.key\nprofile: lan\nstateDir: /x/state\nrunDir: /x/run\nnode: {cpu: 4, memory: 4GiB}\n";

    fn read(text: &str, role: Option<Role>) -> Result<HostConfig, String> {
        let path = std::env::temp_dir().join(format!("pan-config-{}-{:?}", std::process::id(), std::thread::current().id()));
        std::fs::write(&path, text).unwrap();
        let read = load(&path, role).map_err(|error| error.to_string());
        std::fs::remove_file(&path).unwrap();
        read
    }

    #[test]
    fn a_configuration_is_read_strictly() {
        assert_eq!(read(GOOD, Some(Role::Node)).unwrap().name.as_str(), "n1");
        assert!(read(GOOD, Some(Role::Director)).unwrap_err().contains("the roles node, not director"));
        assert!(read(&GOOD.replace("version: 1", "version: 2"), None).unwrap_err().contains("has version 2"));
        assert!(read(&format!("{GOOD}extra: 1\n"), None).unwrap_err().contains("line 15"));
        assert!(read(&format!("{GOOD}laboratory: {{volumesInTheClear: true}}\n"), None).unwrap_err().contains("of a laboratory"));
        let sends = |most: &str| {
            read(&format!("{GOOD}controller: {{adminTokenSha256: x, rootKey: /x, outside: [], pools: [], egress: {most}}}\n"), None)
        };
        assert!(sends("1kbit").unwrap_err().contains("at least 64kbit") && sends("64kbit").is_ok());
        assert!(load(Path::new("/nowhere/x"), None).is_err());
    }
}
