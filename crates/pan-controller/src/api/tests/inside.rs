//! Logs and commands, passed on to an agent.

use super::harness::{Front, grant, host, serve_as, soon, world};
use axum::Router;
use axum::extract::Request;
use axum::routing::{get, post};
use pan_api::inside::{self, Bearer, Inside, Kind, TellInside};
use pan_api::requests::{Exec, ExecFrame};
use pan_api::token::{AccessRole, AccessToken};
use pan_model::Code;
use pan_model::host::Role;
use pan_model::host_config::NODE_PORT;
use std::net::IpAddr;
use std::sync::atomic::Ordering;

const ANN: AccessToken = AccessToken { id: 0xa11, secret: [1; 32] };
const BOB: AccessToken = AccessToken { id: 0xb0b, secret: [2; 32] };

/// An agent that tells what it was asked.
async fn agent(front: &Front, last: u8) -> IpAddr {
    let count = front.agent_asked.clone();
    let asked = |request: Request| async move { format!("asked {}\n", request.uri()) };
    let run = async move |body: String| {
        count.fetch_add(1, Ordering::SeqCst);
        format!("{{\"stdout\":{body:?}}}\n{{\"exit\":3}}\n")
    };
    let router =
        Router::new().route("/internal/v1/servers/acme/web-1/logs", get(asked)).route("/internal/v1/servers/acme/web-1/exec", post(run));
    serve_as(front, ("n1", Role::Node), (last, NODE_PORT), router).await
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

/// What goes on inside is told before it begins, and when it is over; without the line nothing is done.
#[tokio::test]
async fn a_program_is_told_before_the_agent_is_asked_and_not_run_untold() {
    let front = Front::start(world());
    let mut view = world();
    grant(&mut view, &ANN, AccessRole::Operator, Some("acme"));
    grant(&mut view, &BOB, AccessRole::Monitor, Some("acme"));
    view.node_addresses.insert(host("n1"), agent(&front, 3).await);
    front.show(view);
    let client = front.client_with(&ANN.text());
    let exec = Exec { command: vec!["mysql".into(), "--password=hush".into()], stdin: Some("c2VjcmV0".into()) };
    let path = "/v1/partitions/acme/servers/web-1/exec";
    let mut frames = client.post_stream::<_, ExecFrame>(path, &exec).await.unwrap();
    let begun = front.inside.told.lock().unwrap().clone();
    // By then it may have ended.
    let Some((actor, Inside::Begun { server, run, program, arguments })) = begun.first() else { panic!("{begun:?}") };
    assert_eq!((actor.token, server.to_string().as_str(), program.as_str(), *arguments), (Some(ANN.id), "acme/web-1", "mysql", 1));
    while soon(frames.next()).await.is_some() {}
    let ended = front.hears(2).await.pop().unwrap().1;
    assert_eq!(ended, Inside::Ended { server: server.clone(), run: run.clone(), how: "exit=3".into() });

    // Whoever lets go of it: the agent kills the program then.
    drop(client.post_stream::<_, ExecFrame>(path, &exec).await.unwrap());
    let told = front.hears(4).await;
    assert!(matches!(&told[3].1, Inside::Ended { how, .. } if how == "caller-left" || how == "exit=3"), "{told:?}");

    // Who may not is told of; what it would have run is not.
    let error = front.client_with(&BOB.text()).post::<_, ()>(path, &exec).await.unwrap_err();
    assert_eq!(error.code, Code::Denied);
    let refused = front.hears(5).await.pop().unwrap();
    let attempt = Inside::Refused { verb: "exec".into(), kind: Kind::Server, name: "web-1".into(), code: Code::Denied };
    assert_eq!(refused.1, attempt);
    assert!(!format!("{:?}", front.hears(5).await).contains("hush"), "arguments may be secrets");

    *front.inside.mute.lock().unwrap() = true;
    let asked = front.agent_asked.load(Ordering::SeqCst);
    let error = client.post::<_, ()>(path, &exec).await.unwrap_err();
    assert_eq!(error.code, Code::NotLeading, "{error}");
    assert_eq!(front.agent_asked.load(Ordering::SeqCst), asked, "no line, no program");
}

/// A controller that follows has it written by the one that leads, in the name of whoever asked; nobody else may.
#[tokio::test]
async fn only_controllers_tell_for_others_and_only_for_tokens_that_are_good() {
    let mut view = world();
    grant(&mut view, &ANN, AccessRole::Operator, Some("acme"));
    let front = Front::start(view);
    let who = Bearer { token: Some(ANN.id), called: None, role: AccessRole::Operator, partition: Some("acme".parse().unwrap()) };
    let server = pan_model::ServerKey { partition: "acme".parse().unwrap(), name: "web-1".parse().unwrap() };
    let what = Inside::Begun { server, run: "1".into(), program: "id".into(), arguments: 0 };
    let told = TellInside { version: pan_api::WIRE_VERSION, who: who.clone(), what };
    let node = front.host_client("n1", &[Role::Node]).post::<_, ()>(inside::PATH, &told).await.unwrap_err();
    assert_eq!((node.code, front.inside.told.lock().unwrap().len()), (Code::Denied, 0));
    let controller = front.host_client("c2", &[Role::Controller]);
    controller.post::<_, ()>(inside::PATH, &told).await.unwrap();
    assert_eq!(front.hears(1).await[0].0.token, Some(ANN.id));
    let revoked = TellInside { who: Bearer { token: Some(77), ..who }, ..told };
    let error = controller.post::<_, ()>(inside::PATH, &revoked).await.unwrap_err();
    assert_eq!((error.code, front.inside.told.lock().unwrap().len()), (Code::Unauthenticated, 1));
    // That it ended is told all the same.
    let Inside::Begun { server, run, .. } = revoked.what.clone() else { panic!() };
    let ended = TellInside { what: Inside::Ended { server, run, how: "token-ended".into() }, ..revoked };
    controller.post::<_, ()>(inside::PATH, &ended).await.unwrap();
    assert_eq!(front.inside.told.lock().unwrap().len(), 2);
}
