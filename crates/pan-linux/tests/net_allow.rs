//! Who may begin to speak to a namespace, with real connections on the real kernel.
#![allow(clippy::unwrap_used)]

mod net_rig;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use net_rig::{Space, may_run, net, until};
use pan_linux::allow::{Allow, Callers, Ports};
use pan_linux::rtnl::Mac;

const WEB: Mac = [2, 0x70, 0, 0, 0, 1];
const DATABASE: Mac = [2, 0x70, 0, 0, 0, 2];
const OPEN: u16 = 5000;
const SHUT: u16 = 5001;
/// As long as a lost SYN or datagram would take to be noticed in vain.
const PATIENCE: Duration = Duration::from_millis(400);

/// Two servers, each at the end of one cable.
struct Rig {
    web: Space,
    database: Space,
    allow: Allow,
}

impl Rig {
    fn new() -> Rig {
        let (web, database) = (Space::new("web"), Space::new("db"));
        web.rtnl().add_veth_to("eth0", "eth0", &database.netns).unwrap();
        for (space, mac) in [(&web, WEB), (&database, DATABASE)] {
            let rtnl = space.rtnl();
            rtnl.set_mac("eth0", mac).unwrap();
            for address in [format!("10.9.0.{}/24", mac[5]), format!("fd09::{}/64", mac[5])] {
                rtnl.replace_addr("eth0", net(&address)).unwrap();
            }
            rtnl.set_up("eth0").unwrap();
        }
        let allow = Allow::open(database.netns.try_clone().unwrap()).unwrap();
        let rig = Rig { web, database, allow };
        rig.web.reaches("10.9.0.2");
        rig.web.reaches("fd09::2");
        rig
    }
}

fn listen(space: &Space, at: &str) -> TcpListener {
    space.netns.run(|| TcpListener::bind(at)).unwrap().unwrap()
}

fn socket(space: &Space, at: &str) -> UdpSocket {
    let socket = space.netns.run(|| UdpSocket::bind(at)).unwrap().unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn connect(space: &Space, to: &str) -> std::io::Result<TcpStream> {
    let to: SocketAddr = to.parse().unwrap();
    space.netns.run(|| TcpStream::connect_timeout(&to, PATIENCE)).unwrap()
}

/// Whether a datagram of so many bytes arrives.
fn hears(from: &UdpSocket, to: &UdpSocket, bytes: usize) -> bool {
    from.send_to(&vec![7; bytes], to.local_addr().unwrap()).unwrap();
    to.recv_from(&mut vec![0; 70_000]).is_ok_and(|(got, _)| got == bytes)
}

#[test]
fn only_what_is_allowed_begins_and_all_that_answers_comes_back() {
    if !may_run("only_what_is_allowed_begins_and_all_that_answers_comes_back") {
        return;
    }
    let mut rig = Rig::new();
    for (web, database) in [("10.9.0.1", "10.9.0.2"), ("[fd09::1]", "[fd09::2]")] {
        let at = |address: &str, port: u16| format!("{address}:{port}");
        let listeners = [OPEN, SHUT].map(|port| listen(&rig.database, &at(database, port)));
        let datagrams = [OPEN, SHUT].map(|port| socket(&rig.database, &at(database, port)));
        let (of_web, answers) = (listen(&rig.web, &at(web, 80)), socket(&rig.web, &at(web, 53)));
        let caller = socket(&rig.web, &at(web, 0));
        let ping = database.trim_matches(['[', ']']);
        let check = |what: &str, open: bool, shut: bool, echo: bool| {
            for (port, expected) in [(OPEN, open), (SHUT, shut)] {
                assert_eq!(connect(&rig.web, &at(database, port)).is_ok(), expected, "{what}: connect to {database}:{port}");
            }
            for (socket, expected) in datagrams.iter().zip([open, shut]) {
                // The larger one is of several fragments.
                for bytes in [10, 9000] {
                    assert_eq!(hears(&caller, socket, bytes), expected, "{what}: {bytes} bytes to {:?}", socket.local_addr());
                }
            }
            assert_eq!(rig.web.ping(ping, "0.4"), echo, "{what}: ping {ping}");
        };
        check("without rules", true, true, true);

        // Begun before there are any rules, and goes on.
        let mut former = connect(&rig.web, &at(database, SHUT)).unwrap();
        let own = former.local_addr().unwrap();
        let mut served = listeners[1].incoming().map(Result::unwrap).find(|stream| stream.peer_addr().unwrap() == own).unwrap();

        assert!(rig.allow.apply(Some(&[])).unwrap());
        check("closed", false, false, false);
        let refused = rig.allow.refused().unwrap();
        assert!(refused.keys().eq([&WEB]) && refused[&WEB] >= 5, "{refused:?}");
        former.write_all(b"still").unwrap();
        served.read_exact(&mut [0; 5]).unwrap();
        served.write_all(b"there").unwrap();
        former.read_exact(&mut [0; 5]).unwrap();

        // What it begins itself, and what it says to itself.
        connect(&rig.database, &at(web, 80)).unwrap();
        of_web.accept().unwrap();
        let asking = socket(&rig.database, &at(database, 0));
        for bytes in [10, 9000] {
            assert!(hears(&asking, &answers, bytes) && hears(&answers, &asking, bytes), "an answer of {bytes} bytes");
        }
        assert!(rig.database.ping(web.trim_matches(['[', ']']), "1"));
        let itself = socket(&rig.database, &at(database, 0));
        assert!(hears(&itself, &datagrams[1], 10) && connect(&rig.database, &at(database, SHUT)).is_ok());

        let mut web_may = |ports| assert!(rig.allow.apply(Some(&[Callers { macs: [WEB].into(), ports }])).unwrap());
        web_may(Ports::Only([OPEN].into()));
        check("one port", true, false, false);
        web_may(Ports::All);
        check("everything", true, true, true);
        assert!(rig.allow.apply(Some(&[Callers { macs: [[2, 9, 9, 9, 9, 9]].into(), ports: Ports::All }])).unwrap());
        check("another", false, false, false);
        assert!(rig.allow.apply(None).unwrap() && !rig.allow.apply(None).unwrap());
        check("without rules again", true, true, true);
    }
    // Where nobody loaded the module there is no such file. While rules are put in force the kernel begins to track a moment before the rule
    // that keeps connections out of it: what comes just then, for each of the two families, is tracked.
    let count = rig.database.output(&["cat", "/proc/sys/net/netfilter/nf_conntrack_count"]);
    assert!(count.is_empty() || count.trim().parse::<u32>().unwrap() <= 2, "{count} connections are tracked");
}

/// More ports of one caller than there is room for conversations.
const ASKING: std::ops::Range<u16> = 20_000..37_000;
/// Sockets that are open at a time.
const BATCH: u16 = 100;

#[test]
fn whoever_may_ask_leaves_room_for_what_the_server_asks() {
    if !may_run("whoever_may_ask_leaves_room_for_what_the_server_asks") {
        return;
    }
    let mut rig = Rig::new();
    for (web, database) in [("10.9.0.1", "10.9.0.2"), ("[fd09::1]", "[fd09::2]")] {
        let at = |address: &str, port: u16| format!("{address}:{port}");
        let served = socket(&rig.database, &at(database, OPEN));
        let ports = if web.starts_with('[') { Ports::All } else { Ports::Only([OPEN].into()) };
        let all = ports == Ports::All;
        rig.allow.apply(Some(&[Callers { macs: [WEB].into(), ports }])).unwrap();
        if all {
            // Ports that nobody serves count as well.
            let caller = socket(&rig.web, &at(web, 0));
            ASKING.for_each(|port| drop(caller.send_to(b"?", at(database, port))));
        }
        let mut buffer = [0; 64];
        for first in ASKING.step_by(usize::from(BATCH)) {
            let asking: Vec<UdpSocket> = (first..first + BATCH).map(|port| socket(&rig.web, &at(web, port))).collect();
            for socket in &asking {
                socket.send_to(b"?", served.local_addr().unwrap()).unwrap();
                let (_, from) = served.recv_from(&mut buffer).unwrap();
                served.send_to(b"!", from).unwrap();
            }
            assert!(asking.iter().all(|socket| socket.recv_from(&mut buffer).is_ok()), "answers leave");
        }
        let (own, other) = (socket(&rig.database, &at(database, 0)), socket(&rig.web, &at(web, 0)));
        assert!(hears(&own, &other, 10) && hears(&other, &own, 10), "the server's own question is answered");
        // Also where it asks from the port that it serves, and after those who ask it may not any more.
        assert!(hears(&other, &served, 10));
        rig.allow.apply(Some(&[])).unwrap();
        assert!(!hears(&other, &served, 10), "whoever may not ask is not heard, whatever it was answered before");
        assert!(hears(&served, &other, 10) && hears(&other, &served, 10), "but for what it was asked");
    }
}

#[test]
fn rules_outlive_who_loaded_them_and_come_back_when_somebody_takes_them_away() {
    if !may_run("rules_outlive_who_loaded_them_and_come_back_when_somebody_takes_them_away") {
        return;
    }
    let mut rig = Rig::new();
    let _listener = listen(&rig.database, "10.9.0.2:5000");
    let callers = [Callers { macs: [WEB].into(), ports: Ports::Only([OPEN].into()) }];
    assert!(
        rig.allow.apply(Some(&callers)).unwrap() && !rig.allow.apply(Some(&callers)).unwrap(),
        "the second time nothing is left to be done"
    );
    let asking = socket(&rig.database, "10.9.0.2:0");
    let answers = socket(&rig.web, "10.9.0.1:53");
    assert!(hears(&asking, &answers, 10));

    let table = || rig.database.output(&["nft", "-a", "list", "chain", "inet", "pan_allow", "at_server"]);
    let before = table();
    let mut next = Allow::open(rig.database.netns.try_clone().unwrap()).unwrap();
    assert!(next.is_in_force().unwrap() && !rig.web.ping("10.9.0.2", "0.4"));
    assert!(next.apply(Some(&[])).unwrap());
    assert_eq!(table(), before, "elements change, rules do not");
    assert!(connect(&rig.web, "10.9.0.2:5000").is_err());
    assert!(hears(&answers, &asking, 10), "what it asked before is answered");

    rig.database.netns.run(|| Command::new("nft").args(["flush", "ruleset"]).status().unwrap()).unwrap();
    assert!(connect(&rig.web, "10.9.0.2:5000").is_ok());
    assert!(next.apply(Some(&[])).unwrap());
    until("it is closed again", || connect(&rig.web, "10.9.0.2:5000").is_err());
}
