//! A server in a directory of its own, and clients of it: by hand, and the real ones.

#![allow(dead_code, reason = "each test uses its part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use pan_model::ByteSize;
use pan_nbd::{Access, BlockSizes, Connections, Export, ExportName, Listing, Medium};
use pan_nbd_serve::{Exports, Limits, Served, Storage, Wish, bind, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Everything here takes milliseconds; a loaded machine is slower.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Simple replies' length without data, and with structured ones'.
const SIMPLE: usize = 16;

pub struct Rig {
    pub directory: tempfile::TempDir,
    wish: watch::Sender<Wish>,
    server: JoinHandle<Served>,
}

pub fn export(name: &str, size: u64) -> Export {
    Export {
        name: ExportName::new(name).unwrap(),
        description: String::new(),
        size: ByteSize(size),
        access: Access::ReadWrite,
        connections: Connections::Many,
        medium: Medium::Solid,
        blocks: BlockSizes::UNTOLD,
    }
}

impl Rig {
    pub fn serve<S: Storage>(exports: Vec<(Export, Arc<S>)>, limits: Limits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = bind(&directory.path().join("nbd")).unwrap();
        let (wish, wished) = watch::channel(Wish::Serve);
        let server = tokio::spawn(serve(listener, Exports::new(exports, Listing::Shown).unwrap(), limits, wished));
        Self { directory, wish, server }
    }

    pub fn disk<S: Storage>(storage: Arc<S>, size: u64) -> Self {
        Self::serve(vec![(export("disk", size), storage)], Limits::LOCAL)
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("nbd")
    }

    pub fn uri(&self, name: &str) -> String {
        format!("nbd+unix:///{name}?socket={}", self.socket().display())
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn wish_end(&self) {
        // A server that has ended already hears nothing.
        let _ = self.wish.send(Wish::End);
    }

    pub async fn end(self) -> Served {
        self.wish_end();
        within(self.server).await.unwrap()
    }

    /// A connection that has chosen `disk`; simple replies.
    pub async fn client(&self) -> Client {
        Client::choose(UnixStream::connect(self.socket()).await.unwrap(), "disk").await
    }
}

pub async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it takes far too long")
}

/// A client by hand.
pub struct Client(pub UnixStream);

impl Client {
    pub async fn choose(mut stream: UnixStream, name: &str) -> Self {
        let mut bytes = vec![0, 0, 0, 3];
        bytes.extend(b"IHAVEOPT");
        bytes.extend(1_u32.to_be_bytes());
        bytes.extend(u32::try_from(name.len()).unwrap().to_be_bytes());
        bytes.extend(name.as_bytes());
        stream.write_all(&bytes).await.unwrap();
        within(stream.read_exact(&mut [0; 18 + 10])).await.unwrap();
        Self(stream)
    }

    pub async fn request(&mut self, command: u16, cookie: u64, offset: u64, length: u32) {
        let bytes = head(command, cookie, offset, length);
        within(self.0.write_all(&bytes)).await.unwrap();
    }

    /// The cookie, if there is a reply at all, and the error.
    pub async fn reply(&mut self) -> Option<(u64, u32)> {
        let mut bytes = [0; SIMPLE];
        let read = within(self.0.read_exact(&mut bytes)).await;
        read.ok()?;
        assert_eq!(bytes[..4], [0x67, 0x44, 0x66, 0x98]);
        let error = u32::from_be_bytes(bytes[4..8].try_into().unwrap());
        Some((u64::from_be_bytes(bytes[8..].try_into().unwrap()), error))
    }

    pub async fn data(&mut self, length: usize) -> Vec<u8> {
        let mut data = vec![0; length];
        within(self.0.read_exact(&mut data)).await.unwrap();
        data
    }

    pub async fn is_closed(&mut self) -> bool {
        matches!(within(self.0.read(&mut [0; 1])).await, Ok(0) | Err(_))
    }
}

pub fn head(command: u16, cookie: u64, offset: u64, length: u32) -> Vec<u8> {
    let mut bytes = 0x2560_9513_u32.to_be_bytes().to_vec();
    bytes.extend([0, 0]);
    bytes.extend(command.to_be_bytes());
    bytes.extend(cookie.to_be_bytes());
    bytes.extend(offset.to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes
}

/// Whether a program of the machine is there; says so if not.
pub fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        eprintln!("SKIP: there is no {program} on this machine; ./setup.sh test installs it");
    }
    found
}

/// What a program prints and says, and whether it succeeded.
pub async fn run(program: &str, arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    within(command.output()).await.unwrap_or_else(|error| panic!("{program}: {error}"))
}

/// The same, where it has to succeed.
pub async fn must(program: &str, arguments: &[&str]) -> String {
    let output = run(program, arguments).await;
    let said = [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).join("\n");
    assert!(output.status.success(), "{program} {arguments:?}: {}\n{said}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
