//! The observers and the check of chaos against what they look for, made by hand: two hosts that answer for one address.

use super::{host, ok, up};
use pan_lab::LabHost;
use pan_lab::chaos::{Asked, Observation, Target, Watcher, instances};
use pan_lab::harness::TestLab;
use pan_linux::netns::Netns;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

const ADDRESS: &str = "10.201.0.99";

/// A host's network, by the name that `pan lab hosts` shows.
fn netns(lab: &TestLab, on: LabHost) -> Netns {
    let view = lab.hosts().unwrap().into_iter().find(|view| view.name == on).unwrap();
    Netns::open(&view.netns.unwrap()).unwrap()
}

/// Answers for the address on a host until the sender is dropped.
fn answer(lab: &TestLab, on: &str, instance: &'static str) -> Sender<()> {
    ok(lab, on, &["ip", "address", "add", &format!("{ADDRESS}/32"), "dev", "fa"]);
    let listener = netns(lab, host(on)).run(|| TcpListener::bind((ADDRESS, 80)).unwrap()).unwrap();
    let (stop, stopped) = channel();
    let serve = move |mut stream: TcpStream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(format!("HTTP/1.0 200 OK\r\n\r\nweb-1 {instance}\n").as_bytes());
    };
    std::thread::spawn(move || {
        listener.set_nonblocking(true).unwrap();
        while stopped.recv_timeout(Duration::from_millis(1)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            while let Ok((stream, _)) = listener.accept() {
                stream.set_nonblocking(false).unwrap();
                serve(stream);
            }
        }
    });
    stop
}

/// Lets the observer's host take a host for the owner.
fn point(lab: &TestLab, owner: &str) {
    let mac = ok(lab, owner, &["cat", "/sys/class/net/fa/address"]);
    ok(lab, "c1", &["ip", "neighbour", "replace", ADDRESS, "lladdr", &mac, "dev", "fa", "nud", "permanent"]);
}

/// Waits for an answer of an instance, not counting what is in the log already.
fn hear(instance: &str, seen: &Receiver<Observation>, log: &mut Vec<Observation>) {
    let since = log.len();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !log[since..].iter().any(|one| one.answer.as_ref().is_some_and(|answer| answer.instance == instance)) {
        log.push(seen.recv_timeout(deadline.saturating_duration_since(Instant::now())).expect("an answer of the owner"));
    }
}

pub fn an_address_with_two_owners_is_found() {
    let lab = up();
    let _owners = [answer(&lab, "n1", "old"), answer(&lab, "n2", "new")];
    point(&lab, "n1");
    let (sender, seen) = channel();
    let target = Target { asked: Asked::Server("web-1".to_owned()), address: format!("{ADDRESS}:80").parse().unwrap() };
    let _watcher = Watcher::start("c1", netns(&lab, host("c1")), vec![target], Duration::from_millis(5), sender);
    let mut log = Vec::new();
    hear("old", &seen, &mut log);
    point(&lab, "n2");
    hear("new", &seen, &mut log);
    assert_eq!(instances(&log), Vec::<String>::new(), "one after the other is as it should be");
    point(&lab, "n1");
    // Old answers of before may still be on their way, so it must be heard for a while.
    for _ in 0..20 {
        hear("old", &seen, &mut log);
    }
    let said = instances(&log);
    assert!(said.len() == 1 && said[0].starts_with("I3: server web-1 was answered for by two instances: old"), "{said:#?}");
}
