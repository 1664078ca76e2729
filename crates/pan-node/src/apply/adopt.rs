//! Taking over what an earlier agent left: servers that run are not touched, half-made ones are finished
//! off, and what no record knows is wiped.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use pan_linux::netns::Netns;
use pan_linux::oci::Status;
use pan_linux::process::command_line;
use pan_model::ServerKey;

pub(crate) use super::release::forget;
use super::{ApplyError, container, group, rootfs};
use crate::error::{FileError, chain};
use crate::host::Host;
use crate::names;
use crate::paths::Paths;
use crate::server::record::{Record, Stage};

/// A start takes some 50 ms; a shim that is still at it after this long on an idle start-up hangs.
const SHIM_WAIT: Duration = Duration::from_secs(10);
const SHIM_POLL: Duration = Duration::from_millis(5);

/// The records of all servers that may be here, oldest knowledge first. Reads only.
pub(crate) fn records(paths: &Paths) -> Result<Vec<(ServerKey, Record)>, ApplyError> {
    let mut found = Vec::new();
    for id in entries(&paths.records())? {
        let (Some(key), at) = (names::key_of(&id), paths.server(&id)) else { continue };
        found.extend(Record::read(&at.record())?.map(|record| (key, record)));
    }
    Ok(found)
}

/// Wipes whatever belongs to none of `known`: what a crash between two boots, or a damaged record, left. Returns what could not be ended,
/// by id, and why: it may still speak.
pub(crate) fn sweep(host: &Host, known: &[ServerKey]) -> Result<BTreeMap<String, String>, ApplyError> {
    let known: BTreeSet<String> = known.iter().map(names::id).collect();
    let mut strange: BTreeSet<String> = BTreeSet::new();
    strange.extend(entries(&host.paths.records())?);
    strange.extend(entries(host.paths.roots())?);
    // The runtime has a folder for each, also for those of which it can read nothing.
    strange.extend(entries(&host.paths.runtime())?);
    strange.extend(group::all()?);
    for name in entries(&host.paths.layers())? {
        let id = name.strip_suffix(".log").or_else(|| name.strip_suffix(".log.1")).unwrap_or(&name);
        strange.insert(id.to_owned());
    }
    let mut left = BTreeMap::new();
    for id in strange.difference(&known) {
        tracing::info!(id, "wiping what is left of a server that is not here");
        if let Err(why) = wipe(host, id) {
            tracing::error!(id, why, "cannot end what an unknown server left: tried again, and no new number is taken before");
            left.insert(id.clone(), why);
        }
    }
    host.users.leave_all_but(&host.paths.records())?;
    Ok(left)
}

/// Ends and wipes what is left of a server that is not here.
///
/// # Errors
/// Why it may still speak or write. Rubbish that stays does not matter, and is taken away by the next agent.
pub(crate) fn wipe(host: &Host, id: &str) -> Result<(), String> {
    end(host, id).map_err(|error| chain(&error))?;
    if let Err(error) = tidy(host, id) {
        tracing::error!(id, error = chain(&error), "cannot wipe what an unknown server left; nothing of it runs");
    }
    Ok(())
}

fn end(host: &Host, id: &str) -> Result<(), ApplyError> {
    container::end_whatever(host, id)?;
    end_shim(host, id)?;
    if let Some(key) = names::key_of(id) {
        host.rtnl.delete(&names::port(&key))?;
        Netns::remove(&names::netns(&key))?;
    }
    rootfs::unmount(&host.paths.server(id))
}

fn tidy(host: &Host, id: &str) -> Result<(), ApplyError> {
    let at = host.paths.server(id);
    for folder in [&at.run, &at.layer] {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(FileError::of("wipe", folder)(error))?,
            _ => {}
        }
    }
    forget(host, id)
}

/// Where a record that says "in the making" leads: a container that was started after all, or none. Waits
/// for a shim of the earlier agent that is still at work, because two would fight over the container. A
/// container that runs can be reached afterwards.
pub(crate) fn finish(host: &Host, key: &ServerKey, record: &mut Record) -> Result<(), ApplyError> {
    let Stage::Preparing { instance } = &record.stage else { return Ok(()) };
    let id = names::id(key);
    let at = host.paths.server(&id);
    let deadline = Instant::now() + SHIM_WAIT;
    while !at.pid().exists() && shim_at_work(host, &id)? && Instant::now() < deadline {
        std::thread::sleep(SHIM_POLL);
    }
    rootfs::hide_volumes(&at)?;
    // One that was made ready and not begun has a first process, too: the runtime's own.
    let known = host.runtime.state(&id)?.is_some_and(|state| !matches!(state.status, Status::Creating | Status::Created));
    record.stage = match container::running(&at, instance)? {
        Some(container) if known => {
            // The earlier agent may have died before it did, and an unwritten start is not among the ports this one began with.
            host.network.attach(super::start::port(&record.bound.order, record.bound.cable.vni));
            let health = crate::health::Health::at_start(record.bound.order.health.as_ref(), crate::clock::now());
            Stage::Running { container, health }
        }
        Some(_) | None => {
            super::end(host, key)?;
            Stage::Ended { at: crate::clock::now().0, message: "the agent ended while it was being started".into() }
        }
    };
    Ok(record.write(&at.record())?)
}

/// Returns when no shim of a container is left: one that begins it only now would bring it back, and one that writes down late how it
/// ended would be taken to speak of the next one.
fn end_shim(host: &Host, id: &str) -> Result<(), ApplyError> {
    let deadline = Instant::now() + SHIM_WAIT;
    while shim_at_work(host, id)? {
        if Instant::now() >= deadline {
            return Err(ApplyError::Shim { id: id.to_owned(), limit: SHIM_WAIT });
        }
        std::thread::sleep(SHIM_POLL);
        group::end(id)?;
    }
    Ok(())
}

fn shim_at_work(host: &Host, id: &str) -> Result<bool, ApplyError> {
    let wanted = container::shim_arguments(host, id, &host.paths.server(id)).to_arguments();
    let wanted: Vec<String> = wanted.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    // The last word is how far it brings its container, which is no matter here.
    let same =
        |line: Vec<String>| line.len() == wanted.len() + 1 && line.iter().skip(1).zip(&wanted).rev().skip(1).all(|(has, word)| has == word);
    let pids = entries(Path::new("/proc"))?.into_iter().filter_map(|name| name.parse().ok());
    Ok(pids.map(command_line).any(same))
}

fn entries(folder: &Path) -> Result<Vec<String>, ApplyError> {
    let listed = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.map_err(FileError::of("list", folder))?,
    };
    let mut names: Vec<String> = Vec::new();
    for entry in listed {
        let entry = entry.map_err(FileError::of("list", folder))?;
        names.extend(OsStr::to_str(&entry.file_name()).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}
