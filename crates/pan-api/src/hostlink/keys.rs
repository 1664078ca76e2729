//! The host's heartbeat keys, asked for again and again: one role process of the host does it, and puts what it gets where
//! all processes of the host find it ([`crate::keys`]).
//!
//! What it has is said with the next question. The leader lets nobody use a key before all have it.

use super::path::Controller;
use crate::ApiError;
use crate::WIRE_VERSION;
use crate::capability::handed_out;
use crate::file::replace;
use crate::keyfile::parse_key;
use crate::keys::{AskKeys, Keys, fresh};
use pan_model::Code;
use pan_model::host_config::HostConfig;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How often is asked: a rotation takes some of these, and a thousand hosts are a few hundred small questions a second.
const EVERY: Duration = Duration::from_secs(2);

/// Where keys go to.
struct Files {
    run_dir: PathBuf,
    own: PathBuf,
    pan: Option<PathBuf>,
}

/// Asks for ever.
pub(super) async fn keep(config: HostConfig, controllers: Vec<Arc<Controller>>) {
    let files = Files { run_dir: config.run_dir.clone(), own: config.beat_key.clone(), pan: config.pan_key.clone() };
    let lock = loop {
        match lock(&config.run_dir) {
            Ok(lock) => break lock,
            // Another role of the host does it; this one takes over when that ends.
            Err(_) => tokio::time::sleep(EVERY).await,
        }
    };
    let mut ask = AskKeys { version: WIRE_VERSION, host: config.name, have: None, wall: None };
    let mut known = None;
    loop {
        match ask_all(&controllers, &ask).await {
            Ok(keys) if known != Some((keys.current, keys.newest)) => match files.take(&keys) {
                Ok(()) => {
                    tracing::debug!(current = keys.current, newest = keys.newest, "new keys");
                    known = Some((keys.current, keys.newest));
                    ask.have = Some(keys.newest);
                    // Said at once: others may be waiting for it.
                    continue;
                }
                Err(error) => tracing::warn!(%error, "new keys cannot be put in their place"),
            },
            Ok(_) => {}
            Err(error) => tracing::debug!("no controller tells the keys: {error}"),
        }
        tokio::time::sleep(EVERY).await;
        // Held for as long as it is done.
        let _ = &lock;
    }
}

fn lock(run_dir: &Path) -> io::Result<std::fs::File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(run_dir.join("keys.lock"))?;
    file.try_lock()?;
    Ok(file)
}

async fn ask_all(controllers: &[Arc<Controller>], ask: &AskKeys) -> Result<Keys, ApiError> {
    let mut failure = ApiError::new(Code::HostUnreachable, "no controller is known");
    for controller in controllers {
        let ask = AskKeys { wall: Some(jiff::Timestamp::now().as_microsecond()), ..ask.clone() };
        match controller.ask("/internal/v1/keys", &ask).await {
            Ok(keys) => return Ok(keys),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

impl Files {
    /// Puts keys where processes look for them, and where they outlive a boot. A disk that takes nothing keeps no host
    /// from following: after a boot it asks again.
    fn take(&self, keys: &Keys) -> io::Result<()> {
        // Who judges nobody is told no keys of others, also if its configuration has a place for them: a storage host that is no lessor.
        let others = self.pan.as_ref().filter(|_| !keys.pan.is_empty());
        let parts = [Some((&self.own, &keys.own)), others.map(|pan| (pan, &keys.pan))];
        for (configured, keys) in parts.into_iter().flatten() {
            whole(keys)?;
            let text = keys.join("\n") + "\n";
            replace(&fresh(&self.run_dir, configured), text.as_bytes())?;
            if let Err(error) = replace(configured, text.as_bytes()) {
                tracing::warn!(file = %configured.display(), %error, "new keys will not outlive a boot");
            }
        }
        // They need not outlive a boot: who lacks them refuses every head until it has asked.
        if !keys.capability.is_empty() {
            whole(&keys.capability)?;
            replace(&handed_out(&self.run_dir), (keys.capability.join("\n") + "\n").as_bytes())?;
        }
        Ok(())
    }
}

fn whole(keys: &[String]) -> io::Result<()> {
    let whole = !keys.is_empty() && keys.iter().all(|key| parse_key(key).is_some());
    if whole { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidData, "the controller told something else than keys")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::CapabilityKeys;

    #[test]
    fn a_storage_host_that_is_no_lessor_is_told_what_capabilities_are_checked_with() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let files = Files { run_dir: dir.path().to_owned(), own: at("beat.key"), pan: Some(at("pan.key")) };
        let key = || vec!["07".repeat(32)];
        let keys = Keys { current: 1, newest: 1, own: key(), pan: Vec::new(), capability: key() };
        files.take(&keys).unwrap();
        assert!(at("beat.key").exists() && !at("pan.key").exists());
        assert!(CapabilityKeys::read(dir.path()).is_ok());
        files.take(&Keys { pan: key(), ..keys.clone() }).unwrap();
        assert!(at("pan.key").exists());
        assert!(files.take(&Keys { own: Vec::new(), ..keys }).is_err(), "no host is without a key of its own");
    }
}
