//! Imports: what puts one in force, what ends it, and that one which leads nowhere looks the same whatever the reason.

use super::{Pan, host};
use pan_api::desired::{Desired, ImportOrder, NetworkEntry};
use pan_api::report::ConnectionCount;
use pan_controller::core::record::{EndingPhase, ImportRecord, WayRecord};
use pan_controller::core::request::{Kind, Request};
use pan_controller::core::world::{Dirty, World};
use pan_controller::core::{imports, persist};
use pan_controller::views::view;
use pan_model::host::Role;
use pan_model::import::ImportState::{self, Active, Waiting};
use pan_model::{Code, Epoch, HostName, PartitionName, ServerKey, ServiceName};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// A partition whose network is like all others'.
fn partition(name: &str) -> String {
    format!("---\napi: pan/v1\nkind: Partition\nname: {name}\nspec: {{network: 10.0.0.0/24}}\n")
}

fn cluster(partition: &str, servers: u32) -> String {
    format!(
        "---\napi: pan/v1\nkind: Cluster\npartition: {partition}\nname: pay\nspec: {{servers: {servers}, image: host, command: [a], allow: [{{from: services}}]}}\n"
    )
}

fn service(partition: &str, export: &str) -> String {
    format!(
        "---\napi: pan/v1\nkind: Service\npartition: {partition}\nname: pay\nspec: {{port: 443, targetPort: 8443, cluster: pay, export: [{export}]}}\n"
    )
}

fn import(partition: &str, name: &str, other: &str) -> String {
    format!("---\napi: pan/v1\nkind: Import\npartition: {partition}\nname: {name}\nspec: {{partition: {other}, service: pay}}\n")
}

/// Both partitions, the service, and servers of the importing one.
fn scene(export: &str) -> String {
    [partition("acme"), cluster("acme", 2), service("acme", export), partition("shop"), cluster("shop", 2)].concat()
}

impl Pan {
    fn of(&self, partition: &str, name: &str) -> &ImportRecord {
        &self.world.imports[&(partition.parse().unwrap(), name.parse().unwrap())]
    }

    fn way(&self) -> Option<&WayRecord> {
        self.of("shop", "payments").way.as_ref()
    }

    fn import_state(&self, partition: &str, name: &str) -> ImportState {
        imports::state(&self.world, &(partition.parse().unwrap(), name.parse().unwrap()))
    }

    fn drop_object(&mut self, kind: Kind, partition: Option<&str>, name: &str, cascade: bool) {
        let partition = partition.map(|name| name.parse().unwrap());
        self.ask(Request::Delete { kind, partition, name: name.into(), cascade }).unwrap();
    }

    /// What a partition's own people see of its imports, without what they asked for and where it is.
    fn shown(&self, partition: &str) -> BTreeSet<String> {
        let view = view(&self.world, 1);
        let own = view.imports.values().filter(|import| import.partition.as_str() == partition);
        own.map(|import| format!("{} {:?} {}", import.state, import.port, import.addresses.len())).collect()
    }
}

fn told(desired: &BTreeMap<HostName, Desired>) -> Vec<(&HostName, &ImportOrder)> {
    desired.iter().flat_map(|(host, desired)| desired.imports.iter().map(move |import| (host, import))).collect()
}

/// What stands for imports in a partition's network, as every host of it is told.
fn entries(desired: &BTreeMap<HostName, Desired>, partition: &str, addresses: &[IpAddr]) -> Vec<NetworkEntry> {
    let networks = desired.values().flat_map(|desired| &desired.networks).filter(|network| network.partition.as_str() == partition);
    let found: Vec<Vec<NetworkEntry>> =
        networks.map(|network| network.entries.iter().filter(|entry| entry.addresses == addresses).cloned().collect()).collect();
    assert!(!found.is_empty() && found.iter().all(|one| *one == found[0]), "all hosts are told the same of {partition}: {found:?}");
    found.into_iter().next().unwrap()
}

#[test]
fn it_takes_both_words_and_either_ends_it() {
    let mut pan = Pan::new();
    pan.apply(&scene("")).unwrap();
    pan.apply(&import("shop", "payments", "acme")).unwrap();
    pan.rounds(4);
    assert_eq!((pan.way(), pan.import_state("shop", "payments")), (None, Waiting), "one word");
    pan.apply(&service("acme", "shop")).unwrap();
    pan.rounds(2);
    let first = pan.way().cloned().unwrap();
    assert_eq!(pan.import_state("shop", "payments"), Active);

    let desired = pan.round();
    let told = told(&desired);
    let [(director, order)] = told.as_slice() else { panic!("one director is told: {told:?}") };
    let shop: PartitionName = "shop".parse().unwrap();
    assert_eq!(pan.world.partitions[&shop].owner.as_ref(), Some(*director));
    let way = order.way.as_ref().unwrap();
    assert_eq!((way.number, &way.far.addresses, way.service.port, way.service.target_port), (first.number, &first.addresses, 443, 8443));
    assert_eq!((way.service.backends.len(), way.service.addresses.len()), (2, 0), "public addresses are not its business");
    let (near, far) = (entries(&desired, "shop", &order.near.addresses), entries(&desired, "acme", &way.far.addresses));
    for (found, end, by_service) in [(&near, &order.near, false), (&far, &way.far, true)] {
        let [entry] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((&entry.host, entry.mac, entry.epoch, entry.by_service), (*director, end.mac, end.epoch, by_service));
    }

    pan.apply(&service("acme", "")).unwrap();
    pan.rounds(1);
    assert_eq!((pan.way(), pan.import_state("shop", "payments")), (None, Waiting));
    pan.apply(&service("acme", "shop")).unwrap();
    pan.rounds(1);
    let again = pan.way().cloned().unwrap();
    assert_ne!(again.number, first.number, "another consent: nothing of the former goes on");
    pan.drop_object(Kind::Import, Some("shop"), "payments", false);
    pan.rounds(1);
    assert!(pan.world.imports.is_empty() && self::told(&pan.round()).is_empty());
    let acme = view(&pan.world, 1).services[&("acme".parse().unwrap(), "pay".parse::<ServiceName>().unwrap())].clone();
    assert!(acme.exports.len() == 1 && !acme.exports[0].in_force && acme.exports[0].addresses.is_empty(), "{acme:?}");
}

#[test]
fn what_leads_nowhere_looks_the_same_whatever_the_reason() {
    let mut pan = Pan::new();
    pan.apply(&scene("")).unwrap();
    // Not there; there, without the service; with it, for others; for this one, without a server.
    pan.apply(&[partition("empty"), partition("other"), cluster("other", 1), service("other", "acme, nobody")].concat()).unwrap();
    pan.apply(&[partition("idle"), cluster("idle", 0), service("idle", "shop")].concat()).unwrap();
    let all = ["none", "empty", "acme", "other", "idle"].map(|other| import("shop", &format!("to-{other}"), other)).concat();
    let results = pan.apply(&all).unwrap();
    assert!(results.iter().all(|(_, result)| *result == pan_api::requests::ApplyResult::Created), "{results:?}");
    pan.rounds(4);
    assert!(pan.of("shop", "to-idle").way.is_some(), "both want it, and nobody answers");
    assert_eq!(pan.shown("shop").len(), 1, "{:?}", pan.shown("shop"));
    let about = |pan: &Pan| {
        let events = &pan.world.events[&Some("shop".parse().unwrap())];
        events.iter().filter(|event| event.kind == "import").count()
    };
    assert_eq!(about(&pan), 0);
    // An exporter cannot tell who is not there from who does not want it.
    let exports = view(&pan.world, 1).services[&("other".parse().unwrap(), "pay".parse::<ServiceName>().unwrap())].exports.clone();
    let seen: BTreeSet<_> = exports.iter().map(|export| (export.in_force, export.addresses.clone())).collect();
    assert_eq!((exports.len(), seen.len()), (2, 1), "{exports:?}");
    // One that is being deleted is as absent as one that never was.
    pan.apply(&service("acme", "shop")).unwrap();
    pan.rounds(2);
    assert_eq!((pan.import_state("shop", "to-acme"), about(&pan)), (Active, 1));
    pan.rounds(50);
    pan.drop_object(Kind::Partition, None, "acme", true);
    pan.rounds(1);
    assert_eq!(pan.shown("shop").len(), 1, "{:?}", pan.shown("shop"));
    pan.rounds(6);
    assert_eq!(about(&pan), 2);
}

#[test]
fn changes_of_mind_do_not_fill_the_others_events() {
    let mut pan = Pan::new();
    pan.apply(&[scene("shop"), import("shop", "payments", "acme")].concat()).unwrap();
    pan.rounds(4);
    for _ in 0..20 {
        pan.apply(&service("acme", "")).unwrap();
        pan.rounds(1);
        pan.apply(&service("acme", "shop")).unwrap();
        pan.rounds(1);
    }
    let events = &pan.world.events[&Some("shop".parse().unwrap())];
    let told = events.iter().filter(|event| event.kind == "import").count();
    assert!(told <= 3, "in half a minute: {told}");
    pan.rounds(50);
    assert_eq!(pan.of("shop", "payments").told, Active, "what is so is told in the end");
}

#[test]
fn a_name_given_anew_inherits_no_consent() {
    // Who exports, who imports; and deleted whole, or wanted again before it was gone.
    for (who, whole) in [("acme", true), ("acme", false), ("shop", true), ("shop", false)] {
        let mut pan = Pan::new();
        pan.apply(&[scene("shop"), import("shop", "payments", "acme")].concat()).unwrap();
        pan.rounds(4);
        assert_eq!(pan.import_state("shop", "payments"), Active);
        pan.drop_object(Kind::Partition, None, who, true);
        if whole {
            pan.rounds(40);
            assert!(!pan.world.partitions.contains_key(&who.parse::<PartitionName>().unwrap()), "{who} is gone");
        }
        let theirs = match who {
            "acme" => [partition("acme"), cluster("acme", 1), service("acme", "shop")].concat(),
            _ => [partition("shop"), import("shop", "payments", "acme")].concat(),
        };
        pan.apply(&theirs).unwrap();
        pan.rounds(6);
        assert_eq!((pan.way(), pan.import_state("shop", "payments")), (None, Waiting), "{who} {whole}");
        // The one that is still there has to say it again.
        if who == "acme" {
            pan.drop_object(Kind::Import, Some("shop"), "payments", false);
            pan.apply(&import("shop", "payments", "acme")).unwrap();
        } else {
            pan.apply(&service("acme", "")).unwrap();
            pan.apply(&service("acme", "shop")).unwrap();
        }
        pan.rounds(6);
        assert_eq!(pan.import_state("shop", "payments"), Active, "{who} {whole}");
    }
}

#[test]
fn its_addresses_are_nobody_elses_in_either_network() {
    let mut pan = Pan::new();
    pan.apply(&[scene("shop"), import("shop", "payments", "acme")].concat()).unwrap();
    pan.rounds(3);
    pan.apply(&[cluster("acme", 5), cluster("shop", 5)].concat()).unwrap();
    pan.rounds(3);
    for (name, own) in [("shop", &pan.of("shop", "payments").addresses), ("acme", &pan.way().unwrap().addresses)] {
        assert_eq!(own.len(), 2, "one of each family: {own:?}");
        let partition = name.parse().unwrap();
        let servers = pan.world.in_partition(&partition).flat_map(|(_, server)| &server.addresses);
        assert_eq!(servers.filter(|address| own.contains(address)).count(), 0, "{name}");
    }
    let error = pan.apply(&partition("shop").replace("10.0.0.0/24", "10.9.0.0/24")).unwrap_err();
    assert_eq!(error.code, Code::Conflict);
}

#[test]
fn both_ends_move_with_the_importers_unit_and_nothing_else_is_told_anew() {
    let mut pan = Pan::new();
    pan.apply(&[scene("shop"), import("shop", "payments", "acme")].concat()).unwrap();
    pan.rounds(4);
    let desired = pan.round();
    let (owner, before) = told(&desired).first().map(|(host, order)| ((*host).clone(), (*order).clone())).unwrap();
    let lost = ["d1", "d2"].into_iter().find(|name| owner == host(name)).unwrap();
    pan.cut(lost);
    pan.rounds(2);
    let desired = pan.round();
    let (now, after) = told(&desired).first().map(|(host, order)| ((*host).clone(), (*order).clone())).unwrap();
    assert_ne!(now, owner);
    let (from, to) = (before.way.unwrap(), after.way.unwrap());
    assert_eq!((from.number, from.far.mac), (to.number, to.far.mac), "the same consent");
    assert!(!from.moved && to.moved, "what began at the other director goes on");
    assert!(after.near.epoch > before.near.epoch && to.far.epoch > from.far.epoch);
    assert_eq!(pan.import_state("shop", "payments"), Active);
}

#[test]
fn it_is_read_back_and_bounded() {
    let mut pan = Pan::new();
    pan.apply(&[scene("shop"), import("shop", "payments", "acme")].concat()).unwrap();
    pan.rounds(3);
    let mut other = World::new((*pan.world.settings).clone());
    for dirty in pan.world.imports.keys().cloned().map(Dirty::Import).chain(pan.world.services.keys().cloned().map(Dirty::Service)) {
        persist::load_one(&mut other, &persist::key_of(&dirty), &persist::value_of(&pan.world, &dirty).unwrap()).unwrap();
    }
    assert_eq!((&other.imports, &other.services), (&pan.world.imports, &pan.world.services));
    let key = pan.world.imports.keys().next().unwrap().clone();
    persist::forget(&mut other, &persist::key_of(&Dirty::Import(key))).unwrap();
    assert!(other.imports.is_empty());

    let many: String = (1..64).map(|number| import("shop", &format!("i{number}"), &format!("none-{number}"))).collect();
    pan.apply(&many).unwrap();
    let error = pan.apply(&import("shop", "again", "acme")).unwrap_err();
    assert!(
        error.code == Code::Conflict && error.message.contains("import payments of partition shop is that service already"),
        "{error:?}"
    );
    let error = pan.apply(&import("shop", "one-more", "none")).unwrap_err();
    assert!(error.code == Code::Quota && error.message.contains("64 used, 64 allowed"), "{error:?}");
    let error = pan.ask(Request::Delete { kind: Kind::Partition, partition: None, name: "shop".into(), cascade: false }).unwrap_err();
    assert!(error.code == Code::InUse && error.message.contains("import payments"), "{error:?}");
}

#[test]
fn a_quota_is_for_imports_as_well() {
    let mut pan = Pan::new();
    let shop = |most: u32| partition("shop").replace("}\n", &format!(", quota: {{imports: {most}}}}}\n"));
    pan.apply(&[partition("acme"), shop(1), import("shop", "payments", "acme")].concat()).unwrap();
    let error = pan.apply(&import("shop", "more", "none")).unwrap_err();
    assert!(error.code == Code::Quota && error.message.contains("quota of imports: 1 asked for, 1 used, 1 allowed"), "{error:?}");
    pan.apply(&[shop(2), import("shop", "more", "none")].concat()).unwrap();
    let error = pan.apply(&shop(1)).unwrap_err();
    assert!(error.code == Code::Quota && error.message.contains("it has 2 imports, and this allows 1"), "{error:?}");
    // It allows more than a partition may have at all: that stays.
    pan.apply(&shop(100)).unwrap();
    let many: String = (2..64).map(|number| import("shop", &format!("i{number}"), &format!("none-{number}"))).collect();
    pan.apply(&many).unwrap();
    let error = pan.apply(&import("shop", "one-more", "none-64")).unwrap_err();
    assert!(error.message.contains("64 used, 64 allowed"), "{error:?}");
}

#[test]
fn who_gets_an_address_of_one_that_is_gone_is_newer() {
    let mut pan = Pan::new();
    pan.apply(&[scene("shop"), import("shop", "payments", "acme")].concat()).unwrap();
    pan.rounds(4);
    let shop: PartitionName = "shop".parse().unwrap();
    // Its unit was at many directors since.
    let owner_epoch = &mut pan.world.partitions.get_mut(&shop).unwrap().owner_epoch;
    *owner_epoch = Epoch(owner_epoch.0 + 50);
    let desired = pan.round();
    let order = told(&desired)[0].1.clone();
    let far = order.way.unwrap().far;
    pan.drop_object(Kind::Import, Some("shop"), "payments", false);
    pan.apply(&[cluster("acme", 3), cluster("shop", 3)].concat()).unwrap();
    pan.rounds(3);
    for (partition, end) in [("shop", &order.near), ("acme", &far)] {
        let name: PartitionName = partition.parse().unwrap();
        let (_, server) =
            pan.world.in_partition(&name).find(|(_, server)| server.addresses == end.addresses).expect("the address is used again");
        assert!(server.mac == end.mac && server.epoch > end.epoch, "{partition}: {} after {}", server.epoch, end.epoch);
    }
}

#[test]
fn connections_are_counted_wherever_they_come_by() {
    let mut pan = Pan::new();
    pan.apply(&[scene("shop"), import("shop", "payments", "acme")].concat()).unwrap();
    pan.rounds(4);
    let owners: BTreeSet<HostName> =
        ["acme", "shop"].map(|name| pan.world.partitions[&name.parse::<PartitionName>().unwrap()].owner.clone().unwrap()).into();
    assert_eq!(owners.len(), 2, "each at a director of its own: {owners:?}");
    let count = ConnectionCount { partition: "acme".parse().unwrap(), server: "pay-1".parse().unwrap(), connections: 3 };
    for owner in &owners {
        pan.world.seen.hosts.get_mut(owner).unwrap().connections = vec![count.clone()];
    }
    let shown = view(&pan.world, 1).services[&("acme".parse().unwrap(), "pay".parse::<ServiceName>().unwrap())].clone();
    assert_eq!(shown.backends[0].connections, 6, "which are at one director is not seen");
    pan.apply(&service("acme", "")).unwrap();
    pan.settle();
    let shown = view(&pan.world, 1).services[&("acme".parse().unwrap(), "pay".parse::<ServiceName>().unwrap())].clone();
    assert_eq!(shown.backends[0].connections, 3);
}

#[test]
fn a_drain_waits_for_every_director_that_sends_connections() {
    let mut pan = Pan::new();
    pan.apply(&[scene("shop"), import("shop", "payments", "acme")].concat()).unwrap();
    pan.rounds(4);
    let owner = |partition: &str| pan.world.partitions[&partition.parse::<PartitionName>().unwrap()].owner.clone().unwrap();
    let (own, importing) = (owner("acme"), owner("shop"));
    assert_ne!(own, importing);
    let key = ServerKey { partition: "acme".parse().unwrap(), name: "pay-1".parse().unwrap() };
    let stopping = |pan: &Pan| pan.world.servers[&key].ending.as_ref().is_none_or(|ending| ending.phase == EndingPhase::Stopping);
    // The importer's director is told and does not say that it has done it; the other one has at once.
    pan.alive.retain(|name| host(name) != importing);
    pan.ask(Request::Stop(key.clone())).unwrap();
    pan.rounds(4);
    assert!(!stopping(&pan), "it may still be sent connections");
    // It says that all is applied but this import, of which its former tables stay.
    pan.alive.push(if importing == host("d1") { "d1" } else { "d2" });
    for _ in 0..3 {
        pan.pass(700);
        let (desired, generation) = pan.publish();
        for name in pan.alive.clone() {
            let mut one = desired[&host(name)].clone();
            one.imports.clear();
            pan.obey(&one, generation);
        }
        pan.settle();
    }
    assert!(!stopping(&pan), "it may still be sent connections by what could not be changed");
    pan.rounds(2);
    assert!(stopping(&pan));
}

#[test]
fn nothing_is_told_before_a_director_has_said_what_is_in_place() {
    let mut pan = Pan::new();
    pan.apply(&[scene("shop"), import("shop", "payments", "acme")].concat()).unwrap();
    pan.rounds(4);
    let shop: PartitionName = "shop".parse().unwrap();
    let owner = pan.world.partitions[&shop].owner.clone().unwrap();
    // As a controller that has just begun knows it.
    let seen = pan.world.seen.hosts.get_mut(&owner).unwrap();
    seen.reported.remove(&Role::Director);
    seen.ways.clear();
    let events = |pan: &Pan| pan.world.events[&Some(shop.clone())].iter().filter(|event| event.kind == "import").count();
    let before = events(&pan);
    for _ in 0..20 {
        pan.pass(700);
        pan.settle();
    }
    assert_eq!((events(&pan), pan.of("shop", "payments").told), (before, Active));
    pan.rounds(2);
    assert_eq!((events(&pan), pan.import_state("shop", "payments")), (before, Active));
}
