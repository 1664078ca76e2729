//! A session of a head that somebody wrote down, and everything that it could be used for: nothing.

use super::*;
use std::sync::Mutex;

/// What the volume holds where the recorded session wrote.
const MINE: u8 = 9;
const LATER: u8 = 5;

/// What went to a storage host, as it was on the wire, and as it was in the clear.
struct Recording {
    sealed: Vec<u8>,
    clear: Vec<u8>,
}

impl Host {
    /// One that is dialled through somebody who writes everything down.
    async fn tapped(&self) -> (u16, Arc<Mutex<Vec<u8>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (tap, port, heard) = (listener.local_addr().unwrap().port(), self.port, Arc::new(Mutex::new(Vec::new())));
        let tape = heard.clone();
        tokio::spawn(async move {
            let (head, _) = listener.accept().await.unwrap();
            let host = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let ((mut up, mut down), (mut back, mut on)) = (head.into_split(), host.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut back, &mut down).await });
            let mut bytes = vec![0; 64 << 10];
            while let Ok(count @ 1..) = up.read(&mut bytes).await {
                tape.lock().unwrap().extend_from_slice(&bytes[..count]);
                on.write_all(&bytes[..count]).await.unwrap();
            }
        });
        (tap, heard)
    }

    /// A head attaches, fences, and writes; somebody has all of it.
    async fn recorded(&self) -> Recording {
        let (tap, heard) = self.tapped().await;
        let stream = TcpStream::connect(("127.0.0.1", tap)).await.unwrap();
        let mut stream = connect(self.certificate(&self.authority, "n1", Role::Node), stream).await.unwrap();
        let shown = SigningKey::of_period(&ROOT, 1).seal(&capability(1));
        let mut clear = [u16::try_from(shown.len()).unwrap().to_be_bytes().as_slice(), &shown].concat();
        stream.write_all(&clear).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), 1);
        let mut head = Head { stream, epoch: 1, sequence: 0, settled: 0, unasked: VecDeque::new() };
        head.fence().await;
        assert_eq!(head.write(0, MINE).await, Answer::Done);
        for (sequence, ask) in [
            (1, Ask::Fence { part: Part::Member { adopts: None }, dialect: Dialect::Second, out: None }),
            (2, Ask::Write { span: Span { at: 0, length: 4096 }, content: Content::Data(vec![MINE; 4096]), durable: false, copy: false }),
        ] {
            let (writer, settled) = (Writer { epoch: VolumeEpoch(1), session: Session(10) }, Sequence(0));
            let request = Request { writer, lineage: Lineage(1), sequence: Sequence(sequence), settled, reconciled: false, ask };
            let (head, payload) = wire::request(VOLUME, request).unwrap();
            clear.extend_from_slice(&head);
            clear.extend_from_slice(payload.bytes());
        }
        let sealed = heard.lock().unwrap().clone();
        assert!(sealed.len() > clear.len(), "all of it was heard");
        Recording { sealed, clear }
    }

    fn certificate(&self, authority: &Authority, host: &str, role: Role) -> Arc<rustls::ClientConfig> {
        let issued = authority.issue_host(&name(host), &[role], &[]).unwrap();
        client_config(self.authority.cert_pem(), Some((&issued.cert_pem, &issued.key_pem))).unwrap()
    }

    /// What comes back for these bytes, to the end of the connection; nothing for whoever is not let in at all.
    async fn answers(&self, tls: Arc<rustls::ClientConfig>, bytes: &[u8]) -> Vec<u8> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let mut heard = Vec::new();
        let whole = async {
            let Ok(mut stream) = connect(tls, stream).await else { return };
            // It may be gone by then: what was heard before is what counts.
            let _ = stream.write_all(bytes).await;
            let _ = stream.read_to_end(&mut heard).await;
        };
        tokio::time::timeout(SOON, whole).await.expect("the connection is neither answered nor ended");
        heard
    }

    fn turned_away(&self, reason: &str, count: u64) -> bool {
        self.counted(&format!("pan_storage_capabilities_refused_total{{reason=\"{reason}\"}} {count}"))
    }

    fn page(&self) -> String {
        metrics::render(&self.counts, None)
    }
}

async fn connect(tls: Arc<rustls::ClientConfig>, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
    stream.set_nodelay(true).unwrap();
    TlsConnector::from(tls).connect("s1".try_into().unwrap(), stream).await
}

/// What is at the beginning of the volume, asked by the head that has it by then.
async fn holds(host: &Host, epoch: u64) -> Answer<Vec<u8>> {
    let mut head = host.head(epoch).await;
    head.fence().await;
    head.read(0).await
}

/// The bytes of a connection that is over are the bytes of no other: the keys of each are new.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_from_the_wire_open_nothing_a_second_time() {
    let host = Host::start().await;
    let recording = host.recorded().await;
    let mut later = host.head(2).await;
    later.fence().await;
    assert_eq!(later.write(0, LATER).await, Answer::Done);
    let sessions = host.page();
    for round in 1..=3 {
        let mut stream = TcpStream::connect(("127.0.0.1", host.port)).await.unwrap();
        // All that is heard back is the server's part of a handshake that comes to nothing.
        let _ = stream.write_all(&recording.sealed).await;
        let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut Vec::new())).await.expect("it was ended");
        assert!(host.turned_away("certificate", round), "{}", host.page());
    }
    let of = |page: &str| page.lines().filter(|line| line.starts_with("pan_storage_requests_total")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(of(&sessions), of(&host.page()), "no request was taken");
    assert_eq!(later.read(0).await, Answer::Read(vec![LATER; 4096]));
}

/// Whoever has the capability and the requests in the clear, and no key of the host that they were made for.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_in_the_clear_is_of_no_use_to_anybody_else() {
    let host = Host::start().await;
    let bytes = host.recorded().await.clear;
    let mut later = host.head(2).await;
    later.fence().await;
    assert_eq!(later.write(0, LATER).await, Answer::Done);

    let elsewhere = Authority::create().unwrap();
    let members = [("n2", Role::Node), ("n1", Role::Director), ("n1", Role::Storage), ("n1", Role::Controller), ("c1", Role::Controller)];
    let strangers = [
        ("another PAN's", host.certificate(&elsewhere, "n1", Role::Node)),
        ("one that signed itself", itself(&host)),
        ("none", client_config(host.authority.cert_pem(), None).unwrap()),
    ];
    for (who, role) in members {
        let heard = host.answers(host.certificate(&host.authority, who, role), &bytes).await;
        assert_eq!(heard, [0], "a member of the PAN is refused in one word: {who} {role}");
    }
    for (at, (who, tls)) in strangers.into_iter().enumerate() {
        assert_eq!(host.answers(tls, &bytes).await, b"", "{who} is no host of the PAN");
        assert!(host.turned_away("certificate", at as u64 + 1), "{who}: {}", host.page());
    }
    assert!(host.turned_away("role", 4) && host.turned_away("capability", 1), "{}", host.page());
    assert_eq!(host.counts.turned_away.strangers(), 8, "the PAN is told of all of them");
    assert_eq!(later.read(0).await, Answer::Read(vec![LATER; 4096]));
}

/// A certificate of nobody but itself, in the name of a node.
fn itself(host: &Host) -> Arc<rustls::ClientConfig> {
    let own = Authority::create().unwrap();
    client_config(host.authority.cert_pem(), Some((own.cert_pem(), own.key_pem()))).unwrap()
}

/// On the very host that it was made for: while another head has the volume, and after the time of the keys is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_over_is_of_no_use_to_its_own_host() {
    let host = Host::start().await;
    let bytes = host.recorded().await.clear;
    let mut later = host.head(2).await;
    later.fence().await;
    assert_eq!(later.write(0, LATER).await, Answer::Done);
    let own = || host.certificate(&host.authority, "n1", Role::Node);
    let refused = |page: &str| -> u64 {
        let line = page.lines().find_map(|line| line.strip_prefix("pan_storage_requests_refused_total "));
        line.unwrap().parse().unwrap()
    };
    let before = refused(&host.page());
    let stream = TcpStream::connect(("127.0.0.1", host.port)).await.unwrap();
    let mut stream = connect(own(), stream).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), 1, "the capability itself is good as long as the key is");
    let mut old = Head { stream, epoch: 1, sequence: 2, settled: 0, unasked: VecDeque::new() };
    for _ in 0..2 {
        assert_eq!(old.reply().await.unwrap().answer, Answer::Refused { epoch: VolumeEpoch(2) });
    }
    assert_eq!(refused(&host.page()), before + 2, "each request is refused and counted");
    assert_eq!(later.read(0).await, Answer::Read(vec![LATER; 4096]));

    // The next period's keys are handed out, and the one before is good no more.
    std::fs::write(handed_out(&host.dir.path().join("run")), SigningKey::of_period(&ROOT, 3).public()).unwrap();
    assert_eq!(host.answers(own(), &bytes).await, [0]);
    assert!(host.turned_away("capability", 1), "{}", host.page());
    assert_eq!(later.read(0).await, Answer::Read(vec![LATER; 4096]), "who is connected goes on");
}

/// Heads of volumes that are in use come back at once after a boot of the host, and its keys some moments later: nobody is told that strangers came.
#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_checked_yet_is_no_stranger() {
    let host = Host::start().await;
    let keys = handed_out(&host.dir.path().join("run"));
    let handed = std::fs::read(&keys).unwrap();
    std::fs::remove_file(&keys).unwrap();
    let good = SigningKey::of_period(&ROOT, 1).seal(&capability(1));
    assert_eq!(host.shows("n1", &good).await, [0], "without keys nothing is a capability");
    assert!(host.turned_away("keyless", 1) && host.turned_away("capability", 0), "{}", host.page());
    assert_eq!(host.counts.turned_away.strangers(), 0, "{}", host.page());
    std::fs::write(&keys, handed).unwrap();
    assert_eq!(host.shows("n2", &good).await, [0], "of another host");
    assert_eq!(host.counts.turned_away.strangers(), 1, "{}", host.page());
    assert_eq!(holds(&host, 1).await, Answer::Read(vec![0; 4096]));
}

/// Every single bit of what is shown, on the host that it was made for.
#[tokio::test(flavor = "multi_thread")]
async fn no_bit_of_a_capability_can_be_another_one() {
    let host = Arc::new(Host::start().await);
    let good = SigningKey::of_period(&ROOT, 1).seal(&capability(1));
    // One handshake after the other is a minute; many at a time are fewer than a host may have.
    let (tls, bits) = (host.certificate(&host.authority, "n1", Role::Node), good.len() * 8);
    let mut asked = JoinSet::new();
    for worker in 0..16 {
        let (host, good, tls) = (host.clone(), good.clone(), tls.clone());
        asked.spawn(async move {
            for bit in (worker..bits).step_by(16) {
                let mut changed = good.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                let bytes = [u16::try_from(changed.len()).unwrap().to_be_bytes().as_slice(), &changed].concat();
                assert_eq!(host.answers(tls.clone(), &bytes).await, [0], "bit {bit}");
            }
        });
    }
    while let Some(done) = asked.join_next().await {
        done.unwrap();
    }
    assert!(host.turned_away("capability", bits as u64) && host.turned_away("volume", 0), "{}", host.page());
    assert!(host.counted("pan_storage_requests_total{kind=\"fence\"} 0"));
    // And the one that was not changed is good: the test can fail.
    assert_eq!(holds(&host, 1).await, Answer::Read(vec![0; 4096]));
}

/// A request of which a bit was changed on its way, which only an end of the connection itself could do, ends the connection and does nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_another_bit_does_nothing() {
    let host = Host::start().await;
    let mut good = host.head(1).await;
    good.fence().await;
    assert_eq!(good.write(0, MINE).await, Answer::Done);
    drop(good);
    let ask = Ask::Write { span: Span { at: 0, length: 4096 }, content: Content::Data(vec![LATER; 4096]), durable: false, copy: false };
    let (writer, sequence) = (Writer { epoch: VolumeEpoch(1), session: Session(10) }, Sequence(9));
    let request = Request { writer, lineage: Lineage(1), sequence, settled: Sequence(0), reconciled: false, ask };
    let (head, payload) = wire::request(VOLUME, request).unwrap();
    let bytes = [&head[..], payload.bytes()].concat();
    let tls = host.certificate(&host.authority, "n1", Role::Node);
    let shown = SigningKey::of_period(&ROOT, 1).seal(&capability(1));
    let greeting = [u16::try_from(shown.len()).unwrap().to_be_bytes().as_slice(), &shown].concat();
    // All bits of the head, and some of the content.
    for bit in (0..head.len() * 8).chain([head.len() * 8, bytes.len() * 4, bytes.len() * 8 - 1]) {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let heard = host.answers(tls.clone(), &[&greeting[..], &changed].concat()).await;
        assert_eq!(heard.first(), Some(&1), "bit {bit}");
        let rest: Vec<&[u8]> = heard[1..].chunks(2).filter(|sign| *sign != ALIVE).collect();
        assert!(rest.is_empty(), "bit {bit} was answered: {rest:?}");
    }
    assert_eq!(holds(&host, 1).await, Answer::Read(vec![MINE; 4096]));
}
