//! Applying documents: all of them into a draft of the world, which replaces the world only if nothing is wrong.

use super::record::{ClusterRecord, Goal, PartitionRecord, ServiceRecord};
use super::validate::{self, Trouble};
use super::world::{ClusterKey, Dirty, Now, ServiceKey, World};
use super::{imports, place, policy, resize, usage, volumes};
use pan_api::requests::{Applied, ApplyResult};
use pan_api::{ApiError, Problem};
use pan_model::manifest::{Document, Object, SERVERS_MAX};
use pan_model::network::Cidr;
use pan_model::{ClusterSpec, Code, PartitionName, PartitionSpec, ServiceSpec};
use pan_plan::Snapshot;

/// Bytes of records that one apply may write: with its keys, and lines of audit logs for each of its objects, it fits one transaction of
/// the store. It is one by itself ([`super::request::Request::is_large`]).
const BYTES_MAX: usize = 2 << 20;
/// Records that one apply may write, likewise.
const RECORDS_MAX: usize = 3000;

/// Applies documents, or refuses all of them.
///
/// # Errors
/// Every problem found, each with its place; in words for users of the partition `within`, if there is one.
pub fn apply(
    world: &mut World,
    now: Now,
    within: Option<&PartitionName>,
    documents: &[Document],
    dry_run: bool,
) -> Result<Vec<Applied>, ApiError> {
    let mut draft = world.clone();
    let mut applied = Vec::new();
    let mut problems = Vec::new();
    let mut blame = Blame { documents, changed: Vec::new() };
    for rank in 0..=4 {
        for document in documents.iter().filter(|document| rank_of(&document.object) == rank) {
            match one(&mut draft, now, &document.object) {
                Ok(result) => {
                    if result != ApplyResult::Unchanged {
                        blame.changed.push(document);
                    }
                    applied.push(describe(&document.object, result));
                }
                Err(trouble) => problems.push(placed(document, trouble)),
            }
        }
    }
    if problems.is_empty() {
        problems.extend(validate::references(&draft).into_iter().map(|(object, trouble)| blame.place(&object, trouble)));
    }
    if problems.is_empty() {
        problems
            .extend(policy::fit_all(&mut draft, now, &world.policies).into_iter().map(|(object, trouble)| blame.place(&object, trouble)));
    }
    for document in &blame.changed {
        if let (true, Object::Partition(name, _)) = (problems.is_empty(), &document.object) {
            problems.extend(validate::limits(&draft, name).into_iter().map(|(object, trouble)| blame.place(&object, trouble)));
        }
    }
    if problems.is_empty()
        && let Err(text) = fits_one_transaction(&draft)
    {
        problems.push(blame.largest(Trouble::new(Code::Invalid, "spec", text)));
    }
    if problems.is_empty()
        && let Err(broken) = admit(world, &draft, within).and_then(|()| policy::prove(world, &draft, now, within))
    {
        problems.push(blame.whose(broken));
    }
    if !problems.is_empty() {
        let order =
            |problem: &Problem| (documents.iter().position(|one| one.locate("").source == problem.source), problem.line, problem.column);
        problems.sort_by_key(order);
        return Err(refusal(problems));
    }
    if !dry_run {
        *world = draft;
    }
    Ok(applied)
}

/// Whether what was changed can be written at once; what others changed was committed before.
fn fits_one_transaction(draft: &World) -> Result<(), String> {
    let records = draft.dirty.len();
    let bytes = draft.dirty.iter().filter_map(|dirty| super::persist::value_of(draft, dirty)).map(|value| value.len()).sum::<usize>();
    if bytes <= BYTES_MAX && records <= RECORDS_MAX {
        return Ok(());
    }
    Err(format!("one change may write {RECORDS_MAX} records and {BYTES_MAX} bytes; this one would write {records} and {bytes}: split it"))
}

fn refusal(problems: Vec<Problem>) -> ApiError {
    let code = problems.first().map_or(Code::Invalid, |problem| problem.code);
    let message = match problems.as_slice() {
        [only] if only.line > 0 => format!("{}:{}:{}: {}", only.source, only.line, only.column, only.message),
        [only] => format!("{}: {}", only.source, only.message),
        many => format!("{} problems; nothing was changed", many.len()),
    };
    ApiError { code, message, problems }
}

/// Where what is wrong stands in what the user wrote.
struct Blame<'a> {
    documents: &'a [Document],
    /// Those that would change something, in the order in which they were tried.
    changed: Vec<&'a Document>,
}

impl Blame<'_> {
    /// The place of an object's field. What is wrong with an object that is in no document came about by one that is.
    fn place(&self, object: &validate::Which, trouble: Trouble) -> Problem {
        if let Some(document) = self.documents.iter().find(|document| validate::Which::of(&document.object) == *object) {
            return placed(document, trouble);
        }
        let message = format!("with this, {object}: {}", trouble.message);
        let is_cluster = |document: &&&Document| matches!(document.object, Object::Cluster(..));
        match self.changed.iter().rfind(is_cluster).or(self.changed.last()) {
            Some(document) => placed(document, Trouble { path: "spec".into(), message, ..trouble }),
            None => Problem { code: trouble.code, source: object.to_string(), line: 0, column: 0, message: trouble.message },
        }
    }

    /// The place of what breaks a promise.
    fn whose(&self, (object, trouble): Broken) -> Problem {
        match object {
            Some(object) => self.place(&object, trouble),
            None => self.largest(trouble),
        }
    }

    /// The place of the document that takes the most room.
    fn largest(&self, trouble: Trouble) -> Problem {
        let size = |document: &&&Document| match &document.object {
            Object::Cluster(_, _, spec) => {
                let written: usize = spec.files.iter().map(|file| file.content.len()).sum();
                // A server's record has some hundred bytes.
                (spec.servers as usize).saturating_mul(400).saturating_add(written)
            }
            Object::Partition(..) | Object::Service(..) | Object::Volume(..) | Object::Import(..) | Object::Policy(..) => 0,
        };
        match self.changed.iter().max_by_key(size) {
            Some(document) => placed(document, trouble),
            None => Problem { code: trouble.code, source: "the apply".into(), line: 0, column: 0, message: trouble.message },
        }
    }
}

const fn rank_of(object: &Object) -> u8 {
    match object {
        Object::Partition(..) => 0,
        Object::Volume(..) => 1,
        // Clusters are given the number of servers that these make of theirs.
        Object::Policy(..) => 2,
        Object::Cluster(..) => 3,
        Object::Service(..) | Object::Import(..) => 4,
    }
}

fn placed(document: &Document, trouble: Trouble) -> Problem {
    let place = document.locate(&trouble.path);
    Problem { code: trouble.code, source: place.source, line: place.line, column: place.column, message: trouble.message }
}

fn describe(object: &Object, result: ApplyResult) -> Applied {
    let (kind, partition, name) = match object {
        Object::Partition(name, _) => ("partition", None, name.to_string()),
        Object::Cluster(partition, name, _) => ("cluster", Some(partition.clone()), name.to_string()),
        Object::Service(partition, name, _) => ("service", Some(partition.clone()), name.to_string()),
        Object::Volume(partition, name, _) => ("volume", Some(partition.clone()), name.to_string()),
        Object::Import(partition, name, _) => ("import", Some(partition.clone()), name.to_string()),
        Object::Policy(partition, name, _) => ("policy", Some(partition.clone()), name.to_string()),
    };
    Applied { kind: kind.to_owned(), partition, name, result, error: None }
}

fn one(draft: &mut World, now: Now, object: &Object) -> Result<ApplyResult, Trouble> {
    match object {
        Object::Partition(name, spec) => partition(draft, now, name, spec),
        Object::Cluster(partition, name, spec) => cluster(draft, now, &(partition.clone(), name.clone()), spec),
        Object::Service(partition, name, spec) => service(draft, &(partition.clone(), name.clone()), spec),
        Object::Import(partition, name, spec) => imports::want(draft, &(partition.clone(), name.clone()), spec),
        Object::Policy(partition, name, spec) => policy::want(draft, &(partition.clone(), name.clone()), spec),
        Object::Volume(partition, name, spec) => {
            validate::partition(draft, partition)?;
            volumes::want_standing(draft, partition, name, spec)
        }
    }
}

fn partition(draft: &mut World, now: Now, name: &PartitionName, spec: &PartitionSpec) -> Result<ApplyResult, Trouble> {
    let networks = pan_model::partition::networks(spec).map_err(|text| Trouble::new(Code::Invalid, "spec.network", text))?;
    if let Some((net, outside)) = networks.iter().find_map(|net| {
        let meets = |outside: &&ipnet::IpNet| outside.contains(&net.0) || net.0.contains(*outside);
        Some((net, draft.settings.outside.iter().find(meets)?))
    }) {
        let text = format!("network {} meets {outside}, where public addresses and their clients are: choose another", net.0);
        return Err(Trouble::new(Code::Conflict, if spec.network.is_some() { "spec.network" } else { "spec.networks" }, text));
    }
    let former = draft.partitions.get(name).cloned();
    match former {
        Some(former) if former.deleting => revive(draft, now, name, spec, networks),
        Some(former) if former.spec == *spec => Ok(ApplyResult::Unchanged),
        Some(former) => {
            let lived_in = draft.in_partition(name).next().is_some() || draft.imports.keys().any(|key| key.0 == *name);
            if former.networks != networks && lived_in {
                let text = format!("the networks of partition {name} cannot change while it has servers or imports");
                return Err(Trouble::new(Code::Conflict, "spec.network", text));
            }
            draft.seen.replan = true;
            if let Some(record) = draft.partition_mut(name) {
                record.spec = spec.clone();
                record.networks = networks;
            }
            Ok(ApplyResult::Changed)
        }
        None => {
            let record = PartitionRecord {
                spec: spec.clone(),
                networks,
                vni: draft.pan.next_vni,
                next_event: 1,
                next_index: 1,
                last_epoch: draft.pan.last_epoch,
                deleting: false,
                owner: None,
                owner_epoch: draft.pan.last_epoch,
                created: usage::visible_from(draft, name, now),
                first_epoch: draft.pan.last_epoch,
                life: 0,
            };
            draft.pan.next_vni += 1;
            draft.partitions.insert(name.clone(), record);
            draft.dirty.extend([Dirty::Pan, Dirty::Partition(name.clone())]);
            Ok(ApplyResult::Created)
        }
    }
}

/// A partition that is being deleted is wanted again. What runs in it ends all the same, and nothing of what happened in it
/// is kept; its numbers go on, so that no host takes the new for the old.
fn revive(draft: &mut World, now: Now, name: &PartitionName, spec: &PartitionSpec, networks: Vec<Cidr>) -> Result<ApplyResult, Trouble> {
    if draft.partitions[name].networks != networks && draft.in_partition(name).next().is_some() {
        let text = format!(
            "partition {name} is still being deleted, and its servers have addresses of its former networks: apply it when it is gone (`pan wait partition {name} --for deleted`)"
        );
        return Err(Trouble::new(Code::Leaving, "spec.network", text));
    }
    for event in draft.events.remove(&Some(name.clone())).unwrap_or_default() {
        draft.dirty.insert(Dirty::Event(Some(name.clone()), event.number));
    }
    super::audit::go_with(draft, name);
    let created = usage::visible_from(draft, name, now);
    if let Some(record) = draft.partition_mut(name) {
        record.spec = spec.clone();
        record.networks = networks;
        record.deleting = false;
        record.created = created;
        record.first_epoch = record.last_epoch;
        record.life += 1;
    }
    draft.seen.replan = true;
    Ok(ApplyResult::Created)
}

/// Whether a change concerns what runs, so that servers must be started again for it.
fn needs_restart(former: &ClusterSpec, spec: &ClusterSpec) -> bool {
    let mounts = |spec: &ClusterSpec| {
        spec.volumes.iter().map(|volume| (volume.name.clone(), volume.volume.clone(), volume.mount.clone())).collect::<Vec<_>>()
    };
    let what_runs = |spec: &ClusterSpec| {
        (spec.image.clone(), spec.command.clone(), spec.env.clone(), spec.files.clone(), spec.resources.needed(), mounts(spec))
    };
    what_runs(former) != what_runs(spec)
}

fn cluster(draft: &mut World, now: Now, key: &ClusterKey, spec: &ClusterSpec) -> Result<ApplyResult, Trouble> {
    validate::cluster(draft, key, spec)?;
    let record = |revision, scheduled| ClusterRecord { spec: spec.clone(), revision, deleting: false, scheduled };
    let (record, result) = match draft.clusters.get(key).cloned() {
        // Its servers end all the same, and are made anew one by one as they are gone.
        Some(former) if former.deleting => (record(former.revision + 1, None), ApplyResult::Created),
        Some(former) if former.spec == *spec => return Ok(ApplyResult::Unchanged),
        Some(former) => {
            let revision = former.revision + u64::from(needs_restart(&former.spec, spec));
            (record(revision, former.scheduled), ApplyResult::Changed)
        }
        None => (record(1, None), ApplyResult::Created),
    };
    draft.clusters.insert(key.clone(), record);
    draft.dirty.insert(Dirty::Cluster(key.clone()));
    policy::fit(draft, now, key)?;
    Ok(result)
}

fn service(draft: &mut World, key: &ServiceKey, spec: &ServiceSpec) -> Result<ApplyResult, Trouble> {
    let former = draft.services.get(key).cloned();
    // What was shown may be given back: keys are not in it.
    let known = former.as_ref().and_then(|former| former.spec.tls.as_ref());
    let spec = ServiceSpec { tls: spec.tls.as_ref().map(|tls| tls.completed(known)), ..spec.clone() };
    if former.as_ref().is_some_and(|former| former.spec == spec) {
        return Ok(ApplyResult::Unchanged);
    }
    let spec = &spec;
    let certificates = validate::certificates(spec)?;
    let addresses = validate::service(draft, key, spec, former.as_ref())?;
    let result = if former.is_some() { ApplyResult::Changed } else { ApplyResult::Created };
    let consents = imports::kept_consents(former.as_ref(), &spec.export);
    draft.services.insert(key.clone(), ServiceRecord { spec: spec.clone(), addresses, consents, certificates });
    draft.dirty.insert(Dirty::Service(key.clone()));
    Ok(result)
}

/// The world as promises are judged, and in it the servers that are made anew as soon as they are gone.
#[must_use]
pub fn with_wanted_again(world: &World) -> Snapshot {
    let mut snapshot = place::patient(world);
    for (key, server) in &world.servers {
        let cluster = (key.partition.clone(), server.cluster.clone());
        let leaving = server.ending.as_ref().is_some_and(|ending| ending.goal == Goal::Delete);
        if leaving
            && resize::is_wanted(world, &cluster, server)
            && let Some(cluster) = snapshot.clusters.get_mut(&cluster)
        {
            cluster.servers.insert(key.name.clone(), None);
        }
    }
    snapshot
}

/// What breaks a promise, if that may be named, and how.
pub type Broken = (Option<validate::Which>, Trouble);

/// Whether every promise can still be kept after the change. The object that cannot have what it asks for is not named to users of
/// another partition.
fn admit(before: &World, draft: &World, within: Option<&PartitionName>) -> Result<(), Broken> {
    let (from, to) = (with_wanted_again(before), with_wanted_again(draft));
    if from == to {
        return Ok(());
    }
    pan_plan::admit(&from, &to).map(drop).map_err(|refusal| {
        let (partition, cluster) = &refusal.cluster;
        let named = within.is_none_or(|within| within == partition);
        let which = named.then(|| validate::Which::Cluster(partition.clone(), cluster.clone()));
        (which, validate::refused(&refusal, within))
    })
}

/// Changes the number of servers of a cluster.
///
/// # Errors
/// As for applying the same change.
pub fn scale(world: &mut World, now: Now, within: Option<&PartitionName>, key: &ClusterKey, servers: u32) -> Result<(), ApiError> {
    let Some(record) = world.clusters.get(key) else {
        return Err(ApiError::new(Code::NotFound, format!("there is no cluster {}", key.1)));
    };
    if record.deleting {
        return Err(ApiError::new(Code::Leaving, format!("cluster {} is being deleted: `pan apply` makes it anew", key.1)));
    }
    if servers > SERVERS_MAX {
        return Err(ApiError::new(Code::Invalid, format!("{servers} servers: at most {SERVERS_MAX} are possible")));
    }
    let spec = ClusterSpec { servers, ..record.spec.clone() };
    let mut draft = world.clone();
    let fail = |trouble: Trouble| ApiError::new(trouble.code, trouble.message);
    cluster(&mut draft, now, key, &spec).map_err(fail)?;
    fits_one_transaction(&draft).map_err(|text| ApiError::new(Code::Invalid, text))?;
    let proved = admit(world, &draft, within).and_then(|()| policy::prove(world, &draft, now, within));
    proved.map_err(|(_, trouble)| fail(trouble))?;
    *world = draft;
    Ok(())
}
