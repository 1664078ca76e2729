//! What no server may see of its node: secrets, other servers' files, and what the operator names. Pure,
//! but for resolving an image's folder.

use std::path::{Path, PathBuf};

use pan_model::host_config::HostConfig;

/// Hidden on every node.
const ALWAYS: [&str; 10] = [
    "/root",
    "/home",
    "/etc/shadow",
    "/etc/gshadow",
    // What passwd(1) and its kin leave of the former ones.
    "/etc/shadow-",
    "/etc/gshadow-",
    "/etc/security/opasswd",
    "/var/backups",
    "/etc/ssl/private",
    "/etc/ssh",
];

/// Paths of the node's root that servers must not see.
#[derive(Debug, Clone)]
pub(crate) struct Hidden(Vec<PathBuf>);

impl Hidden {
    pub(crate) fn of(config: &HostConfig) -> Self {
        let mut all: Vec<PathBuf> = ALWAYS.iter().map(PathBuf::from).collect();
        all.push(crate::paths::roots_dir(&config.run_dir));
        all.extend([&config.state_dir, &config.run_dir, &config.tls.key, &config.beat_key].map(PathBuf::clone));
        all.extend(config.pan_key.clone());
        all.extend(config.node.iter().flat_map(|node| node.hidden.clone()));
        all.sort();
        all.dedup();
        // What lies beneath a hidden folder is hidden with it.
        let under = |path: &PathBuf| all.iter().any(|other| other != path && path.starts_with(other));
        let tops = all.iter().filter(|path| !under(path)).cloned().collect();
        Self(tops)
    }

    #[cfg(test)]
    pub(crate) fn only(paths: Vec<PathBuf>) -> Self {
        Self(paths)
    }

    /// The hidden paths as a server sees them whose root is the folder `lower` of the node; `None` if that
    /// folder is itself hidden.
    pub(crate) fn inside(&self, lower: &Path) -> Option<Vec<PathBuf>> {
        if self.0.iter().any(|path| lower.starts_with(path)) {
            return None;
        }
        let within = self.0.iter().filter_map(|path| path.strip_prefix(lower).ok());
        Some(within.map(|rest| Path::new("/").join(rest)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden() -> Hidden {
        Hidden(["/root", "/srv/keys", "/var/lib/pan"].map(PathBuf::from).to_vec())
    }

    fn check(lower: &str, expected: Option<&[&str]>) {
        let expected = expected.map(|all| all.iter().map(PathBuf::from).collect());
        assert_eq!(hidden().inside(Path::new(lower)), expected, "{lower}");
    }

    #[test]
    fn paths_are_hidden_wherever_an_image_begins() {
        check("/", Some(&["/root", "/srv/keys", "/var/lib/pan"]));
        check("/srv", Some(&["/keys"]));
        check("/opt/image", Some(&[]));
        check("/root", None);
        check("/srv/keys/image", None);
    }
}
