//! The file that says what was applied last: by it a restarted director knows what changed meanwhile.

use crate::error::Trouble;
use crate::units::Kept;
use pan_model::PartitionName;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Units by partition.
pub(crate) type Units = BTreeMap<PartitionName, Kept>;

/// Owns the file.
#[derive(Debug)]
pub(crate) struct Memory {
    path: PathBuf,
}

impl Memory {
    pub(crate) fn new(run_dir: &Path) -> Self {
        Self { path: run_dir.join("director-applied.json") }
    }

    /// What an earlier life of the role applied. An unreadable file is worth a warning and no more: what was
    /// applied is then taken for unknown.
    pub(crate) fn load(&self) -> Units {
        let read = || -> io::Result<Units> { Ok(serde_json::from_slice(&std::fs::read(&self.path)?)?) };
        match read() {
            Ok(units) => units,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Units::new(),
            Err(error) => {
                tracing::warn!(file = %self.path.display(), "what was applied before is not known: {error}");
                Units::new()
            }
        }
    }

    pub(crate) fn save(&self, units: &Units) -> Result<(), Trouble> {
        let write = || -> io::Result<()> {
            let fresh = self.path.with_extension("json.new");
            let mut options = std::fs::OpenOptions::new();
            // Keys of services are in it.
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
            file.write_all(&serde_json::to_vec(units)?)?;
            std::fs::rename(&fresh, &self.path)
        };
        write().map_err(|source| Trouble::Keep { path: self.path.clone(), source })
    }
}
