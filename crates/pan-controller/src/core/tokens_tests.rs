//! Who becomes a host, and who does not.

use super::*;
use crate::core::leave;
use crate::core::persist;
use crate::core::world::{Effect, Settings};

const SECRET: Digest = Digest([5; 32]);
const MINUTE: i64 = 60_000_000;

fn at(minutes: i64) -> Now {
    Now { wall: minutes * MINUTE, ..Now::default() }
}

fn world() -> World {
    let mut world = World::new(Settings::bare());
    let purpose = TokenFor::Joining { host: "n5".parse().unwrap(), roles: vec![Role::Node] };
    let new = New { secret: SECRET, purpose, lives: "10m".parse().unwrap() };
    create(&mut world, at(0), 1, new).unwrap();
    world
}

fn joining() -> Joining {
    let addresses = [1, 2, 3].map(|last| IpAddr::from([10, 0, last, 5]));
    Joining { token: 1, secret: SECRET, host: "n5".parse().unwrap(), key: Digest([9; 32]), addresses }
}

#[test]
fn a_token_makes_one_host_of_one_machine() {
    let mut world = world();
    let first = join(&mut world, at(1), &joining()).unwrap();
    assert_eq!(first, Reply::Certify { roles: vec![Role::Node], serial: 1 });
    // Its answer was lost: it asks again, and gets a certificate of its own number.
    assert_eq!(join(&mut world, at(2), &joining()).unwrap(), Reply::Certify { roles: vec![Role::Node], serial: 2 });
    let other = Joining { key: Digest([8; 32]), ..joining() };
    assert_eq!(join(&mut world, at(2), &other).unwrap_err().code, Code::Unauthenticated, "another machine");
    assert_eq!(join(&mut world, at(10), &joining()).unwrap_err().code, Code::Unauthenticated, "its time is over");
}

#[test]
fn every_refusal_has_the_same_words_and_changes_nothing() {
    let wrong = |change: fn(&mut Joining)| {
        let mut joining = joining();
        change(&mut joining);
        joining
    };
    let attempts = [
        (wrong(|one| one.token = 2), 1),
        (wrong(|one| one.secret = Digest([6; 32])), 1),
        (wrong(|one| one.host = "n6".parse().unwrap()), 1),
        (joining(), 10),
    ];
    let mut said = Vec::new();
    for (attempt, minute) in attempts {
        let mut world = world();
        world.dirty.clear();
        said.push(join(&mut world, at(minute), &attempt).unwrap_err());
        assert!(world.dirty.is_empty() && world.tokens[&1].used_for.is_none(), "{attempt:?}");
    }
    let mut used = world();
    join(&mut used, at(1), &Joining { key: Digest([8; 32]), ..joining() }).unwrap();
    said.push(join(&mut used, at(1), &joining()).unwrap_err());
    revoke(&mut used, at(1), 1).unwrap();
    said.push(join(&mut used, at(1), &joining()).unwrap_err());
    assert!(said.iter().all(|error| *error == said[0]), "{said:?}");
    assert_eq!(revoke(&mut used, at(1), 1).unwrap_err().code, Code::NotFound);
}

#[test]
fn what_no_token_can_grant_is_refused() {
    let mut world = world();
    let new = |roles: &[Role], lives: &str| New {
        secret: SECRET,
        purpose: TokenFor::Joining { host: "n7".parse().unwrap(), roles: roles.to_vec() },
        lives: lives.parse().unwrap(),
    };
    for (new, code) in [
        (new(&[], "1m"), Code::Invalid),
        (new(&[Role::Node], "0s"), Code::Invalid),
        (new(&[Role::Node], "8d"), Code::Invalid),
        (new(&[Role::Node, Role::Controller], "1m"), Code::NotYet),
    ] {
        assert_eq!(create(&mut world, at(0), 7, new.clone()).unwrap_err().code, code, "{new:?}");
    }
    assert_eq!(create(&mut world, at(0), 1, new(&[Role::Node], "1m")).unwrap_err().code, Code::State, "the id is taken");
}

fn access(role: AccessRole, partition: Option<&str>, lives: &str) -> New {
    let partition = partition.map(|name| name.parse().unwrap());
    New { secret: SECRET, purpose: TokenFor::Access { role, partition, name: None }, lives: lives.parse().unwrap() }
}

#[test]
fn a_role_is_given_where_it_is_one_and_goes_with_its_partition() {
    let mut world = world();
    let acme: PartitionName = "acme".parse().unwrap();
    let record = serde_json::json!({"spec": {"network": "10.0.0.0/24"}, "networks": [], "vni": 1, "next_event": 1, "next_index": 1,
        "last_epoch": 0, "deleting": false, "owner": null, "owner_epoch": 0});
    world.partitions.insert(acme.clone(), serde_json::from_value(record).unwrap());
    for (new, code) in [
        (access(AccessRole::Monitor, None, "1h"), Code::Invalid),
        (access(AccessRole::PanMonitor, Some("acme"), "1h"), Code::Invalid),
        (access(AccessRole::Monitor, Some("none"), "1h"), Code::NotFound),
        (access(AccessRole::PanMonitor, None, "91d"), Code::Invalid),
        (access(AccessRole::PanMonitor, None, "0s"), Code::Invalid),
    ] {
        assert_eq!(create(&mut world, at(0), 7, new.clone()).unwrap_err().code, code, "{new:?}");
    }
    create(&mut world, at(0), 7, access(AccessRole::Monitor, Some("acme"), "90d")).unwrap();
    create(&mut world, at(0), 8, access(AccessRole::PanMonitor, None, "1h")).unwrap();
    let said = |world: &World, partition: Option<&PartitionName>| world.events[&partition.cloned()].back().unwrap().message.clone();
    world.leading = true;
    revoke(&mut world, at(0), 8).unwrap();
    assert!(said(&world, None).contains("0000000000000008"), "the PAN is told");
    go_with(&mut world, &acme);
    assert_eq!(world.tokens.keys().copied().collect::<Vec<_>>(), [1], "only the machine's is left");
}

#[test]
fn records_of_before_there_were_roles_are_read() {
    let old = format!(r#"{{"host":"n5","roles":["node"],"secret":"{}","created":1,"expires":2,"used_for":null}}"#, "05".repeat(32));
    let record: TokenRecord = serde_json::from_str(&old).unwrap();
    assert!(matches!(&record.purpose, TokenFor::Joining { roles, .. } if *roles == [Role::Node]) && record.secret == SECRET);
    let purpose = access(AccessRole::Operator, Some("acme"), "1h").purpose;
    let record = TokenRecord { purpose, ..record };
    assert_eq!(serde_json::from_value::<TokenRecord>(serde_json::to_value(&record).unwrap()).unwrap(), record);
}

#[test]
fn who_was_removed_is_refused_and_comes_back_under_later_numbers() {
    let mut world = world();
    let name: HostName = "n5".parse().unwrap();
    let hello = pan_api::report::Hello {
        version: pan_api::WIRE_VERSION,
        host: name.clone(),
        roles: vec![Role::Node],
        software: String::new(),
        address: IpAddr::from([10, 0, 1, 5]),
        a: IpAddr::from([10, 0, 2, 5]),
        b: IpAddr::from([10, 0, 3, 5]),
        node: None,
        storage: None,
    };
    assert_eq!(renew(&mut world, at(1), &name).unwrap_err().code, Code::NotFound, "it never said hello");
    join(&mut world, at(1), &joining()).unwrap();
    crate::core::hosts::hello(&mut world, at(1), &hello).unwrap();
    assert_eq!(renew(&mut world, at(2), &name).unwrap(), Reply::Certify { roles: vec![Role::Node], serial: 2 });
    assert_eq!(leave::remove(&mut world, at(3), &name).unwrap_err().code, Code::State, "it is in use");
    world.host_mut(&name).unwrap().duty = crate::core::record::Duty::Draining;
    let admission = world.hosts[&name].admission;
    leave::remove(&mut world, at(3), &name).unwrap();
    assert_eq!((world.credentials[&name].refused, world.hosts.len()), (Some(2), 0));
    assert!(world.effects.contains(&Effect::Fence(name.clone(), admission)), "lessors must forget it");
    assert_eq!(leave::remove(&mut world, at(3), &name).unwrap_err().code, Code::NotFound);
    assert_eq!(renew(&mut world, at(3), &name).unwrap_err().code, Code::NotFound);
    // It may have said so while the removal was committed.
    assert_eq!(crate::core::hosts::hello(&mut world, at(3), &hello).unwrap_err().code, Code::Denied);
    assert_eq!(join(&mut world, at(4), &joining()).unwrap(), Reply::Certify { roles: vec![Role::Node], serial: 3 });
    crate::core::hosts::hello(&mut world, at(4), &hello).unwrap();
    let back = &world.hosts[&name];
    assert!(back.admission > admission && back.revoked == admission, "old heartbeats of it open nothing");
}

#[test]
fn who_others_cannot_do_without_is_not_removed() {
    let mut world = world();
    let hello = |name: &str, last: u8, role| pan_api::report::Hello {
        version: pan_api::WIRE_VERSION,
        host: name.parse().unwrap(),
        roles: vec![role],
        software: String::new(),
        address: IpAddr::from([10, 0, 1, last]),
        a: IpAddr::from([10, 0, 2, last]),
        b: IpAddr::from([10, 0, 3, last]),
        node: None,
        storage: None,
    };
    for hello in [hello("s1", 1, Role::Storage), hello("d1", 2, Role::Director)] {
        crate::core::hosts::hello(&mut world, at(1), &hello).unwrap();
    }
    let (s1, d1): (HostName, HostName) = ("s1".parse().unwrap(), "d1".parse().unwrap());
    world.settings = std::sync::Arc::new(Settings { lessors: vec![s1.clone()], ..(*world.settings).clone() });
    let refused = |world: &mut World, name: &HostName| leave::remove(world, at(2), name).unwrap_err();
    let told = refused(&mut world, &s1);
    assert!(told.code == Code::State && told.message.contains("`lessors`"), "{told:?}");
    let told = refused(&mut world, &d1);
    assert!(told.code == Code::State && told.message.contains("Switch it off"), "{told:?}");
    world.seen.hosts.get_mut(&d1).unwrap().life = crate::core::seen::Life::Dead;
    leave::remove(&mut world, at(3), &d1).unwrap();
}

#[test]
fn tokens_are_kept_without_their_secret_and_forgotten_in_the_end() {
    let mut world = world();
    join(&mut world, at(1), &joining()).unwrap();
    let stored: Vec<(String, Vec<u8>)> = [Dirty::Token(1), Dirty::Credential("n5".parse().unwrap())]
        .iter()
        .map(|dirty| (persist::key_of(dirty), persist::value_of(&world, dirty).unwrap()))
        .collect();
    let entries = stored.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
    let again = persist::load((*world.settings).clone(), entries).unwrap();
    assert_eq!((&again.tokens, &again.credentials), (&world.tokens, &world.credentials));
    expire(&mut world, at(11));
    assert!(world.tokens.contains_key(&1), "it is shown for a while");
    expire(&mut world, at(71));
    assert!(world.tokens.is_empty() && world.dirty.contains(&Dirty::Token(1)));
    persist::forget(&mut world, &stored[0].0).unwrap();
    assert_eq!(world.credentials[&"n5".parse().unwrap()].issued, 1, "a name goes on counting");
}
