//! What policies make of clusters as time passes, and what is refused because of times to come.

use super::*;
use jiff::Timestamp;
use pan_controller::core::world::ClusterKey;

fn wall(time: &str) -> i64 {
    time.parse::<Timestamp>().unwrap().as_microsecond()
}

/// A PAN on the Tuesday before, in the evening, with `web` of so many servers on four nodes.
fn pan_of(servers: u32) -> Pan {
    let mut pan = Pan::new();
    pan.now.wall = wall("2026-12-01T18:00:00Z");
    pan.apply(&web(servers)).unwrap();
    pan.rounds(3);
    pan
}

fn policy(name: &str, schedules: &[&str]) -> String {
    let schedules: String = schedules.iter().map(|fields| format!("    - {{{fields}}}\n")).collect();
    format!("api: pan/v1\nkind: Policy\npartition: p\nname: {name}\nspec:\n  target: {{cluster: web}}\n  schedules:\n{schedules}")
}

const DAY: &str = "cron: \"0 8 * * *\", zone: UTC, for: 10h";

fn key() -> ClusterKey {
    ("p".parse().unwrap(), "web".parse().unwrap())
}

/// The servers that stay.
fn servers(pan: &Pan) -> usize {
    pan.world.servers.values().filter(|server| !server.is_leaving()).count()
}

fn at(pan: &mut Pan, time: &str) -> usize {
    pan.now.wall = wall(time);
    pan.rounds(1);
    servers(pan)
}

/// What was told of the cluster and its policies.
fn told(pan: &Pan) -> Vec<(String, String)> {
    let of = |reason: &str| ["Scheduled", "WindowOpened", "WindowClosed", "PolicyHeld", "PolicyClash"].contains(&reason);
    let all = &pan.world.events[&Some("p".parse().unwrap())];
    all.iter().filter(|event| of(&event.reason)).map(|event| (event.reason.clone(), event.message.clone())).collect()
}

fn reasons(pan: &Pan) -> Vec<String> {
    told(pan).into_iter().map(|(reason, _)| reason).collect()
}

/// A week of all schedules is gone through with every change, whoever makes it.
#[test]
fn a_partition_has_so_many_schedules_and_no_more() {
    let mut pan = pan_of(1);
    let full = vec!["cron: \"0 8 * * *\", zone: UTC, for: 1h, floor: 1"; 16];
    for number in 0..4 {
        pan.apply(&policy(&format!("p{number}"), &full)).unwrap();
    }
    let refused = format!("{:?}", pan.apply(&policy("more", &full[..1])).unwrap_err());
    assert!(refused.contains("would have 65 schedules: at most 64"), "{refused}");
    pan.apply(&policy("p0", &full[..15])).unwrap();
    pan.apply(&policy("more", &full[..1])).unwrap();
}

#[test]
fn a_window_opens_and_closes_and_the_manifest_stays_what_it_is() {
    let mut pan = pan_of(1);
    pan.apply(&policy("day", &[&format!("{DAY}, floor: 3")])).unwrap();
    pan.rounds(2);
    assert_eq!((servers(&pan), reasons(&pan).len()), (1, 0));
    assert_eq!(at(&mut pan, "2026-12-02T07:59:58Z"), 1);
    assert_eq!(at(&mut pan, "2026-12-02T08:00:00Z"), 3, "the first instant belongs to it");
    pan.rounds(2);
    assert_eq!(pan.backend("web-3"), BackendState::Up);
    assert_eq!(pan.world.clusters[&key()].spec.servers, 1);
    let view = pan_controller::views::view(&pan.world, 1);
    let shown = &view.clusters[&key()];
    assert_eq!((shown.desired, shown.running, shown.spec.servers, shown.policies[0].as_str()), (3, 3, 1, "day"));
    // Who applies the manifest again takes nothing back.
    let results = pan.apply(&web(1)).unwrap();
    assert!(results.iter().all(|(_, result)| *result == ApplyResult::Unchanged), "{results:?}");
    pan.apply(&web(2)).unwrap();
    pan.rounds(2);
    assert_eq!((servers(&pan), pan.world.clusters[&key()].spec.servers), (3, 2));
    assert_eq!(at(&mut pan, "2026-12-02T17:59:58Z"), 3);
    assert_eq!(at(&mut pan, "2026-12-02T18:00:00Z"), 2, "the instant after it does not");
    pan.rounds(4);
    assert_eq!(pan.world.servers.len(), 2);
    let told = told(&pan);
    assert_eq!(reasons(&pan), ["WindowOpened", "Scheduled", "WindowClosed", "Scheduled"]);
    let text =
        "3 servers instead of 1 (its manifest: 1): floor 3 of policy day, schedules[0] (0 8 * * *), until 2026-12-02T18:00:00+00:00[UTC]";
    assert_eq!(told[1].1, text);
    assert_eq!(told[3].1, "2 servers instead of 3: as its manifest says");
}

#[test]
fn settling_between_changes_writes_nothing() {
    let mut pan = pan_of(1);
    pan.apply(&policy("day", &[&format!("{DAY}, floor: 3")])).unwrap();
    at(&mut pan, "2026-12-02T08:00:00Z");
    pan.rounds(3);
    for _ in 0..20 {
        pan.pass(100);
        settle::settle(&mut pan.world, pan.now);
        let policies = |dirty: &&Dirty| matches!(dirty, Dirty::Policy(_) | Dirty::Cluster(_) | Dirty::Pan);
        assert_eq!(pan.world.dirty.iter().find(policies), None);
    }
}

#[test]
fn a_policy_that_is_applied_within_its_window_counts_at_once_and_ends_when_it_is_deleted() {
    let mut pan = pan_of(3);
    pan.now.wall = wall("2026-12-02T12:00:00Z");
    pan.apply(&policy("few", &[&format!("{DAY}, ceiling: 1")])).unwrap();
    assert_eq!(servers(&pan), 1);
    pan.rounds(4);
    assert_eq!((pan.world.servers.len(), reasons(&pan)), (1, ["Scheduled", "WindowOpened"].map(str::to_owned).to_vec()));
    let delete = |kind, name: &str, cascade| Request::Delete { kind, partition: Some("p".parse().unwrap()), name: name.into(), cascade };
    let refused = pan.ask(delete(Kind::Cluster, "web", false)).unwrap_err();
    assert_eq!(refused.code, Code::InUse, "{refused}");
    pan.ask(delete(Kind::Policy, "few", false)).unwrap();
    pan.rounds(3);
    assert_eq!(servers(&pan), 3);
    assert_eq!(pan.ask(delete(Kind::Policy, "few", false)).unwrap_err().code, Code::NotFound);
    pan.apply(&policy("few", &[&format!("{DAY}, ceiling: 1")])).unwrap();
    pan.ask(delete(Kind::Cluster, "web", true)).unwrap();
    pan.rounds(5);
    assert!(pan.world.clusters.is_empty() && pan.world.policies.is_empty());
}

/// The PAN has room for three: on each of three nodes one, and the fourth free for whichever is lost.
#[test]
fn what_would_break_protection_next_tuesday_is_refused_with_the_moment_and_the_node() {
    let mut pan = pan_of(2);
    let night = "cron: \"10 2 * * TUE\", zone: Europe/Berlin, for: 1h";
    let error = pan.apply(&policy("night", &[&format!("{night}, floor: 3"), &format!("{night}, floor: 4")])).unwrap_err();
    assert_eq!(error.code, Code::Protection, "{error:?}");
    assert!(error.message.starts_with("test.yaml:9:7: from 2026-12-08T02:10:00+01:00[Europe/Berlin] on: "), "{}", error.message);
    assert!(NODES.iter().any(|node| error.message.contains(node)), "the node whose loss breaks it: {}", error.message);
    assert!(pan.world.policies.is_empty() && servers(&pan) == 2);
    // Whoever is of the partition is told no node.
    let documents = |text: String| pan_model::manifest::parse(&[("test.yaml".to_owned(), text)], None).unwrap();
    let apply = Request::Apply { documents: documents(policy("night", &[&format!("{night}, floor: 4")])), dry_run: false };
    let error = operate::request(&mut pan.world, pan.now, Some(&"p".parse().unwrap()), apply).unwrap_err();
    assert!(error.message.ends_with("on: protection for cluster web cannot be kept"), "{}", error.message);
    pan.apply(&policy("night", &[&format!("{night}, floor: 3")])).unwrap();
    // Beyond a week nothing is looked at.
    let later = "from: 2026-12-09T00:00, until: 2026-12-09T01:00, zone: UTC, floor: 4";
    pan.apply(&policy("later", &[later])).unwrap();
}

/// Another cluster that takes the room which a policy will want.
#[test]
fn what_takes_a_policys_room_is_refused_too() {
    let mut pan = pan_of(1);
    pan.apply(&policy("day", &[&format!("{DAY}, floor: 3")])).unwrap();
    pan.rounds(2);
    let other = |cpu: &str| {
        format!(
            "api: pan/v1\nkind: Cluster\npartition: p\nname: batch\nspec:\n  servers: 2\n  image: host\n  command: [sleep, inf]\n  spread: node\n  resources: {{cpu: {cpu}, memory: 128MiB}}\n"
        )
    };
    let error = pan.apply(&other("3600m")).unwrap_err();
    assert!(error.message.contains("from 2026-12-02T08:00:00+00:00[UTC] on: p/batch-1 cannot be had: if n"), "{error:?}");
    pan.apply(&other("3000m")).unwrap();
    let scale = |servers| Request::Scale { partition: "p".parse().unwrap(), cluster: "web".parse().unwrap(), servers };
    pan.ask(scale(2)).unwrap();
    assert_eq!(pan.ask(scale(4)).unwrap_err().code, Code::Protection);
}

#[test]
fn when_another_partition_has_more_is_told_to_nobody() {
    let mut pan = pan_of(1);
    pan.apply(&policy("day", &[&format!("{DAY}, floor: 3")])).unwrap();
    pan.apply("api: pan/v1\nkind: Partition\nname: q\nspec: {network: 10.0.0.0/24}\n").unwrap();
    pan.rounds(2);
    let batch = "api: pan/v1\nkind: Cluster\npartition: q\nname: batch\nspec:\n  servers: 2\n  image: host\n  command: [sleep, inf]\n  spread: node\n  resources: {cpu: 3600m, memory: 128MiB}\n";
    let documents = pan_model::manifest::parse(&[("test.yaml".to_owned(), batch.to_owned())], None).unwrap();
    let apply = Request::Apply { documents, dry_run: false };
    let error = operate::request(&mut pan.world, pan.now, Some(&"q".parse().unwrap()), apply).unwrap_err();
    assert!(error.message.ends_with(": not available now") && !error.message.contains("2026"), "{error:?}");
}

/// What one partition cannot have is its own trouble: others' promises are proved all the same, and its words are told to nobody.
#[test]
fn a_partition_that_asks_too_much_keeps_nobody_from_being_proved() {
    let mut pan = pan_of(1);
    pan.apply(&policy("once", &["from: 2026-12-10T08:00, until: 2026-12-10T09:00, zone: UTC, floor: 3"])).unwrap();
    let apply = |pan: &mut Pan, partition: &str, text: String| {
        let documents = pan_model::manifest::parse(&[("test.yaml".to_owned(), text)], None).unwrap();
        let apply = Request::Apply { documents, dry_run: false };
        operate::request(&mut pan.world, pan.now, Some(&partition.parse().unwrap()), apply)
    };
    let cluster = |partition: &str, servers: u32, cpu: &str| {
        format!(
            "api: pan/v1\nkind: Cluster\npartition: {partition}\nname: job\nspec:\n  servers: {servers}\n  image: host\n  command: [sleep, inf]\n  \
             spread: node\n  resources: {{cpu: {cpu}, memory: 128MiB}}\n"
        )
    };
    for (name, quota) in [("a", ", quota: {servers: 2}"), ("q", "")] {
        pan.apply(&format!("api: pan/v1\nkind: Partition\nname: {name}\nspec: {{network: 10.0.0.0/24{quota}}}\n")).unwrap();
    }
    apply(&mut pan, "a", cluster("a", 1, "50m")).unwrap();
    let far = policy("far", &["from: 2026-12-09T20:00, until: 2027-12-09T20:00, zone: UTC, floor: 100"]);
    apply(&mut pan, "a", far.replace("partition: p", "partition: a").replace("cluster: web", "cluster: job")).unwrap();
    pan.now.wall = wall("2026-12-03T18:00:00Z");
    pan.rounds(2);
    let error = apply(&mut pan, "q", cluster("q", 2, "3600m")).unwrap_err();
    assert!(error.message.ends_with("not available now") && !error.message.contains("quota"), "{error:?}");
    apply(&mut pan, "q", cluster("q", 1, "50m")).unwrap();
}

#[test]
fn quotas_are_kept_at_every_moment() {
    let mut pan = pan_of(1);
    let quota = |most| format!("api: pan/v1\nkind: Partition\nname: p\nspec: {{network: 10.0.0.0/24, quota: {{servers: {most}}}}}\n");
    pan.apply(&quota(2)).unwrap();
    let day = policy("day", &["cron: \"0 8 * * FRI\", zone: America/New_York, for: 1h, exact: 3"]);
    let error = pan.apply(&day).unwrap_err();
    assert_eq!(error.code, Code::Quota);
    let text = "from 2026-12-04T08:00:00-05:00[America/New_York] on: quota of servers: 3 asked for, 0 used, 2 allowed";
    assert!(error.message.contains(text), "{}", error.message);
    pan.apply(&quota(3)).unwrap();
    pan.apply(&day).unwrap();
    let error = pan.apply(&quota(2)).unwrap_err();
    assert!(error.code == Code::Quota && error.message.contains("with this, policy p/day"), "{error:?}");
}

#[test]
fn contradictions_are_refused_where_they_stand() {
    let mut pan = pan_of(1);
    pan.apply(&policy("day", &[&format!("{DAY}, floor: 3")])).unwrap();
    let friday = policy(
        "friday",
        &["cron: \"0 20 * * *\", zone: UTC, for: 1h, ceiling: 1", "cron: \"30 17 * * FRI\", zone: UTC, for: 2h, ceiling: 2"],
    );
    let error = pan.apply(&friday).unwrap_err();
    assert_eq!(error.code, Code::Conflict);
    let text =
        "test.yaml:9:7: ceiling 2 contradicts floor 3 of policy day, schedules[0] (0 8 * * *), from 2026-12-04T17:30:00+00:00[UTC] on";
    assert!(error.message.starts_with(text), "{}", error.message);
    let error = pan.apply(&policy("day", &["cron: \"* * * * *\", zone: UTC, for: 1s, floor: 1"])).unwrap_err();
    assert!(error.message.contains("more than 512 times"), "{}", error.message);
    let error = pan.apply(&policy("lost", &[&format!("{DAY}, floor: 3")]).replace("cluster: web", "cluster: wbe")).unwrap_err();
    assert!(error.code == Code::Dangling && error.message.starts_with("test.yaml:6:21"), "{error:?}");
}

/// A contradiction that begins after the week that was looked at is told when its time comes.
#[test]
fn a_contradiction_that_nobody_foresaw_is_told_once_and_the_larger_number_counts() {
    let mut pan = pan_of(1);
    pan.apply(&policy("one", &["from: 2026-12-20T08:00, until: 2026-12-20T09:00, zone: UTC, floor: 3"])).unwrap();
    pan.apply(&policy("two", &["from: 2026-12-20T08:00, until: 2026-12-20T09:00, zone: UTC, ceiling: 2"])).unwrap();
    assert_eq!(at(&mut pan, "2026-12-20T08:00:00Z"), 3);
    pan.rounds(9);
    assert_eq!(reasons(&pan), ["WindowOpened", "WindowOpened", "PolicyClash", "Scheduled"]);
    assert_eq!(at(&mut pan, "2026-12-20T09:00:00Z"), 1);
}

/// A node has died since: of what is wanted, as much is had as breaks no promise, and the rest when there is a node again.
#[test]
fn what_cannot_be_had_when_its_time_comes_is_had_as_far_as_it_can_be_and_told_once() {
    let mut pan = pan_of(1);
    pan.apply(&policy("day", &[&format!("{DAY}, floor: 3")])).unwrap();
    pan.rounds(2);
    let lost: &'static str = NODES.into_iter().find(|node| pan.node_of("web-1").as_deref() != Some(node)).unwrap();
    pan.cut(lost);
    pan.rounds(4);
    assert_eq!(at(&mut pan, "2026-12-02T08:00:00Z"), 2, "two of three nodes, so that one may be lost");
    pan.rounds(20);
    assert_eq!((servers(&pan), reasons(&pan)), (2, ["WindowOpened", "Scheduled", "PolicyHeld"].map(str::to_owned).to_vec()));
    let told_pan = |event: &&std::sync::Arc<pan_api::event::Event>| event.reason == "PolicyHeld";
    let whole = pan.world.events[&None].iter().find(told_pan).unwrap().message.clone();
    assert!(whole.starts_with("cluster p/web: policies want 3 servers and 2 can be had at present: "), "{whole}");
    assert_eq!(told(&pan)[2].1, "policies want 3 servers and 2 can be had at present: protection for cluster web cannot be kept");
    // An owner's change is not refused for what the policy cannot have.
    pan.apply(&web(2)).unwrap();
    pan.rounds(2);
    assert_eq!(servers(&pan), 2);
    pan.life(LifeChange::Alive(host(lost), Duration::ZERO));
    pan.alive.push(lost);
    pan.rounds(15);
    assert_eq!(servers(&pan), 3);
}

/// The next leader's clock is three seconds behind, and this one's was set back.
#[test]
fn a_clock_that_is_behind_undoes_nothing() {
    let mut pan = pan_of(1);
    pan.apply(&policy("day", &[&format!("{DAY}, floor: 3")])).unwrap();
    assert_eq!(at(&mut pan, "2026-12-02T08:00:00.5Z"), 3);
    pan.rounds(3);
    assert_eq!(at(&mut pan, "2026-12-02T07:59:50Z"), 3);
    standing::candidate(&mut pan.world, &host("c1"), 7, 3);
    standing::lead(&mut pan.world, pan.now);
    assert_eq!(at(&mut pan, "2026-12-02T07:59:57Z"), 3);
    assert_eq!(reasons(&pan), ["WindowOpened", "Scheduled"], "the next leader tells nothing again");
    // A clock that is off by more is believed.
    assert_eq!(at(&mut pan, "2026-12-02T07:50:00Z"), 1);
}

#[test]
fn what_is_stored_is_read_again() {
    let mut pan = pan_of(1);
    pan.apply(&policy("day", &[&format!("{DAY}, floor: 3")])).unwrap();
    at(&mut pan, "2026-12-02T08:00:00Z");
    for dirty in [Dirty::Policy(("p".parse().unwrap(), "day".parse().unwrap())), Dirty::Cluster(key()), Dirty::Pan] {
        let (path, value) = (persist::key_of(&dirty), persist::value_of(&pan.world, &dirty).unwrap());
        let (policies, clusters, whole) = (pan.world.policies.clone(), pan.world.clusters.clone(), pan.world.pan.clone());
        standing::followed(&mut pan.world, &path, Some(&value)).unwrap();
        assert_eq!((&pan.world.policies, &pan.world.clusters, &pan.world.pan), (&policies, &clusters, &whole), "{path}");
    }
    let path = persist::key_of(&Dirty::Policy(("p".parse().unwrap(), "day".parse().unwrap())));
    standing::followed(&mut pan.world, &path, None).unwrap();
    assert!(pan.world.policies.is_empty());
}

/// 1,000 clusters and 200 policies: what a round costs in which nothing is due, and one in which a window of each opens.
#[test]
fn a_round_with_many_policies_is_short() {
    let mut pan = pan_of(1);
    let one = pan.world.clusters[&key()].clone();
    for at in 0..1000 {
        pan.world.clusters.insert(("p".parse().unwrap(), format!("c{at}").parse().unwrap()), one.clone());
    }
    let files = [(
        "x".to_owned(),
        policy("day", &[&format!("{DAY}, ceiling: 5"), "cron: \"0 20 * * SAT\", zone: Europe/Berlin, for: 2h, ceiling: 7"]),
    )];
    let documents = pan_model::manifest::parse(&files, None).unwrap();
    let pan_model::manifest::Object::Policy(_, _, spec) = &documents[0].object else { panic!("a policy") };
    for at in 0..200 {
        let mut spec = spec.clone();
        spec.target.cluster = format!("c{at}").parse().unwrap();
        let record = pan_controller::core::record::PolicyRecord { spec, open: Vec::new(), next: None };
        pan.world.policies.insert(("p".parse().unwrap(), format!("x{at}").parse().unwrap()), record);
    }
    pan.now.wall = wall("2026-12-02T08:00:00Z");
    pan.world.seen.policies.rest = None;
    let before = std::time::Instant::now();
    pan_controller::core::policy::advance(&mut pan.world, pan.now);
    let opening = before.elapsed();
    assert_eq!(pan.world.policies.values().filter(|record| record.open.len() == 1).count(), 200);
    let before = std::time::Instant::now();
    pan_controller::core::policy::advance(&mut pan.world, pan.now);
    let resting = before.elapsed();
    println!("200 windows open in {opening:?}; a round in which nothing is due: {resting:?}");
    assert!(resting < Duration::from_millis(5), "{resting:?}");
}
