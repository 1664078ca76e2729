//! The agent on the real kernel, without a controller: desired states come from a file and reports go to
//! one. Needs root, runc, nginx and, for the program that means harm, gcc.
//!
//! The test program starts itself again in the roles it needs: `init` (pid 1 of a host), `agent`, `full`
//! (the agent with its HTTPS), `ask` (a controller's client), `head` (one of a volume's two processes) and `shim`. With `starts` it
//! measures how long the steps of a start take.
#![allow(clippy::unwrap_used)]

mod allow;
mod bench;
mod head;
mod isolation;
mod roles;
mod scenes;
mod volumes;

use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let role = words.next().unwrap_or_default();
    match role.to_str() {
        Some("shim") => return roles::shim(words),
        Some("head") => return head::main(&words.map(|word| word.into_string().unwrap()).collect::<Vec<_>>()),
        Some("init") => return roles::init(),
        Some("agent") => return roles::agent(),
        Some("full") => return roles::full(),
        Some("ask") => return roles::ask(words.map(|word| word.into_string().unwrap()).collect()),
        Some("starts") => return scenes::starts(),
        Some("--list") => return ExitCode::SUCCESS,
        _ => {}
    }
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("SKIP: the node's tests need root");
        return ExitCode::SUCCESS;
    }
    let only = role.to_str().filter(|word| !word.is_empty() && !word.starts_with('-')).unwrap_or_default();
    for (name, scene) in
        scenes::ALL.into_iter().chain(volumes::ALL).chain(isolation::ALL).chain(allow::ALL).filter(|(name, _)| name.contains(only))
    {
        let start = Instant::now();
        scene();
        println!("test {name} ... ok ({} ms)", start.elapsed().as_millis());
    }
    ExitCode::SUCCESS
}
