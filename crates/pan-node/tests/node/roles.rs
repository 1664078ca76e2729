//! What the test program is when it is started again inside a test host.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use pan_api::desired::Desired;
use pan_api::hostclient::{HostClient, HostOptions};
use pan_api::requests::{Exec, ExecFrame};
use pan_api::tls::TlsMaterial;
use pan_linux::oci::{ShimArgs, shim_main};
use pan_linux::process::{Reaper, Seen, reap_until};
use pan_model::host_config::{HostConfig, NODE_PORT};
use pan_node::Agent;
use tokio::sync::{mpsc, watch};

pub fn shim(words: impl Iterator<Item = OsString>) -> ExitCode {
    shim_main(ShimArgs::parse(words).unwrap())
}

/// Pid 1 of the test host: reaps until SIGTERM.
pub fn init() -> ExitCode {
    let reaper = Reaper::new(&[Signal::SIGTERM]).unwrap();
    let stop = |seen: &Seen| matches!(seen, Seen::Signal(Signal::SIGTERM));
    reap_until(&reaper, Duration::from_secs(600), stop).unwrap();
    ExitCode::SUCCESS
}

fn config() -> HostConfig {
    serde_json::from_slice(&fs::read("/srv/config.json").unwrap()).unwrap()
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(work)
}

/// The agent's core; `/srv/desired.json` is what the controller says, `/srv/report.json` what it hears.
pub fn agent() -> ExitCode {
    block_on(async {
        let agent = Agent::new(&config(), std::env::current_exe().unwrap()).await.unwrap();
        let (desire, desired) = watch::channel(None);
        let (reports, mut inbox) = mpsc::channel(16);
        let controller = async {
            let mut known = Vec::new();
            loop {
                tokio::select! {
                    Some(report) = inbox.recv() => {
                        fs::write("/srv/report.new", serde_json::to_vec(&report).unwrap()).unwrap();
                        fs::rename("/srv/report.new", "/srv/report.json").unwrap();
                    }
                    () = tokio::time::sleep(Duration::from_millis(2)) => {
                        let text = fs::read("/srv/desired.json").unwrap_or_default();
                        if text != known {
                            let desired: Desired = serde_json::from_slice(&text).unwrap();
                            desire.send_replace(Some(Arc::new(desired)));
                            known = text;
                        }
                    }
                }
            }
        };
        tokio::select! {
            ended = agent.run(desired, reports) => panic!("the agent ended: {ended:?}"),
            () = controller => unreachable!("it goes on for ever"),
        }
    })
}

/// The agent as users run it; no controller answers, so it follows what an earlier one said.
pub fn full() -> ExitCode {
    block_on(async {
        let ended = pan_node::run(config()).await;
        panic!("the agent ended: {ended:?}")
    })
}

/// Asks the agent as the host whose certificate lies in the folder of the first word: `logs`, `exec …`, or `glance …`,
/// which is an exec that goes away after the first words.
pub fn ask(words: Vec<String>) -> ExitCode {
    block_on(async {
        let tls = TlsMaterial {
            ca_pem: fs::read_to_string("/srv/ca.pem").unwrap(),
            cert_pem: fs::read_to_string(Path::new(&words[0]).join("cert.pem")).unwrap(),
            key_pem: fs::read_to_string(Path::new(&words[0]).join("key.pem")).unwrap(),
        };
        let address = (config().address, NODE_PORT).into();
        let client = HostClient::new(tls.client_config().unwrap(), address, Some(&config().name), HostOptions::default());
        let at = "/internal/v1/servers/acme/web-1";
        let done = match words[1].as_str() {
            "logs" => show_logs(&client, &format!("{at}/logs?follow=false&tail=1")).await,
            "glance" => glance(&client, &format!("{at}/exec"), &words[2..]).await,
            _ => run(&client, &format!("{at}/exec"), &words[2..]).await,
        };
        match done {
            Ok(code) => ExitCode::from(code),
            Err(error) => {
                println!("{} {error}", error.code.as_str());
                ExitCode::from(99)
            }
        }
    })
}

async fn show_logs(client: &HostClient, path: &str) -> Result<u8, pan_api::ApiError> {
    let mut chunks = client.bytes(path).await?;
    while let Some(chunk) = chunks.next().await {
        print!("{}", String::from_utf8_lossy(&chunk?));
    }
    Ok(0)
}

async fn glance(client: &HostClient, path: &str, command: &[String]) -> Result<u8, pan_api::ApiError> {
    let exec = Exec { command: command.to_vec(), stdin: None };
    let mut frames = client.post_stream::<_, ExecFrame>(path, &exec).await?;
    match frames.next().await.expect("a first frame")? {
        ExecFrame::Stdout(_) => Ok(0),
        other => panic!("{other:?}"),
    }
}

async fn run(client: &HostClient, path: &str, command: &[String]) -> Result<u8, pan_api::ApiError> {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    let exec = Exec { command: command.to_vec(), stdin: Some(BASE64_STANDARD.encode("given\n")) };
    let mut frames = client.post_stream::<_, ExecFrame>(path, &exec).await?;
    while let Some(frame) = frames.next().await {
        match frame? {
            ExecFrame::Stdout(text) | ExecFrame::Stderr(text) => {
                print!("{}", String::from_utf8_lossy(&BASE64_STANDARD.decode(text).unwrap()));
            }
            ExecFrame::Exit(code) => return Ok(u8::try_from(code).unwrap()),
        }
    }
    panic!("the answer ended without a status")
}
