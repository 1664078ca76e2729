//! The interface for hosts.

use super::harness::{Front, host, soon, world};
use pan_api::WIRE_VERSION;
use pan_api::desired::Desired;
use pan_api::hostclient::HostClient;
use pan_model::host::Role;
use pan_model::{Code, Generation};
use serde_json::{Value, json};

fn hello(name: &str, roles: &[&str], version: u16) -> Value {
    json!({"version": version, "host": name, "roles": roles, "software": "0", "address": "10.0.0.1", "a": "10.0.0.2", "b": "10.0.0.3", "node": null})
}

fn report(name: &str, role: &str) -> Value {
    json!({"version": WIRE_VERSION, "host": name, "role": role, "boot": 1, "sequence": 1, "applied": {"term": 0, "step": 0}})
}

async fn refused(client: &HostClient, path: &str, body: &Value, code: Code, says: &str) {
    let error = client.post::<_, ()>(path, body).await.unwrap_err();
    assert_eq!(error.code, code, "{error}");
    assert!(error.message.contains(says), "{error}");
}

#[tokio::test]
async fn a_host_speaks_for_itself_alone() {
    let front = Front::start(world());
    let client = front.host_client("n1", &[Role::Node]);
    client.post::<_, ()>("/internal/v1/hello", &hello("n1", &["node"], WIRE_VERSION)).await.unwrap();
    client.post::<_, ()>("/internal/v1/report", &report("n1", "node")).await.unwrap();
    let (hi, re) = ("/internal/v1/hello", "/internal/v1/report");
    refused(&client, hi, &hello("n2", &["node"], WIRE_VERSION), Code::Denied, "n1's, which may not speak for n2").await;
    refused(&client, hi, &hello("n1", &["node", "director"], WIRE_VERSION), Code::Denied, "role director").await;
    refused(&client, hi, &hello("n1", &["node"], 99), Code::Invalid, "version 99").await;
    refused(&client, hi, &json!({"version": WIRE_VERSION}), Code::Invalid, "missing field").await;
    refused(&client, re, &report("n2", "node"), Code::Denied, "n2").await;
    refused(&client, re, &report("n1", "controller"), Code::Denied, "role controller").await;
    let other = client.stream::<Desired>("/internal/v1/desired?host=n2").await.err().unwrap();
    assert_eq!(other.code, Code::Denied);
}

#[tokio::test]
async fn a_host_is_nobody_in_the_public_interface() {
    let front = Front::start(world());
    let error = front.host_client("n1", &Role::ALL).get::<Value>("/v1/servers").await.unwrap_err();
    assert_eq!(error.code, Code::Unauthenticated);
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let (front, other) = (Front::start(world()), Front::start(world()));
    let issued = other.issue("n1", &[Role::Node]);
    let tls = pan_api::tls::client_config(front.authority.cert_pem(), Some((&issued.cert_pem, &issued.key_pem))).unwrap();
    let client = HostClient::new(tls, front.address, None, Default::default());
    let error = client.post::<_, ()>("/internal/v1/hello", &hello("n1", &["node"], WIRE_VERSION)).await.unwrap_err();
    assert_eq!(error.code, Code::HostUnreachable, "{error}");
}

fn desired(step: u64) -> Desired {
    let generation = Generation { term: 1, step };
    let admission = pan_model::Admission::FIRST;
    let (peers, networks, servers, warm, units) = Default::default();
    Desired {
        version: WIRE_VERSION,
        billed: Vec::new(),
        blanks: None,
        imports: Vec::new(),
        generation,
        host: host("n1"),
        admission,
        peers,
        networks,
        servers,
        warm,
        seats: Vec::new(),
        units,
        replicas: Vec::new(),
        snapshots: Vec::new(),
    }
}

#[tokio::test]
async fn a_host_learns_what_it_should_be() {
    let front = Front::start(world());
    let client = front.host_client("n1", &[Role::Node]);
    let path = "/internal/v1/desired?host=n1";
    assert_eq!(client.stream::<Desired>(path).await.err().unwrap().code, Code::State);
    assert_eq!(client.stream::<Desired>("/internal/v1/desired").await.err().unwrap().code, Code::Invalid);
    front.desire(desired(1));
    let mut lines = client.stream::<Desired>(path).await.unwrap();
    assert_eq!(soon(lines.next()).await.unwrap().unwrap(), desired(1));
    front.desire(desired(2));
    assert_eq!(soon(lines.next()).await.unwrap().unwrap(), desired(2));
    let mut chunks = client.bytes(path).await.unwrap();
    soon(chunks.next()).await.unwrap().unwrap();
    assert_eq!(soon(chunks.next()).await.unwrap().unwrap().as_ref(), b"\n");
    // When the controller forgets the host, the stream ends.
    front.desires.lock().unwrap().clear();
    assert!(soon(lines.next()).await.is_none());
}
