//! `pan logs` and `pan exec`: what goes on inside a server.

use super::failure::Failure;
use super::kind::Kind;
use super::session::Session;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use pan_api::requests::{Exec, ExecFrame};
use pan_model::Code;
use std::io::{IsTerminal, Read, Write};

/// More standard input than this does not fit a request once it is base64.
const STDIN_MAX: u64 = 2 << 20;

/// Show what a server wrote.
#[derive(Debug, Clone, Args)]
pub struct LogsArgs {
    /// Which server.
    pub server: String,
    /// Go on, and show what is added.
    #[arg(short, long)]
    pub follow: bool,
    /// Only the last lines.
    #[arg(long, value_name = "LINES")]
    pub tail: Option<u64>,
}

/// Run a command in a server; its exit code is that of the command.
#[derive(Debug, Clone, Args)]
pub struct ExecArgs {
    /// Which server.
    pub server: String,
    /// Pass standard input to the command, read whole before it starts; not from a terminal.
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// Program and arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<String>,
}

/// `pan logs`.
pub async fn run_logs(args: LogsArgs, session: &Session) -> Result<(), Failure> {
    let tail = args.tail.map(|lines| format!("&tail={lines}")).unwrap_or_default();
    let path = format!("{}/logs?follow={}{tail}", session.path(Kind::Server, &args.server)?, args.follow);
    let mut chunks = session.client()?.bytes(&path).await?;
    while let Some(chunk) = chunks.next().await {
        session.out.raw(&chunk?)?;
    }
    Ok(())
}

/// `pan exec`; the exit code of the command.
pub async fn run_exec(args: ExecArgs, session: &Session) -> Result<u8, Failure> {
    if args.command.first().is_some_and(String::is_empty) {
        return Err(Failure::Usage("the program's name is empty: expected `pan exec SERVER -- PROGRAM …`".into()));
    }
    let stdin = if args.stdin { stdin()? } else { None };
    let path = format!("{}/exec", session.path(Kind::Server, &args.server)?);
    let mut frames = session.client()?.post_stream::<_, ExecFrame>(&path, &Exec { command: args.command, stdin }).await?;
    while let Some(frame) = frames.next().await {
        match frame? {
            ExecFrame::Stdout(text) => session.out.raw(&decode(&text)?)?,
            ExecFrame::Stderr(text) => {
                // That nobody reads it is no reason to end the command.
                let _ = std::io::stderr().lock().write_all(&decode(&text)?);
            }
            // What a shell cannot say with its exit code is a failure.
            ExecFrame::Exit(status) => return Ok(u8::try_from(status).unwrap_or(1)),
        }
    }
    Err(Failure::new(Code::HostUnreachable, "the connection ended before the command did; whether it ran to its end is not known"))
}

fn stdin() -> Result<Option<String>, Failure> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Err(Failure::Usage("-i passes a file or a pipe, not a terminal: redirect standard input".into()));
    }
    let mut bytes = Vec::new();
    stdin.lock().take(STDIN_MAX + 1).read_to_end(&mut bytes).map_err(Failure::local("read standard input"))?;
    if bytes.len() as u64 > STDIN_MAX {
        return Err(Failure::Usage(format!("standard input has more than {STDIN_MAX} bytes: copy it into the server in parts")));
    }
    Ok(Some(STANDARD.encode(bytes)))
}

fn decode(text: &str) -> Result<Vec<u8>, Failure> {
    STANDARD.decode(text).map_err(|error| Failure::new(Code::Internal, format!("the output of the command came damaged: {error}")))
}
