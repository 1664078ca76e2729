//! Who goes into a server or reads what is in a snapshot: nothing changes by it, and it is told before it is done.

use super::refused::{Attempt, refused};
use super::told::Act;
use super::{Actor, write};
use crate::core::world::{Now, World};
use pan_api::ApiError;
use pan_api::inside::Inside;
use pan_member::Tick;
use pan_model::{Code, Name, VolumeKey};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long reads of one snapshot with one token are one: an export is thousands of requests.
const ONE_READ: Duration = Duration::from_secs(600);
/// Reads that are remembered, a few hundred bytes each. What is beyond has a line for each request.
const READS_MAX: usize = 1024;

/// Writes the line of what somebody is about to do, or of how it ended.
///
/// # Errors
/// `NotFound`: what it is about is not there, so there is no log for it.
pub fn inside(world: &mut World, now: Now, actor: &Actor, what: Inside) -> Result<(), ApiError> {
    let act = match what {
        Inside::Begun { server, run, program, arguments } => {
            if !world.servers.contains_key(&server) {
                return Err(ApiError::new(Code::NotFound, format!("there is no server {server}")));
            }
            // The number first: a long program may be cut.
            let detail = format!("run={run} arguments={arguments} program={program}");
            Act { result: "begun", ..Act::new(Some(server.partition), "exec", "server", server.name.as_str()).detail(detail) }
        }
        // The server may be gone meanwhile; with its partition the log is.
        Inside::Ended { server, run, how } => {
            let detail = format!("run={run} {how}");
            Act { result: "ended", ..Act::new(Some(server.partition), "exec", "server", server.name.as_str()).detail(detail) }
        }
        Inside::Read { volume, snapshot } => {
            if !world.volumes.contains_key(&volume) {
                return Err(ApiError::new(Code::NotFound, format!("there is no volume {volume}")));
            }
            Act::new(Some(volume.partition), "read", "snapshot", format!("{}@{snapshot}", volume.name))
        }
        Inside::Refused { verb, kind, name, code } => {
            refused(world, now, actor, &Attempt { verb, kind: kind.as_str(), name }, code);
            return Ok(());
        }
    };
    if let Some(place) = act.place.as_ref().filter(|place| !world.partitions.contains_key(*place)) {
        return Err(ApiError::new(Code::NotFound, format!("there is no partition {place}")));
    }
    write(world, now, actor, vec![act]);
    Ok(())
}

/// Who reads which snapshot at present, as one controller knows it.
#[derive(Debug, Default)]
pub struct Recent(BTreeMap<(Option<u64>, VolumeKey, Name), Tick>);

impl Recent {
    /// Whether this is told already.
    #[must_use]
    pub fn is_told(&self, token: Option<u64>, volume: &VolumeKey, snapshot: &Name, now: Tick) -> bool {
        self.0.get(&(token, volume.clone(), snapshot.clone())).is_some_and(|since| now.since(*since) < ONE_READ)
    }

    /// It was told.
    pub fn told(&mut self, token: Option<u64>, volume: VolumeKey, snapshot: Name, now: Tick) {
        if self.0.len() >= READS_MAX {
            self.0.retain(|_, since| now.since(*since) < ONE_READ);
        }
        if self.0.len() < READS_MAX {
            self.0.insert((token, volume, snapshot), now);
        }
    }
}
