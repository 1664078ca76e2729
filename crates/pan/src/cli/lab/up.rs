//! `pan up` and `pan down`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use pan_lab::{Lab, LabSpec, Shape};
use pan_model::{ByteSize, Cpu};
use serde_json::json;

use super::commands::{parse, print_line, which};
use super::make::{Outcome, forget, make, remember};
use super::{DEFAULT_NAME, DownArgs, LabCommandError, Label, Profile, Surroundings, UpArgs};
use crate::cli::output::note;

pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// What there is where nothing else is asked for.
const NODES: u8 = 4;
const NODE_CPU: Cpu = Cpu(4000);
const NODE_MEMORY: ByteSize = ByteSize(4 << 30);
/// Nodes that the demo needs: three servers on different ones, and a place to go for each.
pub(super) const DEMO_NODES: usize = 4;
/// The last byte of the demo's public address.
const DEMO_HOST: u8 = 10;

/// `pan up`.
///
/// # Errors
/// It could not be brought up (then nothing is left of it but its logs), or is up but not ready.
pub fn run_up(args: UpArgs, around: &Surroundings) -> Result<ExitCode, LabCommandError> {
    let spec = spec_of(&args)?;
    let lab = match Lab::load(&spec.name).ok() {
        Some(lab) => {
            require_same(&lab, &args)?;
            tell(
                around,
                &format!("laboratory {0} runs already and stays as it is; to have another one, `pan down --name {0}` first", lab.name()),
            );
            lab
        }
        None => match make(spec, &args, around)? {
            Outcome::Stands(lab) => lab,
            Outcome::Interrupted(signal, became) => {
                note(&became.chain());
                return Ok(ExitCode::from(128 + signal as u8));
            }
        },
    };
    remember(&lab, &args)?;
    print_lab(&lab, around)?;
    if args.foreground {
        tell(around, "running until Ctrl-C");
        if wait_for_end(&lab)? == End::TakenDown {
            tell(around, "it was taken down");
            return Ok(ExitCode::SUCCESS);
        }
        tell(around, "taking it down");
        Lab::down(lab.name())?;
        forget(&lab.name().to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `pan down`.
///
/// # Errors
/// Something could not be removed; everything else was.
pub fn run_down(args: &DownArgs, around: &Surroundings) -> Result<ExitCode, LabCommandError> {
    let name = which(args.name.as_deref(), around)?;
    let found = Lab::down(&name)?;
    if let Err(error) = forget(&name.to_string()) {
        tell(around, &format!("its context stays behind: {error}"));
    }
    if !around.quiet && !around.json {
        let line = if found { format!("laboratory {name} is gone") } else { format!("there was no laboratory {name}") };
        print_line(&line);
    }
    Ok(ExitCode::SUCCESS)
}

fn spec_of(args: &UpArgs) -> Result<LabSpec, LabCommandError> {
    let name = parse(args.name.as_deref().unwrap_or(DEFAULT_NAME))?;
    let mut labels: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for label in &args.label {
        labels.entry(label.host.clone()).or_default().insert(label.key.clone(), label.value.clone());
    }
    let failed = |action| move |source| LabCommandError::System { action, source };
    let data = match &args.data {
        Some(path) => std::path::absolute(path).map_err(failed("make --data absolute"))?,
        None => Lab::default_data(&name),
    };
    Ok(LabSpec {
        name,
        data,
        nodes: args.nodes.unwrap_or(NODES),
        storage: args.storage.unwrap_or(2),
        directors: args.directors.unwrap_or(2),
        controllers: args.controllers.unwrap_or(1),
        profile: profile(args.profile.unwrap_or(Profile::Shared)).to_owned(),
        node_cpu: args.node_cpu.unwrap_or(NODE_CPU),
        node_memory: args.node_memory.unwrap_or(NODE_MEMORY),
        labels,
        in_the_clear: BTreeSet::new(),
        gate: None,
        machine_link: true,
        exe: std::env::current_exe().map_err(failed("find this program"))?,
    })
}

const fn profile(profile: Profile) -> &'static str {
    match profile {
        Profile::Lan => "lan",
        Profile::Shared => "shared",
        Profile::Wan => "wan",
    }
}

/// What was asked for with words of its own and is not what runs, one `--flag asked (it has …)` each.
fn differences(args: &UpArgs, data: &Path, runs: &Shape) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |flag: &str, asked: Option<String>, has: String| {
        if let Some(asked) = asked.filter(|asked| *asked != has) {
            found.push(format!("--{flag} {asked} (it has {has})"));
        }
    };
    compare("nodes", args.nodes.map(|count| count.to_string()), runs.nodes.to_string());
    compare("storage", args.storage.map(|count| count.to_string()), runs.storage.to_string());
    compare("directors", args.directors.map(|count| count.to_string()), runs.directors.to_string());
    compare("controllers", args.controllers.map(|count| count.to_string()), runs.controllers.to_string());
    compare("profile", args.profile.map(|one| profile(one).to_owned()), runs.profile.clone());
    compare("node-cpu", args.node_cpu.map(|cpu| cpu.to_string()), runs.node_cpu.to_string());
    compare("node-memory", args.node_memory.map(|memory| memory.to_string()), runs.node_memory.to_string());
    for Label { host, key, value } in &args.label {
        let has = runs.labels.get(host).and_then(|labels| labels.get(key)).map_or("none", String::as_str);
        let at = |value: &str| format!("{host}={key}:{value}");
        compare("label", Some(at(value)), at(has));
    }
    let asked = args.data.as_ref().and_then(|path| std::path::absolute(path).ok());
    compare("data", asked.map(|path| path.display().to_string()), data.display().to_string());
    found
}

/// Refuses to take one for another: what runs stays as it is.
pub(super) fn require_same(lab: &Lab, args: &UpArgs) -> Result<(), LabCommandError> {
    let differs = differences(args, lab.data(), &lab.shape()?);
    if differs.is_empty() { Ok(()) } else { Err(LabCommandError::Different { name: lab.name().clone(), differs }) }
}

fn print_lab(lab: &Lab, around: &Surroundings) -> Result<(), LabCommandError> {
    let url = lab.credentials()?.url;
    let hosts = lab.hosts()?;
    let reach = lab.reach()?;
    if around.json {
        let object = json!({"name": lab.name(), "url": url, "data": lab.data(), "reach": reach, "hosts": hosts});
        print_line(&format!("{object:#}"));
        return Ok(());
    }
    let names: Vec<String> = hosts.iter().map(|host| host.name.to_string()).collect();
    print_line(&format!("laboratory {} is up: {}", lab.name(), names.join(" ")));
    print_line(&format!("API        {url}"));
    print_line(&format!("data       {}", lab.data().display()));
    let demo = reach.map(|network| {
        let [a, b, c, _] = network.network().octets();
        print_line(&format!("outside    {network} from this machine"));
        IpAddr::from(Ipv4Addr::new(a, b, c, DEMO_HOST))
    });
    if !around.quiet {
        let nodes = hosts.iter().filter(|host| host.role == "node").count();
        print_hints(demo.filter(|_| nodes >= DEMO_NODES), nodes, &lab.name().to_string());
    }
    Ok(())
}

fn print_hints(demo: Option<IpAddr>, nodes: usize, name: &str) {
    // What is not the default is neither the current context nor what `pan lab` is about.
    let (context, lab) = match name {
        DEFAULT_NAME => (String::new(), String::new()),
        _ => (format!(" --context {name}"), format!(" --name {name}")),
    };
    print_line("try next:");
    if let Some(address) = demo {
        print_line(&format!("  curl http://{address}/                 the demo's service, if it was applied"));
    }
    let boots = format!("cut a node's power; `pan lab start n1{lab}` boots it");
    let kill = (nodes > 0).then(|| (format!("pan lab kill n1{lab}"), boots.as_str()));
    let before = [(format!("pan{context} get server -A"), "what runs where"), (format!("pan lab hosts{lab}"), "the hosts behind it")];
    let after = [(format!("pan{context} events -A -f"), "what the PAN does about it"), (format!("pan down{lab}"), "take everything away")];
    for (command, what) in before.into_iter().chain(kill).chain(after) {
        print_line(&format!("  {command:<38}  {what}"));
    }
}

pub(super) fn tell(around: &Surroundings, line: &str) {
    if !around.quiet {
        let mut out = std::io::stderr();
        let _ = writeln!(out, "{line}");
        if out.is_terminal() {
            let _ = out.flush();
        }
    }
}

/// What ends a laboratory in the foreground.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The user, here.
    Signal,
    /// `pan down`, elsewhere.
    TakenDown,
}

fn wait_for_end(lab: &Lab) -> Result<End, LabCommandError> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = |source| LabCommandError::System { action: "wait for Ctrl-C", source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime
        .block_on(async {
            let mut interrupt = signal(SignalKind::interrupt())?;
            let mut terminate = signal(SignalKind::terminate())?;
            let mut hangup = signal(SignalKind::hangup())?;
            let gone = async {
                while lab.stands() {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
            };
            Ok(tokio::select! {
                _ = interrupt.recv() => End::Signal,
                _ = terminate.recv() => End::Signal,
                _ = hangup.recv() => End::Signal,
                () = gone => End::TakenDown,
            })
        })
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Words {
        #[command(flatten)]
        up: UpArgs,
    }

    #[test]
    fn what_was_asked_for_is_compared_with_what_runs() {
        let runs = Shape {
            nodes: 4,
            storage: 2,
            directors: 2,
            controllers: 1,
            profile: "shared".into(),
            node_cpu: NODE_CPU,
            node_memory: NODE_MEMORY,
            labels: [("n1".to_owned(), [("rack".to_owned(), "r1".to_owned())].into())].into(),
        };
        let differs = |words: &str| {
            let args = Words::parse_from(["up"].into_iter().chain(words.split_whitespace())).up;
            differences(&args, Path::new("/var/lib/pan/local"), &runs).join("; ")
        };
        for same in
            ["", "--controllers 1 --nodes 4", "--node-memory 4096MiB --node-cpu 4000m", "--label n1=rack:r1 --data /var/lib/pan/local"]
        {
            assert_eq!(differs(same), "", "{same}");
        }
        assert_eq!(differs("--controllers 3"), "--controllers 3 (it has 1)");
        let many = differs("--nodes 3 --profile lan --label n2=rack:r1 --data /tmp/x/y");
        let expected = "--nodes 3 (it has 4); --profile lan (it has shared); --label n2=rack:r1 (it has n2=rack:none); \
                        --data /tmp/x/y (it has /var/lib/pan/local)";
        assert_eq!(many, expected);
    }
}
