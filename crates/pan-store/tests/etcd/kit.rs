//! Members of etcd for tests, with an authority, certificates and directories of their own.
//!
//! Each test process has a loopback address of its own, made from its process id, so that ports need not be
//! looked for. Members end with the test: when dropped, and by the kernel if the test is killed.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use pan_store::{ClusterState, Etcd, EtcdOptions, Member, MemberTls, Pace, Timing};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::{Mutex, MutexGuard};

/// etcd starts within a second; a loaded machine is slower.
const PATIENCE: Duration = Duration::from_secs(60);

/// One cluster at a time: what is measured must not be each other.
static ALONE: Mutex<()> = Mutex::const_new(());

static PORT: AtomicU16 = AtomicU16::new(2379);

/// Names another etcd than the one that is installed: another release, say.
const ETCD: &str = "PAN_TEST_ETCD";

/// The etcd to test with.
fn etcd() -> OsString {
    std::env::var_os(ETCD).unwrap_or_else(|| "etcd".into())
}

/// Whether there is an etcd to test with; says which, or that there is none.
pub fn available() -> bool {
    let found = Command::new(etcd()).arg("--version").output().ok().filter(|output| output.status.success());
    match &found {
        Some(output) => eprintln!("{}", String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default()),
        None => {
            assert!(std::env::var_os(ETCD).is_none(), "{ETCD} is {}, which is no etcd that runs here", etcd().display());
            eprintln!("SKIP: etcd is not installed (apt-get install etcd-server)");
        }
    }
    found.is_some()
}

/// Members, running or not. Dropping it ends them and removes what they wrote.
pub struct Cluster {
    members: Vec<Running>,
    authority: Authority,
    directory: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

struct Running {
    arguments: Vec<OsString>,
    endpoint: String,
    log: PathBuf,
    child: Option<Child>,
}

impl Cluster {
    /// Starts `size` members, with these flags after those of [`Member::arguments`].
    pub async fn start(size: usize, pace: Pace, further: &[&str]) -> Self {
        let alone = ALONE.lock().await;
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::create();
        let tls = authority.issue(directory.path());
        let url = |port| format!("https://{}:{port}", address());
        let ports: Vec<(u16, u16)> = (0..size).map(|_| (port(), port())).collect();
        let name = |index| format!("e{}", index + 1);
        let cluster: Vec<_> = ports.iter().enumerate().map(|(index, (peer, _))| (name(index), vec![url(peer)])).collect();
        let members = ports.iter().enumerate().map(|(index, (peer, client))| {
            let member = Member {
                name: name(index),
                peer_urls: vec![url(peer)],
                client_urls: vec![url(client)],
                data_dir: directory.path().join(name(index)),
                cluster: cluster.clone(),
                state: ClusterState::New,
                token: format!("test-{}-{}", std::process::id(), ports[0].0),
                tls: tls.clone(),
                pace,
            };
            let arguments = member.arguments().into_iter().chain(further.iter().map(|&text| text.into())).collect();
            let log = directory.path().join(format!("{}.log", name(index)));
            Running { arguments, endpoint: url(client), log, child: None }
        });
        let members = members.collect();
        let mut started = Self { members, authority, directory, _alone: alone };
        (0..size).for_each(|index| started.start_member(index));
        started
    }

    /// Starts a member that does not run. The thread that calls it has to live as long as the member.
    pub fn start_member(&mut self, index: usize) {
        let member = &mut self.members[index];
        assert!(member.child.is_none(), "member {index} runs already");
        let log = File::options().create(true).append(true).open(&member.log).unwrap();
        // The kernel ends the member should this test be killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(etcd()).args(&member.arguments);
        // etcd takes flags from variables, too.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ETCD_")) {
            command.env_remove(name);
        }
        member.child = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    /// Ends a member as a power cut would, but for what the kernel still writes.
    pub fn kill(&mut self, index: usize) {
        let mut child = self.members[index].child.take().expect("the member runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// `STOP` or `CONT`.
    pub fn signal(&self, index: usize, signal: &str) {
        let child = self.members[index].child.as_ref().expect("the member runs");
        let sent = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// How to reach the members, in this order.
    pub fn options(&self, order: &[usize], timing: Timing) -> EtcdOptions {
        let endpoints = order.iter().map(|&index| self.members[index].endpoint.parse().unwrap()).collect();
        EtcdOptions { endpoints, tls: self.authority.client(), prefix: String::new(), timing }
    }

    /// A store in this cluster, once it answers.
    pub async fn store(&self, options: EtcdOptions) -> Etcd {
        let started = Instant::now();
        loop {
            match Etcd::connect(options.clone()).await {
                Ok(store) => return store,
                Err(error) if started.elapsed() < PATIENCE => eprintln!("not yet: {error}"),
                Err(error) => panic!("{error:?}\n{}", self.logs()),
            }
        }
    }

    /// The member that leads, as etcd's own metrics say.
    pub async fn leader(&self) -> usize {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            for (index, member) in self.members.iter().enumerate().filter(|(_, member)| member.child.is_some()) {
                if ask(&format!("{}/metrics", member.endpoint), self.directory.path(), None).contains("\netcd_server_is_leader 1\n") {
                    return index;
                }
            }
            tokio::task::yield_now().await;
        }
        panic!("no member leads\n{}", self.logs());
    }

    /// The ends of what members said.
    fn logs(&self) -> String {
        let last = |member: &Running| {
            let text = fs::read_to_string(&member.log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!("{}:\n{}\n", member.endpoint, lines[lines.len().saturating_sub(10)..].join("\n"))
        };
        self.members.iter().map(last).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.members.iter_mut().filter_map(|member| member.child.as_mut()) {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}

/// The answer to a call of a member's HTTP side; nothing if there is none.
fn ask(url: &str, directory: &Path, body: Option<&str>) -> String {
    let file = |name: &str| directory.join(name).into_os_string();
    let mut command = Command::new("curl");
    command.args(["--silent", "--max-time", "2"]);
    command.arg("--cacert").arg(file("ca.pem")).arg("--cert").arg(file("cert.pem")).arg("--key").arg(file("key.pem"));
    command.args(body.map(|body| ["--data", body]).into_iter().flatten());
    let output = command.arg(url).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// 127.64.0.0/10 has as many addresses as Linux has process ids.
fn address() -> IpAddr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 | (high & 63), middle, low).into()
}

fn port() -> u16 {
    PORT.fetch_add(1, Ordering::Relaxed)
}

/// An authority of the test's own.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    ca_pem: String,
}

impl Authority {
    pub fn create() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let ca_pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), ca_pem }
    }

    fn sign(&self, names: &[&str]) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        // Not that of the authority: OpenSSL would take the certificate for signed by itself.
        params.distinguished_name.push(DnType::CommonName, "member");
        params.subject_alt_names = vec![SanType::IpAddress(address()), SanType::IpAddress(Ipv4Addr::LOCALHOST.into())];
        params.subject_alt_names.extend(names.iter().map(|name| SanType::DnsName((*name).try_into().unwrap())));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn issue(&self, directory: &Path) -> MemberTls {
        let (cert, key) = self.sign(&[ALLOWED]);
        let write = |name: &str, text: &str| {
            let path = directory.join(name);
            fs::write(&path, text).unwrap();
            path
        };
        MemberTls {
            ca: write("ca.pem", &self.ca_pem),
            cert: write("cert.pem", &cert),
            key: write("key.pem", &key),
            allowed: ALLOWED.to_owned(),
        }
    }

    /// Settings of a client that trusts this authority and has a certificate of it, as those have who may use the store.
    pub fn client(&self) -> Arc<ClientConfig> {
        self.client_with(&[ALLOWED])
    }

    /// The same with a certificate as other hosts have.
    pub fn other_host(&self) -> Arc<ClientConfig> {
        self.client_with(&["n1", "localhost"])
    }

    fn client_with(&self, names: &[&str]) -> Arc<ClientConfig> {
        let (cert, key) = self.sign(names);
        let cert = CertificateDer::from_pem_slice(cert.as_bytes()).unwrap();
        let builder = client_builder(&self.ca_pem);
        Arc::new(builder.with_client_auth_cert(vec![cert], PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap())
    }

    /// Settings of a client that trusts this authority and shows nothing.
    pub fn stranger(&self) -> Arc<ClientConfig> {
        Arc::new(client_builder(&self.ca_pem).with_no_client_auth())
    }
}

/// Whose certificates are taken.
const ALLOWED: &str = "store.test.internal";

impl Cluster {
    /// Has etcd forget what happened before `revision`.
    pub fn compact(&self, revision: pan_store::Revision) {
        let body = format!("{{\"revision\":\"{revision}\",\"physical\":true}}");
        let answer = ask(&format!("{}/v3/kv/compaction", self.members[0].endpoint), self.directory.path(), Some(&body));
        assert!(answer.contains("header"), "compaction: {answer:?}");
    }

    pub fn authority(&self) -> &Authority {
        &self.authority
    }
}

fn client_builder(ca_pem: &str) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    builder.with_root_certificates(roots)
}
