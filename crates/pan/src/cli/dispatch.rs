//! From the command line to the command, and from its result to the exit code.

use super::arguments::{Cli, Command, DirectorCommand, HostCommand, KeyCommand};
use super::failure::Failure;
use super::get::GetArgs;
use super::kind::Kind;
use super::lab::{LabCommandError, Surroundings};
use super::output::{Format, note};
use super::session::Session;
use super::{
    apply, audit, bench, contexts, delete, describe, drain, edit, get, help, host, inside, insight, join, lab, login, node, policy, server,
    status, token, trace, usage, volume, wait,
};
use crate::roles;
use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, Parser};
use pan_model::host::Role;
use std::ffi::OsString;
use std::process::ExitCode;

/// The program.
pub fn main() -> ExitCode {
    let Cli { globals, command } = Cli::try_parse().unwrap_or_else(|error| plain(error, std::env::args_os()).exit());
    let session = Session::new(globals);
    if matches!(session.globals.output, Format::Csv | Format::Prometheus) && !matches!(command, Command::Usage(_)) {
        let failure = Failure::Usage("`pan usage` alone prints csv and prometheus: expected -o table, wide, json, jsonl or yaml".into());
        note(&failure.text());
        return ExitCode::from(failure.exit());
    }
    match by_process(command, &session) {
        Ok(exit) => exit,
        Err(Failure::Closed) => ExitCode::SUCCESS,
        Err(failure) => {
            note(&failure.text());
            ExitCode::from(failure.exit())
        }
    }
}

/// The usage of the command that was meant, and not what is set beside it: what the environment gives would be named as well.
fn plain(mut error: clap::Error, typed: impl Iterator<Item = OsString>) -> clap::Error {
    if error.get(ContextKind::Usage).is_none() {
        return error;
    }
    let mut all = Cli::command();
    all.build();
    let deeper = |at: &clap::Command, word: OsString| word.to_str().and_then(|word| at.find_subcommand(word)).cloned();
    let mut meant = typed.skip(1).fold(all, |at, word| deeper(&at, word).unwrap_or(at));
    error.insert(ContextKind::Usage, ContextValue::StyledStr(meant.render_usage()));
    error
}

/// What needs a process of a certain kind (one thread, many threads) is started in it; the rest are calls of the API.
fn by_process(command: Command, session: &Session) -> Result<ExitCode, Failure> {
    let around = || Surroundings {
        context: session.globals.context.clone(),
        json: matches!(session.globals.output, Format::Json | Format::Jsonl),
        quiet: session.globals.quiet,
    };
    match command {
        Command::HostInit(args) => Ok(laboratory(lab::run_host_init(&args))),
        Command::LabRelay(args) => Ok(laboratory(lab::run_lab_relay(&args))),
        Command::LabHeir(args) => Ok(laboratory(lab::run_lab_heir(&args))),
        Command::Shim(args) => Ok(roles::shim(args)),
        Command::Etcd(args) => Ok(roles::etcd(&args)),
        Command::Beat(args) => Ok(roles::beat(&args)),
        Command::Head(args) => Ok(roles::head(&args)),
        Command::Proxy(args) => Ok(roles::proxy(args)),
        Command::Controller(args) => Ok(roles::run(Role::Controller, &args.config)),
        Command::Storage(args) => Ok(roles::run(Role::Storage, &args.config)),
        Command::Up(args) => Ok(laboratory(lab::run_up(args, &around()))),
        Command::Down(args) => Ok(laboratory(lab::run_down(&args, &around()))),
        Command::Lab(args) => Ok(laboratory(lab::run_lab(args, &around()))),
        Command::Bench(args) => bench::run(args, session),
        Command::Node(args) => match (args.config, args.command) {
            (Some(config), None) => Ok(roles::run(Role::Node, &config)),
            (None, Some(command)) => wait_for(node::run(command, session)),
            (_, _) => Err(Failure::Usage("expected a command like `pan node drain NODE`, or --config FILE to run the role".into())),
        },
        Command::Director(args) => match (args.config, args.command) {
            (Some(config), None) => Ok(roles::run(Role::Director, &config)),
            (None, Some(DirectorCommand::Drain(_))) => Err(Failure::not_yet("pan director drain")),
            (_, _) => Err(Failure::Usage("expected a command like `pan director drain NAME`, or --config FILE to run the role".into())),
        },
        Command::Generate(args) => session.out.raw(roles::generate(args)?.as_bytes()).map(|()| ExitCode::SUCCESS),
        Command::Later(later) => Err(Failure::not_yet(later.name())),
        command => {
            init_logging(session);
            let done = runtime()?.block_on(call(command, session)).map(ExitCode::from);
            session.say_age();
            done
        }
    }
}

fn laboratory(result: Result<ExitCode, LabCommandError>) -> ExitCode {
    result.unwrap_or_else(|error| {
        let mut text = format!("error {}: {error}", error.code());
        let mut cause = std::error::Error::source(&error);
        while let Some(source) = cause {
            text.push_str(&format!(": {source}"));
            cause = source.source();
        }
        note(&text);
        ExitCode::from(error.exit())
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::local("start a runtime"))
}

fn wait_for(work: impl Future<Output = Result<u8, Failure>>) -> Result<ExitCode, Failure> {
    runtime()?.block_on(work).map(ExitCode::from)
}

/// Messages of libraries, on stderr, for those who ask.
fn init_logging(session: &Session) {
    if session.globals.verbose {
        roles::init_logging("debug");
    }
}

/// The commands that call the API, and those that need nothing; the exit code.
async fn call(command: Command, session: &Session) -> Result<u8, Failure> {
    let done = |()| 0;
    match command {
        Command::Apply(args) => apply::run(args, session).await,
        Command::Get(args) => get::run(args, session).await.map(done),
        Command::Wait(args) => wait::run(args, session).await.map(done),
        Command::Describe(args) => describe::run(args, session).await.map(done),
        Command::Delete(args) => delete::run(args, session).await,
        Command::Edit(args) => edit::run(args, session).await,
        Command::Explain(args) => help::run_explain(&args, session).map(done),
        Command::Error(args) => help::run_error(&args, session).map(done),
        Command::Status => status::run(session).await.map(done),
        Command::Events(args) => get::run_events(args, session).await.map(done),
        Command::Audit(args) => audit::run(args, session).await.map(done),
        Command::Usage(args) => usage::run(args, session).await.map(done),
        Command::Logs(args) => inside::run_logs(args, session).await.map(done),
        Command::Exec(args) => inside::run_exec(args, session).await,
        Command::Scale(args) => server::scale(args, session).await.map(done),
        Command::Restart(args) => server::act("restart", args, session).await.map(done),
        Command::Stop(args) => server::act("stop", args, session).await.map(done),
        Command::Start(args) => server::act("start", args, session).await.map(done),
        Command::Migrate(args) => server::go("migrate", args, session).await.map(done),
        Command::Failover(args) => server::go("failover", args, session).await.map(done),
        Command::Host(HostCommand::List) => {
            get::run(GetArgs { kind: Kind::Host, name: None, all: false, watch: false }, session).await.map(done)
        }
        Command::Key(KeyCommand::Rotate) => host::rotate_keys(session).await.map(done),
        Command::Join(args) => join::run(args, session).await.map(done),
        Command::Token(command) => token::run(command, session).await.map(done),
        Command::Volume(command) => volume::run(command, session).await.map(done),
        Command::Policy(command) => policy::run(command, session).await.map(done),
        Command::Host(HostCommand::Remove { host }) => host::remove(&host, session).await.map(done),
        Command::Drain(args) => drain::run(args, session).await,
        Command::Why(args) => insight::why(args, session).await.map(done),
        Command::Certify(args) => insight::certify(args, session).await,
        Command::Whatif(args) => insight::whatif(args, session).await.map(done),
        Command::Timeline(args) => insight::timeline(args, session).await.map(done),
        Command::Trace(command) => trace::run(command, session).await.map(done),
        Command::Login(args) => login::run(args, session).await.map(done),
        Command::Context(args) => contexts::run(args, session).map(done),
        Command::Completion(args) => help::run_completion(&args, Cli::command(), session).map(done),
        Command::Version => help::run_version(session).await.map(done),
        Command::Prober(args) => bench::run_prober(args, session).await.map(done),
        Command::Up(_)
        | Command::Down(_)
        | Command::Lab(_)
        | Command::Bench(_)
        | Command::Node(_)
        | Command::Director(_)
        | Command::Controller(_)
        | Command::Storage(_)
        | Command::Beat(_)
        | Command::Head(_)
        | Command::Proxy(_)
        | Command::Etcd(_)
        | Command::Generate(_)
        | Command::HostInit(_)
        | Command::LabRelay(_)
        | Command::LabHeir(_)
        | Command::Shim(_)
        | Command::Later(_) => unreachable!("started in a process of its own kind"),
    }
}
