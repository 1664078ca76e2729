//! Both clients against a real TLS server: certificates, kept connections, streams, refusals.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use pan_api::ApiError;
use pan_api::client::{Client, Timeouts};
use pan_api::hostclient::{HostClient, HostOptions, TlsMaterial};
use pan_api::pki::Authority;
use pan_api::tls::{ClientCerts, peer_identity};
use pan_model::host::Role;
use pan_model::{Code, HostName};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

type Body = BoxBody<Bytes, Infallible>;

struct Fixture {
    ca_pem: String,
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    host: TlsMaterial,
}

fn material(authority: &Authority, name: &str, roles: &[Role]) -> TlsMaterial {
    let issued = authority.issue_host(&HostName::new(name).unwrap(), roles, &[]).unwrap();
    TlsMaterial { ca_pem: authority.cert_pem().to_owned(), cert_pem: issued.cert_pem, key_pem: issued.key_pem }
}

async fn serve(clients: ClientCerts) -> Fixture {
    serve_as(&Authority::create().unwrap(), clients, Standing::Leads).await
}

/// Whether a controller can decide.
#[derive(Clone, Copy)]
enum Standing {
    Leads,
    /// It follows, and has no way to the one that leads.
    CutOff,
}

async fn serve_as(authority: &Authority, clients: ClientCerts, standing: Standing) -> Fixture {
    let tls = material(authority, "c1", &[Role::Controller]).server_config(clients).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let tls = TlsAcceptor::from(tls.clone());
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let Ok(stream) = tls.accept(tcp).await else { return };
                let peer = stream.get_ref().1.peer_certificates().and_then(|all| peer_identity(&all[0]).ok());
                let name = peer.map_or_else(|| "nobody".to_owned(), |peer| peer.host.to_string());
                let answer = service_fn(move |request| answer(request, name.clone(), standing));
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    });
    Fixture { host: material(authority, "n1", &[Role::Node]), ca_pem: authority.cert_pem().to_owned(), address, connections }
}

async fn answer(request: Request<Incoming>, peer: String, standing: Standing) -> Result<Response<Body>, Infallible> {
    let auth = request.headers().get("authorization").and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
    let text = |status: u16, text: String| Response::builder().status(status).body(http_body_util::Full::from(text).boxed()).unwrap();
    if let Standing::CutOff = standing {
        return Ok(text(503, serde_json::to_string(&ApiError::new(Code::NotLeading, "it cannot be reached from here")).unwrap()));
    }
    Ok(match request.uri().path() {
        "/auth" => text(200, serde_json::json!({"auth": auth, "peer": peer}).to_string()),
        "/close" => Response::builder().header("connection", "close").body(http_body_util::Full::from("1").boxed()).unwrap(),
        "/empty" => text(200, String::new()),
        "/echo" => {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            text(200, String::from_utf8(body.to_vec()).unwrap())
        }
        "/refuse" => text(409, serde_json::to_string(&ApiError::new(Code::State, "not now")).unwrap()),
        "/plain" => text(404, "what?".into()),
        "/lines" => {
            let chunks = ["1\n\n2", "2\n", "\n", "3\n4"].map(|part| Ok(Frame::data(Bytes::from(part))));
            Response::new(BodyExt::boxed(StreamBody::new(stream::iter(chunks))))
        }
        "/silent" => {
            let first = stream::iter([Ok(Frame::data(Bytes::from("1\n")))]);
            Response::new(BodyExt::boxed(StreamBody::new(first.chain(stream::pending()))))
        }
        "/hang" => std::future::pending().await,
        other => text(500, format!("no {other}")),
    })
}

fn client(fixture: &Fixture) -> Client {
    Client::new(&format!("https://{}", fixture.address), Some("pan_x"), &fixture.ca_pem).unwrap()
}

#[tokio::test]
async fn requests_share_a_connection() {
    let fixture = serve(ClientCerts::Optional).await;
    let client = client(&fixture);
    for _ in 0..5 {
        let answer: serde_json::Value = client.get("/auth").await.unwrap();
        assert_eq!(answer, serde_json::json!({"auth": "Bearer pan_x", "peer": "nobody"}));
    }
    let echoed: Vec<u32> = client.post("/echo", &[1, 2]).await.unwrap();
    assert_eq!(echoed, [1, 2]);
    let (): () = client.delete("/empty").await.unwrap();
    assert_eq!(fixture.connections.load(Ordering::SeqCst), 1);
    for _ in 0..3 {
        let one: u32 = client.get("/close").await.unwrap();
        assert_eq!(one, 1);
    }
}

#[tokio::test]
async fn refusals_keep_their_code() {
    let fixture = serve(ClientCerts::Optional).await;
    let client = client(&fixture);
    assert_eq!(client.get::<u32>("/refuse").await.unwrap_err(), ApiError::new(Code::State, "not now"));
    assert_eq!(client.get::<u32>("/plain").await.unwrap_err().code, Code::NotFound);
    assert_eq!(client.get::<u32>("/auth").await.unwrap_err().code, Code::Internal);
    assert_eq!(client.stream::<u32>("/refuse").await.err().unwrap().code, Code::State);
}

#[tokio::test]
async fn lines_skip_keep_alives_and_notice_silence() {
    let fixture = serve(ClientCerts::Optional).await;
    let client = client(&fixture);
    let mut lines = client.stream::<u32>("/lines").await.unwrap();
    let mut all = Vec::new();
    while let Some(line) = lines.next().await {
        all.push(line.unwrap());
    }
    assert_eq!(all, [1, 22, 3, 4]);
    let mut silent = client.stream::<u32>("/silent").await.unwrap().silence_max(Duration::from_millis(100));
    assert_eq!(silent.next().await.unwrap().unwrap(), 1);
    assert_eq!(silent.next().await.unwrap().unwrap_err().code, Code::Unreachable);
    let mut mistaken = client.stream::<String>("/lines").await.unwrap();
    assert_eq!(mistaken.next().await.unwrap().unwrap_err().code, Code::Internal);
}

#[tokio::test]
async fn hosts_know_each_other_by_certificate() {
    let fixture = serve(ClientCerts::Required).await;
    let tls = fixture.host.client_config().unwrap();
    let c1 = HostName::new("c1").unwrap();
    for peer in [None, Some(&c1)] {
        let host = HostClient::new(
            tls.clone(),
            fixture.address,
            peer,
            HostOptions { bind: Some("127.0.0.1".parse().unwrap()), ..HostOptions::default() },
        );
        assert_eq!(host.get::<serde_json::Value>("/auth").await.unwrap()["peer"], "n1");
    }
    let other = HostName::new("c2").unwrap();
    let wrong = HostClient::new(tls, fixture.address, Some(&other), HostOptions::default());
    assert_eq!(wrong.get::<u32>("/empty").await.unwrap_err().code, Code::HostUnreachable);
    assert!(client(&fixture).get::<u32>("/auth").await.is_err(), "a client without a certificate");
    let stranger = serve(ClientCerts::Optional).await;
    let mistrusting = Client::new(&format!("https://{}", fixture.address), None, &stranger.ca_pem).unwrap();
    assert_eq!(mistrusting.get::<u32>("/auth").await.unwrap_err().code, Code::Unreachable);
}

#[tokio::test]
async fn nobody_there_and_nobody_answering_are_errors() {
    let fixture = serve(ClientCerts::Optional).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = Client::new(&format!("https://{free}"), None, &fixture.ca_pem).unwrap();
    let error = nobody.get::<u32>("/auth").await.unwrap_err();
    assert_eq!(error.code, Code::Unreachable);
    assert!(error.message.contains("pan lab hosts"), "{error}");
    let timeouts = Timeouts { connect: Duration::from_secs(2), request: Duration::from_millis(200) };
    let hasty = Client::with_timeouts(&format!("https://{}", fixture.address), None, &fixture.ca_pem, timeouts).unwrap();
    assert_eq!(hasty.get::<u32>("/hang").await.unwrap_err().code, Code::Unreachable);
}

/// The client of a PAN of which one controller cannot decide anything, and the one that leads.
async fn half_cut_off() -> (Client, Fixture, Fixture) {
    let authority = Authority::create().unwrap();
    let cut_off = serve_as(&authority, ClientCerts::Optional, Standing::CutOff).await;
    let leads = serve_as(&authority, ClientCerts::Optional, Standing::Leads).await;
    let url = format!("https://{},https://{}", cut_off.address, leads.address);
    (Client::new(&url, Some("pan_x"), &leads.ca_pem).unwrap(), cut_off, leads)
}

/// Without the change of ways the client asks the first for as long as its patience lasts, and fails with what that one says.
#[tokio::test]
async fn who_cannot_decide_is_left_for_the_next_and_not_asked_again() {
    let (client, cut_off, leads) = half_cut_off().await;
    let told: Vec<u32> = client.post("/echo", &[1, 2]).await.unwrap();
    assert_eq!(told, [1, 2]);
    let (): () = client.delete("/empty").await.unwrap();
    let read: serde_json::Value = client.get("/auth").await.unwrap();
    assert_eq!(read["auth"], "Bearer pan_x");
    let count = |fixture: &Fixture| fixture.connections.load(Ordering::SeqCst);
    // On a slow machine the second may be tried beside the first.
    assert_eq!(count(&cut_off), 1);
    assert!((1..=2).contains(&count(&leads)), "the connection to the one that leads is kept: {}", count(&leads));
}

#[tokio::test]
async fn reads_and_streams_go_on_to_the_next_as_well() {
    let (client, ..) = half_cut_off().await;
    let read: serde_json::Value = client.get("/auth").await.unwrap();
    assert_eq!(read["auth"], "Bearer pan_x");
    let (client, ..) = half_cut_off().await;
    assert_eq!(client.stream::<u32>("/lines").await.unwrap().next().await.unwrap().unwrap(), 1);
    let (client, ..) = half_cut_off().await;
    assert_eq!(client.post_stream::<_, Vec<u32>>("/echo", &[1, 2]).await.unwrap().next().await.unwrap().unwrap(), [1, 2]);
    let (client, ..) = half_cut_off().await;
    assert_eq!(client.text("/empty").await.unwrap(), "");
    let (client, ..) = half_cut_off().await;
    assert_eq!(client.bytes("/close").await.unwrap().next().await.unwrap().unwrap(), "1");
}

/// Calls at the same time that are all refused by the first must not lead each other past the second.
#[tokio::test]
async fn calls_at_the_same_time_all_come_to_the_one_that_leads() {
    let (client, ..) = half_cut_off().await;
    let answers = futures_util::future::join_all((0..8).map(|number| {
        let client = &client;
        async move { client.post::<_, Vec<u32>>("/echo", &[number]).await }
    }));
    for (number, answer) in answers.await.into_iter().enumerate() {
        assert_eq!(answer.unwrap(), [u32::try_from(number).unwrap()]);
    }
}

#[tokio::test]
async fn that_nobody_can_decide_is_told_after_a_while() {
    let authority = Authority::create().unwrap();
    let all = [
        serve_as(&authority, ClientCerts::Optional, Standing::CutOff).await,
        serve_as(&authority, ClientCerts::Optional, Standing::CutOff).await,
    ];
    let url = format!("https://{},https://{}", all[0].address, all[1].address);
    let client = Client::new(&url, None, &all[0].ca_pem).unwrap();
    let error = client.get::<u32>("/auth").await.unwrap_err();
    assert_eq!(error.code, Code::NotLeading);
    let asked = all.map(|fixture| fixture.connections.load(Ordering::SeqCst));
    // Five seconds, with a pause of 100 ms after each round of both.
    assert!(asked.iter().all(|count| (2..=51).contains(count)), "{asked:?}");
}

/// A machine that stands still takes connections, for its kernel does, and says nothing. Tried alone, this would take an hour.
#[tokio::test]
async fn one_that_stands_still_keeps_nobody_from_the_next() {
    let leads = serve(ClientCerts::Optional).await;
    let still = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{},https://{}", still.local_addr().unwrap(), leads.address);
    let timeouts = Timeouts { connect: Duration::from_secs(3600), request: Duration::from_secs(3600) };
    let client = Client::with_timeouts(&url, Some("pan_x"), &leads.ca_pem, timeouts).unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(60), client.get::<serde_json::Value>("/auth")).await;
    assert_eq!(answer.unwrap().unwrap()["auth"], "Bearer pan_x");
}
