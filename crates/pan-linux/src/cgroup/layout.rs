//! Which hierarchies a machine has and how to mount the same ones again inside a host.

use std::path::{Path, PathBuf};

use super::CgroupError;
use crate::mount;

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Its folder beneath the root; empty for pure v2.
    pub name: String,
    /// Where it is mounted.
    pub dir: PathBuf,
    /// Mount options that select a v1 hierarchy (`cpu,cpuacct` or `none,name=systemd`); `None` for v2.
    pub v1_options: Option<String>,
}

impl Hierarchy {
    /// True if this v1 hierarchy carries the controller.
    pub fn has(&self, controller: &str) -> bool {
        self.v1_options.as_deref().is_some_and(|options| options.split(',').any(|option| option == controller))
    }
}

/// How control groups are mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// One v2 hierarchy with all controllers.
    V2 {
        /// Where it is mounted.
        root: PathBuf,
    },
    /// v1 controllers in folders, and usually a v2 without controllers in one of them.
    Hybrid {
        /// The folder that holds them.
        root: PathBuf,
        /// All hierarchies.
        hierarchies: Vec<Hierarchy>,
    },
}

impl Layout {
    /// Looks at what is mounted at `root` (normally [`super::CGROUP_ROOT`]).
    pub fn detect(root: &Path) -> Result<Self, CgroupError> {
        let mut hierarchies = Vec::new();
        let mut pure = false;
        for entry in mount::mounts_under(root)? {
            if entry.target == root {
                // A later mount on the root hides whatever was mounted beneath it before.
                hierarchies.clear();
                pure = entry.fstype == "cgroup2";
                continue;
            }
            let v1_options = match entry.fstype.as_str() {
                "cgroup" => Some(selecting_options(&entry.super_options)),
                "cgroup2" => None,
                _ => continue,
            };
            let name = entry.target.strip_prefix(root).expect("mounts_under filters by prefix").to_string_lossy().into_owned();
            hierarchies.push(Hierarchy { name, dir: entry.target, v1_options });
        }
        let root = root.to_path_buf();
        match (pure, hierarchies.is_empty()) {
            (true, _) => Ok(Self::V2 { root }),
            (false, false) => Ok(Self::Hybrid { root, hierarchies }),
            (false, true) => Err(CgroupError::NotMounted(root)),
        }
    }

    /// Every hierarchy, whatever the layout.
    pub fn hierarchies(&self) -> Vec<Hierarchy> {
        match self {
            Self::V2 { root } => vec![Hierarchy { name: String::new(), dir: root.clone(), v1_options: None }],
            Self::Hybrid { hierarchies, .. } => hierarchies.clone(),
        }
    }

    /// The mount point of the v2 hierarchy, if there is one.
    pub fn unified(&self) -> Option<PathBuf> {
        let found = self.hierarchies();
        let v2 = found.into_iter().find(|one| one.v1_options.is_none());
        v2.map(|one| one.dir)
    }

    /// Whether memory that groups have swapped out is counted, and can be limited.
    pub fn counts_swap(&self) -> bool {
        match self {
            // There without a file of the root group's own, which has no limits.
            Self::V2 { .. } => Path::new("/proc/swaps").exists(),
            // Missing where the kernel was started with swapaccount=0.
            Self::Hybrid { hierarchies, .. } => {
                let memory = hierarchies.iter().find(|one| one.has("memory"));
                memory.is_some_and(|one| one.dir.join("memory.memsw.limit_in_bytes").exists())
            }
        }
    }

    /// The folder everything is mounted at or beneath.
    pub fn root(&self) -> &Path {
        match self {
            Self::V2 { root } | Self::Hybrid { root, .. } => root,
        }
    }
}

/// Keeps of a v1 hierarchy's options those that say which one it is.
fn selecting_options(all: &str) -> String {
    let (mut names, mut controllers) = (Vec::new(), Vec::new());
    for option in all.split(',') {
        match option {
            "rw" | "ro" | "xattr" | "noprefix" | "clone_children" | "cpuset_v2_mode" | "favordynmods" => {}
            name if name.starts_with("name=") => names.push(name),
            other if other.starts_with("release_agent=") => {}
            controller => controllers.push(controller),
        }
    }
    if controllers.is_empty() {
        controllers.push("none");
    }
    controllers.extend(names);
    controllers.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selects_a_hierarchy() {
        assert_eq!(selecting_options("rw,cpu,cpuacct"), "cpu,cpuacct");
        assert_eq!(selecting_options("rw,xattr,release_agent=/x,name=systemd"), "none,name=systemd");
    }

    #[test]
    fn nothing_mounted_is_an_error() {
        let none = Layout::detect(Path::new("/nonexistent"));
        assert!(matches!(none, Err(CgroupError::NotMounted(_))));
    }
}
