//! One leader after another: what a controller believed before is not what the next term decides by.

use super::*;

/// A node that died and was fenced is heard again by the next leader, which gives it a server; the first one, to which it has
/// been silent all along, then leads once more.
#[test]
fn a_death_seen_in_an_earlier_term_is_fenced_again() {
    let mut pan = Pan::new();
    let mut entries = BTreeMap::new();
    pan.apply(&web(3)).unwrap();
    pan.rounds_keeping_dirty(2);
    let lost: &'static str = NODES.into_iter().find(|node| pan.node_of("web-1").as_deref() == Some(node)).unwrap();
    pan.cut(lost);
    pan.rounds_keeping_dirty(1);
    assert_ne!(pan.node_of("web-1").as_deref(), Some(lost));
    let granted = pan.world.hosts[&host(lost)].admission;
    assert_eq!(granted, Admission(2), "fenced, and let in again under the next number");
    commit(&mut pan, &mut entries);

    standing::follow(&mut pan.world, listed(&entries)).unwrap();
    let record = pan.world.servers.get_mut(&server("web-1")).unwrap();
    record.node = Some(host(lost));
    record.epoch = record.epoch.next();
    let epoch = record.epoch;
    let written = Dirty::Server(server("web-1"));
    let (key, value) = (persist::key_of(&written), persist::value_of(&pan.world, &written));
    standing::followed(&mut pan.world, &key, value.as_deref()).unwrap();

    standing::candidate(&mut pan.world, &host("c1"), 7, 3);
    standing::lead(&mut pan.world, pan.now);
    settle::settle(&mut pan.world, pan.now);
    let fences = std::mem::take(&mut pan.world.effects);
    assert_eq!(fences, [Effect::Fence(host(lost), granted)], "it may be well, and run what the other leader gave it");
    assert_eq!((pan.node_of("web-1").as_deref(), pan.world.servers[&server("web-1")].epoch), (Some(lost), epoch));

    pan.life(LifeChange::Fenced(host(lost), granted));
    settle::settle(&mut pan.world, pan.now);
    assert_ne!(pan.node_of("web-1").as_deref(), Some(lost));
}

/// It was heard to die by one that followed; who leads then says for how long it was silent, not how long ago that was noticed.
#[test]
fn a_death_seen_while_another_led_is_told_from_its_last_heartbeat() {
    let mut pan = Pan::new();
    pan.apply(&web(3)).unwrap();
    pan.rounds_keeping_dirty(2);
    let lost: &'static str = NODES.into_iter().find(|node| pan.node_of("web-1").as_deref() == Some(node)).unwrap();
    let granted = pan.world.hosts[&host(lost)].admission;
    pan.world.leading = false;
    pan.life(LifeChange::Dead(host(lost), 700_000));
    pan.pass(200);
    standing::candidate(&mut pan.world, &host("c1"), 7, 3);
    standing::lead(&mut pan.world, pan.now);
    settle::settle(&mut pan.world, pan.now);
    pan.life(LifeChange::Fenced(host(lost), granted));
    let told = |event: &pan_api::event::Event| event.reason == "HostDead" && event.object == lost;
    let told: Vec<String> = pan.world.events[&None].iter().filter(|event| told(event)).map(|event| event.message.clone()).collect();
    assert!(told.last().is_some_and(|text| text.contains("for 900 ms")), "{told:?}");
}

/// A role of `n1` that knows no desired state.
fn knows_nothing(pan: &mut Pan, role: Role, boot: u64, blank: u64) {
    let report = Report { blank: Some(Blank(blank)), ..report_of("n1", role, boot, 1) };
    hosts::report(&mut pan.world, pan.now, report).unwrap();
}

/// What a host calls itself that knows nothing is named to it once it is stored, and only who leads can store it.
#[test]
fn a_host_that_knows_nothing_is_named_by_who_leads() {
    let mut pan = Pan::new();
    pan.apply(&web(1)).unwrap();
    pan.rounds(2);
    let named = |pan: &Pan| orders::all(&pan.world)[&host("n1")].blanks.clone().unwrap();
    let stored = Dirty::Host(host("n1"));
    assert_eq!(named(&pan), BTreeMap::new());

    knows_nothing(&mut pan, Role::Node, 2, 70);
    assert!(std::mem::take(&mut pan.world.dirty).contains(&stored), "it is told only after this");
    assert_eq!(named(&pan), BTreeMap::from([(Role::Node, Blank(70))]));
    knows_nothing(&mut pan, Role::Node, 3, 70);
    assert!(!pan.world.dirty.contains(&stored), "nothing new");
    knows_nothing(&mut pan, Role::Director, 3, 71);
    knows_nothing(&mut pan, Role::Node, 4, 72);
    assert_eq!(named(&pan), BTreeMap::from([(Role::Node, Blank(72)), (Role::Director, Blank(71))]));
    let hello = Hello { software: "later".into(), ..hello_of(&pan, "n1") };
    hosts::hello(&mut pan.world, pan.now, &hello).unwrap();
    assert_eq!(named(&pan).len(), 2, "who presents itself anew may know what it knew");

    pan.world.leading = false;
    pan.world.dirty.clear();
    knows_nothing(&mut pan, Role::Node, 5, 73);
    assert_eq!(named(&pan)[&Role::Node], Blank(72), "whoever follows goes by the store");
    assert!(pan.world.dirty.is_empty());
    pan.world.leading = true;
    knows_nothing(&mut pan, Role::Node, 6, 73);
    assert_eq!(named(&pan)[&Role::Node], Blank(73), "it hears of it within a second");
}

/// The store knows where servers are, and not how they are.
#[test]
fn a_controller_that_was_just_started_says_that_it_does_not_know() {
    let mut pan = Pan::new();
    let mut entries = BTreeMap::new();
    pan.apply(&web(3)).unwrap();
    pan.rounds_keeping_dirty(2);
    commit(&mut pan, &mut entries);
    let mut fresh = persist::load((*pan.world.settings).clone(), listed(&entries)).unwrap();
    let node = pan.node_of("web-1").unwrap();
    let shown = |world: &World| {
        let view = pan_controller::views::view(world, 1);
        (
            view.hosts[&host(&node)].state.to_string(),
            view.nodes[&host(&node)].state.to_string(),
            view.servers[&server("web-1")].state.to_string(),
        )
    };
    let words = |host: &str, server: &str| (host.to_owned(), host.to_owned(), server.to_owned());
    assert_eq!(shown(&fresh), words("unknown", "unknown"));
    hosts::life(&mut fresh, pan.now, LifeChange::Alive(host(&node), Duration::ZERO));
    assert_eq!(shown(&fresh), words("alive", "unknown"), "its agent has not said what it runs");
    hosts::report(&mut fresh, pan.now, report_of(&node, Role::Node, 1, 1)).unwrap();
    assert_eq!(shown(&fresh), words("alive", "starting"), "it does not run the server");
}
