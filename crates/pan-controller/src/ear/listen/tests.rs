//! The ear on real sockets, without its thread: rounds are made when the test says so, as after a time in which the process stood still.

use super::*;
use pan_linux::datagram::BeatSocket;
use pan_member::{LeaseState, Load, Permille, Profile, Term};
use pan_model::host::Role;
use pan_model::host_config::BEAT_PORT;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU8;
use tokio::sync::mpsc;

const ROOT: [u8; 32] = [7; 32];
/// Attempts at a scene that a busy machine can spoil by holding the test up at the wrong time.
const ATTEMPTS: usize = 10;
/// Between two rounds, and between two heartbeats.
const PACE: Duration = Duration::from_millis(50);

/// The first of the addresses of the next rig.
static RIGS: AtomicU8 = AtomicU8::new(1);

fn host(name: &str) -> HostName {
    HostName::new(name).unwrap()
}

fn timing() -> Timing {
    Profile::Wan.timing(7)
}

/// An ear on addresses that no other process has, and somebody who beats in the name of all.
struct Rig {
    listener: Listener,
    orders: std::sync::mpsc::Sender<Order>,
    told: mpsc::Receiver<ToLoop>,
    waker: Waker,
    fabrics: [IpAddr; 2],
    sender: BeatSocket,
    sequence: u64,
}

impl Rig {
    fn new(hosts: &[&str]) -> Self {
        let [.., high, low] = std::process::id().to_be_bytes();
        let first = RIGS.fetch_add(3, Ordering::Relaxed);
        let at = |number: u8| IpAddr::from([127, high, low, first + number]);
        let (orders, ordered) = std::sync::mpsc::channel();
        // More than all that is told here.
        let (inbox, told) = mpsc::channel(4096);
        let (waker, fabrics) = (Waker::new().unwrap(), [at(0), at(1)]);
        let setup = Setup {
            me: host("c1"),
            instance: BootId(1),
            nonces: [Nonce(1), Nonce(2)],
            timing: timing(),
            fabrics,
            root: ROOT,
            controllers: Vec::new(),
            lessors: Vec::new(),
            protected: Arc::new(AtomicUsize::new(1)),
            waker: waker.clone(),
            orders: ordered,
            metrics: Arc::default(),
            inbox,
            record: Asker::new().0,
        };
        let listener = Listener::new(setup).unwrap();
        let sender = BeatSocket::bind(SocketAddr::new(at(2), 0)).unwrap();
        let rig = Self { listener, orders, told, waker, fabrics, sender, sequence: 0 };
        let known = hosts.iter().map(|name| (host(name), Known { revoked: None })).collect();
        rig.orders.send(Order::Hosts(known)).unwrap();
        rig
    }

    /// A heartbeat over both fabrics, which lies in the ear's sockets from now on.
    fn beats(&mut self, names: &[&str]) {
        self.sequence += 1;
        for name in names {
            let key = KeyRing::at(&ROOT, 0, 0).derive(|key| host_key(key, &host(name)));
            for (fabric, address) in Fabric::BOTH.into_iter().zip(self.fabrics) {
                let frame = Frame {
                    host: host(name),
                    roles: [Role::Director].into_iter().collect(),
                    fabric,
                    boot: BootId(9),
                    sequence: self.sequence,
                    admission: Admission::NONE,
                    term: Term(0),
                    agent_age: Duration::ZERO,
                    acknowledged: [None, None],
                    lag: Duration::ZERO,
                    load: Load { cpu: Permille(0), memory: pan_model::ByteSize(0), pressure: None },
                    lease: LeaseState::None,
                    gate: pan_member::GateState::None,
                    period: None,
                    lease_length: None,
                };
                let mut bytes = [0; FRAME_BYTES_MAX];
                let length = frame.encode(key.current(), &mut bytes);
                assert!(self.sender.send(&bytes[..length], SocketAddr::new(address, BEAT_PORT)).unwrap());
            }
        }
    }

    /// A round, and what the loop is told by it.
    fn round(&mut self) -> Vec<LifeChange> {
        assert!(self.listener.round().is_ok());
        let mut all = Vec::new();
        while let Ok(message) = self.told.try_recv() {
            if let ToLoop::Liveness(changes) = message {
                all.extend(changes.into_iter().map(|(_, change)| change));
            }
        }
        all
    }

    /// Lets time pass without a round.
    fn stands_still(&self, until: Tick) {
        loop {
            let left = until.since(Tick(datagram::boot_clock()));
            if left.is_zero() {
                return;
            }
            datagram::wait([], &self.waker, left).unwrap();
        }
    }
}

fn is_death_of(change: &LifeChange, name: &str) -> bool {
    matches!(change, LifeChange::Dead(dead, _) if *dead == host(name))
}

/// `late` and `gone` are heard at the same time and then no more, for nearly as long as makes a death. Then the process stands still, for less than
/// it forgives itself, and meanwhile a heartbeat of `late` lies in its sockets. None: the machine held the test up, so that it shows nothing.
fn scene() -> Option<Vec<LifeChange>> {
    let others = ["a1", "a2", "a3", "a4", "a5"];
    let mut rig = Rig::new(&[&others[..], &["late", "gone"]].concat());
    rig.round();
    rig.beats(&[&others[..], &["late", "gone"]].concat());
    let heard = Tick(datagram::boot_clock());
    rig.round();
    let (dead_after, period) = (timing().dead_after(), timing().period);
    let nearly = heard.plus(dead_after - period);
    let mut last = heard;
    while Tick(datagram::boot_clock()) < nearly {
        rig.stands_still(Tick(datagram::boot_clock()).plus(PACE));
        rig.beats(&others);
        last = Tick(datagram::boot_clock());
        let early = rig.round();
        if early.iter().any(|change| is_death_of(change, "gone")) {
            return None;
        }
    }
    rig.beats(&["late"]);
    rig.beats(&others);
    let sent = Tick(datagram::boot_clock());
    rig.stands_still(heard.plus(dead_after + PACE));
    let in_time = sent < heard.plus(dead_after) && Tick(datagram::boot_clock()).since(last) < period * 2;
    in_time.then(|| rig.round())
}

/// With the order of `hear` and `judge` turned round in `round`, the one whose heartbeat waits is told dead with the other, or both deaths are
/// held for a stampede.
#[test]
fn what_lies_in_the_sockets_is_heard_before_anybody_is_judged() {
    let told = (0..ATTEMPTS).find_map(|_| scene()).expect("a machine that is not busy all the time");
    assert!(told.iter().any(|change| is_death_of(change, "gone")), "nobody was judged: {told:?}");
    assert!(!told.iter().any(|change| is_death_of(change, "late")), "told dead unheard: {told:?}");
    assert!(!told.iter().any(|change| matches!(change, LifeChange::Brake(_))), "{told:?}");
}

/// However long the process stood still, what hosts sent meanwhile is heard at once, with the times at which it came.
#[test]
fn who_beat_while_the_process_stood_still_is_alive_after_it() {
    let mut rig = Rig::new(&["n1", "n2"]);
    rig.round();
    rig.beats(&["n1", "n2"]);
    rig.round();
    let thaw = Tick(datagram::boot_clock()).plus(timing().dead_after() * 2);
    while Tick(datagram::boot_clock()) < thaw {
        rig.beats(&["n1"]);
        rig.stands_still(Tick(datagram::boot_clock()).plus(timing().period));
    }
    let told = rig.round();
    assert!(!told.iter().any(|change| is_death_of(change, "n1") || matches!(change, LifeChange::Suspect(..))), "{told:?}");
}
