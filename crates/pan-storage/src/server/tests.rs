//! Heads of the test's own against a server: TLS and frames over 127.0.0.1, a pool in a folder.

use super::Server;
use crate::keep::Keeper;
use crate::metrics::{self, Counts};
use pan_api::capability::{Capability, Mode, SigningKey, handed_out};
use pan_api::desired::Desired;
use pan_api::pki::Authority;
use pan_api::tls::client_config;
use pan_api::volume::{ReplicaOrder, ReplicaWant};
use pan_model::host::Role;
use pan_model::host_config::{FabricConfig, FabricsConfig, HostConfig, LaboratoryConfig, TlsFiles};
use pan_model::mirror::Writer;
use pan_model::{ByteSize, Generation, HostName, Lineage, Session, VolumeEpoch, VolumeId};
use pan_replica::wire::line::{ALIVE, Cover, greeting};
use pan_replica::wire::{self, REPLY_HEAD};
use pan_replica::{Answer, Ask, Content, Dialect, Fenced, Part, Reply, Request, Sequence, Span};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const VOLUME: VolumeId = VolumeId(7);
const SIZE: u64 = 16 << 20;
const EXTENTS: u64 = SIZE / pan_replica::EXTENT;
const ROOT: [u8; 32] = [3; 32];

/// For anything that must come.
const SOON: Duration = Duration::from_secs(10);

fn name(name: &str) -> HostName {
    name.parse().unwrap()
}

fn config(dir: &Path, authority: &Authority) -> HostConfig {
    let issued = authority.issue_host(&name("s1"), &[Role::Storage], &["127.0.0.1".parse().unwrap()]).unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let fabric = || FabricConfig { interface: "lo".into(), address: "127.0.0.1/8".parse().unwrap() };
    let tls = TlsFiles {
        ca: write("ca.pem", authority.cert_pem()),
        cert: write("host.pem", &issued.cert_pem),
        key: write("host.key", &issued.key_pem),
    };
    for made in ["state", "run"] {
        std::fs::create_dir_all(dir.join(made)).unwrap();
    }
    HostConfig {
        version: 1,
        name: name("s1"),
        roles: vec![Role::Storage],
        address: "127.0.0.1".parse().unwrap(),
        fabrics: FabricsConfig { a: fabric(), b: fabric() },
        controllers: Vec::new(),
        lessors: Vec::new(),
        directors: Vec::new(),
        pan_key: None,
        tls,
        beat_key: dir.join("beat"),
        profile: "shared".into(),
        state_dir: dir.join("state"),
        run_dir: dir.join("run"),
        node: None,
        storage: None,
        director: None,
        controller: None,
        laboratory: None,
    }
}

fn desired(step: u64, orders: &[(VolumeId, ReplicaWant)]) -> Desired {
    let order = |(volume, want): &(VolumeId, ReplicaWant)| ReplicaOrder { volume: *volume, size: ByteSize(SIZE), want: *want, from: None };
    Desired {
        version: pan_api::WIRE_VERSION,
        billed: Vec::new(),
        blanks: None,
        imports: Vec::new(),
        admission: pan_model::Admission::FIRST,
        generation: Generation { term: 1, step },
        host: name("s1"),
        peers: pan_api::peers::Peers::default(),
        networks: Vec::new(),
        servers: Vec::new(),
        warm: Vec::new(),
        seats: Vec::new(),
        units: Vec::new(),
        snapshots: Vec::new(),
        replicas: orders.iter().map(order).collect(),
    }
}

/// A storage host.
struct Host {
    dir: tempfile::TempDir,
    authority: Authority,
    keeper: Keeper,
    server: Arc<Server>,
    counts: Arc<Counts>,
    port: u16,
    _serving: JoinSet<()>,
}

impl Host {
    /// One that keeps a replica which the volume began with.
    async fn start() -> Self {
        Self::start_as(None).await
    }

    async fn start_as(laboratory: Option<LaboratoryConfig>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create().unwrap();
        let config = HostConfig { laboratory, ..config(dir.path(), &authority) };
        std::fs::write(handed_out(&config.run_dir), SigningKey::of_period(&ROOT, 1).public()).unwrap();
        let (keeps, open) = watch::channel(None);
        let mut keeper = Keeper::new(&config, crate::mark::Boot::now(5), keeps);
        let seen = keeper.step(Some(&desired(1, &[(VOLUME, ReplicaWant::Found)])));
        assert_eq!((seen.problems.as_slice(), seen.replicas.len()), ([].as_slice(), 1));
        let counts = Arc::new(Counts::default());
        let server = Server::new(&config, open, counts.clone()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut serving = JoinSet::new();
        let serves = server.clone();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, from) = listener.accept().await.unwrap();
                let arrival = serves.door.arrival(from.ip()).unwrap();
                connections.spawn(serves.clone().connection(stream, arrival));
            }
        });
        Self { dir, authority, keeper, server, counts, port, _serving: serving }
    }

    async fn dial(&self, host: &str) -> TlsStream<TcpStream> {
        let issued = self.authority.issue_host(&name(host), &[Role::Node], &[]).unwrap();
        let tls = client_config(self.authority.cert_pem(), Some((&issued.cert_pem, &issued.key_pem))).unwrap();
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        TlsConnector::from(tls).connect("s1".try_into().unwrap(), stream).await.unwrap()
    }

    /// What a host is answered that shows these bytes, to the end of the connection.
    async fn shows(&self, host: &str, capability: &[u8]) -> Vec<u8> {
        let mut stream = self.dial(host).await;
        stream.write_u16(u16::try_from(capability.len()).unwrap()).await.unwrap();
        stream.write_all(capability).await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        answer
    }

    async fn head(&self, epoch: u64) -> Head {
        let mut stream = self.dial("n1").await;
        let capability = SigningKey::of_period(&ROOT, 1).seal(&capability(epoch));
        stream.write_u16(u16::try_from(capability.len()).unwrap()).await.unwrap();
        stream.write_all(&capability).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), 1);
        Head { stream, epoch, sequence: 0, settled: 0, unasked: VecDeque::new() }
    }

    fn counted(&self, line: &str) -> bool {
        metrics::render(&self.counts, None).lines().any(|found| found == line)
    }
}

fn capability(epoch: u64) -> Capability {
    Capability {
        volume: VOLUME,
        lineage: Lineage(1),
        epoch: VolumeEpoch(epoch),
        session: Session(epoch * 10),
        mode: Mode::Write,
        host: name("n1"),
    }
}

/// A head that was let in.
struct Head {
    stream: TlsStream<TcpStream>,
    epoch: u64,
    sequence: u64,
    settled: u64,
    /// What was said unasked while an answer was waited for.
    unasked: VecDeque<Reply<Vec<u8>>>,
}

impl Head {
    async fn send(&mut self, ask: Ask<Vec<u8>>) {
        self.sequence += 1;
        let request = Request {
            writer: Writer { epoch: VolumeEpoch(self.epoch), session: Session(self.epoch * 10) },
            lineage: Lineage(1),
            sequence: Sequence(self.sequence),
            settled: Sequence(self.settled),
            reconciled: false,
            ask,
        };
        let (head, payload) = wire::request(VOLUME, request).unwrap();
        self.stream.write_all(&head).await.unwrap();
        self.stream.write_all(payload.bytes()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next reply; `None`: the connection ended.
    async fn reply(&mut self) -> Option<Reply<Vec<u8>>> {
        match self.unasked.pop_front() {
            Some(said) => Some(said),
            None => self.hear().await,
        }
    }

    async fn hear(&mut self) -> Option<Reply<Vec<u8>>> {
        let read = async {
            let mut head = [0; REPLY_HEAD];
            loop {
                self.stream.read_exact(&mut head[..2]).await.ok()?;
                if head[..2] != ALIVE {
                    break;
                }
                // Whoever waits for an answer is not silent.
                self.stream.write_all(&ALIVE).await.ok()?;
            }
            self.stream.read_exact(&mut head[2..]).await.ok()?;
            let mut payload = vec![0; wire::reply_behind(&head).unwrap().length];
            self.stream.read_exact(&mut payload).await.ok()?;
            Some(wire::read_reply(&head, payload, EXTENTS).unwrap())
        };
        tokio::time::timeout(SOON, read).await.expect("neither an answer nor an end")
    }

    async fn ask(&mut self, ask: Ask<Vec<u8>>) -> Answer<Vec<u8>> {
        self.send(ask).await;
        loop {
            let reply = self.hear().await.expect("the connection ended");
            if reply.sequence == Sequence(0) {
                self.unasked.push_back(reply);
                continue;
            }
            assert_eq!(reply.sequence, Sequence(self.sequence));
            return reply.answer;
        }
    }

    async fn fence(&mut self) -> Fenced {
        match self.ask(Ask::Fence { part: Part::Member { adopts: None }, dialect: Dialect::Second, out: None }).await {
            Answer::Fenced(fenced) => fenced,
            other => panic!("not fenced: {other:?}"),
        }
    }

    async fn write(&mut self, at: u64, byte: u8) -> Answer<Vec<u8>> {
        let content = Content::Data(vec![byte; 4096]);
        self.ask(Ask::Write { span: Span { at, length: 4096 }, content, durable: false, copy: false }).await
    }

    async fn read(&mut self, at: u64) -> Answer<Vec<u8>> {
        self.ask(Ask::Read { span: Span { at, length: 4096 }, copy: false }).await
    }
}

mod replay;

#[tokio::test(flavor = "multi_thread")]
async fn a_head_fences_writes_reads_and_flushes_and_the_next_one_takes_over() {
    let host = Host::start().await;
    let mut first = host.head(1).await;
    let fenced = first.fence().await;
    assert_eq!(fenced, Fenced { flushed: (VolumeEpoch(0), Sequence(0)), dirty: vec![], lossy: false, blank: false });
    assert_eq!(first.write(8192, 9).await, Answer::Done);
    assert_eq!(first.read(8192).await, Answer::Read(vec![9; 4096]));
    assert_eq!(first.read(0).await, Answer::Read(vec![0; 4096]));
    first.settled = first.sequence;
    assert_eq!(first.ask(Ask::Flush { whole: false }).await, Answer::Done);
    let flushed = (VolumeEpoch(1), Sequence(first.sequence));
    assert_eq!(first.write(pan_replica::EXTENT * 3, 8).await, Answer::Done);
    let mut second = host.head(2).await;
    let fenced = second.fence().await;
    assert_eq!(fenced, Fenced { flushed, dirty: vec![pan_replica::Extent(3)], lossy: false, blank: false });
    assert_eq!(first.reply().await, None, "the older connection is ended");
    assert_eq!(second.read(pan_replica::EXTENT * 3).await, Answer::Read(vec![8; 4096]));
    // The older one comes back: its capability is good still, and it is obeyed no more.
    let mut first = host.head(1).await;
    let refused = Answer::Refused { epoch: VolumeEpoch(2) };
    assert_eq!(first.ask(Ask::Fence { part: Part::Member { adopts: None }, dialect: Dialect::Second, out: None }).await, refused);
    assert_eq!(first.write(0, 7).await, refused);
    assert_eq!(second.read(0).await, Answer::Read(vec![0; 4096]));
    assert!(host.counted("pan_storage_requests_refused_total 2"), "{}", metrics::render(&host.counts, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_wrong_with_a_capability_is_answered_alike() {
    let host = Host::start().await;
    let key = SigningKey::of_period(&ROOT, 1);
    let good = key.seal(&capability(1));
    let elsewhere = key.seal(&Capability { volume: VolumeId(99), ..capability(1) });
    let reader = key.seal(&Capability { mode: Mode::Read, ..capability(1) });
    let past = SigningKey::of_period(&ROOT, 2).seal(&capability(1));
    let mut flipped = good.clone();
    flipped[10] ^= 1;
    let refused =
        [("n2", good), ("n1", elsewhere), ("n1", reader), ("n1", past), ("n1", flipped), ("n1", Vec::new()), ("n1", vec![7; 512])];
    for (at, (from, shown)) in refused.iter().enumerate() {
        assert_eq!(host.shows(from, shown).await, [0], "case {at}");
    }
    assert!(host.counted("pan_storage_capabilities_refused_total{reason=\"capability\"} 6"));
    assert!(host.counted("pan_storage_capabilities_refused_total{reason=\"volume\"} 1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_said_in_the_clear_but_in_a_laboratory() {
    let good = SigningKey::of_period(&ROOT, 1).seal(&capability(1));
    let ask = |good: &[u8]| greeting(good, Cover::Clear).unwrap();
    for laboratory in [None, Some(LaboratoryConfig { volumes_in_the_clear: false })] {
        let host = Host::start_as(laboratory).await;
        let mut stream = host.dial("n1").await;
        stream.write_all(&ask(&good)).await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        assert_eq!(answer, [0]);
    }
    let host = Host::start_as(Some(LaboratoryConfig { volumes_in_the_clear: true })).await;
    assert_eq!(host.shows("n2", &good).await, [0], "the capability counts as ever");
    let mut stream = host.dial("n1").await;
    stream.write_all(&ask(&good)).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), 1);
    let (mut stream, _) = stream.into_inner();
    stream.write_all(&ALIVE).await.unwrap();
    let mut heard = [0; 2];
    tokio::time::timeout(SOON, stream.read_exact(&mut heard)).await.unwrap().unwrap();
    assert_eq!(heard, ALIVE);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_what_is_not_allowed_end_a_connection_and_nothing_else() {
    let host = Host::start().await;
    let mut good = host.head(1).await;
    good.fence().await;
    let mut garbage = host.head(2).await;
    garbage.stream.write_all(&[0xa5; 300]).await.unwrap();
    assert_eq!(garbage.reply().await, None);
    let mut beyond = host.head(2).await;
    beyond.epoch = 3;
    beyond.send(Ask::Fence { part: Part::Member { adopts: None }, dialect: Dialect::Second, out: None }).await;
    assert_eq!(beyond.reply().await, None);
    let mut damaged = host.head(2).await;
    damaged.sequence = 1;
    let request = |damaged: &Head| Request {
        writer: Writer { epoch: VolumeEpoch(2), session: Session(20) },
        lineage: Lineage(1),
        sequence: Sequence(damaged.sequence),
        settled: Sequence(0),
        reconciled: false,
        ask: Ask::Write { span: Span { at: 0, length: 4096 }, content: Content::Data(vec![1; 4096]), durable: false, copy: false },
    };
    let (head, _) = wire::request(VOLUME, request(&damaged)).unwrap();
    damaged.stream.write_all(&head).await.unwrap();
    damaged.stream.write_all(&[2; 4096]).await.unwrap();
    assert_eq!(damaged.reply().await, None);
    assert_eq!(good.read(0).await, Answer::Read(vec![0; 4096]), "the head that is obeyed goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_sends_keep_alives_stays_and_whoever_is_silent_goes() {
    let host = Host::start().await;
    let mut head = host.head(1).await;
    head.fence().await;
    let began = std::time::Instant::now();
    let mut heard = [0; 2];
    // Twice as long as silence may last.
    while began.elapsed() < host.server.silence * 2 {
        head.stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, ALIVE);
        head.stream.write_all(&ALIVE).await.unwrap();
    }
    assert_eq!(head.write(0, 1).await, Answer::Done);
    let silent = async { while head.stream.read_exact(&mut heard).await.is_ok() {} };
    tokio::time::timeout(SOON, silent).await.expect("a head that is silent is given up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_discarded_is_gone_and_its_head_with_it() {
    let mut host = Host::start().await;
    let mut head = host.head(1).await;
    head.fence().await;
    let seen = host.keeper.step(Some(&desired(2, &[])));
    assert_eq!((seen.replicas.len(), seen.applied.step), (1, 2), "what no order names stays");
    let seen = host.keeper.step(Some(&desired(3, &[(VOLUME, ReplicaWant::Discard)])));
    assert_eq!((seen.replicas.len(), seen.problems.len()), (0, 0));
    head.send(Ask::Read { span: Span { at: 0, length: 4096 }, copy: false }).await;
    assert_eq!(head.reply().await, None);
    let shown = SigningKey::of_period(&ROOT, 1).seal(&capability(1));
    assert_eq!(host.shows("n1", &shown).await, [0]);
    let seen = host.keeper.step(Some(&desired(4, &[(VOLUME, ReplicaWant::Keep)])));
    assert_eq!((seen.replicas[0].lineage, seen.replicas[0].trouble.as_deref()), (Lineage(0), None));
    assert!(host.dir.path().join("state/volumes/data").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_is_told_what_a_scrub_finds_and_the_next_one_again() {
    let host = Host::start().await;
    let mut first = host.head(1).await;
    first.fence().await;
    let content = Content::Data(vec![7; pan_replica::EXTENT as usize]);
    let span = Span { at: 3 * pan_replica::EXTENT, length: pan_replica::EXTENT };
    assert_eq!(first.ask(Ask::Write { span, content, durable: true, copy: false }).await, Answer::Done);
    let vault = host.server.open.borrow().clone().unwrap();
    vault.pool().tidy().unwrap();
    let data = host.dir.path().join("state/volumes").join(pan_disk::Name::Data.to_string());
    let file = std::fs::OpenOptions::new().read(true).write(true).open(data).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0], 5000).unwrap();
    assert_eq!(vault.scrub(pan_disk::ScrubAt::default(), u64::MAX).unwrap().rot.len(), 1);
    let rotten = Some(Reply { sequence: Sequence(0), answer: Answer::Rotten(vec![pan_replica::Extent(3)]) });
    assert_eq!(first.reply().await, rotten);
    let mut next = host.head(2).await;
    next.fence().await;
    assert_eq!(next.reply().await, rotten);
}
