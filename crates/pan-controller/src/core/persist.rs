//! Records as store entries: keys, JSON values with a format version, and the way back.

use super::audit::Entry;
use super::record::{PanRecord, RECORD_VERSION};
use super::usage::{self, PageKey};
use super::world::{Dirty, Settings, World};
use pan_api::token::id_text;
use pan_model::event::Event;
use pan_model::{ClusterName, HostName, Name, PartitionName, ServerKey, ServerName, ServiceName, VolumeKey, VolumeName};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// The key of the record that every transaction compares: who holds it may commit.
pub const TERM_KEY: &str = "pan/term";

#[derive(Serialize)]
struct Versioned<T> {
    v: u16,
    #[serde(flatten)]
    record: T,
}

/// Why a stored record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Written by another version.
    #[error("record {key} has format version {found}, this program knows {known}: use the version that wrote it, or one newer")]
    Version {
        /// The key.
        key: String,
        /// Its version.
        found: u64,
        /// Ours.
        known: u16,
    },
    /// Not a record.
    #[error("record {key} cannot be read")]
    Unreadable {
        /// The key.
        key: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A key that nothing here writes.
    #[error("the store has a key that this program does not know: {0}")]
    UnknownKey(String),
}

/// The key of a record.
#[must_use]
pub fn key_of(dirty: &Dirty) -> String {
    match dirty {
        Dirty::Pan => TERM_KEY.to_owned(),
        Dirty::Partition(name) => format!("p/{name}/spec"),
        Dirty::Cluster((partition, name)) => format!("p/{partition}/cluster/{name}"),
        Dirty::Server(key) => format!("p/{}/server/{}", key.partition, key.name),
        Dirty::Service((partition, name)) => format!("p/{partition}/service/{name}"),
        Dirty::Import((partition, name)) => format!("p/{partition}/import/{name}"),
        Dirty::Policy((partition, name)) => format!("p/{partition}/policy/{name}"),
        Dirty::Volume(key) => format!("p/{}/volume/{}", key.partition, key.name),
        Dirty::Source(key) => format!("p/{}/source/{}", key.partition, key.name),
        Dirty::Host(name) => format!("host/{name}"),
        Dirty::Token(id) => format!("token/{}", id_text(*id)),
        Dirty::Credential(name) => format!("credential/{name}"),
        Dirty::Event(Some(partition), number) => format!("p/{partition}/event/{number:016}"),
        Dirty::Event(None, number) => format!("pan/event/{number:016}"),
        Dirty::Audit(Some(partition), number) => format!("p/{partition}/audit/{number:016}"),
        Dirty::Audit(None, number) => format!("pan/audit/{number:016}"),
        Dirty::Usage(partition, page) => format!("usage/{partition}/{}", page.text()),
        Dirty::Timeline(object) => match object.split_once('/') {
            Some((partition, server)) => format!("p/{partition}/timeline/{server}"),
            None => format!("pan/timeline/{object}"),
        },
    }
}

fn write<T: Serialize>(record: Option<&T>) -> Option<Vec<u8>> {
    let record = record?;
    Some(serde_json::to_vec(&Versioned { v: RECORD_VERSION, record }).expect("records are plain data"))
}

/// The value to store for a record; `None` when it no longer exists.
#[must_use]
pub fn value_of(world: &World, dirty: &Dirty) -> Option<Vec<u8>> {
    match dirty {
        Dirty::Pan => write(Some(&world.pan)),
        Dirty::Partition(name) => write(world.partitions.get(name)),
        Dirty::Cluster(key) => write(world.clusters.get(key)),
        Dirty::Server(key) => write(world.servers.get(key)),
        Dirty::Service(key) => write(world.services.get(key)),
        Dirty::Import(key) => write(world.imports.get(key)),
        Dirty::Policy(key) => write(world.policies.get(key)),
        Dirty::Volume(key) => write(world.volumes.get(key)),
        Dirty::Source(key) => write(world.sources.get(key)),
        Dirty::Host(name) => write(world.hosts.get(name)),
        Dirty::Token(id) => write(world.tokens.get(id)),
        Dirty::Credential(name) => write(world.credentials.get(name)),
        Dirty::Event(partition, number) => {
            let events = world.events.get(partition)?;
            let place = events.binary_search_by_key(number, |event| event.number).ok()?;
            write(events.get(place).map(AsRef::as_ref))
        }
        Dirty::Audit(partition, number) => write(world.audit.get(partition)?.entry(*number)),
        Dirty::Usage(partition, page) => write(world.usage.get(partition)?.page(page)),
        Dirty::Timeline(object) => world.timelines.stored(object).and_then(|kept| write(Some(&kept))),
    }
}

/// A key and its new value; `None`: it is deleted.
pub type RecordWrite = (String, Option<Vec<u8>>);

/// The write of one record as it is now.
#[must_use]
pub fn write_of(world: &World, dirty: &Dirty) -> RecordWrite {
    (key_of(dirty), value_of(world, dirty))
}

/// Reads one record.
///
/// # Errors
/// [`LoadError`]: another version, or no record.
pub fn read<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, LoadError> {
    let unreadable = |source| LoadError::Unreadable { key: key.to_owned(), source };
    let mut value = serde_json::from_slice::<serde_json::Value>(value).map_err(unreadable)?;
    let version = value.as_object_mut().and_then(|record| record.remove("v")).and_then(|version| version.as_u64()).unwrap_or(0);
    if version != u64::from(RECORD_VERSION) {
        return Err(LoadError::Version { key: key.to_owned(), found: version, known: RECORD_VERSION });
    }
    // Not read with `flatten`: what that reads from cannot have numbers as keys.
    serde_json::from_value(value).map_err(unreadable)
}

/// Builds the world from the store's entries, in key order.
///
/// # Errors
/// [`LoadError`] naming the first record that cannot be used.
pub fn load<'a>(settings: Settings, entries: impl Iterator<Item = (&'a str, &'a [u8])>) -> Result<World, LoadError> {
    let mut world = World::new(settings);
    for (key, value) in entries {
        load_one(&mut world, key, value)?;
    }
    Ok(world)
}

/// Takes one entry of the store into the world.
///
/// # Errors
/// [`LoadError`].
pub fn load_one(world: &mut World, key: &str, value: &[u8]) -> Result<(), LoadError> {
    let unknown = || LoadError::UnknownKey(key.to_owned());
    let parts: Vec<&str> = key.split('/').collect();
    match parts.as_slice() {
        ["pan", "term"] => world.pan = read::<PanRecord>(key, value)?,
        ["pan", "event", _] => remember(world, None, read(key, value)?),
        ["pan", "audit", _] => remember_lines(world, None, read(key, value)?),
        ["pan", "timeline", object] => world.timelines.restore((*object).to_owned(), read(key, value)?),
        ["host", name] => {
            world.hosts.insert(HostName::new(*name).map_err(|_| unknown())?, read(key, value)?);
        }
        ["token", id] => {
            world.tokens.insert(u64::from_str_radix(id, 16).map_err(|_| unknown())?, read(key, value)?);
        }
        ["credential", name] => {
            world.credentials.insert(HostName::new(*name).map_err(|_| unknown())?, read(key, value)?);
        }
        ["usage", partition, cluster, day] => {
            let partition = PartitionName::new(*partition).map_err(|_| unknown())?;
            let page = PageKey::read(cluster, day).ok_or_else(unknown)?;
            let book = Arc::make_mut(world.usage.entry(partition).or_default());
            book.put(page, read(key, value)?);
        }
        ["p", partition, rest @ ..] => {
            let partition = PartitionName::new(*partition).map_err(|_| unknown())?;
            load_in_partition(world, partition, rest, (key, value))?;
        }
        _ => return Err(unknown()),
    }
    Ok(())
}

fn load_in_partition(world: &mut World, partition: PartitionName, rest: &[&str], (key, value): (&str, &[u8])) -> Result<(), LoadError> {
    let unknown = || LoadError::UnknownKey(key.to_owned());
    match rest {
        ["spec"] => {
            world.partitions.insert(partition, read(key, value)?);
        }
        ["cluster", name] => {
            let name = ClusterName::new(*name).map_err(|_| unknown())?;
            world.clusters.insert((partition, name), read(key, value)?);
        }
        ["server", name] => {
            let name = ServerName::new(*name).map_err(|_| unknown())?;
            world.servers.insert(ServerKey { partition, name }, read(key, value)?);
        }
        ["service", name] => {
            let name = ServiceName::new(*name).map_err(|_| unknown())?;
            world.services.insert((partition, name), read(key, value)?);
        }
        ["import", name] => {
            let name = Name::new(*name).map_err(|_| unknown())?;
            world.imports.insert((partition, name), read(key, value)?);
        }
        ["policy", name] => {
            let name = Name::new(*name).map_err(|_| unknown())?;
            world.policies.insert((partition, name), read(key, value)?);
        }
        ["volume", name] => {
            let name = VolumeName::new(*name).map_err(|_| unknown())?;
            world.volumes.insert(VolumeKey { partition, name }, read(key, value)?);
        }
        ["source", name] => {
            let name = VolumeName::new(*name).map_err(|_| unknown())?;
            world.sources.insert(VolumeKey { partition, name }, read(key, value)?);
        }
        ["event", _] => remember(world, Some(partition), read(key, value)?),
        ["audit", _] => remember_lines(world, Some(partition), read(key, value)?),
        ["timeline", server] => world.timelines.restore(format!("{partition}/{server}"), read(key, value)?),
        _ => return Err(unknown()),
    }
    Ok(())
}

/// Events come in the order of their numbers, from a listing and from a watch alike; one may come from both.
fn remember(world: &mut World, partition: Option<PartitionName>, event: Event) {
    let events = world.events.entry(partition).or_default();
    if events.back().is_none_or(|last| last.number < event.number) {
        events.push_back(Arc::new(event));
    }
}

fn remember_lines(world: &mut World, partition: Option<PartitionName>, entry: Entry) {
    Arc::make_mut(world.audit.entry(partition).or_default()).restore(entry);
}

/// Removes from the world what an entry of the store stood for.
///
/// # Errors
/// [`LoadError::UnknownKey`].
pub fn forget(world: &mut World, key: &str) -> Result<(), LoadError> {
    let unknown = || LoadError::UnknownKey(key.to_owned());
    let parts: Vec<&str> = key.split('/').collect();
    let number = |text: &str| text.parse::<u64>().map_err(|_| unknown());
    match parts.as_slice() {
        ["pan", "term"] => world.pan = PanRecord::default(),
        ["pan", "event", text] => drop_event(world, None, number(text)?),
        ["pan", "audit", text] => drop_lines(world, None, number(text)?),
        ["pan", "timeline", object] => world.timelines.forget(object),
        ["host", name] => {
            let name = HostName::new(*name).map_err(|_| unknown())?;
            world.hosts.remove(&name);
            world.seen.hosts.remove(&name);
        }
        ["token", id] => drop(world.tokens.remove(&u64::from_str_radix(id, 16).map_err(|_| unknown())?)),
        ["credential", name] => drop(world.credentials.remove(&HostName::new(*name).map_err(|_| unknown())?)),
        ["usage", partition, cluster, day] => {
            let partition = PartitionName::new(*partition).map_err(|_| unknown())?;
            let page = PageKey::read(cluster, day).ok_or_else(unknown)?;
            usage::drop_page(world, &partition, &page);
        }
        ["p", partition, rest @ ..] => {
            let partition = PartitionName::new(*partition).map_err(|_| unknown())?;
            match rest {
                ["spec"] => {
                    world.partitions.remove(&partition);
                    world.audit.remove(&Some(partition.clone()));
                    world.events.remove(&Some(partition));
                }
                ["cluster", name] => drop(world.clusters.remove(&(partition, ClusterName::new(*name).map_err(|_| unknown())?))),
                ["server", name] => {
                    let key = ServerKey { partition, name: ServerName::new(*name).map_err(|_| unknown())? };
                    world.servers.remove(&key);
                    world.seen.servers.remove(&key);
                }
                ["service", name] => drop(world.services.remove(&(partition, ServiceName::new(*name).map_err(|_| unknown())?))),
                ["import", name] => {
                    let key = (partition, Name::new(*name).map_err(|_| unknown())?);
                    world.imports.remove(&key);
                    world.seen.imports.remove(&key);
                }
                ["policy", name] => drop(world.policies.remove(&(partition, Name::new(*name).map_err(|_| unknown())?))),
                ["volume", name] => {
                    drop(world.volumes.remove(&VolumeKey { partition, name: VolumeName::new(*name).map_err(|_| unknown())? }));
                }
                ["source", name] => {
                    drop(world.sources.remove(&VolumeKey { partition, name: VolumeName::new(*name).map_err(|_| unknown())? }));
                }
                ["event", text] => drop_event(world, Some(partition), number(text)?),
                ["audit", text] => drop_lines(world, Some(partition), number(text)?),
                ["timeline", server] => world.timelines.forget(&format!("{partition}/{server}")),
                _ => return Err(unknown()),
            }
        }
        _ => return Err(unknown()),
    }
    Ok(())
}

fn drop_event(world: &mut World, partition: Option<PartitionName>, number: u64) {
    if let Some(events) = world.events.get_mut(&partition) {
        events.retain(|event| event.number != number);
    }
}

fn drop_lines(world: &mut World, partition: Option<PartitionName>, number: u64) {
    if let Some(log) = world.audit.get_mut(&partition) {
        Arc::make_mut(log).remove(number);
    }
}
