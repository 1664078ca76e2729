//! The link against a controller of the test's own: TLS, hellos, streams, reports, on 127.0.0.1.

use super::HostLink;
use crate::ApiError;
use crate::WIRE_VERSION;
use crate::desired::Desired;
use crate::pki::Authority;
use crate::report::{Blank, Hello, Report};
use crate::tls::{ClientCerts, server_config};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use pan_model::Code;
use pan_model::host::Role;
use pan_model::host_config::{FabricConfig, FabricsConfig, HostConfig, PeerAddress, TlsFiles};
use pan_model::{Generation, HostName};
use std::convert::Infallible;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

type Body = BoxBody<Bytes, Infallible>;

/// What the fake controller remembers and what it says.
#[derive(Default)]
struct Book {
    hellos: usize,
    reports: watch::Sender<Vec<Report>>,
    knows_host: bool,
}

struct Controller {
    port: u16,
    book: Arc<Mutex<Book>>,
    desired: watch::Sender<Desired>,
    tasks: JoinSet<()>,
}

fn host() -> HostName {
    "n1".parse().unwrap()
}

fn desired(step: u64) -> Desired {
    Desired {
        version: WIRE_VERSION,
        billed: Vec::new(),
        blanks: None,
        imports: Vec::new(),
        admission: pan_model::Admission::FIRST,
        generation: Generation { term: 1, step },
        host: host(),
        peers: crate::peers::Peers::default(),
        networks: Vec::new(),
        servers: Vec::new(),
        warm: Vec::new(),
        seats: Vec::new(),
        units: Vec::new(),
        snapshots: Vec::new(),
        replicas: Vec::new(),
    }
}

fn hello() -> Hello {
    let ip: IpAddr = "127.0.0.1".parse().unwrap();
    Hello {
        version: WIRE_VERSION,
        host: host(),
        roles: vec![Role::Node],
        software: "test".into(),
        address: ip,
        a: ip,
        b: ip,
        node: None,
        storage: None,
    }
}

fn report() -> Report {
    Report {
        version: WIRE_VERSION,
        usage: Vec::new(),
        host: host(),
        role: Role::Node,
        boot: 1,
        sequence: 1,
        applied: Generation { term: 1, step: 1 },
        blank: None,
        restarted: None,
        admission: pan_model::Admission::NONE,
        wants_admission: false,
        refused: Vec::new(),
        beyond: Vec::new(),
        ways: Vec::new(),
        gate: None,
        servers: Vec::new(),
        connections: Vec::new(),
        problems: Vec::new(),
        pool: None,
        replicas: Vec::new(),
    }
}

fn config(dir: &std::path::Path, authority: &Authority) -> HostConfig {
    let issued = authority.issue_host(&host(), &[Role::Node], &[]).unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let fabric = |text: &str| FabricConfig { interface: "lo".into(), address: text.parse().unwrap() };
    let ip = |text: &str| text.parse().unwrap();
    HostConfig {
        version: 1,
        name: host(),
        roles: vec![Role::Node],
        address: ip("127.0.0.1"),
        fabrics: FabricsConfig { a: fabric("127.0.0.1/8"), b: fabric("127.0.0.2/8") },
        // Nobody listens on fabric a.
        controllers: vec![PeerAddress { name: "c1".parse().unwrap(), address: ip("127.0.0.9"), a: ip("127.0.0.8"), b: ip("127.0.0.9") }],
        lessors: Vec::new(),
        directors: Vec::new(),
        pan_key: None,
        tls: TlsFiles {
            ca: write("ca.pem", authority.cert_pem()),
            cert: write("host.pem", &issued.cert_pem),
            key: write("host.key", &issued.key_pem),
        },
        beat_key: dir.join("beat"),
        profile: "lan".into(),
        state_dir: dir.join("state"),
        run_dir: dir.join("run"),
        node: None,
        storage: None,
        director: None,
        controller: None,
        laboratory: None,
    }
}

impl Controller {
    async fn start(authority: &Authority) -> Self {
        let issued = authority.issue_host(&"c1".parse().unwrap(), &[Role::Controller], &[]).unwrap();
        let tls = server_config(authority.cert_pem(), &issued.cert_pem, &issued.key_pem, ClientCerts::Required).unwrap();
        let acceptor = TlsAcceptor::from(tls);
        let listener = TcpListener::bind("127.0.0.9:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let book = Arc::new(Mutex::new(Book::default()));
        let (sender, newest) = watch::channel(desired(1));
        let mut tasks = JoinSet::new();
        let kept = book.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (acceptor, book, newest) = (acceptor.clone(), kept.clone(), newest.clone());
                connections.spawn(async move {
                    let Ok(tls) = acceptor.accept(tcp).await else { return };
                    let answer = service_fn(move |request| answer(request, book.clone(), newest.clone()));
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tls), answer).await;
                });
            }
        });
        Self { port, book, desired: sender, tasks }
    }

    async fn reported(&self, count: usize) {
        let mut reports = self.book.lock().unwrap().reports.subscribe();
        let enough = reports.wait_for(|reports| reports.len() == count);
        tokio::time::timeout(Duration::from_secs(10), enough).await.unwrap_or_else(|_| panic!("{count} reports did not arrive")).unwrap();
    }
}

async fn answer(
    request: Request<Incoming>,
    book: Arc<Mutex<Book>>,
    newest: watch::Receiver<Desired>,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let whole = |status: u16, text: String| Response::builder().status(status).body(Full::new(Bytes::from(text)).boxed()).unwrap();
    let mut book = book.lock().unwrap();
    Ok(match path.as_str() {
        "/internal/v1/hello" => {
            book.hellos += 1;
            book.knows_host = true;
            whole(200, String::new())
        }
        "/internal/v1/report" if !book.knows_host => {
            whole(404, serde_json::to_string(&ApiError::new(Code::NotFound, "unknown host")).unwrap())
        }
        "/internal/v1/report" => {
            book.reports.send_modify(|reports| reports.push(serde_json::from_slice(&body).unwrap()));
            whole(200, String::new())
        }
        "/internal/v1/desired" => {
            let lines = stream::unfold((newest, true), |(mut newest, first)| async move {
                if !first {
                    newest.changed().await.ok()?;
                }
                let line = format!("{}\n", serde_json::to_string(&*newest.borrow_and_update()).unwrap());
                Some((Ok(Frame::data(Bytes::from(line))), (newest, false)))
            });
            Response::new(BodyExt::boxed(StreamBody::new(lines)))
        }
        other => whole(404, format!("no {other}")),
    })
}

async fn reaches(link: &mut HostLink, step: u64) {
    let newest = link.desired.wait_for(|newest| newest.as_ref().is_some_and(|newest| newest.generation.step == step));
    tokio::time::timeout(Duration::from_secs(10), newest).await.unwrap_or_else(|_| panic!("step {step} did not arrive")).unwrap();
}

#[tokio::test]
async fn desired_states_arrive_over_the_fabric_that_works_and_outlive_the_controller() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::create().unwrap();
    let config = config(dir.path(), &authority);
    let mut controller = Controller::start(&authority).await;
    let port = controller.port;
    let mut link = HostLink::start_at(&config, Role::Node, hello(), port).await.unwrap();
    reaches(&mut link, 1).await;
    controller.desired.send_replace(desired(3));
    reaches(&mut link, 3).await;
    // An older one is refused; the newer one behind it arrives.
    controller.desired.send_replace(desired(2));
    tokio::task::yield_now().await;
    controller.desired.send_replace(desired(4));
    reaches(&mut link, 4).await;

    link.report(report());
    controller.reported(1).await;
    controller.book.lock().unwrap().knows_host = false;
    link.report(report());
    controller.reported(2).await;
    {
        let book = controller.book.lock().unwrap();
        assert_eq!(book.hellos, 2, "one for the stream, one because the controller had forgotten the host");
    }

    controller.tasks.shutdown().await;
    link.report(report());
    drop(link);
    let link = HostLink::start_at(&config, Role::Node, hello(), port).await.unwrap();
    let kept = link.desired.borrow().clone().expect("the kept desired state is there before any controller answers");
    assert_eq!(*kept, desired(4));
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&config.run_dir), 0o700);
    assert_eq!(mode(&config.run_dir.join("desired-node.json")), 0o600, "it holds servers' secrets");
}

/// As after a boot: a controller that leads no more cannot know the number that the link has drawn since.
#[tokio::test]
async fn who_knows_nothing_waits_for_the_controller_that_leads() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::create().unwrap();
    let config = config(dir.path(), &authority);
    let controller = Controller::start(&authority).await;
    let names = |step, blanks: &[(Role, Blank)]| Desired { blanks: Some(blanks.iter().copied().collect()), ..desired(step) };
    controller.desired.send_replace(names(9, &[(Role::Node, Blank(1))]));
    let mut link = HostLink::start_at(&config, Role::Node, hello(), controller.port).await.unwrap();
    link.report(report());
    controller.reported(1).await;
    let blank = controller.book.lock().unwrap().reports.borrow()[0].blank.expect("it knows nothing");
    assert!(link.desired.borrow().is_none());

    // It comes behind what was refused, which so was looked at before.
    controller.desired.send_replace(names(2, &[(Role::Director, Blank(1)), (Role::Node, blank)]));
    reaches(&mut link, 2).await;
    link.report(report());
    controller.reported(2).await;
    assert_eq!(controller.book.lock().unwrap().reports.borrow()[1].blank, None);
    // By now generations say enough.
    controller.desired.send_replace(names(3, &[]));
    reaches(&mut link, 3).await;

    drop(link);
    let link = HostLink::start_at(&config, Role::Node, hello(), controller.port).await.unwrap();
    link.report(report());
    controller.reported(3).await;
    assert_eq!(controller.book.lock().unwrap().reports.borrow()[2].blank, None, "what is kept is known");
}
