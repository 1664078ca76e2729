//! What becomes of an offered desired state: refused if it is not newer, else kept in a file, then published.

use crate::WIRE_VERSION;
use crate::desired::Desired;
use crate::pansize;
use pan_model::host::Role;
use pan_model::host_config::HostConfig;
use pan_model::{Generation, HostName};
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::fs::OpenOptions;
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, watch};

/// Owns the newest desired state of a role.
pub(super) struct Intake {
    host: HostName,
    file: PathBuf,
    run_dir: PathBuf,
    newest: watch::Sender<Option<Arc<Desired>>>,
}

/// Why an offer was not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("format version {found}: expected {WIRE_VERSION}")]
    Version { found: u16 },
    #[error("it is for host {found}: expected {expected}")]
    Host { found: HostName, expected: HostName },
    #[error("generation {found} is older than {newest}")]
    Older { found: Generation, newest: Generation },
    /// The other fabric was faster.
    #[error("generation {found} is known")]
    Known { found: Generation },
}

impl Intake {
    /// Takes up what an earlier life of the role kept.
    pub(super) async fn open(config: &HostConfig, role: Role) -> (Self, watch::Receiver<Option<Arc<Desired>>>) {
        let file = config.run_dir.join(format!("desired-{role}.json"));
        let kept = match read(&file).await {
            Ok(kept) => kept.filter(|kept| match admit(&config.name, None, kept) {
                Ok(()) => true,
                Err(refused) => {
                    tracing::warn!(file = %file.display(), "the kept desired state is of no use: {refused}");
                    false
                }
            }),
            Err(error) => {
                tracing::warn!(file = %file.display(), "the kept desired state cannot be read: {error}");
                None
            }
        };
        let (newest, desired) = watch::channel(kept.map(Arc::new));
        (Self { host: config.name.clone(), file, run_dir: config.run_dir.clone(), newest }, desired)
    }

    /// Takes offers for as long as there are streams.
    pub(super) async fn run(self, mut offers: mpsc::Receiver<Desired>) {
        while let Some(offer) = offers.recv().await {
            let newest = self.newest.borrow().as_ref().map(|newest| newest.generation);
            match admit(&self.host, newest, &offer) {
                Ok(()) => self.take(offer).await,
                Err(Refused::Known { .. }) => {}
                Err(refused) => tracing::warn!("a desired state was refused: {refused}"),
            }
        }
    }

    async fn take(&self, offer: Desired) {
        // Kept first: what is acted on must not be forgotten by a restart. A full disk must not stop
        // the host from following its controller, though.
        if let Err(error) = write(&self.file, &offer).await {
            tracing::warn!(file = %self.file.display(), "the desired state cannot be kept: {error}");
        }
        let hosts = offer.peers.iter().count() + 1;
        if let Err(error) = pansize::note(&self.run_dir, hosts) {
            tracing::warn!(run_dir = %self.run_dir.display(), "the number of hosts cannot be kept: {error}");
        }
        self.newest.send_replace(Some(Arc::new(offer)));
    }
}

/// Whether an offered desired state takes the place of the newest one known.
///
/// # Errors
/// [`Refused`]: it is no better.
pub fn admit(host: &HostName, newest: Option<Generation>, offer: &Desired) -> Result<(), Refused> {
    if offer.version != WIRE_VERSION {
        return Err(Refused::Version { found: offer.version });
    }
    if offer.host != *host {
        return Err(Refused::Host { found: offer.host.clone(), expected: host.clone() });
    }
    match newest {
        Some(newest) if offer.generation < newest => Err(Refused::Older { found: offer.generation, newest }),
        Some(newest) if offer.generation == newest => Err(Refused::Known { found: offer.generation }),
        Some(_) | None => Ok(()),
    }
}

async fn read(file: &Path) -> io::Result<Option<Desired>> {
    match tokio::fs::read(file).await {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Readable by root only: servers' environment and files may hold secrets.
async fn write(file: &Path, desired: &Desired) -> io::Result<()> {
    let fresh = file.with_extension("json.new");
    let mut open = OpenOptions::new();
    let mut opened = open.write(true).create(true).truncate(true).mode(0o600).open(&fresh).await?;
    // One that a crash left keeps the mode it has.
    opened.set_permissions(Permissions::from_mode(0o600)).await?;
    opened.write_all(&serde_json::to_vec(desired)?).await?;
    opened.flush().await?;
    tokio::fs::rename(&fresh, file).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_newer_and_ours_is_admitted() {
        let here: HostName = "n1".parse().unwrap();
        let at = |term, step| Generation { term, step };
        let offer = |generation| Desired {
            version: WIRE_VERSION,
            billed: Vec::new(),
            admission: pan_model::Admission::FIRST,
            generation,
            host: here.clone(),
            peers: crate::peers::Peers::default(),
            networks: Vec::new(),
            servers: Vec::new(),
            warm: Vec::new(),
            units: Vec::new(),
            snapshots: Vec::new(),
            replicas: Vec::new(),
        };
        assert_eq!(admit(&here, None, &offer(at(1, 1))), Ok(()));
        assert_eq!(admit(&here, Some(at(1, 9)), &offer(at(2, 1))), Ok(()));
        assert_eq!(admit(&here, Some(at(2, 1)), &offer(at(2, 1))), Err(Refused::Known { found: at(2, 1) }));
        let older = admit(&here, Some(at(2, 1)), &offer(at(1, 9))).unwrap_err();
        assert_eq!(older.to_string(), "generation 1.9 is older than 2.1");
        let strange = Desired { version: 7, ..offer(at(3, 1)) };
        assert_eq!(admit(&here, None, &strange).unwrap_err().to_string(), "format version 7: expected 1");
        let foreign = Desired { host: "n2".parse().unwrap(), ..offer(at(3, 1)) };
        assert!(matches!(admit(&here, None, &foreign), Err(Refused::Host { .. })));
    }
}
