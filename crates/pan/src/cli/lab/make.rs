//! Making a laboratory, and what makes it of use: its context, hosts that are alive, the demo. Whoever interrupts that has
//! everything taken back.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pan_api::client::Client;
use pan_api::host::Host;
use pan_api::requests::Health;
use pan_lab::{Credentials, Disks, Lab, LabError, LabSpec, Origin};
use pan_linux::process::Signal;
use pan_linux::process::interrupt::{self, Words};
use pan_model::node::NodeState;

use super::up::{DEMO_NODES, LOOK_AGAIN, require_same, tell};
use super::{LabCommandError, Surroundings, UpArgs};
use crate::context::{Context, Contexts};

/// Roles take a second to start; on a machine busy with a build, many times that.
const READY_WAIT: Duration = Duration::from_secs(60);
/// What `pan up` starts with unless it is told not to.
const DEMO: &str = include_str!("../../../../../examples/demo.yaml");

/// What became of it.
#[derive(Debug)]
pub enum Outcome {
    /// It is there.
    Stands(Lab),
    /// By which signal, and what was taken back.
    Interrupted(Signal, LabError),
}

/// Makes a laboratory, or finds one that another process made meanwhile.
///
/// # Errors
/// It could not be made, is not what was asked for, or is not ready in time: then it stays for a look.
pub fn make(spec: LabSpec, args: &UpArgs, around: &Surroundings) -> Result<Outcome, LabCommandError> {
    // Better now than when the laboratory stands and nobody knows how to reach it.
    let current = Contexts::change(|contexts| Ok::<_, LabCommandError>(contexts.current.clone()))?;
    let watching = |source| LabCommandError::System { action: "watch for Ctrl-C", source };
    interrupt::watch(words(spec.name.as_str())).map_err(watching)?;
    let (start, nodes) = (Instant::now(), usize::from(spec.nodes));
    let mut progress = |line: &str| tell(around, &format!("[{:6.2} s] {line}", start.elapsed().as_secs_f64()));
    let (lab, origin) = match Lab::bring_up(spec, &|| interrupt::asked().is_some(), &mut progress) {
        Ok(up) => up,
        Err(error) => return interrupted(error),
    };
    let ready = match origin {
        Origin::Found => require_same(&lab, args),
        // Who made it applies the demo, or leaves it out.
        Origin::Made(_) => remember(&lab, args).and_then(|()| make_ready(&lab, args, nodes, &mut progress)),
    };
    let asked = match interrupt::asked() {
        Some(signal) => Some(signal),
        None => interrupt::unwatch().map_err(watching)?,
    };
    match (asked, origin) {
        (Some(signal), Origin::Made(disks)) => Ok(Outcome::Interrupted(signal, take_back(lab, disks, current)?)),
        // It is somebody else's.
        (_, Origin::Found) | (None, Origin::Made(_)) => ready.map(|()| Outcome::Stands(lab)),
    }
}

fn words(name: &str) -> Words {
    Words {
        noted: format!("interrupted: taking back what was made; once more ends this at once, and `pan down --name {name}` does the rest\n"),
        ended: format!("laboratory {name} is half made or half gone: `pan down --name {name}` takes away what there is of it\n"),
    }
}

fn interrupted(error: LabError) -> Result<Outcome, LabCommandError> {
    match (error, interrupt::asked()) {
        (became @ LabError::Interrupted { .. }, Some(signal)) => Ok(Outcome::Interrupted(signal, became)),
        (error, _) => Err(error.into()),
    }
}

/// Takes the laboratory back and, but for one that was there before, its context.
fn take_back(lab: Lab, disks: Disks, current: Option<String>) -> Result<LabError, LabCommandError> {
    let name = lab.name().to_string();
    let became = lab.take_back(disks)?;
    Contexts::change(|contexts| {
        if contexts.current.as_ref() == Some(&name) {
            contexts.current = current;
        }
        if disks == Disks::New {
            contexts.remove(&name);
        }
        Ok::<_, LabCommandError>(())
    })?;
    Ok(became)
}

fn make_ready(lab: &Lab, args: &UpArgs, nodes: usize, progress: &mut dyn FnMut(&str)) -> Result<(), LabCommandError> {
    progress("waiting for the controller and the hosts");
    wait_ready(lab)?;
    if interrupt::asked().is_some() {
        return Ok(());
    }
    if !args.empty && nodes < DEMO_NODES {
        progress(&format!("leaving out the demo: its protection needs {DEMO_NODES} nodes, there are {nodes}"));
    } else if !args.empty {
        progress("applying the demo: partition demo, cluster web, service www");
        apply_demo(lab)?;
    }
    progress("ready");
    Ok(())
}

/// Writes the laboratory's context, and makes it current unless it was named.
pub fn remember(lab: &Lab, args: &UpArgs) -> Result<(), LabCommandError> {
    let Credentials { url, token, ca_pem, .. } = lab.credentials()?;
    let name = lab.name().to_string();
    Contexts::change(|contexts| {
        let partition = contexts.contexts.iter().find(|one| one.name == name).and_then(|one| one.partition.clone());
        contexts.put(Context { name: name.clone(), url, token, ca: ca_pem, partition });
        if args.name.is_none() {
            contexts.current = Some(name);
        }
        Ok(())
    })
}

/// Removes a laboratory's context.
pub fn forget(name: &str) -> Result<(), LabCommandError> {
    Contexts::change(|contexts| {
        contexts.remove(name);
        Ok(())
    })
}

/// Refuses to wait any longer for a laboratory that was taken down.
fn require_standing(lab: &Lab) -> Result<(), LabCommandError> {
    if lab.stands() { Ok(()) } else { Err(LabCommandError::TakenDown { name: lab.name().clone() }) }
}

/// Waits until the controller answers and every host is alive, or until it is asked to end.
fn wait_ready(lab: &Lab) -> Result<(), LabCommandError> {
    require_standing(lab)?;
    // Neither the client outside nor members of etcd are hosts of the PAN.
    let members = lab.hosts()?.iter().filter(|host| !["outside", "etcd"].contains(&host.role)).count();
    let given = lab.credentials()?;
    let not_ready = |message: String| LabCommandError::NotReady {
        what: format!("laboratory {} was not ready within {} s", lab.name(), READY_WAIT.as_secs()),
        message,
        hint: format!("; its logs are {}/hosts/*/log/*.log", lab.data().display()),
    };
    let client = Client::new(&given.url, Some(&given.token), &given.ca_pem).map_err(|error| not_ready(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| LabCommandError::System { action: "start a runtime", source })?;
    runtime.block_on(async {
        let deadline = Instant::now() + READY_WAIT;
        loop {
            require_standing(lab)?;
            let missing = tokio::select! {
                missing = missing(&client, members) => missing,
                () = asked_to_end() => return Ok(()),
            };
            let missing = match missing {
                Ok(None) => return Ok(()),
                Ok(Some(missing)) => missing,
                Err(error) => error.to_string(),
            };
            if Instant::now() >= deadline {
                return Err(not_ready(missing));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    })
}

async fn asked_to_end() {
    while interrupt::asked().is_none() {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn missing(client: &Client, members: usize) -> Result<Option<String>, pan_api::ApiError> {
    let _: Health = client.get("/healthz").await?;
    let known: Vec<Host> = client.get("/v1/hosts").await?;
    let alive = known.iter().filter(|host| host.state == NodeState::Alive).count();
    Ok((alive < members).then(|| format!("{alive} of {members} hosts are alive")))
}

/// Applies the demo as a user would, by the same program.
fn apply_demo(lab: &Lab) -> Result<(), LabCommandError> {
    let given = lab.credentials()?;
    let failed = |source| LabCommandError::Run { program: "pan apply".to_owned(), source };
    let exe = std::env::current_exe().map_err(failed)?;
    let mut child = Command::new(exe)
        .args(["apply", "-f", "-", "--wait=60s", "-q"])
        .env("PAN_URL", given.url)
        .env("PAN_TOKEN", given.token)
        .env("PAN_CA", given.ca_file)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let written = stdin.write_all(DEMO.as_bytes());
    drop(stdin);
    let status = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            break status;
        }
        let stands = require_standing(lab);
        if stands.is_err() || interrupt::asked().is_some() {
            let _ = child.kill();
            let _ = child.wait();
            return stands;
        }
        std::thread::sleep(LOOK_AGAIN);
    };
    if !status.success() {
        // It may have failed because of that.
        require_standing(lab)?;
        return Err(LabCommandError::Demo { status });
    }
    written.map_err(failed)
}
