//! `pan`: the one binary of a PAN. Every role, the command line, and the laboratory.
//!
//! The command line speaks the public API and nothing else. Roles are run by their own crates; here is only what
//! all have in common: the configuration file, logging, and the process they run in.

mod claim;
mod cli;
mod config;
mod context;
mod roles;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
