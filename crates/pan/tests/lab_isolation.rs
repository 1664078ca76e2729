//! Hostile servers and strangers on the fabrics: what they send, as root of a server with its rights, as somebody with all rights at a
//! server's end of its cable, and as a machine that is no host of the PAN. None of it is heard by anybody it is not for, all of it is counted,
//! and the owner of a hostile server and the provider are told.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "isolation/attempts.rs"]
mod attempts;
#[path = "isolation/frames.rs"]
mod frames;
#[path = "isolation/scene.rs"]
mod scene;
mod story;
#[path = "isolation/stranger.rs"]
mod stranger;

use frames::{End, HOSTILE, INSIDE, honest, vxlan};
use pan_lab::harness::{self, TestLab};
use pan_lab::{LabHost, LabSpec};
use pan_model::host_config::{BEAT_PORT, CONTROLLER_PORT, DIRECTOR_METRICS_PORT, DIRECTOR_PORT, NODE_PORT};
use scene::{Ear, Place, Program, count, mac_on_a, metrics, own_address, send_from, total, v4_on_a};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use story::person::Person;
use story::{SOON, has, json, lab_of, str_of, text};
use stranger::Stranger;

const REFUSED: &str = "pan_node_frames_refused_total";
const DROPPED: &str = "pan_node_frames_dropped_total";
const BEYOND: &str = "pan_director_packets_refused_total";

/// Both have the same addresses and, as those follow from them, the same Ethernet addresses.
fn partition(name: &str) -> String {
    let cluster = |cluster: &str| {
        format!(
            "---\napi: pan/v1\nkind: Cluster\npartition: {name}\nname: {cluster}\nspec:\n  servers: 2\n  image: host\n  command: [sleep, inf]\n  \
             spread: node\n  resources: {{cpu: 50m, memory: 32MiB}}\n  stop: {{signal: KILL, grace: 1s}}\n"
        )
    };
    let head = format!("api: pan/v1\nkind: Partition\nname: {name}\nspec: {{network: 10.0.0.0/24, hostImage: allow}}\n");
    // A gateway there is where a service needs one.
    let service = format!("---\napi: pan/v1\nkind: Service\npartition: {name}\nname: www\nspec: {{port: 80, cluster: app}}\n");
    head + &cluster("app") + &cluster("side") + &service
}

/// Who is where.
struct Scene {
    lab: TestLab,
    program: Program,
    /// The hostile server.
    mallory: Place,
    /// Others of its partition: on its node, and on the other one.
    own: [Place; 2],
    /// Servers of the other partition, likewise.
    others: [Place; 2],
}

impl Scene {
    fn set() -> Option<Self> {
        if !["gcc", "curl"].iter().all(|program| has(program)) {
            return None;
        }
        let lab = lab_of(|| LabSpec { nodes: 2, directors: 1, storage: 1, ..harness::spec().unwrap() })?;
        let program = Program::build();
        story::apply(&lab, "evil.yaml", &partition("evil"));
        story::apply(&lab, "good.yaml", &partition("good"));
        let names = ["app-1", "app-2", "side-1", "side-2"];
        let all = |partition: &str| names.map(|name| Place::of(&lab, partition, name)).to_vec();
        let (mut evil, good) = (all("evil"), all("good"));
        let mallory = evil.remove(0);
        let near_and_far = |places: &[Place]| {
            let find = |near: bool| places.iter().find(|place| (place.node == mallory.node) == near).unwrap().clone();
            [find(true), find(false)]
        };
        let (own, others) = (near_and_far(&evil), near_and_far(&good));
        Some(Self { lab, program, mallory, own, others })
    }

    /// What nodes refused of servers, all together.
    fn refused(&self, reason: &str) -> u64 {
        self.own.iter().map(|place| count(&metrics(&self.lab, place.node, NODE_PORT), REFUSED, reason)).sum()
    }

    /// Waits until it has grown to that.
    fn wait_refused(&self, reason: &str, at_least: u64) {
        let what = format!("{at_least} frames refused as {reason}");
        self.lab.wait_for(&what, SOON, |_| self.refused(reason) >= at_least).unwrap();
    }

    fn events(&self, person: &Person, partition: &str) -> Vec<Value> {
        let said = person.runs(0, &["events", "-p", partition, "-o", "json"]);
        let events: Vec<Value> = serde_json::from_str(&said).unwrap();
        events.into_iter().filter(|event| event["reason"] == "FramesRefused").collect()
    }
}

#[test]
fn nobody_hears_a_hostile_server_or_a_stranger() {
    let Some(scene) = Scene::set() else { return };
    let lab = &scene.lab;
    let owners = ["evil", "good"].map(|partition| {
        let owner = Person::new(lab, partition);
        owner.gets(lab, &["--role", "monitor", "-p", partition, "--for", partition]);
        owner
    });
    let own: Vec<Ear> = scene.own.iter().map(|place| Ear::at(lab, &scene.program, place)).collect();
    let others: Vec<Ear> = scene.others.iter().map(|place| Ear::at(lab, &scene.program, place)).collect();
    let hosts: Vec<Ear> = lab
        .hosts()
        .unwrap()
        .iter()
        .filter(|host| host.role != "outside")
        .map(|host| Ear::of_host(lab, &scene.program, lab.host(&host.name.to_string()).unwrap()))
        .collect();
    for (reason, _) in attempts::REASONS {
        assert_eq!(scene.refused(reason), 0, "servers that mean no harm are refused something: {reason}");
    }

    with_its_own_rights(&scene);
    with_all_rights(&scene, &own);
    strangers(&scene);

    // What is honest is heard, and comes after all that was sent before it.
    let last = |from: &Place, to: &Place, ear: &Ear| {
        let text = format!("last of {}", from.name);
        send_from(lab, &scene.program, from, &[honest(to.end.mac, &from.end, to.end.v4, &text)]);
        lab.wait_for(&format!("the {text}"), SOON, |_| ear.heard(&format!("{INSIDE}{text}")) > 0).unwrap();
    };
    for (place, ear) in scene.own.iter().zip(&own) {
        last(&scene.mallory, place, ear);
        ear.heard_only(&["to one", "to all", "last"]);
    }
    let [near, far] = &scene.others;
    for (from, to, ear) in [(near, far, &others[1]), (far, near, &others[0])] {
        last(from, to, ear);
        // The first of them is also in the answer that nobody listens there.
        ear.heard_only(&["last"]);
    }
    for host in &hosts {
        host.heard_only(&[]);
    }
    told(&scene, &owners);
}

/// As root of a server, with exactly its limits.
fn with_its_own_rights(scene: &Scene) {
    let [near, _] = &scene.own;
    let (program, mallory) = (scene.program.path(), &scene.mallory);
    let near_v6 = near.end.v6.to_string();
    let mut argv = vec!["exec", &mallory.name, "-p", "evil", "--", &program, "inside"];
    // Another's IPv6 address, which is also the one that is spoken to: of the other server of the cluster.
    let far_v6 = scene.own[1].end.v6.to_string();
    let near_v4 = near.end.v4.to_string();
    argv.extend([far_v6.as_str(), &near_v4, &near_v6, "10.0.0.1", "10.0.0.1"]);
    let hosts = attempts::beyond();
    argv.extend(hosts.iter().map(String::as_str));
    let said = story::pan(&scene.lab, &argv);
    let through: Vec<&str> = said.lines().filter(|line| !line.starts_with("refused\t")).collect();
    println!("{said}");
    // This the kernel lets anybody do, and the server's port nobody.
    assert_eq!(through, ["done\tsend from another IPv6 address\tlet through"]);
    assert!(said.lines().count() > 40, "{said}");
    scene.wait_refused("address", 1);
}

/// As if the server's own limits were gone: any frame, by its own cable.
fn with_all_rights(scene: &Scene, own: &[Ear]) {
    let lab = &scene.lab;
    let (mallory, [near, far]) = (&scene.mallory, &scene.own);
    let honest: Vec<Vec<u8>> = scene
        .own
        .iter()
        .map(|place| honest(place.end.mac, &mallory.end, place.end.v4, "to one"))
        .chain([honest(frames::BROADCAST, &mallory.end, Ipv4Addr::new(10, 0, 0, 255), "to all")])
        .collect();
    send_from(lab, &scene.program, mallory, &honest);
    for ear in own {
        lab.wait_for("an honest frame", SOON, |_| ear.heard("INSIDE!!to one") == 1).unwrap();
    }
    assert!(own[1].heard("INSIDE!!to all") == 0, "nothing is flooded to other hosts");

    let gateway = || total(&metrics(lab, "d1".parse().unwrap(), DIRECTOR_METRICS_PORT), BEYOND);
    let gateway_before = gateway();
    let before: BTreeMap<&str, u64> = attempts::REASONS.iter().map(|(reason, _)| (*reason, scene.refused(reason))).collect();
    let all = attempts::at_the_port(&mallory.end, &near.end, &far.end, vni_of(lab, mallory));
    for (what, reason, frames) in &all {
        send_from(lab, &scene.program, mallory, frames);
        println!("{what}: {} frames, {}", frames.len(), reason.unwrap_or("nowhere to go"));
    }
    for (reason, _) in attempts::REASONS {
        let sent: usize = all.iter().filter(|(_, why, _)| *why == Some(reason)).map(|(_, _, frames)| frames.len()).sum();
        assert!(sent > 0, "nothing is tried that is refused as {reason}");
        scene.wait_refused(reason, before[reason] + sent as u64);
        assert_eq!(scene.refused(reason), before[reason] + sent as u64, "{reason}: each frame counts once");
    }
    // Fragments wait there for the rest, which never comes.
    let least = gateway_before + 4 * attempts::beyond().len() as u64;
    lab.wait_for("what is for beyond the network to be refused there", SOON, |_| gateway() >= least).unwrap();
}

/// The network that a server is in, by its node's bridge.
fn vni_of(lab: &TestLab, place: &Place) -> u32 {
    let link = lab.exec_in(place.node, &["ip", "netns", "exec", &place.netns, "cat", "/sys/class/net/eth0/iflink"]).unwrap();
    let number = text(&link.stdout).trim().to_owned();
    let links = text(&lab.exec_in(place.node, &["ip", "-o", "link"]).unwrap().stdout);
    let line = links.lines().find(|line| line.starts_with(&format!("{number}: "))).unwrap_or_else(|| panic!("{number} in {links}"));
    let bridge = line.split_once("master pb").unwrap().1.split_whitespace().next().unwrap();
    bridge.parse().unwrap()
}

/// A machine on fabric A that is no host of the PAN.
fn strangers(scene: &Scene) {
    let (lab, program) = (&scene.lab, &scene.program);
    let stranger = Stranger::plug(lab);
    injects(scene, &stranger);

    // Heartbeats as they come by: again, changed, and made up.
    for (host, port, page, name) in [
        ("c1", BEAT_PORT, CONTROLLER_PORT, "pan_heartbeats_dropped_total"),
        ("d1", DIRECTOR_PORT, DIRECTOR_METRICS_PORT, "pan_director_heartbeats_dropped_total"),
    ] {
        let host: LabHost = host.parse().unwrap();
        let grabbed = lab.exec_in(host, &[&program.path(), "grab", "fa", &port.to_string(), "12"]).unwrap();
        let grabbed = text(&grabbed.stdout);
        let grabbed: Vec<Vec<u8>> =
            grabbed.lines().map(|line| unhex(line)[42..].to_vec()).filter(|one| one.starts_with(b"PNLB")).take(4).collect();
        assert_eq!(grabbed.len(), 4, "heartbeats to {host} on fabric A");
        let mut altered = grabbed.clone();
        altered.iter_mut().for_each(|one| *one.last_mut().unwrap() ^= 1);
        let made_up = vec![b"PANBEAT".to_vec(), vec![0; 64]];
        let to = (mac_on_a(host), v4_on_a(host));
        let page = || metrics(lab, host, page);
        let before = page();
        for from in [stranger::ADDRESS, v4_on_a(scene.mallory.node)] {
            stranger.says(program, to, from, port, &grabbed);
            stranger.says(program, to, from, port, &altered);
            stranger.says(program, to, from, port, &made_up);
        }
        for (reason, least) in [("replayed", 8), ("forged", 8), ("unknown-format", 4)] {
            let before = count(&before, name, reason);
            lab.wait_for(&format!("{least} datagrams dropped by {host}: {reason}"), SOON, |_| {
                count(&page(), name, reason) >= before + least
            })
            .unwrap();
        }
    }
    let hosts = json(lab, &["get", "host"]);
    assert!(hosts.as_array().unwrap().iter().all(|host| host["state"] == "alive"), "{hosts}");
}

/// Frames of servers, in VXLAN, to the node of the farther ones.
fn injects(scene: &Scene, stranger: &Stranger) {
    let (lab, program, target) = (&scene.lab, &scene.program, &scene.others[1]);
    let near: &End = &scene.others[0].end;
    let inner = |from: [u8; 6]| frames::datagram(target.end.mac, from, near.v4, target.end.v4, 9, HOSTILE);
    let vnis = [vni_of(lab, target), vni_of(lab, &scene.own[1])];
    let dropped = |reason: &str| count(&metrics(lab, target.node, NODE_PORT), DROPPED, reason);
    let before = ["stale", "unknown", "foreign"].map(|reason| (reason, dropped(reason)));
    let to = (mac_on_a(target.node), own_address(target.node));
    let [director, mallorys] = ["d1".parse().unwrap(), scene.mallory.node].map(own_address);
    let mut said = BTreeMap::from([("stale", 0), ("unknown", 0), ("foreign", 0)]);
    let gateway = attempts::GATEWAY;
    for vni in vnis {
        for (why, from, mac) in [
            // No host; a host that has other servers; the host of the gateway's frames, and not of these.
            ("stale", stranger::ADDRESS, near.mac),
            ("stale", Ipv4Addr::new(10, 200, 0, 77), near.mac),
            ("stale", director, near.mac),
            ("stale", mallorys, gateway),
            // A server of the very node that is spoken to.
            ("stale", mallorys, target.end.mac),
            ("unknown", stranger::ADDRESS, [2, 0x66, 0, 0, 0, 9]),
            ("unknown", mallorys, [2, 0x66, 0, 0, 0, 9]),
        ] {
            let frames = vec![vxlan(vni, &inner(mac)); 5];
            stranger.says(program, to, from, 4789, &frames);
            *said.get_mut(why).unwrap() += frames.len() as u64;
        }
    }
    for (from, vni) in [(stranger::ADDRESS, 7), (mallorys, 0xff_fff0)] {
        stranger.says(program, to, from, 4789, &vec![vxlan(vni, &inner(near.mac)); 5]);
        *said.get_mut("foreign").unwrap() += 5;
    }
    for (reason, was) in before {
        let least = was + said[reason];
        lab.wait_for(&format!("{least} frames dropped as {reason}"), SOON, |_| dropped(reason) >= least).unwrap();
    }
}

fn unhex(line: &str) -> Vec<u8> {
    (0..line.len() / 2).map(|at| u8::from_str_radix(&line[2 * at..2 * at + 2], 16).unwrap()).collect()
}

/// Who is told of it, and what.
fn told(scene: &Scene, [evil, good]: &[Person; 2]) {
    let lab = &scene.lab;
    let events = scene.events(evil, "evil");
    assert!(!events.is_empty() && events.iter().all(|event| event["object"] == scene.mallory.name.as_str()), "{events:?}");
    for event in &events {
        let message = str_of(event, "message");
        assert!(message.starts_with("what it sent and may not send was dropped"), "{message}");
        let host = lab.hosts().unwrap().iter().any(|host| message.split_whitespace().any(|word| word == host.name.to_string()));
        assert!(!host && !message.contains("good"), "{message}");
    }
    assert!(scene.events(good, "good").is_empty(), "others are told nothing");
    let all = json(lab, &["events", "-A"]);
    for host in [scene.mallory.node.to_string(), "d1".to_owned()] {
        let provider = |event: &&Value| event["reason"] == "FramesRefused" && event["kind"] == "host" && event["object"] == host.as_str();
        let event = all.as_array().unwrap().iter().find(provider).unwrap_or_else(|| panic!("no event of {host}: {all}"));
        assert!(str_of(event, "message").contains(&format!("of evil/{}", scene.mallory.name)), "{event}");
    }
}
