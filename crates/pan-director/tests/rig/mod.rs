//! Two directors, a node and a client as network namespaces, joined by two fabrics and an outside network, with
//! servers that say their name. Real routes, VXLAN, rules and addresses; no controller.
#![allow(clippy::unwrap_used)]
#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod shop;

use ipnet::IpNet;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use pan_api::desired::{BackendOrder, Desired, Network, NetworkEntry, Peer, ServiceOrder, Unit};
use pan_director::{Director, Troubles};
use pan_linux::netns::Netns;
use pan_linux::nft;
use pan_linux::overlay::{LocalPort, NetworkSpec, Overlay, RemoteEntry};
use pan_linux::rtnl::{BridgeSpec, Hop, Route, Rtnl};
use pan_linux::underlay::{self, Underlay, UnderlaySpec};
use pan_model::host_config::{DirectorConfig, FabricConfig, FabricsConfig, HostConfig, TlsFiles};
use pan_model::service::BackendState;
use pan_model::{Epoch, Generation, Mac};
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

pub const VNI: u32 = 4242;
pub const PORT: u16 = 80;
const TARGET: u16 = 8080;
const MTU: u32 = 1430;
/// How long a server thinks when it is asked to.
const LATER: Duration = Duration::from_millis(800);
/// How long a condition may take to come true.
pub const DEADLINE: Duration = Duration::from_secs(10);

static COUNTER: AtomicU32 = AtomicU32::new(0);

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn gateway_mac() -> Mac {
    Mac::of(ip("10.0.0.1"))
}

/// A named namespace that goes with its value.
pub struct Space {
    name: String,
    pub netns: Netns,
}

impl Space {
    fn new(what: &str) -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("pdt{}-{number}-{what}", std::process::id());
        let netns = Netns::create(&name).unwrap();
        let space = Self { name, netns };
        space.rtnl().set_up("lo").unwrap();
        space
    }

    pub fn rtnl(&self) -> Rtnl {
        Rtnl::open_in(&self.netns).unwrap()
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = Netns::remove(&self.name);
    }
}

/// Three bridges with a cable to each host.
struct Wire(Space);

impl Wire {
    fn new() -> Self {
        let space = Space::new("wire");
        let rtnl = space.rtnl();
        for (name, last) in [("fa", 1), ("fb", 2), ("outside", 3)] {
            rtnl.add_bridge(name, &BridgeSpec { mac: [2, 0, 0, 0, 0xff, last], mcast_snooping: false }).unwrap();
            rtnl.set_up(name).unwrap();
        }
        Self(space)
    }

    fn plug(&self, to: &Space, number: u8, bridge: &str, device: &str, addresses: &[String]) {
        let rtnl = self.0.rtnl();
        let port = format!("{bridge}{number}");
        rtnl.add_veth_to(&port, device, &to.netns).unwrap();
        rtnl.set_master(&port, bridge).unwrap();
        rtnl.set_up(&port).unwrap();
        let there = to.rtnl();
        there.set_up(device).unwrap();
        for address in addresses {
            there.replace_addr(device, net(address)).unwrap();
        }
    }
}

type Job = Box<dyn FnOnce(&mut Option<Director>) + Send>;

/// A director on a host of its own; its thread has a private `/run/netns`, as a host has.
pub struct DirectorHost {
    pub number: u8,
    space: Space,
    jobs: mpsc::Sender<Job>,
    run: tempfile::TempDir,
}

impl DirectorHost {
    fn new(wire: &Wire, number: u8) -> Self {
        let space = Space::new(&format!("d{number}"));
        wire.plug(&space, number, "fa", "fa", &[format!("10.201.0.{number}/16")]);
        wire.plug(&space, number, "fb", "fb", &[format!("10.202.0.{number}/16")]);
        wire.plug(&space, number, "outside", "ext", &[format!("198.18.0.{}/24", 220 + number)]);
        let run = tempfile::tempdir().unwrap();
        let config = config(number, run.path());
        let netns = space.netns.try_clone().unwrap();
        let (jobs, todo) = mpsc::channel::<Job>();
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).unwrap();
            mount(None::<&str>, "/", None::<&str>, MsFlags::MS_SLAVE | MsFlags::MS_REC, None::<&str>).unwrap();
            mount(Some("t"), "/run/netns", Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
            let start = || netns.run(|| Director::new(&config, "ext").unwrap()).unwrap();
            let mut director = Some(start());
            for job in todo {
                job(&mut director);
                // A job that took the director away wants it started again.
                director.get_or_insert_with(start);
            }
        });
        Self { number, space, jobs, run }
    }

    fn work<T: Send + 'static>(&self, job: impl FnOnce(&mut Option<Director>) -> T + Send + 'static) -> T {
        let (done, result) = mpsc::channel();
        self.jobs.send(Box::new(move |director| done.send(job(director)).unwrap())).unwrap();
        result.recv().unwrap()
    }

    pub fn apply(&self, desired: &Desired) {
        let troubles = self.apply_with_troubles(desired);
        assert!(troubles.is_empty(), "{troubles:?}");
    }

    pub fn apply_with_troubles(&self, desired: &Desired) -> Troubles {
        let desired = Desired { host: format!("d{}", self.number).parse().unwrap(), ..desired.clone() };
        self.work(move |director| director.as_mut().unwrap().apply(&desired))
    }

    /// The agent dies; another one starts and knows what files and kernel say.
    pub fn restart(&self) {
        self.work(|director| *director = None);
    }

    /// The role goes from the host for good: how many namespaces went with it.
    pub fn leave(&self) -> usize {
        let (netns, run) = (self.space.netns.try_clone().unwrap(), self.run.path().to_owned());
        self.work(move |director| {
            *director = None;
            netns.run(|| pan_director::leave(&run)).unwrap().unwrap()
        })
    }

    /// What the director itself takes for silent.
    pub fn suspect(&self, hosts: &[&str]) {
        let troubles = self.suspect_with_troubles(hosts);
        assert!(troubles.is_empty(), "{troubles:?}");
    }

    pub fn suspect_with_troubles(&self, hosts: &[&str]) -> Vec<String> {
        let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
        let troubles = self.work(move |director| director.as_mut().unwrap().suspect(&hosts));
        troubles.into_iter().map(|trouble| trouble.to_string()).collect()
    }

    /// Several looks, as in as many seconds; what they found.
    pub fn look(&self, desired: &Desired) -> Vec<String> {
        let desired = Desired { host: format!("d{}", self.number).parse().unwrap(), ..desired.clone() };
        let looks =
            move |director: &mut Option<Director>| (0..3).flat_map(|_| director.as_mut().unwrap().refresh(&desired)).collect::<Vec<_>>();
        self.work(looks).iter().map(ToString::to_string).collect()
    }

    /// Runs a command in the partition's namespace, as an operator might.
    pub fn by_hand(&self, command: &str) -> String {
        self.by_hand_in(&format!("pand-{VNI}"), command)
    }

    /// The same in a namespace of that name.
    pub fn by_hand_in(&self, place: &str, command: &str) -> String {
        let place = place.to_owned();
        let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
        let run = move || Command::new(&words[0]).args(&words[1..]).output().unwrap();
        let output = self.work(move |_| Netns::open(&place).unwrap().run(run).unwrap());
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The ways of imports that are in place.
    pub fn ways(&self) -> Vec<u32> {
        self.work(|director| director.as_ref().unwrap().ways())
    }

    /// Its namespaces.
    pub fn names(&self) -> Vec<String> {
        self.work(|_| Netns::list().unwrap())
    }

    pub fn connections(&self) -> Vec<(String, u64)> {
        let (counts, troubles) = self.work(|director| {
            let (census, mut troubles) = director.as_ref().unwrap().census();
            let (counts, uncounted) = census.count();
            troubles.extend(uncounted);
            (counts, troubles)
        });
        assert!(troubles.is_empty(), "{troubles:?}");
        counts.into_iter().map(|count| (count.server.to_string(), count.connections)).collect()
    }

    /// Cuts all its cables.
    pub fn cut(&self) {
        for device in ["fa", "fb", "ext"] {
            self.space.rtnl().set_down(device).unwrap();
        }
    }
}

fn config(number: u8, run_dir: &Path) -> HostConfig {
    let fabric = |interface: &str, address: String| FabricConfig { interface: interface.into(), address: net(&address) };
    HostConfig {
        version: 1,
        name: format!("d{number}").parse().unwrap(),
        roles: vec![pan_model::host::Role::Director],
        address: ip(&format!("10.200.0.{number}")),
        fabrics: FabricsConfig { a: fabric("fa", format!("10.201.0.{number}/16")), b: fabric("fb", format!("10.202.0.{number}/16")) },
        controllers: Vec::new(),
        lessors: Vec::new(),
        directors: Vec::new(),
        pan_key: None,
        tls: TlsFiles { ca: "/none".into(), cert: "/none".into(), key: "/none".into() },
        beat_key: "/none".into(),
        profile: "lan".into(),
        state_dir: run_dir.into(),
        run_dir: run_dir.into(),
        node: None,
        director: Some(DirectorConfig { interface: "ext".into() }),
        controller: None,
        laboratory: None,
        storage: None,
    }
}

/// Where the servers are.
struct NodeHost {
    /// A host of its own, number 9, unless they are with a director.
    space: Option<Space>,
    overlay: Overlay,
    _underlay: Option<Underlay>,
    _servers: Vec<Space>,
    /// Networks of other partitions, and what of theirs stands in this one.
    others: Vec<NetworkSpec>,
    stands: Vec<RemoteEntry>,
}

fn server_addresses(index: u32) -> [IpAddr; 2] {
    [ip(&format!("10.0.0.{}", 10 + index)), ip(&format!("fd00:1::{}", 10 + index))]
}

impl NodeHost {
    fn new(wire: &Wire, servers: u32) -> Self {
        let space = Space::new("node");
        wire.plug(&space, 9, "fa", "fa", &["10.201.0.9/16".into()]);
        wire.plug(&space, 9, "fb", "fb", &["10.202.0.9/16".into()]);
        let mut underlay = Underlay::new(space.rtnl()).unwrap();
        let peers = (1..=2).map(|number| underlay::Peer {
            address: ip(&format!("10.200.0.{number}")),
            a: Some(ip(&format!("10.201.0.{number}"))),
            b: Some(ip(&format!("10.202.0.{number}"))),
        });
        let spec = UnderlaySpec { local: ip("10.200.0.9"), dev_a: "fa".into(), dev_b: "fb".into(), peers: peers.collect() };
        underlay.apply(&spec).unwrap();
        let overlay = Overlay::owning(space.rtnl(), ip("10.200.0.9"), "srv").unwrap();
        let servers = (1..=servers).map(|index| start_server(&space, index)).collect();
        Self { space: Some(space), overlay, _underlay: Some(underlay), _servers: servers, others: Vec::new(), stands: Vec::new() }
    }

    /// On the first director's host.
    fn with(director: &DirectorHost, servers: u32) -> Self {
        let overlay = Overlay::owning(director.space.rtnl(), ip("10.200.0.1"), "srv").unwrap();
        let servers = (1..=servers).map(|index| start_server(&director.space, index)).collect();
        Self { space: None, overlay, _underlay: None, _servers: servers, others: Vec::new(), stands: Vec::new() }
    }

    /// Points the gateway to a director, since an epoch.
    fn point(&mut self, director: u8, epoch: u8) {
        let local = (1..=self._servers.len() as u32).map(|index| LocalPort {
            mac: Mac::of(server_addresses(index)[0]).0,
            addresses: server_addresses(index).to_vec(),
            port: format!("srv{index}"),
            epoch: 1,
        });
        // On one host with the director, the gateway's port is the director's business.
        let gateway = RemoteEntry {
            mac: gateway_mac().0,
            addresses: vec![ip("10.0.0.1"), ip("fd00:1::1")],
            host: ip(&format!("10.200.0.{director}")),
            epoch: u64::from(epoch),
        };
        let remote = self.stands.iter().cloned().chain([gateway]).collect();
        let spec = NetworkSpec { vni: VNI, mtu: MTU, remote, local: local.collect() };
        let specs: Vec<NetworkSpec> = self.others.iter().cloned().chain([spec]).collect();
        let applied = self.overlay.apply(&specs).unwrap();
        assert!(applied.missing.is_empty());
    }
}

/// A server's namespace, by a port of the node.
fn plug_server(node: &Space, port: &str, index: u32) -> Space {
    let space = Space::new(port);
    node.rtnl().add_veth_to(port, "eth0", &space.netns).unwrap();
    let rtnl = space.rtnl();
    rtnl.set_mac("eth0", Mac::of(server_addresses(index)[0]).0).unwrap();
    rtnl.set_mtu("eth0", MTU).unwrap();
    rtnl.set_up("eth0").unwrap();
    for ((address, prefix), gateway) in server_addresses(index).into_iter().zip([24, 64]).zip(["10.0.0.1", "fd00:1::1"]) {
        rtnl.replace_addr("eth0", IpNet::new(address, prefix).unwrap()).unwrap();
        let hops = vec![Hop { via: Some(ip(gateway)), dev: "eth0".into() }];
        let dst = if address.is_ipv4() { net("0.0.0.0/0") } else { net("::/0") };
        rtnl.replace_route(&Route { dst, src: None, hops, mtu: None, rto_min: None }).unwrap();
    }
    space
}

/// A server that answers each line with its name, the line `later` after [`LATER`], and the line `from` with where it comes from.
fn start_server(node: &Space, index: u32) -> Space {
    let space = plug_server(node, &format!("srv{index}"), index);
    let listener = space.netns.run(|| TcpListener::bind(("::", TARGET)).unwrap()).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut answers = stream.try_clone().unwrap();
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if line == "later" {
                        std::thread::sleep(LATER);
                    }
                    let from = || answers.peer_addr().unwrap().ip().to_canonical().to_string();
                    let answer = if line == "from" { from() } else { format!("web-{index}") };
                    if writeln!(answers, "{answer}").is_err() {
                        break;
                    }
                }
            });
        }
    });
    space
}

/// A connection to the service, and which server it is with.
pub struct Connection {
    stream: BufReader<TcpStream>,
    pub server: String,
}

impl Connection {
    /// Asks again; the server must be the same one.
    pub fn ask(&mut self) -> std::io::Result<String> {
        self.stream.get_mut().write_all(b"who\n")?;
        self.hear()
    }

    /// Asks for an answer that comes later, by itself.
    pub fn ask_for_later(&mut self) {
        self.stream.get_mut().write_all(b"later\n").unwrap();
    }

    pub fn hear(&mut self) -> std::io::Result<String> {
        let mut answer = String::new();
        self.stream.read_line(&mut answer)?;
        if answer.is_empty() { Err(std::io::ErrorKind::ConnectionReset.into()) } else { Ok(answer.trim().to_owned()) }
    }
}

pub struct Rig {
    pub first: DirectorHost,
    pub second: DirectorHost,
    node: NodeHost,
    client: Space,
    _wire: Wire,
}

impl Rig {
    /// With servers web-1 … web-`servers`.
    pub fn new(servers: u32) -> Self {
        let wire = Wire::new();
        let client = Space::new("client");
        wire.plug(&client, 8, "outside", "eth0", &["198.18.0.250/24".into(), "fd18::250/64".into()]);
        let node = NodeHost::new(&wire, servers);
        let (first, second) = (DirectorHost::new(&wire, 1), DirectorHost::new(&wire, 2));
        Self { first, second, node, client, _wire: wire }
    }

    /// The same, the servers being on the host of the first director.
    pub fn with_both_roles_on_one_host(servers: u32) -> Self {
        let wire = Wire::new();
        let client = Space::new("client");
        wire.plug(&client, 8, "outside", "eth0", &["198.18.0.250/24".into(), "fd18::250/64".into()]);
        let (first, second) = (DirectorHost::new(&wire, 1), DirectorHost::new(&wire, 2));
        let node = NodeHost::with(&first, servers);
        Self { first, second, node, client, _wire: wire }
    }

    /// What is wanted of a director, the servers being where they are here.
    pub fn desired(&self, owner: u8, own: bool, states: &[BackendState]) -> Desired {
        let mut desired = desired(owner, own, states);
        if self.node.space.is_none() {
            let peer = |number: u8| Peer {
                host: format!("d{number}").parse().unwrap(),
                address: ip(&format!("10.200.0.{number}")),
                a: Some(ip(&format!("10.201.0.{number}"))),
                b: Some(ip(&format!("10.202.0.{number}"))),
            };
            desired.peers = vec![peer(1), peer(2)].into();
            for entry in desired.networks[0].entries.iter_mut().filter(|entry| entry.mac != gateway_mac()) {
                (entry.host, entry.via) = ("d1".parse().unwrap(), ip("10.200.0.1"));
            }
        }
        desired
    }

    /// The node's part does what it does once a second.
    pub fn node_again(&mut self, director: u8) {
        self.node.point(director, director);
    }

    /// Both directors and the node learn the servers' states and who owns the unit.
    pub fn set(&mut self, owner: u8, states: &[BackendState]) {
        let live: Vec<&DirectorHost> = [&self.first, &self.second].into_iter().filter(|director| director.number >= owner).collect();
        for director in live {
            director.apply(&self.desired(owner, director.number == owner, states));
        }
        self.node.point(owner, owner);
    }

    /// The first director owns the unit again, of whose loss it has not heard.
    pub fn first_again(&mut self, epoch: u8, states: &[BackendState]) {
        let mut desired = self.desired(1, true, states);
        desired.units[0].epoch = Epoch(u64::from(epoch));
        for entry in desired.networks[0].entries.iter_mut().filter(|entry| entry.mac == gateway_mac()) {
            entry.epoch = Epoch(u64::from(epoch));
        }
        self.first.apply(&desired);
        self.node.point(1, epoch);
    }

    /// Lets a server hear nothing of its service, or hear again.
    pub fn deafen(&self, server: usize, deaf: bool) {
        let rule = if deaf { format!("tcp dport {TARGET} counter drop") } else { String::new() };
        let script = format!(
            "table inet deaf\ndelete table inet deaf\ntable inet deaf {{\n chain in {{\n type filter hook input priority 0;\n {rule}\n }}\n}}\n"
        );
        nft::load(Some(&self.node._servers[server - 1].netns), &script).unwrap();
    }

    /// Whether a deaf server was asked.
    pub fn was_asked(&self, server: usize) -> bool {
        let list = || Command::new("nft").args(["list", "table", "inet", "deaf"]).output().unwrap();
        let text = String::from_utf8(self.node._servers[server - 1].netns.run(list).unwrap().stdout).unwrap();
        text.contains("counter") && !text.contains("packets 0 ")
    }

    /// A new connection; the first answer is awaited.
    pub fn connect(&self, to: &str, limit: Duration) -> std::io::Result<Connection> {
        connect_from(&self.client.netns, to, limit)
    }

    /// Where clients are.
    pub fn client_netns(&self) -> Netns {
        self.client.netns.try_clone().unwrap()
    }

    /// Whether a server gets an answer from outside, or the client one from a server's own address.
    pub fn world_is_open(&self, limit: Duration) -> bool {
        let listener = self.client.netns.run(|| TcpListener::bind(("::", PORT)).unwrap()).unwrap();
        let server = &self.node._servers[0];
        let reaches = |from: &Space, to: SocketAddr| from.netns.run(|| TcpStream::connect_timeout(&to, limit).is_ok()).unwrap();
        let client = self.client.rtnl();
        let out = ["198.18.0.250", "fd18::250"].map(|to| reaches(server, SocketAddr::new(ip(to), PORT)));
        drop(listener);
        // Even a client that knows the way gets nowhere.
        for (subnet, via) in [("10.0.0.0/24", "198.18.0.10"), ("fd00:1::/64", "fd18::10")] {
            let hops = vec![Hop { via: Some(ip(via)), dev: "eth0".into() }];
            client.replace_route(&Route { dst: net(subnet), src: None, hops, mtu: None, rto_min: None }).unwrap();
        }
        let within = server_addresses(1).map(|to| reaches(&self.client, SocketAddr::new(to, TARGET)));
        out.into_iter().chain(within).any(|reached| reached)
    }

    pub fn connect_port(&self, to: &str, port: u16, limit: Duration) -> std::io::Result<TcpStream> {
        let address = SocketAddr::new(ip(to), port);
        self.client.netns.run(|| TcpStream::connect_timeout(&address, limit)).unwrap()
    }
}

/// A new connection from a namespace; the first answer is awaited.
pub fn connect_from(netns: &Netns, to: &str, limit: Duration) -> std::io::Result<Connection> {
    let address = SocketAddr::new(ip(to), PORT);
    let stream = netns.run(|| TcpStream::connect_timeout(&address, limit)).unwrap()?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_nodelay(true)?;
    let mut connection = Connection { stream: BufReader::new(stream), server: String::new() };
    connection.server = connection.ask()?;
    Ok(connection)
}

pub fn desired(owner: u8, own: bool, states: &[BackendState]) -> Desired {
    let addresses = |index: u32| server_addresses(index).to_vec();
    let backends = (1..).zip(states).map(|(index, state)| BackendOrder {
        index,
        server: format!("web-{index}").parse().unwrap(),
        addresses: addresses(index),
        state: *state,
        weight: 1,
        epoch: Epoch(1),
    });
    let public = vec![ip("198.18.0.10"), ip("fd18::10")];
    let service = ServiceOrder {
        name: "www".parse().unwrap(),
        addresses: public.clone(),
        port: PORT,
        target_port: TARGET,
        backends: backends.collect(),
    };
    let entry = |mac, addresses, host: &str, via: &str| NetworkEntry {
        mac,
        addresses,
        host: host.parse().unwrap(),
        via: ip(via),
        epoch: Epoch(u64::from(owner)),
        cluster: None,
        by_service: false,
    };
    let gateways = vec![ip("10.0.0.1"), ip("fd00:1::1")];
    let mut entries: Vec<NetworkEntry> = (1..=states.len() as u32)
        .map(|index| entry(Mac::of(server_addresses(index)[0]), addresses(index), &format!("n{index}"), "10.200.0.9"))
        .collect();
    entries.push(entry(gateway_mac(), gateways.clone(), &format!("d{owner}"), &format!("10.200.0.{owner}")));
    let subnets = vec!["10.0.0.0/24".parse().unwrap(), "fd00:1::/64".parse().unwrap()];
    let partition: pan_model::PartitionName = "demo".parse().unwrap();
    Desired {
        version: pan_api::WIRE_VERSION,
        billed: Vec::new(),
        blanks: None,
        imports: Vec::new(),
        admission: pan_model::Admission::FIRST,
        generation: Generation { term: 1, step: 1 },
        host: "d1".parse().unwrap(),
        peers: vec![Peer { host: "n9".parse().unwrap(), address: ip("10.200.0.9"), a: Some(ip("10.201.0.9")), b: Some(ip("10.202.0.9")) }]
            .into(),
        networks: vec![Network {
            partition: partition.clone(),
            vni: VNI,
            mtu: MTU,
            subnets: subnets.clone(),
            gateways: gateways.clone(),
            gateway_mac: gateway_mac(),
            entries,
        }],
        servers: Vec::new(),
        warm: Vec::new(),
        seats: Vec::new(),
        units: vec![Unit {
            partition,
            vni: VNI,
            owner: own,
            epoch: Epoch(u64::from(owner)),
            gateways,
            gateway_mac: gateway_mac(),
            subnets,
            public,
            services: vec![service],
            web: Vec::new(),
        }],
        snapshots: Vec::new(),
        replicas: Vec::new(),
    }
}

/// Waits for a named condition.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
