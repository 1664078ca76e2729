//! Logs and commands, passed on to an agent.

use super::harness::{Front, host, soon, world};
use axum::Router;
use axum::extract::Request;
use axum::routing::{get, post};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use pan_api::requests::{Exec, ExecFrame};
use pan_api::tls::{ClientCerts, peer_identity, server_config};
use pan_model::Code;
use pan_model::host::Role;
use pan_model::host_config::NODE_PORT;
use std::net::{IpAddr, Ipv4Addr};

/// An agent that tells what it was asked, at an address of this process's own, since its port is fixed.
async fn agent(front: &Front, last: u8) -> IpAddr {
    let [_, .., high, low] = std::process::id().to_be_bytes();
    let address = IpAddr::V4(Ipv4Addr::new(127, high, low, last));
    let issued = front.issue("n1", &[Role::Node]);
    let tls = server_config(front.authority.cert_pem(), &issued.cert_pem, &issued.key_pem, ClientCerts::Required).unwrap();
    let listener = tokio::net::TcpListener::bind((address, NODE_PORT)).await.unwrap();
    let asked = |request: Request| async move { format!("asked {}\n", request.uri()) };
    let run = |body: String| async move { format!("{{\"stdout\":{body:?}}}\n{{\"exit\":3}}\n") };
    let router =
        Router::new().route("/internal/v1/servers/acme/web-1/logs", get(asked)).route("/internal/v1/servers/acme/web-1/exec", post(run));
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

#[tokio::test]
async fn logs_and_commands_reach_the_servers_node() {
    let front = Front::start(world());
    let mut view = world();
    view.node_addresses.insert(host("n1"), agent(&front, 1).await);
    front.show(view);
    let client = front.client();
    let logs = client.text("/v1/partitions/acme/servers/web-1/logs?follow=true&tail=7").await.unwrap();
    assert_eq!(logs, "asked /internal/v1/servers/acme/web-1/logs?follow=true&tail=7\n");
    let exec = Exec { command: vec!["id".into()], stdin: None };
    let mut frames = client.post_stream::<_, ExecFrame>("/v1/partitions/acme/servers/web-1/exec", &exec).await.unwrap();
    let ExecFrame::Stdout(sent) = soon(frames.next()).await.unwrap().unwrap() else { panic!("expected output first") };
    assert_eq!(sent, "{\"command\":[\"id\"]}");
    assert_eq!(soon(frames.next()).await.unwrap().unwrap(), ExecFrame::Exit(3));
    assert!(soon(frames.next()).await.is_none());
    let nothing = Exec { command: Vec::new(), stdin: None };
    let error = client.post::<_, ()>("/v1/partitions/acme/servers/web-1/exec", &nothing).await.unwrap_err();
    assert_eq!(error.code, Code::Invalid);
}

#[tokio::test]
async fn an_agent_of_another_node_is_not_believed() {
    let front = Front::start(world());
    let mut view = world();
    view.node_addresses.insert(host("n2"), agent(&front, 2).await);
    front.show(view);
    let error = front.client().text("/v1/partitions/rival/servers/web-1/logs").await.unwrap_err();
    assert_eq!(error.code, Code::HostUnreachable, "{error}");
}

#[tokio::test]
async fn a_silent_node_is_named() {
    let front = Front::start(world());
    let mut view = world();
    view.node_addresses.insert(host("n1"), "127.255.255.254".parse().unwrap());
    view.servers.iter_mut().filter(|(key, _)| key.partition.as_str() == "rival").for_each(|(_, server)| server.node = None);
    front.show(view);
    front.send("GET", "/v1/partitions/acme/servers/web-1/logs", &[], b"").await.refuses(502, "PAN-602", "n1");
    front.send("GET", "/v1/partitions/rival/servers/web-1/logs", &[], b"").await.refuses(409, "PAN-500", "on no node");
}
