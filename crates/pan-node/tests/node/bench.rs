//! A test host with an agent in it, the desired state it is given, and waiting for what it reports.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pan_api::WIRE_VERSION;
use pan_api::desired::{Desired, Network, NetworkEntry, Peer, RunOrder, ServerOrder};
use pan_api::pki::Authority;
use pan_api::report::{Phase, Report, ServerReport};
use pan_linux::cgroup::{CGROUP_ROOT, CgroupTree, Layout};
use pan_linux::hostns::{self, HostHandle, HostNsSpec};
use pan_linux::process::PidFd;
use pan_model::cluster::{FileSpec, HealthSpec, HttpCheck, Image, StopSignal, StopSpec};
use pan_model::host::Role;
use pan_model::{ByteSize, Cpu, Epoch, Generation, HostName, Mac, PartitionName, Resources, ServerKey, Span};
use serde_json::json;

/// Longest wait for anything, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(30);

/// A host that is taken away again whatever the test does.
pub struct Bench {
    name: String,
    handle: HostHandle,
    groups: CgroupTree,
    _listener: TcpListener,
    pub data: tempfile::TempDir,
    agent: Option<Child>,
    step: u64,
}

impl Bench {
    pub fn start(tag: &str) -> Self {
        let name = format!("pn{}-{tag}", std::process::id());
        run(&["ip", "netns", "add", &name]);
        for fabric in ["fa", "fb"] {
            run(&["ip", "-n", &name, "link", "add", fabric, "type", "veth", "peer", "name", &format!("{fabric}x")]);
        }
        for (fabric, address) in [("fa", "10.201.0.11/16"), ("fb", "10.202.0.11/16")] {
            run(&["ip", "-n", &name, "addr", "add", address, "dev", fabric]);
            run(&["ip", "-n", &name, "link", "set", fabric, "up"]);
            run(&["ip", "-n", &name, "link", "set", &format!("{fabric}x"), "up"]);
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let exe = std::env::current_exe().unwrap();
        let data = tempfile::tempdir_in("/var/tmp").unwrap();
        write_config(data.path());
        let handle = hostns::start(&HostNsSpec {
            hostname: name.clone(),
            netns: format!("/run/netns/{name}").into(),
            cgroup: PathBuf::from(format!("pan-test-{name}/h")),
            init: vec![exe.display().to_string(), "init".into()],
            env: vec![("PATH".into(), std::env::var("PATH").unwrap())],
            listen_fds: vec![listener.as_raw_fd()],
            log: data.path().join("init.log"),
            disks: Vec::new(),
            binds: vec![(data.path().to_path_buf(), "/srv".into())],
        })
        .unwrap();
        let layout = Layout::detect(Path::new(CGROUP_ROOT)).unwrap();
        let groups = CgroupTree::new(layout, format!("pan-test-{name}"));
        Self { name, handle, groups, _listener: listener, data, agent: None, step: 0 }
    }

    fn enter(&self, argv: &[&str]) -> Command {
        hostns::enter(self.handle.init_pid, argv).unwrap()
    }

    /// Runs a program in the host and returns what it printed.
    pub fn output(&self, argv: &[&str]) -> String {
        let (code, text) = self.outcome(argv);
        assert_eq!(code, 0, "{argv:?}: {text}");
        text
    }

    /// Runs a program in the host and returns its status and what it printed.
    pub fn outcome(&self, argv: &[&str]) -> (i32, String) {
        let output = self.enter(argv).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(text).unwrap().trim().to_owned())
    }

    /// Starts a program in the host, whose output is kept for whoever waits for it.
    pub fn spawn(&self, argv: &[&str]) -> Child {
        self.enter(argv).stdout(Stdio::piped()).spawn().unwrap()
    }

    /// Runs a program in a server of `acme`.
    pub fn inside(&self, server: &str, argv: &[&str]) -> String {
        let id = format!("acme.{server}");
        self.output(&[&["runc", "--root", "/run/pan/runc", "exec", &id], argv].concat())
    }

    pub fn start_agent(&mut self, role: &str) {
        let exe = std::env::current_exe().unwrap();
        assert!(self.agent.is_none());
        let _ = fs::remove_file(self.data.path().join("report.json"));
        let log = fs::OpenOptions::new().append(true).create(true).open(self.data.path().join("agent.log")).unwrap();
        let mut command = self.enter(&[exe.to_str().unwrap(), role]);
        self.agent = Some(command.stderr(log).spawn().unwrap());
    }

    /// Kills the agent as hard as possible.
    pub fn kill_agent(&mut self) {
        let mut agent = self.agent.take().unwrap();
        // The child is the one that entered the host; the agent is it or its child.
        let pid = i32::try_from(agent.id()).unwrap();
        let inner = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        for process in inner.split_whitespace().map(|word| word.parse().unwrap()).chain([pid]) {
            if let Ok(process) = PidFd::open(process) {
                process.kill(nix::sys::signal::Signal::SIGKILL).unwrap();
            }
        }
        agent.wait().unwrap();
    }

    /// Kills everything in it, as a power cut does.
    pub fn cut_power(&self) {
        PidFd::open(self.handle.init_pid).unwrap().kill(nix::sys::signal::Signal::SIGKILL).unwrap();
    }

    /// What the controller says now.
    pub fn desire(&mut self, servers: Vec<ServerOrder>) {
        self.desire_on("n1", servers);
    }

    /// The same, with the network's map saying that all servers are on `host`.
    pub fn desire_on(&mut self, host: &str, servers: Vec<ServerOrder>) {
        self.step += 1;
        self.publish(&desired(self.step, host, servers));
    }

    /// Servers that run, and others that are only to be made ready: those are still on another node.
    pub fn warm(&mut self, servers: Vec<ServerOrder>, warm: Vec<ServerOrder>) {
        self.step += 1;
        self.publish(&Desired { warm, ..desired(self.step, "n1", servers) });
    }

    fn publish(&self, desired: &Desired) {
        let path = self.data.path().join("desired.json");
        fs::write(path.with_extension("new"), serde_json::to_vec(desired).unwrap()).unwrap();
        fs::rename(path.with_extension("new"), path).unwrap();
    }

    pub fn report(&self) -> Option<Report> {
        let text = fs::read(self.data.path().join("report.json")).ok()?;
        Some(serde_json::from_slice(&text).unwrap())
    }

    pub fn server(&self, name: &str) -> Option<ServerReport> {
        self.report()?.servers.into_iter().find(|server| server.key.name.as_str() == name)
    }

    /// Waits until the agent reports such a server.
    pub fn wait_server(&self, name: &str, what: &str, is: impl Fn(&ServerReport) -> bool) -> ServerReport {
        self.wait_for(&format!("{name} {what}"), || self.server(name).filter(&is))
    }

    pub fn wait_healthy(&self, name: &str, epoch: u64) -> ServerReport {
        let is = |server: &ServerReport| server.phase == Phase::Healthy && server.epoch == Epoch(epoch);
        self.wait_server(name, "healthy", is)
    }

    pub fn wait_for<T>(&self, what: &str, mut get: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = get() {
                return found;
            }
            if Instant::now() > deadline {
                let log = fs::read_to_string(self.data.path().join("agent.log")).unwrap_or_default();
                panic!("not within {PATIENCE:?}: {what}\nlast report: {:#?}\nagent: {log}", self.report());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Nothing of any server may be left.
    pub fn assert_empty(&self) {
        for (what, argv) in [
            ("namespaces", vec!["ls", "/run/netns"]),
            ("records", vec!["sh", "-c", "ls /run/pan/servers 2>/dev/null || true"]),
            ("layers and logs", vec!["ls", "/srv/state/servers"]),
            ("containers", vec!["runc", "--root", "/run/pan/runc", "list", "-q"]),
            ("mounts", vec!["sh", "-c", "grep -E '/run/pan(/(servers|volumes|users)|-roots)' /proc/mounts || true"]),
            ("root file systems", vec!["ls", "/run/pan-roots"]),
            ("user namespaces", vec!["ls", "/run/pan/users"]),
            ("volumes", vec!["sh", "-c", "ls /run/pan/volumes 2>/dev/null || true"]),
            ("heads", vec!["sh", "-c", "cat /proc/*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -- 'head --folder [/]run' || true"]),
            ("cables", vec!["sh", "-c", "ls /sys/class/net | grep ^ps || true"]),
            ("control groups", vec!["sh", "-c", "find /sys/fs/cgroup -path '*/panloom/*' -type d"]),
            ("shims", vec!["sh", "-c", "cat /proc/*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -- '--exit-file [/]run' || true"]),
        ] {
            self.wait_for(&format!("no {what} left: {}", self.output(&argv)), || self.output(&argv).is_empty().then_some(()));
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.groups.kill_all(Duration::from_secs(10)).unwrap();
        if let Some(mut agent) = self.agent.take() {
            agent.wait().unwrap();
        }
        self.groups.remove_recursive(Duration::from_secs(5)).unwrap();
        run(&["ip", "netns", "del", &self.name]);
    }
}

pub fn run(argv: &[&str]) {
    assert!(Command::new(argv[0]).args(&argv[1..]).status().unwrap().success(), "{argv:?}");
}

fn write_config(data: &Path) {
    let authority = Authority::create().unwrap();
    let issue = |name: &str, role: Role, folder: &str| {
        let name = HostName::new(name).unwrap();
        let issued = authority.issue_host(&name, &[role], &["10.200.0.11".parse().unwrap()]).unwrap();
        fs::create_dir(data.join(folder)).unwrap();
        fs::write(data.join(folder).join("cert.pem"), issued.cert_pem).unwrap();
        fs::write(data.join(folder).join("key.pem"), issued.key_pem).unwrap();
    };
    issue("n1", Role::Node, "own");
    issue("c1", Role::Controller, "controller");
    fs::write(data.join("ca.pem"), authority.cert_pem()).unwrap();
    let config = json!({
        "version": 1, "name": "n1", "roles": ["node"], "address": "10.200.0.11",
        "fabrics": {
            "a": {"interface": "fa", "address": "10.201.0.11/16"},
            "b": {"interface": "fb", "address": "10.202.0.11/16"},
        },
        // Nobody answers there.
        "controllers": [{"name": "c1", "address": "10.200.0.1", "a": "10.201.0.1", "b": "10.202.0.1"}],
        "tls": {"ca": "/srv/ca.pem", "cert": "/srv/own/cert.pem", "key": "/srv/own/key.pem"},
        "beatKey": "/srv/beat.key", "profile": "lan", "stateDir": "/srv/state", "runDir": "/run/pan",
        "node": {"cpu": "2", "memory": "1GiB", "hidden": ["/usr/share/doc", data]},
    });
    fs::write(data.join("config.json"), config.to_string()).unwrap();
}

fn desired(step: u64, host: &str, servers: Vec<ServerOrder>) -> Desired {
    let entry = |server: &ServerOrder| NetworkEntry {
        mac: server.mac,
        addresses: server.addresses.clone(),
        host: host.parse().unwrap(),
        via: if host == "n1" { "10.200.0.11" } else { "10.200.0.12" }.parse().unwrap(),
        epoch: server.epoch,
        cluster: Some(server.cluster.clone()),
        by_service: false,
    };
    // All of them with the same addresses.
    let partitions: BTreeSet<PartitionName> =
        servers.iter().map(|server| server.key.partition.clone()).chain(["acme".parse().unwrap()]).collect();
    let network = |partition: PartitionName| Network {
        vni: match partition.as_str() {
            "acme" => 100,
            "rival" => 101,
            _ => 102,
        },
        mtu: 1430,
        subnets: vec!["10.0.0.0/24".parse().unwrap(), "fd00:1::/64".parse().unwrap()],
        gateways: vec!["10.0.0.1".parse().unwrap(), "fd00:1::1".parse().unwrap()],
        gateway_mac: Mac([2, 0x70, 10, 0, 0, 1]),
        entries: servers.iter().filter(|server| server.key.partition == partition).map(entry).collect(),
        partition,
    };
    let peer = Peer {
        host: "n2".parse().unwrap(),
        address: "10.200.0.12".parse().unwrap(),
        a: Some("10.201.0.12".parse().unwrap()),
        b: Some("10.202.0.12".parse().unwrap()),
    };
    Desired {
        version: WIRE_VERSION,
        billed: Vec::new(),
        blanks: None,
        imports: Vec::new(),
        admission: pan_model::Admission::FIRST,
        generation: Generation { term: 1, step },
        host: "n1".parse().unwrap(),
        peers: vec![peer].into(),
        networks: partitions.into_iter().map(network).collect(),
        servers,
        warm: Vec::new(),
        seats: Vec::new(),
        units: vec![],
        snapshots: Vec::new(),
        replicas: Vec::new(),
    }
}

/// Server number `ordinal` of a cluster, doing `command`.
pub fn order(name: &str, host: u8, epoch: u64, command: &[&str]) -> ServerOrder {
    let key = ServerKey { partition: "acme".parse().unwrap(), name: name.parse().unwrap() };
    ServerOrder {
        key,
        cluster: name.split('-').next().unwrap().parse().unwrap(),
        epoch: Epoch(epoch),
        incarnation: 1,
        run: RunOrder::Run,
        mac: Mac([2, 0x70, 10, 0, 0, host]),
        addresses: vec![format!("10.0.0.{host}").parse().unwrap(), format!("fd00:1::{host:x}").parse().unwrap()],
        image: Image::Host,
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        env: [("MODE".to_owned(), "demo".to_owned()), ("PAN_SERVER".to_owned(), "forged".to_owned())].into(),
        files: vec![],
        resources: Resources::new(Cpu(100), ByteSize(64 << 20)),
        cpu_max: None,
        stop: StopSpec { signal: StopSignal::Term, grace: Span::millis(5_000) },
        health: None,
        restart_attempts: 2,
        egress: None,
        allow: None,
        volumes: Vec::new(),
    }
}

/// An nginx that says which instance it is.
pub fn nginx(name: &str, host: u8, epoch: u64) -> ServerOrder {
    let conf = "worker_processes 1; pid /run/nginx.pid; error_log stderr;\n\
                events { worker_connections 64; }\n\
                http { access_log /dev/stdout; server { listen 80; listen [::]:80; location / { root /var/www/pan; } } }\n";
    let file = |path: &str, content: &str| FileSpec { path: path.into(), content: content.into() };
    ServerOrder {
        files: vec![file("/etc/nginx/nginx.conf", conf), file("/var/www/pan/index.html", name), file("/run/given", "under a tmpfs")],
        stop: StopSpec { signal: StopSignal::Quit, grace: Span::millis(5_000) },
        health: Some(HealthSpec {
            http: Some(HttpCheck { port: 80, path: "/".into() }),
            tcp: None,
            exec: None,
            every: Span::millis(200),
            failures: 2,
            timeout: Span::millis(1_000),
            start: Span::millis(60_000),
        }),
        ..order(name, host, epoch, &["nginx", "-g", "daemon off;"])
    }
}
