//! Routes into servers: their logs, and commands in them. Both are passed on to the agent of the server's node.

use super::answer;
use super::call::Call;
use super::inside::Run;
use super::route::{Access, Answering, FOLLOW, Gives, Method, Param, Route, schema};
use crate::auth::{Noun, Verb};
use crate::handle::Principal;
use futures_util::StreamExt;
use pan_api::ApiError;
use pan_api::hostclient::{HostClient, HostOptions};
use pan_api::requests::{Exec, ExecFrame};
use pan_model::host_config::NODE_PORT;
use pan_model::{Code, ServerKey};
use std::convert::Infallible;
use std::net::SocketAddr;

const TAIL: Param = Param { name: "tail", kind: "integer", summary: "begin that many lines before the end" };

pub const ROUTES: &[Route] = &[
    Route {
        method: Method::Get,
        path: "/v1/partitions/{partition}/servers/{server}/logs",
        summary: "What a server wrote.",
        access: Access::Role(Verb::Enter, Noun::Server, logs),
        query: &[FOLLOW, TAIL],
        takes: None,
        gives: Gives::Text,
    },
    Route {
        method: Method::Post,
        path: "/v1/partitions/{partition}/servers/{server}/exec",
        summary: "Run a command in a server; its output comes as lines.",
        access: Access::Role(Verb::Enter, Noun::Server, exec),
        query: &[],
        takes: Some(schema::<Exec>),
        gives: Gives::Lines(schema::<ExecFrame>),
    },
];

/// The agent of the node that a server is bound to.
fn agent(call: &Call<Principal>, key: &ServerKey) -> Result<HostClient, ApiError> {
    let nowhere = || ApiError::new(Code::State, format!("server {key} is on no node at present: `pan why server {}` says why", key.name));
    let (node, address) = call.scope().agent_of(key).ok_or_else(nowhere)?;
    Ok(HostClient::new(call.agent_tls(), SocketAddr::new(address, NODE_PORT), Some(&node), HostOptions::default()))
}

fn path(key: &ServerKey, verb: &str) -> String {
    format!("/internal/v1/servers/{}/{}/{verb}", key.partition, key.name)
}

fn logs(call: Call<Principal>) -> Answering {
    Box::pin(async move {
        let key = call.server()?;
        let follow = call.flag("follow")?;
        let tail = call.query::<u64>("tail")?.map(|lines| format!("&tail={lines}")).unwrap_or_default();
        let path = format!("{}?follow={follow}{tail}", path(&key, "logs"));
        let bytes = agent(&call, &key)?.bytes(&path).await?;
        Ok(answer::stream(answer::TEXT, bytes.into_stream().take_until(call.no_more())))
    })
}

fn exec(call: Call<Principal>) -> Answering {
    Box::pin(async move {
        let key = call.server()?;
        let exec: Exec = call.body()?;
        if exec.command.is_empty() {
            return Err(ApiError::new(Code::Invalid, "the command is empty: expected a program and its arguments"));
        }
        let agent = agent(&call, &key)?;
        let run = Run::begin(&call, &key, &exec.command).await?;
        let bytes = match agent.post_bytes(&path(&key, "exec"), &exec).await {
            Ok(bytes) => bytes,
            Err(error) => {
                run.failed(&error);
                return Err(error);
            }
        };
        // The status is sent by then, so a failure on the way is the last line.
        let lines = bytes.into_stream().map(|bytes| Ok::<_, Infallible>(bytes.unwrap_or_else(|error| answer::bytes_of(&error).into())));
        Ok(answer::stream(answer::LINES, run.follow(lines.take_until(call.no_more()))))
    })
}
