//! A real registry (Debian's `docker-registry`) on this machine, and images pushed to it: for tests of more than one crate.
#![allow(dead_code, reason = "every test uses some of it")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const SOON: Duration = Duration::from_secs(20);

/// A registry that runs; killed when dropped. What is in it stays in its folder.
pub struct Registry {
    child: Child,
    pub port: u16,
}

impl Registry {
    /// Starts one on a free port.
    pub fn start(folder: &Path) -> Self {
        Self::start_with(folder, "")
    }

    /// The same with more in the `http` part of its configuration.
    pub fn start_with(folder: &Path, http: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = command(&configuration(folder, port, http)).spawn().expect("docker-registry is installed by ./setup.sh test");
        let registry = Self { child, port };
        let deadline = Instant::now() + SOON;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "the registry does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        registry
    }

    /// Pushes an image of these layers, and returns its digest.
    pub fn push(&self, name: &str, tag: &str, layers: &[(&str, Vec<u8>)], config: &Value) -> String {
        let config = json!({"architecture": architecture(), "os": "linux", "config": config, "rootfs": {"type": "layers", "diff_ids": []}});
        let mut blobs = vec![(CONFIG, config.to_string().into_bytes())];
        blobs.extend(layers.iter().cloned());
        blobs.iter().for_each(|(_, bytes)| self.blob(name, bytes));
        let manifest = manifest(&blobs);
        let (status, _) = self.ask("PUT", &format!("/v2/{name}/manifests/{tag}"), MANIFEST, &manifest);
        assert_eq!(status, 201, "the manifest of {name}");
        digest(&manifest)
    }

    fn blob(&self, name: &str, bytes: &[u8]) {
        let (status, place) = self.ask("POST", &format!("/v2/{name}/blobs/uploads/"), "", b"");
        assert_eq!(status, 202, "an upload to {name}");
        let place = place.unwrap();
        let path = place.split_once("://").map_or(place.as_str(), |(_, rest)| &rest[rest.find('/').unwrap()..]);
        let mark = if path.contains('?') { '&' } else { '?' };
        let (status, _) = self.ask("PUT", &format!("{path}{mark}digest={}", digest(bytes)), "application/octet-stream", bytes);
        assert_eq!(status, 201, "a blob of {name}");
    }

    /// Status and `Location`.
    fn ask(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> (u16, Option<String>) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.port,
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer);
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{answer}"));
        let place = answer.lines().find_map(|line| line.to_ascii_lowercase().starts_with("location:").then(|| line[9..].trim().to_owned()));
        (status, place)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes the configuration of a registry whose images lie in `folder`.
pub fn configuration(folder: &Path, port: u16, http: &str) -> PathBuf {
    let file = folder.join(format!("config-{port}.yml"));
    let text = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"127.0.0.1:{port}\"{http}}}\n",
        folder.join("images").display()
    );
    std::fs::write(&file, text).unwrap();
    file
}

pub fn command(configuration: &Path) -> Command {
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(configuration).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// A manifest of a configuration and layers.
pub fn manifest(blobs: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let of = |(kind, bytes): &(&str, Vec<u8>)| json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()});
    let layers: Vec<Value> = blobs[1..].iter().map(of).collect();
    json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": of(&blobs[0]), "layers": layers}).to_string().into_bytes()
}

/// A layout in a folder, with one image.
pub fn layout(folder: &Path, tag: &str, layers: &[(&str, Vec<u8>)], config: &Value) -> String {
    let config = json!({"architecture": architecture(), "os": "linux", "config": config});
    let mut blobs = vec![(CONFIG, config.to_string().into_bytes())];
    blobs.extend(layers.iter().cloned());
    let manifest = manifest(&blobs);
    let place = folder.join("blobs/sha256");
    std::fs::create_dir_all(&place).unwrap();
    for bytes in blobs.iter().map(|(_, bytes)| bytes).chain([&manifest]) {
        std::fs::write(place.join(digest(bytes).strip_prefix("sha256:").unwrap()), bytes).unwrap();
    }
    let named = json!({"org.opencontainers.image.ref.name": tag});
    let listed = json!({"mediaType": MANIFEST, "digest": digest(&manifest), "size": manifest.len(), "annotations": named});
    std::fs::write(folder.join("index.json"), json!({"schemaVersion": 2, "manifests": [listed]}).to_string()).unwrap();
    std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#).unwrap();
    digest(&manifest)
}

/// An archive of what is in a folder, by tar(1).
pub fn archive(folder: &Path, options: &[&str]) -> Vec<u8> {
    let done = Command::new("tar").args(options).args(["--create", "--file", "-", "-C"]).arg(folder).arg(".").output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}

pub fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
