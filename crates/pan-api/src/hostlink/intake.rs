//! What becomes of an offered desired state: refused if it is not newer, else kept in a file, then published.
//!
//! A role that knows no desired state, as after a boot, cannot tell a newer one from an older one, and a controller that leads no more may
//! not know that yet. So it takes only one that names the number it has drawn for this: who leads names that once it is in the store, and
//! only who leads can write there.

use super::boot::kernel_boot;
use crate::WIRE_VERSION;
use crate::desired::Desired;
use crate::pansize;
use crate::report::Blank;
use pan_model::host::Role;
use pan_model::host_config::HostConfig;
use pan_model::{Generation, HostName};
use serde::{Deserialize, Serialize};
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
    role: Role,
    blank: Blank,
    now: During,
    /// Whether the file has a desired state that would be taken up.
    kept: bool,
    newest: watch::Sender<Option<Arc<Desired>>>,
}

/// What a role knows when a desired state is offered to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knows {
    /// One of this generation.
    Generation(Generation),
    /// None; and what it calls itself since.
    Nothing(Blank),
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
    /// Its writer cannot have known since when this role remembers nothing.
    #[error("generation {found} may be out of date: it does not name {:016x}, by which this role would know that it is not", blank.0)]
    Unheard { found: Generation, blank: Blank },
}

impl Intake {
    /// Takes up what an earlier life of the role kept during this boot. Else the role goes by `blank`, which was just drawn.
    pub(super) async fn open(config: &HostConfig, role: Role, blank: Blank) -> (Self, watch::Receiver<Option<Arc<Desired>>>) {
        // Where it cannot be read no boot is like another.
        let now = During { kernel: kernel_boot().unwrap_or_else(|| format!("unknown-{:016x}", blank.0)) };
        let file = config.run_dir.join(format!("desired-{role}.json"));
        let kept = match read(&file).await {
            Ok(kept) => kept.filter(|(kept, during)| match usable(&config.name, kept, during, &now) {
                Ok(()) => true,
                Err(why) => {
                    tracing::warn!(file = %file.display(), "the kept desired state is of no use: {why}");
                    false
                }
            }),
            Err(error) => {
                tracing::warn!(file = %file.display(), "the kept desired state cannot be read: {error}");
                None
            }
        };
        let (newest, desired) = watch::channel(kept.map(|(kept, _)| Arc::new(kept)));
        let (host, run_dir, kept) = (config.name.clone(), config.run_dir.clone(), newest.borrow().is_some());
        (Self { host, file, run_dir, role, blank, now, kept, newest }, desired)
    }

    /// Takes offers for as long as there are streams.
    pub(super) async fn run(mut self, mut offers: mpsc::Receiver<Desired>) {
        while let Some(offer) = offers.recv().await {
            let knows = self.newest.borrow().as_ref().map_or(Knows::Nothing(self.blank), |newest| Knows::Generation(newest.generation));
            match admit((&self.host, self.role), knows, &offer) {
                Ok(()) => self.take(offer).await,
                Err(Refused::Known { .. }) => {}
                // After each start, until the one that leads has heard of it.
                Err(refused @ Refused::Unheard { .. }) => tracing::debug!("a desired state was refused: {refused}"),
                Err(refused) => tracing::warn!("a desired state was refused: {refused}"),
            }
        }
    }

    async fn take(&mut self, offer: Desired) {
        // Kept first: what is acted on must not be forgotten by a restart. A full disk must not stop
        // the host from following its controller, though.
        match write(&self.file, &offer, &self.now).await {
            Ok(()) => self.kept = true,
            Err(error) => {
                tracing::warn!(file = %self.file.display(), "the desired state cannot be kept: {error}");
                // An older one must not be taken for the newest after a restart: better to know none.
                match remove(&self.file).await {
                    Ok(()) => self.kept = false,
                    Err(error) if self.kept => {
                        tracing::error!(file = %self.file.display(), "an older desired state cannot be removed, so no newer one is followed: {error}");
                        return;
                    }
                    Err(_) => {}
                }
            }
        }
        let hosts = offer.peers.iter().count() + 1;
        if let Err(error) = pansize::note(&self.run_dir, hosts) {
            tracing::warn!(run_dir = %self.run_dir.display(), "the number of hosts cannot be kept: {error}");
        }
        self.newest.send_replace(Some(Arc::new(offer)));
    }
}

/// Whether an offered desired state takes the place of what a role of a host knows.
///
/// # Errors
/// [`Refused`]: it is no better, or may not be.
pub fn admit((host, role): (&HostName, Role), knows: Knows, offer: &Desired) -> Result<(), Refused> {
    is_for(host, offer)?;
    let found = offer.generation;
    match knows {
        Knows::Generation(newest) if found < newest => Err(Refused::Older { found, newest }),
        Knows::Generation(newest) if found == newest => Err(Refused::Known { found }),
        Knows::Generation(_) => Ok(()),
        // It takes the ways to its peers from it and nothing else, and says of itself nothing.
        Knows::Nothing(_) if role == Role::Controller => Ok(()),
        Knows::Nothing(blank) => match &offer.blanks {
            Some(blanks) if blanks.get(&role) != Some(&blank) => Err(Refused::Unheard { found, blank }),
            // Of a release that does not ask.
            Some(_) | None => Ok(()),
        },
    }
}

fn is_for(host: &HostName, offer: &Desired) -> Result<(), Refused> {
    if offer.version != WIRE_VERSION {
        return Err(Refused::Version { found: offer.version });
    }
    if offer.host != *host {
        return Err(Refused::Host { found: offer.host.clone(), expected: host.clone() });
    }
    Ok(())
}

/// Whether a desired state that was kept `during` a boot is good `now`. A directory that no boot empties may hold one that was overtaken: it
/// is not written through to the disk.
fn usable(host: &HostName, kept: &Desired, during: &During, now: &During) -> Result<(), String> {
    is_for(host, kept).map_err(|refused| refused.to_string())?;
    // Releases before this wrote none.
    match during.kernel.is_empty() || during == now {
        true => Ok(()),
        false => Err("it is of another boot".to_owned()),
    }
}

/// What is in the file besides the desired state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct During {
    /// The kernel's name for the boot.
    #[serde(default, rename = "kernelBoot")]
    kernel: String,
}

/// What is kept, and the boot during which it was.
async fn read(file: &Path) -> io::Result<Option<(Desired, During)>> {
    match tokio::fs::read(file).await {
        Ok(text) => Ok(Some((serde_json::from_slice(&text)?, serde_json::from_slice(&text)?))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Readable by root only: servers' environment and files may hold secrets.
async fn write(file: &Path, desired: &Desired, during: &During) -> io::Result<()> {
    #[derive(Serialize)]
    struct Kept<'a> {
        #[serde(flatten)]
        desired: &'a Desired,
        #[serde(flatten)]
        during: &'a During,
    }
    let text = serde_json::to_vec(&Kept { desired, during })?;
    let fresh = file.with_extension("json.new");
    let mut open = OpenOptions::new();
    let mut opened = open.write(true).create(true).truncate(true).mode(0o600).open(&fresh).await?;
    // One that a crash left keeps the mode it has.
    opened.set_permissions(Permissions::from_mode(0o600)).await?;
    opened.write_all(&text).await?;
    opened.flush().await?;
    tokio::fs::rename(&fresh, file).await
}

async fn remove(file: &Path) -> io::Result<()> {
    match tokio::fs::remove_file(file).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(generation: Generation) -> Desired {
        Desired {
            version: WIRE_VERSION,
            billed: Vec::new(),
            blanks: None,
            imports: Vec::new(),
            admission: pan_model::Admission::FIRST,
            generation,
            host: "n1".parse().unwrap(),
            peers: crate::peers::Peers::default(),
            networks: Vec::new(),
            servers: Vec::new(),
            warm: Vec::new(),
            seats: Vec::new(),
            units: Vec::new(),
            snapshots: Vec::new(),
            replicas: Vec::new(),
        }
    }

    #[test]
    fn only_what_is_newer_and_ours_is_admitted() {
        let here: HostName = "n1".parse().unwrap();
        let at = |term, step| Generation { term, step };
        let knows = |term, step| Knows::Generation(at(term, step));
        let admit = |knows, offer: &Desired| admit((&here, Role::Node), knows, offer);
        assert_eq!(admit(knows(1, 9), &offer(at(2, 1))), Ok(()));
        assert_eq!(admit(knows(2, 1), &offer(at(2, 1))), Err(Refused::Known { found: at(2, 1) }));
        let older = admit(knows(2, 1), &offer(at(1, 9))).unwrap_err();
        assert_eq!(older.to_string(), "generation 1.9 is older than 2.1");
        let strange = Desired { version: 7, ..offer(at(3, 1)) };
        assert_eq!(admit(knows(1, 1), &strange).unwrap_err().to_string(), "format version 7: expected 1");
        let foreign = Desired { host: "n2".parse().unwrap(), ..offer(at(3, 1)) };
        assert!(matches!(admit(knows(1, 1), &foreign), Err(Refused::Host { .. })));
    }

    #[test]
    fn who_knows_nothing_takes_only_what_names_it() {
        let here: HostName = "n1".parse().unwrap();
        let names =
            |blanks: &[(Role, Blank)]| Desired { blanks: Some(blanks.iter().copied().collect()), ..offer(Generation { term: 2, step: 1 }) };
        let admit = |knows, offer: &Desired| admit((&here, Role::Node), knows, offer);
        let unheard = Err(Refused::Unheard { found: Generation { term: 2, step: 1 }, blank: Blank(7) });
        assert_eq!(admit(Knows::Nothing(Blank(7)), &names(&[])), unheard);
        assert_eq!(
            admit(Knows::Nothing(Blank(7)), &names(&[(Role::Node, Blank(6)), (Role::Director, Blank(7))])),
            unheard,
            "of a former boot"
        );
        assert_eq!(admit(Knows::Nothing(Blank(7)), &names(&[(Role::Node, Blank(7))])), Ok(()));
        assert_eq!(admit(Knows::Generation(Generation { term: 1, step: 1 }), &names(&[])), Ok(()), "generations say enough");
        assert_eq!(super::admit((&here, Role::Controller), Knows::Nothing(Blank(7)), &names(&[])), Ok(()), "it reports nothing");
        assert_eq!(admit(Knows::Nothing(Blank(7)), &offer(Generation { term: 2, step: 1 })), Ok(()), "of a release that does not ask");
    }

    #[tokio::test]
    async fn what_is_kept_is_of_this_boot_and_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("desired-node.json");
        let kept = offer(Generation { term: 2, step: 1 });
        let boot = |kernel: &str| During { kernel: kernel.to_owned() };
        write(&file, &kept, &boot("this")).await.unwrap();
        assert_eq!(read(&file).await.unwrap(), Some((kept.clone(), boot("this"))));
        assert_eq!(usable(&kept.host, &kept, &boot("this"), &boot("this")), Ok(()));
        assert!(usable(&kept.host, &kept, &boot("this"), &boot("next")).unwrap_err().contains("another boot"));
        // As a release before this left it.
        std::fs::write(&file, serde_json::to_vec(&kept).unwrap()).unwrap();
        assert_eq!(read(&file).await.unwrap(), Some((kept.clone(), boot(""))));
        assert_eq!(usable(&kept.host, &kept, &boot(""), &boot("next")), Ok(()));
        assert!(usable(&"n2".parse().unwrap(), &kept, &boot(""), &boot("next")).is_err());
    }
}
