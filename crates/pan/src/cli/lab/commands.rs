//! `pan lab …` and the hidden command that is the first process of a laboratory's host.

use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use pan_lab::{Direction, Disk, HostView, Lab, LabError, LabName, Power, labs};
use pan_model::host::Fabric;

use super::{
    DEFAULT_NAME, DirectionArg, FabricArg, HostInitArgs, LabArgs, LabCommand, LabCommandError, LabHeirArgs, LabRelayArgs, Surroundings,
};
use crate::cli::output::note;
use crate::context::Contexts;
use pan_lab::init::Machine;

/// `pan lab …`.
///
/// # Errors
/// The laboratory refuses; nothing was changed unless the message says so.
pub fn run(args: LabArgs, around: &Surroundings) -> Result<ExitCode, LabCommandError> {
    let lab = Lab::load(&which(args.name.as_deref(), around)?)?;
    match args.command {
        LabCommand::Hosts => print_hosts(&lab.hosts()?, lab.data(), around),
        LabCommand::Exec { host, command } => return exec(&lab, &host, &command),
        LabCommand::AddNode => {
            let host = lab.add_node()?;
            say(around, &format!("{host} boots"));
        }
        LabCommand::Kill { host, role: Some(role) } => {
            let pid = lab.kill_role(lab.host(&host)?, &role)?;
            say(around, &format!("{role} of {host} (pid {pid}) killed"));
        }
        LabCommand::Kill { host, role: None } => {
            lab.kill(lab.host(&host)?)?;
            say(around, &format!("{host} is without power"));
        }
        LabCommand::Upgrade { host, exe } => {
            let roles = lab.upgrade(lab.host(&host)?, exe.as_deref())?;
            say(around, &upgraded(&host, &roles));
        }
        LabCommand::Start { host } => {
            lab.start(lab.host(&host)?)?;
            say(around, &format!("{host} boots"));
        }
        LabCommand::Cut { host, fabric, direction } => {
            let fabric = fabric.map(|fabric| match fabric {
                FabricArg::A => Fabric::A,
                FabricArg::B => Fabric::B,
            });
            let direction = match direction {
                DirectionArg::In => Direction::In,
                DirectionArg::Out => Direction::Out,
                DirectionArg::Both => Direction::Both,
            };
            lab.cut(lab.host(&host)?, fabric, direction)?;
            say(around, &format!("{host} is cut off"));
        }
        LabCommand::Heal { host } => {
            lab.heal(lab.host(&host)?)?;
            say(around, &format!("{host} is healed"));
        }
        LabCommand::Freeze { host } => {
            lab.freeze(lab.host(&host)?)?;
            say(around, &format!("{host} stands still"));
        }
        LabCommand::Thaw { host } => {
            lab.thaw(lab.host(&host)?)?;
            say(around, &format!("{host} runs on"));
        }
        LabCommand::Disk { host, fault } => {
            let wanted = match (fault.full, fault.fail) {
                (true, _) => Disk::Full,
                (false, true) => Disk::Failed,
                (false, false) => Disk::Ok,
            };
            lab.disk(lab.host(&host)?, wanted)?;
            say(around, &format!("the disk of {host} is {}", wanted.as_str()));
        }
        LabCommand::Delay { host, millis } => {
            lab.delay(lab.host(&host)?, Duration::from_millis(millis.into()))?;
            say(around, &format!("round trips to {host} take {millis} ms longer"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs as the first process of a host. Call it before anything starts a thread.
///
/// # Errors
/// The configuration cannot be used.
pub fn run_host_init(args: &HostInitArgs) -> Result<ExitCode, LabCommandError> {
    pan_lab::init::run(match (&args.config, &args.etcd) {
        (Some(config), _) => Machine::Host(config),
        (None, Some(etcd)) => Machine::Etcd(etcd),
        (None, None) => Machine::Other,
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Runs as the relay of slow links, until it is told to end. Call it before anything starts a thread.
///
/// # Errors
/// The ports it should have been started with are missing or gone.
pub fn run_lab_relay(args: &LabRelayArgs) -> Result<ExitCode, LabCommandError> {
    pan_lab::relay::run(&parse(&args.name)?, Duration::from_micros(args.each_way_us))?;
    Ok(ExitCode::SUCCESS)
}

/// Waits for the end of whoever made a laboratory, and removes what it left.
///
/// # Errors
/// Something of it resists.
pub fn run_lab_heir(args: &LabHeirArgs) -> Result<ExitCode, LabCommandError> {
    pan_lab::heir::wait(&parse(&args.name)?)?;
    Ok(ExitCode::SUCCESS)
}

fn upgraded(host: &str, roles: &[String]) -> String {
    match roles {
        [] => format!("{host} has the new program, and no role of it runs that would be started anew from it"),
        roles => format!("{host} has the new program: {} starts anew from it, and hands over heartbeats", roles.join(", ")),
    }
}

/// Which laboratory is meant: `--name`, `--context`, PAN_LAB, PAN_CONTEXT, the current context if it is a
/// laboratory's, else the default one.
pub(super) fn which(name: Option<&str>, around: &Surroundings) -> Result<LabName, LabCommandError> {
    let set = |key: &str| std::env::var(key).ok().filter(|value| !value.is_empty());
    let named = name.map(str::to_owned).or_else(|| around.context.clone());
    if let Some(name) = named.or_else(|| set("PAN_LAB")).or_else(|| set("PAN_CONTEXT")) {
        return Ok(parse(&name)?);
    }
    let current = Contexts::load()?.current;
    let current = current.and_then(|name| name.parse::<LabName>().ok()).filter(|name| labs().contains(name));
    match current {
        Some(name) => Ok(name),
        None => Ok(parse(DEFAULT_NAME)?),
    }
}

pub(super) fn parse(name: &str) -> Result<LabName, LabError> {
    name.parse().map_err(LabError::Name)
}

fn say(around: &Surroundings, line: &str) {
    if !around.quiet && !around.json {
        print_line(line);
    }
}

fn exec(lab: &Lab, host: &str, argv: &[String]) -> Result<ExitCode, LabCommandError> {
    let mut command = lab.exec(lab.host(host)?, argv)?;
    let program = || argv.first().cloned().unwrap_or_default();
    let status = match command.status() {
        Ok(status) => status,
        Err(error) => {
            let exit = match error.kind() {
                io::ErrorKind::NotFound => 127,
                io::ErrorKind::PermissionDenied => 126,
                _ => return Err(LabCommandError::Run { program: program(), source: error }),
            };
            note(&format!("cannot run {} on host {host}: {error}", program()));
            return Ok(ExitCode::from(exit));
        }
    };
    // A shell reports a signal as 128 + its number.
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    Ok(code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

fn print_hosts(hosts: &[HostView], data: &Path, around: &Surroundings) {
    if around.json {
        print_line(&serde_json::to_string_pretty(hosts).expect("hosts serialise"));
        return;
    }
    let mut table = Table::new();
    table.load_preset(NOTHING);
    table.set_header(["NAME", "ROLE", "POWER", "LINK A", "LINK B", "DELAY", "DISK", "PROCESSES", "NETNS"]);
    for host in hosts {
        let power = match (host.power, host.frozen) {
            (Power::On, false) => "on",
            (Power::On, true) => "on, frozen",
            (Power::Off, _) => "off",
        };
        let link = |link: Option<&'static str>| match link {
            None => "-".to_owned(),
            Some(state @ ("up" | "down")) => state.to_owned(),
            Some(cut) => format!("cut ({cut})"),
        };
        table.add_row([
            host.name.to_string(),
            host.role.to_owned(),
            power.to_owned(),
            link(host.links.a),
            link(host.links.b),
            if host.delay_ms == 0 { "-".to_owned() } else { format!("{} ms", host.delay_ms) },
            host.disk.as_str().to_owned(),
            host.pids.len().to_string(),
            host.netns.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    print_line(&table.to_string());
    if !around.quiet {
        print_line(&format!("data: {0}; a host's disk is {0}/hosts/NAME, its /var/lib/pan", data.display()));
    }
}

/// Prints to standard output; a reader that has had enough (`| head`) is no error.
pub(super) fn print_line(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
