//! What a peer's hosts are made of: files and two scripts. Pure; what it says is what the golden tests hold.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;

/// The network of clients, hosts and the public address. It exists in the site's own namespaces only.
pub(super) const NETWORK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 0, 0), 24);
/// The public address.
pub(super) const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 10);
/// The client's own.
pub(super) const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 250);
/// The interface of every host.
pub(super) const DEVICE: &str = "eth0";

/// One host of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    /// From 1.
    pub(super) ordinal: u8,
    /// Everything of it that outlives a boot.
    pub(super) dir: PathBuf,
    /// Where it speaks to the power switch.
    pub(super) switch: PathBuf,
}

impl Member {
    /// Its name, `n1`.
    pub(super) fn name(&self) -> String {
        name(self.ordinal)
    }

    /// Its address.
    pub(super) fn address(&self) -> Ipv4Addr {
        address(self.ordinal)
    }

    /// A path in its folder.
    pub(super) fn at(&self, path: &str) -> String {
        self.dir.join(path).display().to_string()
    }
}

/// The name of host number `ordinal`.
pub(super) fn name(ordinal: u8) -> String {
    format!("n{ordinal}")
}

/// The address of host number `ordinal`.
pub(super) fn address(ordinal: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, 0, 10 + ordinal)
}

/// A file of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    /// Within the host's folder.
    pub(super) path: &'static str,
    /// All of it.
    pub(super) text: String,
    /// Whether it may be run.
    pub(super) kind: FileKind,
}

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    /// Read; written anew at each boot.
    Text,
    /// Run; written anew at each boot.
    Program,
    /// The beginning of something that a host goes on with: written at the first boot only.
    Seed,
}

/// A folder that a host sees in the place of the machine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bind {
    /// Within the host's folder.
    pub(super) from: &'static str,
    /// In the host.
    pub(super) to: &'static str,
    /// Whose it is with everything in it, where it is not root's: user and group.
    pub(super) owner: Option<(&'static str, &'static str)>,
}

/// How a host is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setup {
    /// Its files.
    pub(super) files: Vec<File>,
    /// Its folders.
    pub(super) binds: Vec<Bind>,
    /// A script that ends when its programs are started.
    pub(super) boot: String,
    /// A script that succeeds when the host is ready to lose another.
    pub(super) ready: String,
}

/// nginx with a fixed answer that names the host, as light as the server of Panloom's own cases.
pub(super) fn responder(member: &Member, path: &'static str) -> File {
    let name = member.name();
    let text = format!(
        "user www-data;
worker_processes 1;
pid /run/nginx.pid;
error_log stderr;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  default_type text/plain;
  server {{
    listen 80;
    location / {{ return 200 \"{name}\\n\"; }}
  }}
}}
"
    );
    File { path, text, kind: FileKind::Text }
}

/// The folder of a member in a site's data.
pub(super) fn folder(data: &Path, ordinal: u8) -> PathBuf {
    data.join("hosts").join(name(ordinal))
}

/// Host number `ordinal` of a site whose data lies in `/d`.
#[cfg(test)]
pub(super) fn member(ordinal: u8) -> Member {
    let data = Path::new("/d");
    Member { ordinal, dir: folder(data, ordinal), switch: data.join("switch") }
}
