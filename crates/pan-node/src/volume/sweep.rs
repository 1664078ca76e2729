//! What an earlier agent left of volumes.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use pan_model::VolumeId;

use super::place::Place;
use crate::error::FileError;
use crate::server::record::Record;

/// The volumes with folders in `all` that none of the servers' records knows.
///
/// # Errors
/// The folder cannot be listed.
pub(crate) fn strays<'a>(all: &Path, records: impl Iterator<Item = &'a Record>) -> Result<Vec<VolumeId>, FileError> {
    let known: BTreeSet<VolumeId> = records.flat_map(|record| &record.bound.order.volumes).map(|order| order.volume).collect();
    let listed = match fs::read_dir(all) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.map_err(FileError::of("list", all))?,
    };
    let mut found = Vec::new();
    for entry in listed {
        let entry = entry.map_err(FileError::of("list", all))?;
        found.extend(entry.file_name().to_str().and_then(Place::volume_of).filter(|volume| !known.contains(volume)));
    }
    found.sort();
    Ok(found)
}
