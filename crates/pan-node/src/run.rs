//! The agent as a process: its core between the link to the controllers and its own HTTPS.

use std::sync::Arc;

use pan_api::hostlink::HostLink;
use pan_api::report::{Hello, Report};
use pan_api::tls::{ClientCerts, LiveTls};
use pan_model::host::Role;
use pan_model::host_config::HostConfig;
use tokio::sync::mpsc;

use crate::agent::Agent;
use crate::api;
use crate::error::Error;
use crate::logs;
use crate::paths::Paths;

/// Reports that wait for delivery; of those only the newest is sent.
const REPORTS_MAX: usize = 16;

/// Runs the node agent for ever. Must be called within a multi-threaded tokio runtime, by a program that
/// hands the arguments after the word `shim` to [`pan_linux::oci::shim_main`] before it starts any thread.
///
/// # Errors
/// The host lacks what every server needs, or a part of the agent is lost. Servers run on in any case.
pub async fn run(config: HostConfig) -> Result<(), Error> {
    let hello = hello(&config)?;
    let exe = std::env::current_exe().map_err(|source| Error::Program { source })?;
    let tls = LiveTls::open(&config.tls)?.server_config(ClientCerts::Required)?;
    let agent = Agent::new(&config, exe).await?;
    let link = HostLink::start(&config, Role::Node, hello).await?;
    let desired = link.desired.clone();
    let (reports, inbox) = mpsc::channel(REPORTS_MAX);
    let images = agent.host.images.clone();
    let inside = api::Inside { servers: agent.servers(), host: agent.host.clone(), run_dir: config.run_dir.clone() };
    // None of these ends before the agent does, whose servers need none of them.
    tokio::select! {
        ended = agent.run(desired, reports) => ended,
        () = deliver(&link, inbox) => Err(Error::Lost { what: "the delivery of reports" }),
        () = api::serve(&config, tls, Arc::new(inside)) => Err(Error::Lost { what: "the agent's HTTPS" }),
        () = logs::rotate(Paths::of(&config)) => Err(Error::Lost { what: "the rotation of logs" }),
        () = images.sweep() => Err(Error::Lost { what: "the sweeping of images" }),
    }
}

fn hello(config: &HostConfig) -> Result<Hello, Error> {
    match config.node {
        Some(_) => Ok(Hello::of(config)),
        None => Err(Error::NoNode { host: config.name.to_string() }),
    }
}

/// Hands every report to the link, which delivers the newest.
async fn deliver(link: &HostLink, mut inbox: mpsc::Receiver<Report>) {
    while let Some(report) = inbox.recv().await {
        link.report(report);
    }
}
