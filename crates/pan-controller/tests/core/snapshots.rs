//! Snapshots: taken by heads or by storage hosts, begun from, removed; and what becomes of a volume that is lost.

use super::volumes::{DB, volume_key};
use super::*;
use pan_api::volume::{ReplicaWant, SnapshotOrder, SnapshotWant, VolumeAsk};
use pan_controller::core::record::SnapshotStage;
use pan_controller::core::volumes as core_volumes;
use pan_model::mirror::{Change, Member};
use pan_model::{Lineage, Name, VolumeEpoch};
use std::collections::BTreeSet;

/// A storage host does what it is told.
pub(super) fn obey(kept: &mut BTreeMap<SnapshotId, SnapshotReport>, orders: &[SnapshotOrder]) {
    for order in orders {
        match order.want {
            SnapshotWant::Take { writer, .. } => {
                let report = SnapshotReport { snapshot: order.snapshot, taken: Some(writer.epoch), trouble: None };
                kept.insert(order.snapshot, report);
            }
            SnapshotWant::Discard => drop(kept.remove(&order.snapshot)),
        }
    }
}

const COPY: &str = "
api: pan/v1
kind: Volume
partition: p
name: copy
spec: {from: db-1.data@monday}
";

const READER: &str = "
api: pan/v1
kind: Cluster
partition: p
name: reader
spec:
  servers: 1
  image: host
  command: [/bin/db]
  volumes: [{volume: copy, mount: /srv}]
";

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

impl Pan {
    pub(super) fn take(&mut self, volume: &str, snapshot: &str) -> Result<Reply, pan_api::ApiError> {
        self.ask(Request::TakeSnapshot { volume: volume_key(volume), name: name(snapshot) })
    }

    fn stage(&self, volume: &str, snapshot: &str) -> SnapshotStage {
        self.volume(volume).snapshots[&name(snapshot)].stage.clone()
    }

    /// What the order of the node that has a volume says of snapshots.
    fn ordered(&self, server_name: &str) -> Vec<SnapshotId> {
        let node: HostName = self.node_of(server_name).unwrap().parse().unwrap();
        orders::all(&self.world)[&node].servers[0].volumes[0].claim.clone().unwrap().snapshots
    }

    fn head_took(&mut self, volume: &str, snapshot: u64, trouble: Option<&str>) {
        let writer = self.volume(volume).mirror.writer();
        let (snapshot, trouble) = (SnapshotId(snapshot), trouble.map(str::to_owned));
        self.asks(volume, VolumeAsk::Taken { writer, snapshot, members: None, trouble }).unwrap();
    }

    fn head_took_on(&mut self, volume: &str, snapshot: u64, members: &[u32]) {
        let writer = self.volume(volume).mirror.writer();
        let (snapshot, members) = (SnapshotId(snapshot), Some(members.iter().copied().map(Member).collect()));
        self.asks(volume, VolumeAsk::Taken { writer, snapshot, members, trouble: None }).unwrap();
    }

    /// With db-1.data@monday, on both hosts.
    pub(super) fn with_snapshot() -> Self {
        let mut pan = Self::with_storage(&["s1", "s2", "s3"]);
        pan.apply(DB).unwrap();
        pan.rounds(3);
        pan.take("db-1.data", "monday").unwrap();
        pan.settle();
        pan.head_took("db-1.data", 1, None);
        for host_name in ["s1", "s2"] {
            let report = SnapshotReport { snapshot: SnapshotId(1), taken: None, trouble: None };
            pan.snapshots.entry(host(host_name)).or_default().insert(SnapshotId(1), report);
        }
        pan.rounds(2);
        pan
    }
}

fn hosts(names: &[&str]) -> SnapshotStage {
    SnapshotStage::Ready(names.iter().map(|name| host(name)).collect::<BTreeSet<_>>())
}

#[test]
fn a_volume_that_somebody_has_is_kept_by_its_head() {
    let mut pan = Pan::with_storage(&["s1", "s2", "s3"]);
    pan.apply(DB).unwrap();
    assert_eq!(pan.take("db-1.data", "early").unwrap_err().code, Code::State);
    pan.rounds(3);
    let first = pan.volume("db-1.data").mirror.writer();
    pan.take("db-1.data", "monday").unwrap();
    assert_eq!(pan.take("db-1.data", "monday").unwrap_err().code, Code::Conflict);
    pan.take("db-1.data", "tuesday").unwrap();
    pan.settle();
    assert_eq!(pan.ordered("db-1"), [SnapshotId(1), SnapshotId(2)]);
    assert_eq!(pan.volume("db-1.data").mirror.writer(), first, "its writer stays");
    assert!(orders::all(&pan.world)[&host("s1")].snapshots.is_empty(), "nobody else is asked");
    pan.head_took("db-1.data", 1, None);
    pan.head_took("db-1.data", 2, Some("its disk is full"));
    assert_eq!(pan.stage("db-1.data", "monday"), hosts(&["s1", "s2"]));
    assert_eq!(pan.stage("db-1.data", "tuesday"), SnapshotStage::Failed("its disk is full".into()));
    assert!(pan.ordered("db-1").is_empty());
    let discards = |pan: &Pan, name| orders::all(&pan.world)[&host(name)].snapshots.iter().map(|order| order.snapshot).collect::<Vec<_>>();
    assert_eq!(discards(&pan, "s1"), [SnapshotId(2)], "whatever came of it is removed");
    pan.rounds(2);
    assert!(discards(&pan, "s1").is_empty());
    assert_eq!(pan.reasons("db-1.data"), ["Made", "SnapshotTaken", "SnapshotFailed"]);
}

#[test]
fn a_head_that_lost_the_volume_is_not_heard_and_its_successor_takes_it() {
    let mut pan = Pan::with_storage(&["s1", "s2"]);
    pan.apply(DB).unwrap();
    pan.rounds(3);
    pan.take("db-1.data", "monday").unwrap();
    let old = pan.volume("db-1.data").mirror.writer();
    pan.asks("db-1.data", VolumeAsk::Claim).unwrap();
    pan.asks("db-1.data", VolumeAsk::Taken { writer: old, snapshot: SnapshotId(1), members: None, trouble: None }).unwrap();
    assert_eq!(pan.stage("db-1.data", "monday"), SnapshotStage::Taking);
    assert_eq!(pan.ordered("db-1"), [SnapshotId(1)]);
    let evicted = pan.head_asks("db-1.data", Change::Evict(Member(2))).unwrap();
    assert_eq!(evicted.in_sync.len(), 1);
    pan.head_took("db-1.data", 1, None);
    assert_eq!(pan.stage("db-1.data", "monday"), hosts(&["s1"]), "whoever fell out may have it of another moment");
    let orders = orders::all(&pan.world);
    assert_eq!(orders[&host("s2")].snapshots[0].want, SnapshotWant::Discard);
}

/// The head knows who was in sync when it was taken; when that is heard others may be.
#[test]
fn a_snapshot_is_where_its_head_says() {
    let mut pan = Pan::with_storage(&["s1", "s2"]);
    pan.apply(DB).unwrap();
    pan.rounds(3);
    pan.take("db-1.data", "monday").unwrap();
    pan.head_asks("db-1.data", Change::Evict(Member(2))).unwrap();
    pan.head_took_on("db-1.data", 1, &[1, 2]);
    assert_eq!(pan.stage("db-1.data", "monday"), hosts(&["s1", "s2"]), "one that fell out has it");
    pan.take("db-1.data", "tuesday").unwrap();
    pan.head_asks("db-1.data", Change::Add(Member(2))).unwrap();
    pan.head_took_on("db-1.data", 2, &[1]);
    assert_eq!(pan.stage("db-1.data", "tuesday"), hosts(&["s1"]), "one that came back meanwhile has none");
    let orders = orders::all(&pan.world);
    let discards: Vec<_> = orders[&host("s2")].snapshots.iter().map(|order| (order.snapshot, order.want)).collect();
    assert_eq!(discards, [(SnapshotId(2), SnapshotWant::Discard)]);
    pan.take("db-1.data", "wednesday").unwrap();
    pan.head_took_on("db-1.data", 3, &[7]);
    assert_eq!(pan.stage("db-1.data", "wednesday"), SnapshotStage::Failed("no storage host that has it is left".into()));
}

#[test]
fn what_nobody_has_is_kept_by_its_storage_hosts_under_a_claim_of_nobody() {
    let mut pan = Pan::with_storage(&["s1", "s2"]);
    pan.apply(DB).unwrap();
    pan.rounds(3);
    pan.ask(Request::Stop(server("db-1"))).unwrap();
    pan.rounds(4);
    let before = pan.volume("db-1.data").mirror.clone();
    pan.take("db-1.data", "monday").unwrap();
    let held = pan.volume("db-1.data").mirror.clone();
    assert!(held.epoch > before.epoch && held.session != before.session, "whoever wrote last can do so no more");
    pan.settle();
    let orders = orders::all(&pan.world);
    let want = SnapshotWant::Take { volume: VolumeId(1), writer: held.writer(), lineage: Lineage(1) };
    assert_eq!(orders[&host("s1")].snapshots, [SnapshotOrder { snapshot: SnapshotId(1), want }]);
    // One of them says so: the other one is waited for.
    let report = SnapshotReport { snapshot: SnapshotId(1), taken: Some(held.epoch), trouble: None };
    pan.snapshots.entry(host("s1")).or_default().insert(SnapshotId(1), report);
    assert_eq!(pan.stage("db-1.data", "monday"), SnapshotStage::Taking);
    pan.rounds(2);
    assert_eq!(pan.stage("db-1.data", "monday"), hosts(&["s1", "s2"]));

    // A server that comes between takes it over: what hosts said of an earlier claim counts no more.
    pan.ask(Request::TakeSnapshot { volume: volume_key("db-1.data"), name: name("later") }).unwrap();
    pan.ask(Request::Start(server("db-1"))).unwrap();
    pan.rounds(1);
    assert!(!pan.volume("db-1.data").held);
    assert_eq!(pan.ordered("db-1"), [SnapshotId(2)]);
    assert_eq!(pan.stage("db-1.data", "later"), SnapshotStage::Taking);
}

#[test]
fn a_volume_begins_as_a_snapshot_where_that_is() {
    let mut pan = Pan::with_snapshot();
    let missing = pan.apply(&COPY.replace("monday", "sunday")).unwrap_err();
    assert_eq!((missing.code, missing.problems[0].line), (Code::Dangling, 6));
    let small = pan.apply(&COPY.replace("{from", "{size: 512MiB, from")).unwrap_err();
    assert_eq!(small.code, Code::Conflict);
    let three = COPY.replace("{from", "{copies: 3, from");
    pan.apply(&three).unwrap();
    assert_eq!(pan.hosts_of("copy"), ["s1", "s2"], "a third one comes later");
    pan.settle();
    let first = orders::all(&pan.world);
    let order = first[&host("s1")].replicas.iter().find(|order| order.volume == VolumeId(2)).unwrap();
    assert_eq!((order.want, order.from, order.size), (ReplicaWant::Found, Some(SnapshotId(1)), ByteSize(1 << 30)));
    assert_eq!(pan.ask(Request::RemoveSnapshot { volume: volume_key("db-1.data"), name: name("monday") }).unwrap_err().code, Code::InUse);
    pan.rounds(3);
    assert_eq!(pan.hosts_of("copy"), ["s1", "s2", "s3"]);
    assert_eq!((pan.volume("copy").mirror.in_sync.len(), pan.volume("copy").mirror.out.len()), (2, 1));
    assert_eq!(pan.apply(&three).unwrap()[0].1, ApplyResult::Unchanged);

    pan.ask(Request::RemoveSnapshot { volume: volume_key("db-1.data"), name: name("monday") }).unwrap();
    pan.rounds(3);
    assert!(pan.snapshots.values().all(BTreeMap::is_empty), "what began as it lives on by itself");
    assert_eq!(pan.apply(&three).unwrap()[0].1, ApplyResult::Unchanged, "where it began is not looked at any more");
}

#[test]
fn a_host_that_dies_before_the_copy_is_made_is_done_without() {
    let mut pan = Pan::with_snapshot();
    pan.apply(COPY).unwrap();
    pan.cut("s2");
    pan.rounds(3);
    let volume = pan.volume("copy");
    assert!(volume.unmade.is_empty() && volume.mirror.in_sync == BTreeSet::from([Member(1)]), "{volume:?}");
    assert_eq!(volume.hosts[&Member(1)], host("s1"));
    let told = pan.world.events[&None].iter().find(|event| event.reason == "CopyMoved").unwrap();
    assert!(told.object == "p/copy" && told.message.contains("host s2 is away"), "{told:?}");
}

#[test]
fn a_volume_that_is_there_by_itself_has_one_server() {
    let mut pan = Pan::with_snapshot();
    let lost = pan.apply(READER).unwrap_err();
    assert_eq!((lost.code, lost.problems[0].line), (Code::Dangling, 10));
    let theirs = pan.apply(&READER.replace("volume: copy", "volume: db-1.data")).unwrap_err();
    assert_eq!(theirs.code, Code::Conflict);
    pan.apply(&format!("{COPY}---{READER}")).unwrap();
    pan.rounds(4);
    assert_eq!(pan.volume("copy").mirror.epoch, VolumeEpoch(1), "claimed with the binding");
    assert_eq!(pan.volume("copy").holder.as_ref().unwrap().as_str(), "reader-1");
    let second = pan.apply(&READER.replace("name: reader", "name: other")).unwrap_err();
    assert_eq!(second.code, Code::Conflict);
    let delete = |kind, name: &str, cascade| Request::Delete { kind, partition: Some("p".parse().unwrap()), name: name.into(), cascade };
    assert_eq!(pan.ask(delete(Kind::Volume, "copy", true)).unwrap_err().code, Code::InUse);
    pan.ask(delete(Kind::Cluster, "reader", true)).unwrap();
    pan.rounds(4);
    assert!(pan.world.volumes.contains_key(&volume_key("copy")), "it belongs to no cluster");
    pan.take("copy", "last").unwrap();
    pan.rounds(3);
    assert_eq!(pan.ask(delete(Kind::Volume, "copy", false)).unwrap_err().code, Code::InUse);
    pan.ask(delete(Kind::Volume, "copy", true)).unwrap();
    pan.rounds(3);
    assert!(!pan.world.volumes.contains_key(&volume_key("copy")));
    assert!(pan.snapshots.values().all(|kept| kept.keys().all(|id| *id == SnapshotId(1))));
}

#[test]
fn a_volume_grows_by_request_and_its_manifest_stays_good() {
    let mut pan = Pan::with_snapshot();
    let resize = |size| Request::ResizeVolume { volume: volume_key("db-1.data"), size: ByteSize(size) };
    for (size, code) in [(1 << 29, Code::Conflict), ((1 << 30) + 1, Code::Invalid), (200 << 30, Code::NoCapacity)] {
        assert_eq!(pan.ask(resize(size)).unwrap_err().code, code, "{size}");
    }
    pan.ask(resize(3 << 30)).unwrap();
    pan.rounds(2);
    assert_eq!(pan.volume("db-1.data").usable, ByteSize(3 << 30));
    pan.apply(DB).unwrap();
    assert_eq!(pan.volume("db-1.data").size, ByteSize(3 << 30), "the manifest asks for no less than it did");
    pan.apply(&DB.replace("1GiB", "2GiB")).unwrap();
    assert_eq!(pan.volume("db-1.data").size, ByteSize(3 << 30));
    assert_eq!(pan.apply(DB).unwrap_err().code, Code::Conflict);
    pan.apply(&DB.replace("1GiB", "4GiB")).unwrap();
    assert_eq!(pan.volume("db-1.data").size, ByteSize(4 << 30));
}

#[test]
fn what_snapshots_may_take_is_promised() {
    let mut pan = Pan::with_snapshot();
    let promised = |pan: &Pan| core_volumes::stores(&pan.world)[&host("s1")].promised;
    assert_eq!(promised(&pan), ByteSize(2 << 30));
    pan.take("db-1.data", "tuesday").unwrap();
    assert_eq!(promised(&pan), ByteSize(3 << 30));
    pan.ask(Request::RemoveSnapshot { volume: volume_key("db-1.data"), name: name("tuesday") }).unwrap();
    assert_eq!(promised(&pan), ByteSize(2 << 30));
}

#[test]
fn only_a_loss_can_be_accepted_and_the_newest_copy_goes_on() {
    let mut pan = Pan::with_storage(&["s1", "s2"]);
    pan.apply(DB).unwrap();
    pan.rounds(3);
    let recover = || Request::RecoverVolume(volume_key("db-1.data"));
    assert_eq!(pan.ask(recover()).unwrap_err().code, Code::State, "nothing is lost");
    pan.head_asks("db-1.data", Change::Evict(Member(2))).unwrap();
    assert_eq!(pan.ask(recover()).unwrap_err().code, Code::State, "one has everything");
    // It was started anew, and its pool is not open yet.
    let seen = pan.world.seen.hosts.get_mut(&host("s1")).unwrap();
    (seen.replicas, seen.pool) = (Some(BTreeMap::new()), None);
    let refused = pan.ask(recover()).unwrap_err();
    assert!(refused.message.contains("not known yet"), "{refused}");
    pan.cut("s1");
    pan.rounds(2);
    let before = pan.volume("db-1.data").mirror.clone();
    pan.ask(recover()).unwrap();
    let after = pan.volume("db-1.data").mirror.clone();
    assert_eq!((after.lineage, after.adopts), (Lineage(2), Some(Lineage(1))));
    assert!(after.epoch > before.epoch && after.in_sync == BTreeSet::from([Member(2)]));
    assert!(after.out.contains_key(&Member(1)), "what comes back is given everything anew");
    assert!(pan.reasons("db-1.data").contains(&"LossAccepted".into()));
    pan.cut("s2");
    pan.rounds(2);
    assert_eq!(pan.ask(recover()).unwrap_err().code, Code::State, "none is there at all");
}

#[test]
fn a_copy_of_one_moment_is_taken_before_a_newer_one_that_is_mixed() {
    let mut pan = Pan::with_storage(&["s1", "s2", "s3"]);
    pan.apply(&DB.replace("size: 1GiB", "size: 1GiB, copies: 3")).unwrap();
    pan.rounds(3);
    pan.head_asks("db-1.data", Change::Evict(Member(2))).unwrap();
    pan.head_asks("db-1.data", Change::Evict(Member(3))).unwrap();
    let id = pan.volume("db-1.data").id;
    let newer = pan.replicas.get_mut(&host("s3")).unwrap().get_mut(&id).unwrap();
    (newer.epoch, newer.catching_up) = (VolumeEpoch(5), true);
    pan.rounds(1);
    pan.cut("s1");
    pan.rounds(2);
    pan.ask(Request::RecoverVolume(volume_key("db-1.data"))).unwrap();
    assert_eq!(pan.volume("db-1.data").mirror.in_sync, BTreeSet::from([Member(2)]));
}

const CATALOGUE: &str = "
api: pan/v1
kind: Volume
partition: p
name: catalogue
spec: {from: db-1.data@monday, access: readers-many}
";

const FARM: &str = "
api: pan/v1
kind: Cluster
partition: p
name: farm
spec:
  servers: 2
  image: host
  command: [/bin/farm]
  volumes: [{volume: catalogue, mount: /srv}]
";

#[test]
fn many_read_a_snapshot_each_by_itself_and_are_given_the_next_one() {
    let mut pan = Pan::with_snapshot();
    pan.apply(&format!("{CATALOGUE}---{FARM}")).unwrap();
    pan.rounds(4);
    let readers = |pan: &Pan| {
        let all = pan.world.volumes.iter().filter(|(_, volume)| volume.reader);
        all.map(|(key, _)| key.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(readers(&pan), ["farm-1.catalogue-monday", "farm-2.catalogue-monday"]);
    let node: HostName = pan.node_of("farm-1").unwrap().parse().unwrap();
    let orders = orders::all(&pan.world);
    let order = orders[&node].servers.iter().find(|order| order.key == server("farm-1")).unwrap();
    assert!(order.volumes[0].read_only && order.volumes[0].mount == "/srv" && order.run == RunOrder::Run, "{order:?}");
    assert_eq!(core_volumes::stores(&pan.world)[&host("s1")].promised, ByteSize((2 << 30) + (32 << 20)), "they write next to nothing");
    assert_eq!(pan.apply(CATALOGUE).unwrap()[0].1, ApplyResult::Unchanged);
    let one = pan.apply(&CATALOGUE.replace("access: readers-many", "access: one")).unwrap_err();
    assert_eq!(one.code, Code::Conflict);
    let remove = |name_of: &str| Request::RemoveSnapshot { volume: volume_key("db-1.data"), name: name(name_of) };
    assert_eq!(pan.ask(remove("monday")).unwrap_err().code, Code::InUse);
    let delete = |kind, name: &str, cascade| Request::Delete { kind, partition: Some("p".parse().unwrap()), name: name.into(), cascade };
    assert_eq!(pan.ask(delete(Kind::Volume, "catalogue", true)).unwrap_err().code, Code::InUse);
    pan.ask(Request::Scale { partition: "p".parse().unwrap(), cluster: "farm".parse().unwrap(), servers: 3 }).unwrap();
    pan.rounds(3);
    assert_eq!(readers(&pan).len(), 3);

    pan.take("db-1.data", "tuesday").unwrap();
    pan.settle();
    pan.head_took("db-1.data", 2, None);
    let before = pan.world.servers[&server("farm-1")].incarnation;
    pan.apply(&CATALOGUE.replace("monday", "tuesday")).unwrap();
    assert_eq!(readers(&pan).len(), 6, "what they have they keep until they are started again");
    pan.rounds(12);
    assert_eq!(readers(&pan), ["farm-1.catalogue-tuesday", "farm-2.catalogue-tuesday", "farm-3.catalogue-tuesday"]);
    assert!(pan.world.servers[&server("farm-1")].incarnation > before);
    pan.ask(remove("monday")).unwrap();

    let mut again = World::new((*pan.world.settings).clone());
    for key in pan.world.sources.keys() {
        let dirty = Dirty::Source(key.clone());
        persist::load_one(&mut again, &persist::key_of(&dirty), &persist::value_of(&pan.world, &dirty).unwrap()).unwrap();
    }
    assert_eq!(again.sources, pan.world.sources);
    pan.ask(delete(Kind::Cluster, "farm", true)).unwrap();
    pan.rounds(5);
    assert!(readers(&pan).is_empty());
    pan.ask(delete(Kind::Volume, "catalogue", false)).unwrap();
    assert!(pan.world.sources.is_empty());
}

impl Pan {
    fn has(&mut self, at: &str, id: u64) {
        let report = SnapshotReport { snapshot: SnapshotId(id), taken: None, trouble: None };
        self.snapshots.entry(host(at)).or_default().insert(SnapshotId(id), report);
    }

    fn kept(&self, at: &str) -> Vec<u64> {
        self.snapshots[&host(at)].keys().map(|id| id.0).collect()
    }
}

#[test]
fn what_no_record_names_on_a_host_is_removed_there_and_nothing_else_is() {
    let mut pan = Pan::with_snapshot();
    pan.take("db-1.data", "tuesday").unwrap();
    pan.take("db-1.data", "wednesday").unwrap();
    // Half taken: whoever has it is left alone, also one that has no copy of the volume any more.
    for at in ["s1", "s2", "s3"] {
        pan.has(at, 2);
    }
    // Never given by this store.
    pan.has("s3", 77);
    pan.rounds(3);
    assert_eq!((pan.kept("s1"), pan.kept("s2"), pan.kept("s3")), (vec![1, 2], vec![1, 2], vec![2, 77]));
    // It ended without s3, which is not asked by whoever ended it, for it has no copy.
    pan.head_took("db-1.data", 2, None);
    pan.rounds(3);
    assert_eq!((pan.kept("s1"), pan.kept("s2"), pan.kept("s3")), (vec![1, 2], vec![1, 2], vec![77]));
    // Nor does it stay where it failed, or where a removal did not reach a host.
    pan.has("s3", 1);
    pan.has("s3", 3);
    pan.head_took("db-1.data", 3, Some("no room"));
    pan.rounds(3);
    assert_eq!(pan.kept("s3"), [77]);
    assert!(orders::all(&pan.world)[&host("s3")].snapshots.is_empty(), "it is not ordered again and again");
}

#[test]
fn a_leader_that_has_just_begun_removes_nothing_before_hosts_follow_it() {
    let mut pan = Pan::with_snapshot();
    pan.has("s3", 1);
    // What was published is not known to have been applied: what s3 says may be older than what the records say.
    pan.round();
    pan.world.seen.published.insert(host("s3"), Generation { term: 2, step: 1 });
    pan.world.host_mut(&host("s3")).unwrap().discard_snapshots.clear();
    pan.settle();
    assert!(pan.world.hosts[&host("s3")].discard_snapshots.is_empty());
    pan.world.seen.published.insert(host("s3"), Generation { term: 1, step: 1 });
    pan.settle();
    assert_eq!(pan.world.hosts[&host("s3")].discard_snapshots, BTreeSet::from([SnapshotId(1)]));
}

#[test]
fn the_last_copy_of_a_snapshot_is_kept_when_its_host_comes_back_to_the_pan() {
    let mut pan = Pan::with_snapshot();
    for at in ["s1", "s2"] {
        core_volumes::forget(&mut pan.world, &host(at));
    }
    assert_eq!(pan.stage("db-1.data", "monday"), hosts(&[]));
    pan.rounds(3);
    assert_eq!(pan.kept("s1"), [1]);
}
