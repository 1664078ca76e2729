//! The place: programs in the networks, each in a control group of its own, on processors of its own.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pan_api::pki::Authority;
use pan_model::HostName;

use super::super::demo::DATA;
use super::super::error::BenchError;
use super::super::leftovers::{fresh_name, group, remove};
use super::peers::{self, Certificate, PUBLIC, Proxy, ProxyPeer, server_of};
use super::wire::{self, Middle};
use super::work::{DirectorCase, Figures, How, LARGE, SMALL, read};
use crate::error::LabError;

/// How long a program may take to listen.
const READY_MAX: Duration = Duration::from_secs(10);
/// The shell waits for its line, so that the program is in its control group before it is there.
const SCRIPT: &str = "read -r go && exec \"$@\"";
/// A client that is told to stop after so many seconds has stopped after so much more.
const OVERTIME: Duration = Duration::from_secs(20);

/// Which processors the proxies have, and which the client and the server.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Processors {
    proxies: String,
    others: String,
    all: String,
}

impl Processors {
    /// The last for the proxies, the others for the others; the same where there is only one.
    fn of(count: usize) -> Self {
        let last = count.saturating_sub(1);
        let others = match last {
            0 | 1 => "0".to_owned(),
            _ => format!("0-{}", last - 1),
        };
        Self { proxies: last.to_string(), others, all: format!("0-{last}") }
    }
}

/// What one measurement found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured {
    pub figures: Figures,
    /// Microseconds of processors that the proxy took for each request; none where the kernel passes it on.
    pub cpu_us: Option<f64>,
}

/// A place that lives as long as this value.
pub(super) struct Hop {
    name: String,
    data: PathBuf,
    exe: PathBuf,
    processors: Processors,
    children: Vec<Child>,
}

impl Hop {
    /// Makes it, with the server, and whoever is to be measured. `rules` are a director's.
    pub fn up(exe: &Path, rules: &str, proxies: &[Proxy]) -> Result<Self, BenchError> {
        let name = fresh_name();
        let data = Path::new(DATA).join(&name);
        let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        // From here on it is removed, however far it comes.
        let mut hop = Self { name, data, exe: exe.to_owned(), processors: Processors::of(count), children: Vec::new() };
        fs::create_dir_all(&hop.data).map_err(LabError::file("create", &hop.data))?;
        group(&hop.name)?.create().map_err(LabError::kernel("make a control group"))?;
        wire::make(&hop.name, rules)?;
        let certificate = hop.files()?;
        let Processors { proxies: apart, others, all } = hop.processors.clone();
        for (port, processors) in [(80, &others), (81, &all)] {
            let (who, config) = (format!("server-{port}"), format!("server-{port}.conf"));
            hop.write(&config, &peers::server(&hop.data, port))?;
            let config = hop.at(&config);
            hop.start("server", &who, processors, &["/usr/sbin/nginx", "-c", &config])?;
            hop.wait_for(&who, Middle::Proxies.name(), SocketAddrV4::new(Middle::Proxies.server(), port))?;
        }
        for proxy in proxies.iter().filter(|proxy| **proxy != Proxy::Routed) {
            hop.start_proxy(*proxy, &apart, &certificate)?;
        }
        if proxies.contains(&Proxy::Peer(ProxyPeer::Haproxy)) {
            hop.write("haproxy-tcp.conf", &peers::haproxy_tcp())?;
            let config = hop.at("haproxy-tcp.conf");
            hop.start(Middle::Proxies.name(), "haproxy-tcp", &all, &["/usr/sbin/haproxy", "-db", "-f", &config])?;
            let layer4 = DirectorCase::ALL.into_iter().find(|case| case.how == How::Four).expect("there is one");
            hop.wait_for("haproxy-tcp", "client", Proxy::Peer(ProxyPeer::Haproxy).target(layer4))?;
        }
        // As the client will: nobody begins anything from within a partition's namespace.
        for target in [SocketAddrV4::new(Middle::Rules.front(), PUBLIC), server_of(Middle::Plain)] {
            hop.wait_for("server-81", "client", target)?;
        }
        Ok(hop)
    }

    fn start_proxy(&mut self, proxy: Proxy, processors: &str, certificate: &Certificate) -> Result<(), BenchError> {
        let (who, config) = (proxy.as_str(), format!("{}.conf", proxy.as_str()));
        self.write(&config, &proxy.config(&self.data, certificate))?;
        let (config, control, program) = (self.at(&config), self.at("control"), self.exe.display().to_string());
        let argv: Vec<&str> = match proxy {
            Proxy::Own | Proxy::Routed => vec![&program, "proxy", "--threads", "1", "--control", &control, "--document", &config],
            Proxy::Peer(ProxyPeer::Haproxy) => vec!["/usr/sbin/haproxy", "-db", "-f", &config],
            Proxy::Peer(ProxyPeer::Nginx) => vec!["/usr/sbin/nginx", "-c", &config],
        };
        self.start(Middle::Proxies.name(), who, processors, &argv)?;
        let (clear, tls) = proxy.ports();
        [clear, tls].into_iter().try_for_each(|port| self.wait_for(who, "client", SocketAddrV4::new(Middle::Proxies.front(), port)))
    }

    /// Asks one for some time.
    pub fn measure(&mut self, proxy: Proxy, case: DirectorCase, length: Duration) -> Result<Measured, BenchError> {
        let argv = case.wrk(&proxy.target(case).to_string(), length);
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        let Processors { others, all, .. } = self.processors.clone();
        let (who, processors) = match (case.how, proxy) {
            (How::Four, Proxy::Peer(_)) => (Some("haproxy-tcp"), all),
            (How::Four, _) => (None, all),
            (How::Seven | How::Tls, _) => (Some(proxy.as_str()), others),
        };
        let before = self.worked(who)?;
        let report = self.start("client", "client", &processors, &argv)?;
        let client = self.children.pop().expect("it was just started");
        let said = finish(client, &report, length + OVERTIME)?;
        let spent = self.worked(who)?.zip(before).map(|(after, before)| after.saturating_sub(before));
        let told = |why| {
            let words = who.map(|who| self.last_words(who)).unwrap_or_default();
            BenchError::Surprise(format!("{} by {}: {why}{words}", case.name, proxy.as_str()))
        };
        let figures = read(&said).map_err(told)?;
        // Far below 2^53.
        Ok(Measured { figures, cpu_us: spent.map(|spent| spent as f64 / figures.requests) })
    }

    fn worked(&self, who: Option<&str>) -> Result<Option<u64>, BenchError> {
        let Some(who) = who else { return Ok(None) };
        let used = group(&self.name)?.child(who).usage().map_err(LabError::kernel("read what a proxy has used"))?;
        Ok(Some(used.cpu_usec))
    }

    fn at(&self, file: &str) -> String {
        self.data.join(file).display().to_string()
    }

    fn write(&self, file: &str, text: &str) -> Result<(), LabError> {
        let path = self.data.join(file);
        fs::write(&path, text).map_err(LabError::file("write", &path))
    }

    /// What the server gives, and a certificate for the proxies.
    fn files(&self) -> Result<Certificate, BenchError> {
        let folder = self.data.join("files");
        fs::create_dir_all(&folder).map_err(LabError::file("create", &folder))?;
        for (name, length) in [SMALL, LARGE] {
            self.write(&format!("files/{name}"), &"x".repeat(length))?;
        }
        // nginx gives its files away as somebody else.
        for path in [Path::new(DATA), &self.data, &folder] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(LabError::file("open", path))?;
        }
        let surprised = |error: pan_api::pki::PkiError| BenchError::Surprise(error.to_string());
        let name: HostName = "bench".parse().expect("a host's name");
        let issued = Authority::create().and_then(|authority| authority.issue_host(&name, &[], &[])).map_err(surprised)?;
        let certificate = Certificate { cert: issued.cert_pem, key: issued.key_pem };
        self.write("cert.pem", &certificate.cert)?;
        self.write("key.pem", &certificate.key)?;
        self.write("both.pem", &format!("{}{}", certificate.cert, certificate.key))?;
        Ok(certificate)
    }

    /// Starts a program in one of the networks and in a control group of its own. Where it writes to.
    fn start(&mut self, netns: &str, who: &str, processors: &str, argv: &[&str]) -> Result<PathBuf, BenchError> {
        let system = |source| BenchError::System { action: "start a program", source };
        let group = group(&self.name)?.child(who);
        group.create().map_err(LabError::kernel("make a control group"))?;
        let log = self.data.join(format!("{who}.log"));
        let file = fs::File::create(&log).map_err(LabError::file("create", &log))?;
        let errors = file.try_clone().map_err(LabError::file("open", &log))?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "sh", "taskset", "--cpu-list", processors]).args(argv);
        command.env("PAN_LAB", &self.name).current_dir(&self.data).stdin(Stdio::piped()).stdout(file).stderr(errors);
        let spawned = wire::open(&self.name, netns)?.run(move || command.spawn()).map_err(LabError::kernel("enter a network"))?;
        let mut child = spawned.map_err(system)?;
        let pid = i32::try_from(child.id()).expect("process ids are positive 32-bit numbers");
        let go = child.stdin.take();
        self.children.push(child);
        group.join(pid).map_err(LabError::kernel("put a program into its control group"))?;
        go.expect("it was piped").write_all(b"go\n").map_err(system)?;
        Ok(log)
    }

    /// Until somebody listens there.
    fn wait_for(&self, who: &str, from: &str, address: SocketAddrV4) -> Result<(), BenchError> {
        let (netns, end, address) = (wire::open(&self.name, from)?, Instant::now() + READY_MAX, SocketAddr::V4(address));
        loop {
            let tried = netns.run(|| TcpStream::connect_timeout(&address, Duration::from_millis(200)));
            match tried.map_err(LabError::kernel("enter a network"))? {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() >= end => {
                    let seen = format!("{error}{}", self.last_words(who));
                    return Err(BenchError::TimedOut { what: format!("{who} to listen"), seconds: READY_MAX.as_secs(), seen });
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn last_words(&self, who: &str) -> String {
        let said = fs::read_to_string(self.data.join(format!("{who}.log"))).unwrap_or_default();
        if said.trim().is_empty() { String::new() } else { format!("; it said: {}", said.trim()) }
    }
}

/// Waits for a client to end; what it said.
fn finish(mut client: Child, log: &Path, limit: Duration) -> Result<String, BenchError> {
    let system = |source| BenchError::System { action: "wait for wrk", source };
    let end = Instant::now() + limit;
    let status = loop {
        match client.try_wait().map_err(system)? {
            Some(status) => break status,
            None if Instant::now() >= end => {
                let _ = client.kill();
                let _ = client.wait();
                return Err(BenchError::Surprise(format!("wrk did not end within {} s", limit.as_secs())));
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let said = fs::read_to_string(log).map_err(LabError::file("read", log))?;
    if status.success() { Ok(said) } else { Err(BenchError::Surprise(format!("wrk ({status}): {}", said.trim()))) }
}

impl Drop for Hop {
    fn drop(&mut self) {
        // Every process is in its control group.
        if let Err(error) = remove(&self.name) {
            eprintln!("site {}: {}", self.name, error.chain());
        }
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_have_the_last_processor_alone_where_there_are_two() {
        let of = |count| {
            let Processors { proxies, others, .. } = Processors::of(count);
            (proxies, others)
        };
        assert_eq!(of(1), ("0".to_owned(), "0".to_owned()));
        assert_eq!(of(2), ("1".to_owned(), "0".to_owned()));
        assert_eq!(of(8), ("7".to_owned(), "0-6".to_owned()));
    }
}
