//! Where a host keeps what makes it one: files that only root reads, each replaced as a whole and made durable.

use super::Failure;
use pan_api::pki::{PkiError, Requested};
use pan_model::host_config::TlsFiles;
use pan_model::{Code, HostName};
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The files that a host's configuration names.
pub struct Paths {
    pub tls: TlsFiles,
    pub beat_key: PathBuf,
    pub pan_key: Option<PathBuf>,
}

/// A host's state directory, while it is becoming one.
pub struct Place {
    etc: PathBuf,
}

impl Place {
    /// The directory, unless a host lives there already.
    pub fn open(data: &Path) -> Result<Self, Failure> {
        let place = Self { etc: data.join("etc") };
        let config = place.config();
        if config.exists() {
            let text = format!("{} is there: this machine is a host already; move it away to let the machine join anew", config.display());
            return Err(Failure::new(Code::State, text));
        }
        Ok(place)
    }

    pub fn config(&self) -> PathBuf {
        self.etc.join("host.yaml")
    }

    pub fn tls(&self) -> TlsFiles {
        let dir = self.etc.join("tls");
        TlsFiles { ca: dir.join("ca.pem"), cert: dir.join("host.pem"), key: dir.join("host.key") }
    }

    pub fn paths(&self, judges: bool) -> Paths {
        Paths { tls: self.tls(), beat_key: self.etc.join("beat.key"), pan_key: judges.then(|| self.etc.join("pan.key")) }
    }

    fn joining_key(&self) -> PathBuf {
        self.etc.join("tls").join("joining.key")
    }

    /// The request to be certified: with the key of an attempt whose answer was lost, or with a new one.
    pub fn request(&self, name: &HostName) -> Result<Requested, Failure> {
        let path = self.joining_key();
        let kept = match fs::read_to_string(&path) {
            Ok(kept) => Some(kept),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(Failure::local(format!("read {}", path.display()))(error)),
        };
        let failed = |error: PkiError| Failure::new(Code::Internal, format!("{}: {error}", path.display()));
        let requested = Requested::of(name, kept.as_deref()).map_err(failed)?;
        if kept.is_none() {
            self.write(&path, &requested.key_pem)?;
        }
        Ok(requested)
    }

    /// The key of the attempt is needed no more; nor are folders in which there is nothing.
    pub fn give_up(&self) {
        let _ = fs::remove_file(self.joining_key());
        let _ = fs::remove_dir(self.etc.join("tls"));
        let _ = fs::remove_dir(&self.etc);
    }

    pub fn write(&self, path: &Path, text: &str) -> Result<(), Failure> {
        write(path, text.as_bytes()).map_err(Failure::local(format!("write {}", path.display())))
    }
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let dir = path.parent().expect("every file is in a folder of the state directory");
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    pan_api::file::replace(path, content)
}
