//! What manifests ask for: volumes that are not there yet are given their storage hosts, others grow.

use super::key_of;
use crate::core::record::{Duty, VolumeRecord};
use crate::core::seen::Life;
use crate::core::validate::Trouble;
use crate::core::world::{ClusterKey, Dirty, World};
use pan_model::mirror::Member;
use pan_model::volume::ServerVolume;
use pan_model::{ByteSize, ClusterSpec, Code, HostName, ServerKey, ServerName, VolumeKey};
use pan_plan::replicas::{Store, choose};
use pan_replica::arbiter;
use std::collections::{BTreeMap, BTreeSet};

/// The hosts that keep volumes, as placement sees them.
#[must_use]
pub fn stores(world: &World) -> BTreeMap<HostName, Store> {
    let mut promised: BTreeMap<&HostName, u64> = BTreeMap::new();
    for volume in world.volumes.values() {
        for host in volume.hosts.values() {
            *promised.entry(host).or_default() += volume.size.0;
        }
    }
    let offers = world.hosts.iter().filter_map(|(name, host)| Some((name, host, host.storage.as_ref()?)));
    let store = |(name, host, offer): (&HostName, &crate::core::record::HostRecord, &pan_api::report::StorageOffer)| {
        let trouble = world.seen.hosts.get(name).and_then(|seen| seen.pool.as_ref()).is_some_and(|pool| pool.trouble.is_some());
        let store = Store {
            capacity: offer.capacity,
            promised: ByteSize(promised.get(name).copied().unwrap_or_default()),
            labels: host.labelled(&offer.labels),
            takes: world.seen.life(name) == Life::Alive && host.duty == Duty::Full && !trouble,
        };
        (name.clone(), store)
    };
    offers.map(store).collect()
}

/// Makes the volumes of a cluster's servers that are not there yet, and lets those grow that are to be larger. Volumes of servers
/// that are not wanted any more stay: only who asks for it by name loses data.
///
/// # Errors
/// The field of the manifest, and what is wrong with it.
pub fn want(draft: &mut World, key: &ClusterKey, spec: &ClusterSpec) -> Result<(), Trouble> {
    for (index, wanted) in spec.volumes.iter().enumerate() {
        for ordinal in 1..=spec.servers {
            let server = ServerKey { partition: key.0.clone(), name: ServerName::of(&key.1, ordinal) };
            let trouble = |(code, field, text): Wrong| Trouble::new(code, format!("spec.volumes[{index}].{field}"), text);
            want_one(draft, &server, wanted).map_err(trouble)?;
        }
    }
    Ok(())
}

/// What is wrong with which field.
type Wrong = (Code, &'static str, String);

fn want_one(draft: &mut World, server: &ServerKey, wanted: &ServerVolume) -> Result<(), Wrong> {
    let key = key_of(server, wanted);
    match draft.volumes.get(&key).cloned() {
        None => make(draft, server, key, wanted),
        Some(former) => change(draft, &key, &former, wanted),
    }
}

fn make(draft: &mut World, server: &ServerKey, key: VolumeKey, wanted: &ServerVolume) -> Result<(), Wrong> {
    let copies = usize::from(wanted.copies);
    let shortage = |shortage| (Code::NoCapacity, "copies", format!("volume {} has no place: {shortage}", key.name));
    let chosen = choose(&stores(draft), &BTreeSet::new(), copies, wanted.size).map_err(shortage)?;
    let hosts: BTreeMap<Member, HostName> = (1..).map(Member).zip(chosen).collect();
    let id = draft.pan.next_volume;
    draft.pan.next_volume = id.next();
    let record = VolumeRecord {
        id,
        server: server.name.clone(),
        size: wanted.size,
        usable: wanted.size,
        copies: wanted.copies,
        filesystem: wanted.filesystem,
        mirror: arbiter::found(hosts.keys().copied()),
        unmade: hosts.keys().copied().collect(),
        next_member: u32::from(wanted.copies) + 1,
        hosts,
        deleting: false,
    };
    draft.volumes.insert(key.clone(), record);
    draft.dirty.extend([Dirty::Pan, Dirty::Volume(key)]);
    Ok(())
}

fn change(draft: &mut World, key: &VolumeKey, former: &VolumeRecord, wanted: &ServerVolume) -> Result<(), Wrong> {
    let name = &key.name;
    if former.deleting {
        return Err((Code::Leaving, "name", format!("volume {name} is being deleted: apply this when it is gone")));
    }
    if former.filesystem != wanted.filesystem {
        let text =
            format!("volume {name} has {}, which is made once: delete the volume, or give the new one another name", former.filesystem);
        return Err((Code::Conflict, "filesystem", text));
    }
    if wanted.size < former.size {
        return Err((Code::Conflict, "size", format!("volume {name} has {}: volumes grow and never shrink", former.size)));
    }
    if (wanted.size, wanted.copies) == (former.size, former.copies) {
        return Ok(());
    }
    let all = stores(draft);
    let more = wanted.size.0 - former.size.0;
    if let Some(full) = former.hosts.values().find(|host| all.get(*host).is_some_and(|store| store.promised.0 + more > store.capacity.0)) {
        // Which host it is concerns the PAN's operators alone.
        tracing::debug!(volume = %key, host = %full, "no room to grow");
        return Err((
            Code::NoCapacity,
            "size",
            format!("volume {name} cannot grow to {}: a storage host that keeps it has no room", wanted.size),
        ));
    }
    if wanted.copies > former.copies {
        let kept = former.hosts.values().cloned().collect();
        let shortage = |shortage| (Code::NoCapacity, "copies", format!("volume {name} has no place: {shortage}"));
        choose(&all, &kept, usize::from(wanted.copies), wanted.size).map_err(shortage)?;
    }
    if let Some(record) = draft.volume_mut(key) {
        (record.size, record.copies) = (wanted.size, wanted.copies);
    }
    Ok(())
}
