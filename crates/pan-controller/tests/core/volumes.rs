//! Volumes: where they are made, who may write them, and what becomes of them when hosts go.

use super::*;
use pan_api::volume::{AskVolume, ReplicaOrder, ReplicaWant, VolumeAsk};
use pan_controller::core::record::VolumeRecord;
use pan_controller::core::volumes as volumes_core;
use pan_model::mirror::{Change, Member};
use pan_model::{Epoch, Lineage, PartitionName, VolumeEpoch, VolumeKey};

/// A storage host does what it is told.
pub(super) fn obey(kept: &mut BTreeMap<VolumeId, ReplicaReport>, orders: &[ReplicaOrder]) {
    for order in orders {
        let made = |lineage| ReplicaReport {
            volume: order.volume,
            lineage,
            epoch: VolumeEpoch(0),
            partial: lineage == Lineage(0),
            catching_up: false,
            size: order.size,
            used: ByteSize(0),
            trouble: None,
            damaged: false,
        };
        match order.want {
            ReplicaWant::Found => drop(kept.entry(order.volume).or_insert_with(|| made(Lineage(1)))),
            ReplicaWant::Keep => drop(kept.entry(order.volume).or_insert_with(|| made(Lineage(0)))),
            ReplicaWant::Discard => drop(kept.remove(&order.volume)),
        }
        if let Some(there) = kept.get_mut(&order.volume) {
            there.size = there.size.max(order.size);
        }
    }
}

pub(super) const DB: &str = "
api: pan/v1
kind: Partition
name: p
spec: {network: 10.7.0.0/24}
---
api: pan/v1
kind: Cluster
partition: p
name: db
spec:
  servers: 1
  image: host
  command: [/bin/db]
  volumes: [{name: data, size: 1GiB, mount: /srv}]
";

impl Pan {
    pub(super) fn with_storage(hosts: &[&'static str]) -> Self {
        let mut pan = Self::new();
        for (at, name) in hosts.iter().enumerate() {
            pan.join(name, 20 + at);
        }
        pan
    }

    pub(super) fn volume(&self, name: &str) -> &VolumeRecord {
        &self.world.volumes[&volume_key(name)]
    }

    pub(super) fn hosts_of(&self, name: &str) -> Vec<String> {
        self.volume(name).hosts.values().map(ToString::to_string).collect()
    }

    /// Its node asks for a change, as the head that has the newest claim.
    pub(super) fn head_asks(&mut self, name: &str, change: Change) -> Result<pan_model::mirror::Record, pan_api::ApiError> {
        let mirror = self.volume(name).mirror.clone();
        self.asks(name, VolumeAsk::Change { writer: mirror.writer(), expect: mirror.changes, change, had: None })
    }

    pub(super) fn asks(&mut self, name: &str, ask: VolumeAsk) -> Result<pan_model::mirror::Record, pan_api::ApiError> {
        let volume = self.volume(name);
        let key = server(volume.server.as_ref().unwrap().as_str());
        let record = &self.world.servers[&key];
        let (host, binding) = (record.node.clone().unwrap(), record.epoch);
        let ask = AskVolume { version: pan_api::WIRE_VERSION, host, volume: volume.id, server: key, binding, ask };
        match self.ask(Request::Volume(Box::new(ask)))? {
            Reply::Volume(claim) => Ok(claim.record),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn reasons(&self, object: &str) -> Vec<String> {
        let of = |partition: &Option<PartitionName>| self.world.events.get(partition).cloned().unwrap_or_default();
        let all = of(&Some("p".parse().unwrap()));
        all.iter().filter(|event| event.object == object).map(|event| event.reason.clone()).collect()
    }
}

pub(super) fn volume_key(name: &str) -> VolumeKey {
    VolumeKey { partition: "p".parse().unwrap(), name: name.parse().unwrap() }
}

#[test]
fn a_server_gets_its_volume_once_all_copies_are_made_and_claims_it_with_each_binding() {
    let mut pan = Pan::with_storage(&["s1", "s2", "s3"]);
    pan.apply(DB).unwrap();
    assert_eq!(pan.hosts_of("db-1.data"), ["s1", "s2"], "as empty as any");
    pan.settle();
    let first = orders::all(&pan.world);
    let node: HostName = pan.node_of("db-1").unwrap().parse().unwrap();
    let order = &first[&node].servers[0];
    assert_eq!((order.run, order.volumes[0].claim.is_none()), (RunOrder::Hold, true), "nothing to write to yet");
    assert_eq!(first[&host("s1")].replicas[0].want, ReplicaWant::Found);
    pan.rounds(2);
    let now = orders::all(&pan.world);
    let order = &now[&node].servers[0];
    let claim = order.volumes[0].claim.clone().unwrap();
    assert_eq!((order.run, claim.record.epoch, claim.members.len()), (RunOrder::Run, VolumeEpoch(1), 2));
    assert_eq!(now[&host("s1")].replicas[0].want, ReplicaWant::Keep, "it is never made as one that has everything again");
    assert_eq!(pan.reasons("db-1.data"), ["Made"]);

    let node = node.to_string();
    pan.cut(NODES.into_iter().find(|name| **name == node).unwrap());
    pan.rounds(2);
    let moved = pan.node_of("db-1").unwrap();
    assert_ne!(moved, node);
    let record = &pan.volume("db-1.data").mirror;
    assert_eq!(record.epoch, VolumeEpoch(2), "ownership moved with the server");
    assert!(record.session > claim.record.session);
}

#[test]
fn only_the_node_of_the_binding_is_answered_and_what_it_knows_is_compared() {
    let mut pan = Pan::with_storage(&["s1", "s2"]);
    pan.apply(DB).unwrap();
    assert_eq!(pan.asks_before_made(), Code::State);
    pan.rounds(3);
    let evicted = pan.head_asks("db-1.data", Change::Evict(Member(1))).unwrap();
    assert_eq!((evicted.in_sync.len(), evicted.out.len()), (1, 1));
    let stale = pan.volume("db-1.data").mirror.writer();
    // A question that is late changes nothing, and the answer says so.
    let late = VolumeAsk::Change { writer: stale, expect: 1, change: Change::Evict(Member(2)), had: None };
    assert_eq!(pan.asks("db-1.data", late).unwrap(), evicted);
    let again = pan.asks("db-1.data", VolumeAsk::Claim).unwrap();
    assert_eq!(again.epoch, evicted.epoch.next());
    let deposed = VolumeAsk::Change { writer: stale, expect: again.changes, change: Change::Add(Member(1)), had: None };
    assert_eq!(pan.asks("db-1.data", deposed).unwrap(), again, "an earlier head of the same node");
    assert_eq!(pan.head_asks("db-1.data", Change::Add(Member(1))).unwrap().in_sync.len(), 2);
    assert_eq!(pan.head_asks("db-1.data", Change::Slow(Member(1))).unwrap().in_sync.len(), 1);
    assert_eq!(pan.reasons("db-1.data"), ["Made", "CopyLost", "CopyInSync", "CopySlow"]);

    let key = server("db-1");
    let record = pan.world.servers[&key].clone();
    let ask = |host: HostName, binding| AskVolume {
        version: pan_api::WIRE_VERSION,
        host,
        volume: VolumeId(1),
        server: key.clone(),
        binding,
        ask: VolumeAsk::Claim,
    };
    let node = record.node.unwrap();
    let stranger = NODES.map(host).into_iter().find(|name| *name != node).unwrap();
    let others = [ask(stranger, record.epoch), ask(node.clone(), Epoch(record.epoch.0 - 1))];
    let unknown = AskVolume { volume: VolumeId(99), ..ask(node, record.epoch) };
    for bad in others.into_iter().chain([unknown]) {
        assert_eq!(pan.ask(Request::Volume(Box::new(bad))).unwrap_err().code, Code::Denied);
    }
}

impl Pan {
    fn asks_before_made(&mut self) -> Code {
        self.settle();
        self.asks("db-1.data", VolumeAsk::Claim).unwrap_err().code
    }
}

#[test]
fn a_storage_host_that_goes_before_it_made_its_copy_is_replaced_at_once() {
    let mut pan = Pan::with_storage(&["s1", "s2", "s3"]);
    pan.apply(DB).unwrap();
    pan.cut("s2");
    pan.rounds(3);
    assert_eq!(pan.hosts_of("db-1.data"), ["s1", "s3"]);
    let volume = pan.volume("db-1.data");
    assert!(volume.unmade.is_empty() && volume.mirror.in_sync == volume.hosts.keys().copied().collect());
    assert_eq!(pan.world.hosts[&host("s2")].discard, [VolumeId(1)].into());
}

#[test]
fn a_copy_is_made_elsewhere_when_its_host_stays_away_and_removed_there_when_it_returns() {
    let mut pan = Pan::with_storage(&["s1", "s2", "s3"]);
    pan.apply(DB).unwrap();
    pan.rounds(3);
    pan.cut("s1");
    pan.rounds(2);
    pan.head_asks("db-1.data", Change::Evict(Member(1))).unwrap();
    pan.rounds(3);
    assert_eq!(pan.hosts_of("db-1.data"), ["s1", "s2"], "it may be a reboot");
    pan.pass(300_000);
    pan.rounds(2);
    assert_eq!(pan.hosts_of("db-1.data"), ["s1", "s2", "s3"]);
    assert_eq!(pan.replicas[&host("s3")][&VolumeId(1)].lineage, Lineage(0), "it has nothing yet");
    pan.head_asks("db-1.data", Change::Add(Member(3))).unwrap();
    pan.rounds(2);
    assert_eq!(pan.hosts_of("db-1.data"), ["s1", "s2", "s3"], "its host does not say so yet");
    let filled = pan.replicas.get_mut(&host("s3")).unwrap().get_mut(&VolumeId(1)).unwrap();
    (filled.lineage, filled.partial) = (Lineage(1), false);
    pan.rounds(2);
    assert_eq!(pan.hosts_of("db-1.data"), ["s2", "s3"]);
    // It comes back with an old copy: that goes, and nothing else.
    pan.alive.push("s1");
    pan.life(LifeChange::Alive(host("s1"), Duration::ZERO));
    pan.rounds(2);
    assert!(pan.replicas[&host("s1")].is_empty() && pan.world.hosts[&host("s1")].discard.is_empty());
}

/// A host is well but for its disk, of which nothing can be read: that is as if the host stayed away.
#[test]
fn copies_are_made_elsewhere_when_the_disk_of_a_host_stays_away() {
    let mut pan = Pan::with_storage(&["s1", "s2", "s3"]);
    pan.apply(DB).unwrap();
    pan.rounds(3);
    pan.closed.insert(host("s1"));
    pan.rounds(2);
    pan.head_asks("db-1.data", Change::Evict(Member(1))).unwrap();
    pan.pass(290_000);
    pan.rounds(2);
    assert_eq!(pan.hosts_of("db-1.data"), ["s1", "s2"], "it may be mounted again");
    pan.pass(20_000);
    pan.rounds(2);
    assert_eq!(pan.hosts_of("db-1.data"), ["s1", "s2", "s3"]);
    pan.head_asks("db-1.data", Change::Add(Member(3))).unwrap();
    let filled = pan.replicas.get_mut(&host("s3")).unwrap().get_mut(&VolumeId(1)).unwrap();
    (filled.lineage, filled.partial) = (Lineage(1), false);
    pan.rounds(3);
    assert_eq!(pan.hosts_of("db-1.data"), ["s2", "s3"]);
    // It can be used again: what is left there goes, and not before.
    assert_eq!((pan.replicas[&host("s1")].len(), pan.world.hosts[&host("s1")].discard.len()), (1, 1));
    pan.closed.clear();
    pan.rounds(3);
    assert!(pan.replicas[&host("s1")].is_empty() && pan.world.hosts[&host("s1")].discard.is_empty());

    // A disk that is back in time is back.
    let mut pan = Pan::with_storage(&["s1", "s2", "s3"]);
    pan.apply(DB).unwrap();
    pan.rounds(3);
    for _ in 0..3 {
        pan.closed.insert(host("s1"));
        pan.pass(200_000);
        pan.rounds(2);
        pan.closed.clear();
        pan.rounds(2);
    }
    assert_eq!(pan.hosts_of("db-1.data"), ["s1", "s2"]);
}

#[test]
fn a_disk_that_cannot_be_used_gets_no_copies() {
    let mut pan = Pan::with_storage(&["s1", "s2", "s3"]);
    pan.apply(DB).unwrap();
    pan.closed.insert(host("s2"));
    pan.rounds(4);
    assert_eq!(pan.hosts_of("db-1.data"), ["s1", "s3"], "one that was to make one");
    assert!(pan.volume("db-1.data").unmade.is_empty());
}

/// A host is well, and says of one copy that it is damaged: told once, and made anew elsewhere if there is a place, and there if there is none.
#[test]
fn a_damaged_copy_on_a_host_that_lives_is_made_anew() {
    let ready = |hosts: &[&'static str]| {
        let mut pan = Pan::with_storage(hosts);
        pan.apply(DB).unwrap();
        pan.rounds(3);
        let damaged = pan.replicas.get_mut(&host("s1")).unwrap().get_mut(&VolumeId(1)).unwrap();
        (damaged.damaged, damaged.trouble) = (true, Some("no superblock".into()));
        pan
    };
    let filled = |pan: &mut Pan, name: &str, member: u32| {
        pan.head_asks("db-1.data", Change::Add(Member(member))).unwrap();
        let filled = pan.replicas.get_mut(&host(name)).unwrap().get_mut(&VolumeId(1)).unwrap();
        (filled.lineage, filled.partial) = (Lineage(1), false);
        pan.rounds(3);
    };
    let told = |pan: &Pan| pan.reasons("db-1.data").iter().filter(|reason| *reason == "CopyDamaged").count();

    let mut pan = ready(&["s1", "s2", "s3"]);
    pan.rounds(2);
    assert_eq!(pan.hosts_of("db-1.data"), ["s1", "s2", "s3"], "before anybody has noticed it");
    pan.head_asks("db-1.data", Change::Evict(Member(1))).unwrap();
    pan.rounds(2);
    assert_eq!((pan.hosts_of("db-1.data").len(), told(&pan)), (3, 1), "it stays until another one has everything");
    filled(&mut pan, "s3", 3);
    assert_eq!(pan.hosts_of("db-1.data"), ["s2", "s3"]);
    assert!(pan.replicas[&host("s1")].is_empty());

    let mut pan = ready(&["s1", "s2"]);
    pan.rounds(2);
    assert_eq!(pan.hosts_of("db-1.data"), ["s1", "s2"], "while it may be needed, as far as the record says");
    pan.head_asks("db-1.data", Change::Evict(Member(1))).unwrap();
    pan.rounds(6);
    assert_eq!(pan.hosts_of("db-1.data"), ["s2", "s1"], "another one, in the same place");
    let anew = &pan.replicas[&host("s1")][&VolumeId(1)];
    assert_eq!((anew.lineage, anew.damaged, told(&pan)), (Lineage(0), false, 1));
    filled(&mut pan, "s1", 3);
    assert_eq!((pan.hosts_of("db-1.data").len(), pan.volume("db-1.data").mirror.in_sync.len()), (2, 2));

    // With nobody who has everything it is not given up: neither where the other host is dead, nor where its disk is away.
    for is_dead in [true, false] {
        let mut pan = ready(&["s1", "s2"]);
        match is_dead {
            true => pan.cut("s2"),
            false => drop(pan.closed.insert(host("s2"))),
        }
        pan.rounds(2);
        pan.head_asks("db-1.data", Change::Evict(Member(1))).unwrap();
        pan.rounds(6);
        assert!(pan.hosts_of("db-1.data").contains(&"s1".to_owned()) && pan.world.hosts[&host("s1")].discard.is_empty());
    }
}

/// A storage host's process is started again, and for a moment it names no copies: what it says of a damaged one then was told before. Of one that
/// is the only one nobody says that it is made anew.
#[test]
fn a_damaged_copy_is_told_once_and_what_comes_of_it() {
    let damage = |pan: &mut Pan| {
        let damaged = pan.replicas.get_mut(&host("s1")).unwrap().get_mut(&VolumeId(1)).unwrap();
        (damaged.damaged, damaged.trouble) = (true, Some("no superblock".into()));
        pan.rounds(2);
    };
    let told = |pan: &Pan| {
        let all = pan.world.events.get(&Some("p".parse().unwrap())).cloned().unwrap_or_default();
        all.iter().filter(|event| event.reason == "CopyDamaged").map(|event| event.message.clone()).collect::<Vec<_>>()
    };
    let mut pan = Pan::with_storage(&["s1", "s2"]);
    pan.apply(DB).unwrap();
    pan.rounds(3);
    damage(&mut pan);
    let here = pan.replicas.insert(host("s1"), BTreeMap::new()).unwrap();
    pan.rounds(2);
    pan.replicas.insert(host("s1"), here);
    pan.rounds(2);
    assert_eq!(told(&pan), ["a copy is damaged and is made anew from the others"]);

    let mut pan = Pan::with_storage(&["s1"]);
    pan.apply(&DB.replace("size: 1GiB", "size: 1GiB, copies: 1")).unwrap();
    pan.rounds(3);
    damage(&mut pan);
    assert_eq!(told(&pan), ["a copy is damaged and there is no whole one at present to make it anew from"]);
}

/// Fewer copies are wanted while a host is away: what is there stays, whichever is the older one.
#[test]
fn no_copy_that_is_there_goes_because_of_one_that_is_not() {
    let mut pan = Pan::with_storage(&["s1", "s2"]);
    pan.apply(DB).unwrap();
    pan.rounds(3);
    pan.cut("s1");
    pan.rounds(2);
    pan.apply(&DB.replace("size: 1GiB", "size: 1GiB, copies: 1")).unwrap();
    pan.rounds(2);
    assert_eq!(pan.hosts_of("db-1.data"), ["s2"]);
    assert_eq!(pan.volume("db-1.data").mirror.in_sync, [Member(2)].into());
    assert!(pan.replicas[&host("s2")].contains_key(&VolumeId(1)));

    // A disk was lost under one that nobody has found out to lack everything.
    let mut pan = Pan::with_storage(&["s1", "s2"]);
    pan.apply(DB).unwrap();
    pan.rounds(3);
    pan.replicas.remove(&host("s1"));
    pan.rounds(2);
    pan.apply(&DB.replace("size: 1GiB", "size: 1GiB, copies: 1")).unwrap();
    pan.rounds(2);
    assert_eq!(pan.hosts_of("db-1.data"), ["s2"]);

    // Nobody who has everything is there: nothing goes.
    let mut pan = Pan::with_storage(&["s1", "s2"]);
    pan.apply(DB).unwrap();
    pan.rounds(3);
    pan.cut("s1");
    pan.cut("s2");
    pan.rounds(2);
    pan.apply(&DB.replace("size: 1GiB", "size: 1GiB, copies: 1")).unwrap();
    pan.rounds(2);
    assert_eq!(pan.hosts_of("db-1.data"), ["s1", "s2"]);
}

#[test]
fn a_host_that_lost_its_disk_is_not_taken_for_one_that_has_everything() {
    let mut pan = Pan::with_storage(&["s1", "s2"]);
    pan.apply(DB).unwrap();
    pan.rounds(3);
    pan.replicas.clear();
    pan.rounds(2);
    assert_eq!(pan.replicas[&host("s1")][&VolumeId(1)].lineage, Lineage(0));
}

#[test]
fn volumes_grow_keep_their_data_and_go_only_when_asked_for() {
    let mut pan = Pan::with_storage(&["s1", "s2"]);
    pan.apply(DB).unwrap();
    pan.rounds(3);
    let incarnation = pan.world.servers[&server("db-1")].incarnation;
    let refused = |pan: &mut Pan, from: &str, to: &str| {
        let error = pan.apply(&DB.replace(from, to)).unwrap_err();
        (error.code, error.problems[0].message.clone())
    };
    assert_eq!(refused(&mut pan, "1GiB", "512MiB").0, Code::Conflict);
    assert_eq!(refused(&mut pan, "size: 1GiB", "size: 1GiB, filesystem: xfs").0, Code::Conflict);
    let (code, text) = refused(&mut pan, "1GiB", "11GiB");
    assert_eq!(code, Code::NoCapacity);
    assert!(!text.contains("s1") && !text.contains("s2"), "a tenant learns no host: {text}");
    assert_eq!(refused(&mut pan, "size: 1GiB", "size: 1GiB, copies: 3").0, Code::NoCapacity);
    pan.apply(&DB.replace("1GiB", "2GiB")).unwrap();
    let node: HostName = pan.node_of("db-1").unwrap().parse().unwrap();
    let offered = |pan: &Pan| orders::all(&pan.world)[&node].servers[0].volumes[0].size;
    assert_eq!(offered(&pan), ByteSize(1 << 30), "no head writes to where a replica does not reach yet");
    pan.rounds(2);
    assert_eq!(offered(&pan), ByteSize(2 << 30));
    assert_eq!(pan.world.servers[&server("db-1")].incarnation, incarnation, "growing needs no restart");
    assert_eq!(orders::all(&pan.world)[&host("s1")].replicas[0].size, ByteSize(2 << 30));

    let delete = |kind, name: &str, cascade| Request::Delete { kind, partition: Some("p".parse().unwrap()), name: name.into(), cascade };
    assert_eq!(volumes_core::delete(&mut pan.world, pan.now, &volume_key("db-1.data"), false).unwrap_err().code, Code::InUse);
    pan.ask(delete(Kind::Cluster, "db", false)).unwrap();
    pan.rounds(4);
    assert!(pan.world.servers.is_empty() && pan.world.volumes.len() == 1, "data outlives servers");
    pan.apply(DB).unwrap_err();
    pan.apply(&DB.replace("1GiB", "2GiB")).unwrap();
    pan.rounds(3);
    assert_eq!(pan.volume("db-1.data").id, VolumeId(1));
    pan.ask(delete(Kind::Cluster, "db", true)).unwrap();
    pan.rounds(5);
    assert!(pan.world.volumes.is_empty() && pan.replicas.values().all(BTreeMap::is_empty));
    assert!(pan.world.hosts.values().all(|host| host.discard.is_empty()));
}

#[test]
fn without_places_for_all_copies_nothing_is_made() {
    let mut pan = Pan::with_storage(&["s1"]);
    let error = pan.apply(DB).unwrap_err();
    assert_eq!((error.code, error.problems[0].line), (Code::NoCapacity, 15));
    assert!(error.message.contains("2 copies of 1GiB need 2 storage hosts, and 1 can take one"), "{}", error.message);
    assert!(pan.world.volumes.is_empty() && pan.world.servers.is_empty());
}

#[test]
fn what_is_stored_of_volumes_is_read_again() {
    use pan_controller::core::persist;
    use pan_controller::core::world::Dirty;
    let mut pan = Pan::with_storage(&["s1", "s2"]);
    pan.apply(DB).unwrap();
    pan.rounds(3);
    let key = Dirty::Volume(volume_key("db-1.data"));
    let (name, value) = (persist::key_of(&key), persist::value_of(&pan.world, &key).unwrap());
    let mut other = Pan::new().world;
    persist::load_one(&mut other, &name, &value).unwrap();
    assert_eq!(other.volumes, pan.world.volumes);
    persist::forget(&mut other, &name).unwrap();
    assert!(other.volumes.is_empty());
}

#[test]
fn what_is_shown_of_a_volume_and_of_its_storage_hosts() {
    let mut pan = Pan::with_storage(&["s1", "s2"]);
    pan.apply(DB).unwrap();
    pan.rounds(3);
    let ill = Some("12 blocks of it rotted".to_owned());
    let (host_name, kept) =
        (host("s2"), ReplicaReport { used: ByteSize(5 << 20), trouble: ill, ..pan.replicas[&host("s2")][&VolumeId(1)].clone() });
    pan.replicas.entry(host_name).or_default().insert(VolumeId(1), kept);
    pan.round();
    let view = pan_controller::views::view(&pan.world, 1);
    let volume = &view.volumes[&volume_key("db-1.data")];
    assert_eq!((volume.mount.as_deref(), volume.used), (Some("/srv"), Some(ByteSize(5 << 20))));
    let storage = view.hosts[&host("s2")].storage.clone().unwrap();
    assert_eq!((storage.promised, storage.used, storage.replicas), (ByteSize(1 << 30), Some(ByteSize(5 << 20)), Some(1)));
    assert_eq!(storage.trouble, ["the copy of p/db-1.data: 12 blocks of it rotted"]);
    assert!(storage.takes && view.hosts[&host("n1")].storage.is_none());

    let node = pan.node_of("db-1").unwrap();
    pan.head_asks("db-1.data", Change::Slow(Member(2))).unwrap();
    let told = &pan.world.events[&None].iter().rev().find(|event| event.reason == "CopySlow").unwrap().message;
    assert!(
        told.contains("on s2 is far slower") && told.ends_with(&format!("1 of 2 are in sync, says its head on {node}, epoch 1")),
        "{told}"
    );
    pan.cut("s2");
    pan.rounds(1);
    let storage = pan_controller::views::view(&pan.world, 1).hosts[&host("s2")].storage.clone().unwrap();
    assert_eq!((storage.used, storage.takes), (None, false), "what it has is not known now");
}

/// Where a round takes several transactions, a server that moved and what its volumes were claimed for stay together.
#[test]
fn a_binding_and_its_claims_are_one_transaction() {
    use pan_controller::core::transactions::{Room, transactions};
    let mut pan = Pan::with_storage(&["s1", "s2"]);
    let many: String = (0..6).map(|at| format!("{}\n---\n", DB.split("---\n").nth(1).unwrap().replace("db", &format!("db{at}")))).collect();
    pan.apply(&format!("{}---\n{}", DB.split("---\n").next().unwrap(), many.trim_end_matches("---\n"))).unwrap();
    pan.rounds_keeping_dirty(6);
    let dirty: Vec<Dirty> = pan.world.dirty.iter().cloned().collect();
    let servers = pan.world.servers.values().filter(|server| server.node.is_some()).count();
    assert_eq!((servers, pan.world.volumes.len()), (6, 6), "{dirty:?}");
    for writes in 2..12 {
        let cut = transactions(&pan.world, &dirty, &pan.world.asked, Room { writes, bytes: usize::MAX });
        let all: Vec<&String> = cut.iter().flatten().map(|(key, _)| key).filter(|key| *key != "pan/term").collect();
        let mut distinct = all.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!((distinct.len(), all.len()), (dirty.len() - 1, dirty.len() - 1), "each once, in transactions of {writes}");
        assert!(cut.iter().all(|writes| writes[0].0 == "pan/term"));
        assert!(cut.iter().all(|cut| cut.len() <= writes.max(3)), "no larger than a server with its volume needs");
        for at in 0..6 {
            let of = |kind: &str| cut.iter().position(|cut| cut.iter().any(|(key, _)| key.starts_with(&format!("p/p/{kind}/db{at}-"))));
            assert_eq!(of("server"), of("volume"), "db{at} in transactions of {writes}");
        }
    }
}
