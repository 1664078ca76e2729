//! A front on a port of its own, a loop that answers everything, and clients for both.

use crate::auth::Verb;
use crate::core::age::Limit;
use crate::core::audit::{Actor, Attempt};
use crate::core::digest::Digest;
use crate::core::request::{Reply, Request};
use crate::handle::{Grant, Handle, Message, View};
use crate::server::{Limits, serve_within};
use crate::sure::Sure;
use arc_swap::ArcSwap;
use axum::Router;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use pan_api::client::Client;
use pan_api::desired::Desired;
use pan_api::hostclient::{HostClient, HostOptions};
use pan_api::inside::Inside;
use pan_api::pki::{Authority, Issued};
use pan_api::tls::{ClientCerts, TlsMaterial, client_config, peer_identity, server_config};
use pan_api::token::{AccessRole, AccessToken};
use pan_member::Profile;
use pan_model::host::Role;
use pan_model::host_config::HostConfig;
use pan_model::{Code, HostName};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

/// The administrator's token.
pub const TOKEN: &str = "pan_test_5eed";
/// Long enough for anything on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Waits for something that must happen soon.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("it should have happened by now")
}

/// A name.
pub fn host(name: &str) -> HostName {
    HostName::new(name).unwrap()
}

/// A front under test.
pub struct Front {
    pub address: SocketAddr,
    pub authority: Authority,
    /// What the loop was asked.
    pub asked: Arc<Mutex<Vec<Request>>>,
    /// What it was told of refusals.
    pub refused: Refused,
    pub inside: Insides,
    /// How often an agent was asked to run something.
    pub agent_asked: Arc<AtomicUsize>,
    pub changes: watch::Sender<u64>,
    pub desires: crate::handle::Desires,
    view: Arc<ArcSwap<View>>,
    pub metrics: Arc<crate::metrics::Metrics>,
    pub store_lost: Arc<arc_swap::ArcSwapOption<String>>,
    pub members: Arc<ArcSwap<Vec<pan_store::Sign>>>,
    pub sure: Sure,
    serving: tokio::task::JoinHandle<()>,
    _files: TempDir,
}

impl Drop for Front {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn config(files: &TempDir, authority: &Authority) -> HostConfig {
    let issued = authority.issue_host(&host("c1"), &[Role::Controller], &[]).unwrap();
    let write = |name: &str, text: &str| {
        let path = files.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let digest: String = Sha256::digest(TOKEN).iter().map(|byte| format!("{byte:02x}")).collect();
    serde_json::from_value(json!({
        "version": 1, "name": "c1", "roles": ["controller"], "address": "127.0.0.1",
        "fabrics": {"a": {"interface": "a", "address": "127.0.0.1/8"}, "b": {"interface": "b", "address": "127.0.0.1/8"}},
        "controllers": [],
        "tls": {"ca": write("ca", authority.cert_pem()), "cert": write("cert", &issued.cert_pem), "key": write("key", &issued.key_pem)},
        "beatKey": "/none", "profile": "lan", "stateDir": "/none", "runDir": "/none",
         "controller": {"adminTokenSha256": digest, "outside": [], "pools": [],
            "rootKey": write("root", &"00".repeat(32)), "authorityKey": write("authority", authority.key_pem())},
    }))
    .unwrap()
}

/// What the loop was told of who goes inside of what; mute, it writes nothing.
#[derive(Clone, Default)]
pub struct Insides {
    pub told: Arc<Mutex<Vec<(Actor, Inside)>>>,
    pub mute: Arc<Mutex<bool>>,
}

type Refused = Arc<Mutex<Vec<(Actor, Attempt, Code)>>>;

async fn answer_everything(mut inbox: mpsc::Receiver<Message>, asked: Arc<Mutex<Vec<Request>>>, refused: Refused, inside: Insides) {
    while let Some(message) = inbox.recv().await {
        match message {
            Message::Request(_, request, answer) => {
                let reply = if matches!(request, Request::Apply { .. }) { Reply::Applied(Vec::new()) } else { Reply::Done };
                asked.lock().unwrap().push(request);
                let _ = answer.send(Ok(reply));
            }
            Message::Refused(told, answer) => {
                refused.lock().unwrap().push(*told);
                let _ = answer.send(Ok(()));
            }
            Message::Inside(told, answer) => {
                let _ = match *inside.mute.lock().unwrap() {
                    true => answer.send(Err(pan_api::ApiError::new(Code::NotLeading, "nobody leads"))),
                    false => {
                        inside.told.lock().unwrap().push(*told);
                        answer.send(Ok(()))
                    }
                };
            }
            Message::Hello(_, answer) | Message::Report(_, answer) => {
                let _ = answer.send(Ok(()));
            }
            Message::Liveness(_)
            | Message::Members(_)
            | Message::Take { .. }
            | Message::Lead { .. }
            | Message::ReadRecord
            | Message::StepDown { .. } => {}
        }
    }
}

impl Front {
    pub fn start(view: View) -> Self {
        Self::start_within(Limits { handshake: DEADLINE, head: DEADLINE }, view)
    }

    pub fn start_within(limits: Limits, view: View) -> Self {
        Self::start_as(limits, Limit::of(&Profile::Lan.timing(7), 1), view)
    }

    /// Of a controller whose answers may be so old.
    pub fn start_sure(limit: Limit, view: View) -> Self {
        Self::start_as(Limits { handshake: DEADLINE, head: DEADLINE }, limit, view)
    }

    fn start_as(limits: Limits, limit: Limit, view: View) -> Self {
        let (authority, files) = (Authority::create().unwrap(), TempDir::new().unwrap());
        let config = config(&files, &authority);
        let (send, inbox) = mpsc::channel(16);
        let (changes, seen) = watch::channel(0);
        let (asked, refused, desires): (Arc<Mutex<Vec<Request>>>, Refused, crate::handle::Desires) = Default::default();
        let inside = Insides::default();
        let view = Arc::new(ArcSwap::from_pointee(view));
        let metrics: Arc<crate::metrics::Metrics> = Arc::default();
        let store_lost: Arc<arc_swap::ArcSwapOption<String>> = Arc::default();
        let members: Arc<ArcSwap<Vec<pan_store::Sign>>> = Arc::default();
        let sure = Sure::new(limit);
        let handle = Handle {
            view: view.clone(),
            changes: seen,
            inbox: send,
            desires: desires.clone(),
            metrics: metrics.clone(),
            store_lost: store_lost.clone(),
            members: members.clone(),
            sure: sure.clone(),
            run_dir: std::path::Path::new("/nowhere").into(),
        };
        tokio::spawn(answer_everything(inbox, asked.clone(), refused.clone(), inside.clone()));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move { serve_within(limits, handle, &config, vec![listener]).await.unwrap() });
        Self {
            address,
            authority,
            asked,
            refused,
            inside,
            agent_asked: Arc::default(),
            changes,
            desires,
            view,
            metrics,
            store_lost,
            members,
            sure,
            serving,
            _files: files,
        }
    }

    /// Shows the world something new.
    pub fn show(&self, view: View) {
        self.view.store(Arc::new(view));
        self.changes.send_modify(|number| *number += 1);
    }

    pub fn desire(&self, desired: Desired) {
        let mut desires = self.desires.lock().unwrap();
        match desires.get(&desired.host) {
            Some(sender) => drop(sender.send_replace(Some(Arc::new(desired)))),
            None => drop(desires.insert(desired.host.clone(), watch::channel(Some(Arc::new(desired))).0)),
        }
    }

    /// What it was told of who goes inside of what, once it is so much.
    pub async fn hears(&self, count: usize) -> Vec<(Actor, Inside)> {
        let told = async {
            loop {
                let told = self.inside.told.lock().unwrap().clone();
                if told.len() >= count {
                    return told;
                }
                tokio::task::yield_now().await;
            }
        };
        soon(told).await
    }

    /// The administrator.
    pub fn client(&self) -> Client {
        self.client_with(TOKEN)
    }

    /// Somebody with a token.
    pub fn client_with(&self, token: &str) -> Client {
        Client::new(&format!("https://{}", self.address), Some(token), self.authority.cert_pem()).unwrap()
    }

    pub fn issue(&self, name: &str, roles: &[Role]) -> Issued {
        self.authority.issue_host(&host(name), roles, &[]).unwrap()
    }

    /// A host.
    pub fn host_client(&self, name: &str, roles: &[Role]) -> HostClient {
        let Issued { cert_pem, key_pem } = self.issue(name, roles);
        let tls = TlsMaterial { ca_pem: self.authority.cert_pem().to_owned(), cert_pem, key_pem };
        HostClient::new(tls.client_config().unwrap(), self.address, None, HostOptions::default())
    }

    /// A request word for word, and the whole answer.
    pub async fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = self.connection().await;
        stream.write_all(request).await.unwrap();
        let mut bytes = Vec::new();
        // The server may close without TLS's own goodbye; the answer is there all the same.
        let _ = soon(stream.read_to_end(&mut bytes)).await;
        Answer::read(&bytes)
    }

    /// A connection of somebody without a certificate.
    pub async fn connection(&self) -> tokio_rustls::client::TlsStream<TcpStream> {
        let connector = tokio_rustls::TlsConnector::from(client_config(self.authority.cert_pem(), None).unwrap());
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        connector.connect(name, stream).await.unwrap()
    }

    /// A request with the administrator's token.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut all = vec![("Authorization", format!("Bearer {TOKEN}"))];
        all.extend(headers.iter().map(|(name, value)| (*name, (*value).to_owned())));
        self.raw(&request(method, path, &all, body)).await
    }

    /// A request with JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[("Content-Type", "application/json")], body.to_string().as_bytes()).await
    }

    /// A request without any credentials.
    pub async fn anonymous(&self, method: &str, path: &str) -> Answer {
        self.raw(&request(method, path, &[], b"")).await
    }
}

/// The bytes of a request.
pub fn request(method: &str, path: &str, headers: &[(&str, String)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    headers.iter().for_each(|(name, value)| text += &format!("{name}: {value}\r\n"));
    text += "\r\n";
    [text.as_bytes(), body].concat()
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Answer {
    fn read(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0);
        let headers = lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        Self { status, headers: headers.filter(|(name, _)| name != "date").collect(), body: body.to_owned() }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// Checks that it is a refusal in the one shape of errors.
    #[track_caller]
    pub fn refuses(&self, status: u16, code: &str, says: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.headers["content-type"], "application/json", "{self:?}");
        let error = self.json();
        assert_eq!(error["code"], code, "{self:?}");
        assert!(error["message"].as_str().unwrap().contains(says), "{self:?}");
    }
}

/// All verbs.
pub const VERBS: [Verb; 4] = [Verb::Read, Verb::Change, Verb::Operate, Verb::Enter];

/// A world of two partitions, one server in each, and two nodes.
pub fn world() -> View {
    let mut view = View { revision: 1, ..View::default() };
    for (partition, node) in [("acme", "n1"), ("rival", "n2")] {
        add_partition(&mut view, partition, node);
    }
    for (name, address) in [("n1", "127.0.0.1"), ("n2", "127.0.0.2")] {
        let amount = |n: u64| json!({"total": n, "free": n, "reserved": 0});
        let fabrics = json!({"a": "up", "b": "up"});
        let node = json!({"name": name, "state": "alive", "fabrics": fabrics, "cpu": amount(4), "memory": amount(1 << 30), "servers": 1, "labels": {}});
        view.nodes.insert(host(name), read(node));
        let host_json = json!({"name": name, "roles": ["node"], "state": "alive", "fabrics": fabrics, "version": "0", "address": address, "agent": true});
        view.hosts.insert(host(name), read(host_json));
        view.node_addresses.insert(host(name), address.parse().unwrap());
    }
    let token = json!({"id": "000000000000000a", "host": "n3", "roles": ["node"], "created": "2026-01-01T00:00:00.000000Z",
        "expires": "2026-01-01T00:10:00.000000Z", "state": "unused"});
    view.tokens.insert(10, read(token));
    view.events.insert(None, vec![Arc::new(event(1, None, "node", "n1", "NodeJoined"))]);
    view
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// A host's own HTTPS, for controllers, at an address of this process's own, since its port is fixed.
pub async fn serve_as(front: &Front, (name, role): (&str, Role), (last, port): (u8, u16), router: Router) -> IpAddr {
    let [_, .., high, low] = std::process::id().to_be_bytes();
    let address = IpAddr::V4(Ipv4Addr::new(127, high, low, last));
    let issued = front.issue(name, &[role]);
    let tls = server_config(front.authority.cert_pem(), &issued.cert_pem, &issued.key_pem, ClientCerts::Required).unwrap();
    let listener = tokio::net::TcpListener::bind((address, port)).await.unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(stream) = tokio_rustls::TlsAcceptor::from(tls.clone()).accept(stream).await else { continue };
            let caller = peer_identity(&stream.get_ref().1.peer_certificates().unwrap()[0]).unwrap();
            assert!(caller.has(Role::Controller));
            let service = TowerToHyperService::new(router.clone());
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

/// Lets somebody with a token in.
pub fn grant(view: &mut View, token: &AccessToken, role: AccessRole, partition: Option<&str>) {
    let (secret, partition) = (Digest(Sha256::digest(token.secret).into()), partition.map(|name| name.parse().unwrap()));
    view.grants.insert(token.id, Grant { secret, role, partition, name: None, expires: i64::MAX });
}

fn add_partition(view: &mut View, partition: &str, node: &str) {
    let spec = json!({"network": "10.0.0.0/24"});
    let object = json!({"name": partition, "networks": ["10.0.0.0/24"], "capacity": {}, "used": {}, "state": "ready", "spec": spec});
    view.partitions.insert(partition.parse().unwrap(), read(object));
    let spec = json!({"servers": 1, "image": "host", "command": ["sleep", "1"]});
    let object =
        json!({"partition": partition, "name": "web", "desired": 1, "running": 1, "protected": false, "state": "ready", "spec": spec});
    view.clusters.insert((partition.parse().unwrap(), "web".parse().unwrap()), read(object));
    let key = json!({"partition": partition, "name": "web-1"});
    view.servers.insert(read(key), read(server(partition, node, "running")));
    let spec = json!({"port": 80, "cluster": "web"});
    let backend = json!({"server": "web-1", "state": "up", "weight": 1, "connections": 0});
    let object = json!({"partition": partition, "name": "www", "address": "198.18.0.10", "addresses": ["198.18.0.10"], "port": 80,
        "director": "d1", "backends": [backend], "state": "ready", "spec": spec});
    view.services.insert((partition.parse().unwrap(), "www".parse().unwrap()), read(object));
    let object = json!({"partition": partition, "name": "pay", "address": "10.0.0.20", "addresses": ["10.0.0.20"], "state": "waiting",
        "spec": {"partition": "other", "service": "pay"}});
    view.imports.insert((partition.parse().unwrap(), "pay".parse().unwrap()), read(object));
    let schedule = json!({"cron": "0 8 * * *", "for": "10h", "zone": "UTC", "floor": 3});
    let object = json!({"partition": partition, "name": "day", "cluster": "web", "state": "idle", "active": [],
        "spec": {"target": {"cluster": "web"}, "schedules": [schedule]}});
    view.policies.insert((partition.parse().unwrap(), "day".parse().unwrap()), read(object));
    let volume = json!({"partition": partition, "name": "web-1.data", "size": "1GiB", "copies": 2, "inSync": 2, "epoch": 1, "attachedTo": "web-1",
        "state": "ready", "server": "web-1", "filesystem": "ext4", "behind": "0", "replicas": [{"host": "s1", "inSync": true, "used": null, "trouble": null}]});
    let key = pan_model::VolumeKey { partition: partition.parse().unwrap(), name: "web-1.data".parse().unwrap() };
    view.volumes.insert(key, read(volume));
    let name = Some(partition.parse().unwrap());
    view.events.insert(name, vec![Arc::new(event(1, Some(partition), "server", "web-1", "ServerRunning"))]);
}

/// A server as JSON.
pub fn server(partition: &str, node: &str, state: &str) -> Value {
    json!({"partition": partition, "cluster": "web", "name": "web-1", "address": "10.0.0.10", "addresses": ["10.0.0.10"],
        "mac": "02:70:0a:00:00:0a", "node": node, "epoch": 1, "state": state, "restarts": 0, "since": "2026-01-01T00:00:00Z", "protected": false})
}

/// An event.
pub fn event(number: u64, partition: Option<&str>, kind: &str, object: &str, reason: &str) -> pan_api::event::Event {
    read(
        json!({"number": number, "time": format!("2026-01-01T00:00:{number:02}.000000Z"), "partition": partition, "kind": kind, "object": object,
        "reason": reason, "message": "it happened", "severity": "info"}),
    )
}
