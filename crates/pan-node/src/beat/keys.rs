//! The keys that the beat process uses, and those that take their place while it runs.

use pan_api::keyfile::KeyFileError;
use pan_api::keys::LiveKeys;
use pan_member::KeyRing;
use pan_model::host_config::HostConfig;
use std::path::Path;

/// This host's own keys, and where newer ones come from.
pub(super) struct Keys {
    pub own: KeyRing,
    live: LiveKeys,
    /// Of the keys from which everybody's are derived, on a host that judges others.
    pan_live: Option<LiveKeys>,
}

impl Keys {
    /// The keys as they are now; on a host that judges others also those from which everybody's are derived.
    pub fn open(config: &HostConfig) -> Result<(Self, Option<KeyRing>), KeyFileError> {
        let open = |path: &Path| {
            let (live, keys) = LiveKeys::open(&config.run_dir, path)?;
            let ring = KeyRing::of(&keys).ok_or_else(|| KeyFileError::NoKey { path: path.to_owned() })?;
            Ok((live, ring))
        };
        let (live, own) = open(&config.beat_key)?;
        let (pan_live, pan) = config.pan_key.as_deref().map(open).transpose()?.unzip();
        Ok((Self { own, live, pan_live }, pan))
    }

    /// Whether the host's own keys were replaced.
    pub fn news(&mut self) -> bool {
        let fresh = self.live.news().and_then(|keys| KeyRing::of(&keys));
        self.own = fresh.unwrap_or(self.own);
        fresh.is_some()
    }

    /// The keys from which everybody's are derived, if they were replaced.
    pub fn pan_news(&mut self) -> Option<KeyRing> {
        self.pan_live.as_mut()?.news().and_then(|keys| KeyRing::of(&keys))
    }
}
