//! `cargo metadata`, as far as the checks need it.

use std::path::Path;
use std::process::Command;

use serde::Deserialize;

/// The packages of the workspace, and with [`Scope::All`] all they depend on.
#[derive(Debug, Deserialize)]
pub struct Metadata {
    pub packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
pub struct Package {
    pub name: String,
    pub version: String,
    pub license: Option<String>,
    /// `None` for the workspace's own.
    pub source: Option<String>,
    #[serde(default)]
    pub dependencies: Vec<Dependency>,
    #[serde(default)]
    pub targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
pub struct Dependency {
    pub name: String,
    /// `None` for a normal one, else `dev` or `build`.
    pub kind: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct Target {
    pub name: String,
    pub kind: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Workspace,
    All,
}

/// Asks cargo.
///
/// # Errors
/// What went wrong, for people.
pub fn read(root: &Path, scope: Scope) -> Result<Metadata, String> {
    let mut command = Command::new("cargo");
    command.args(["metadata", "--format-version", "1"]).current_dir(root);
    match scope {
        Scope::Workspace => command.arg("--no-deps"),
        // Other platforms' dependencies are never built.
        Scope::All => command.args(["--filter-platform", "x86_64-unknown-linux-gnu"]),
    };
    let output = command.output().map_err(|error| format!("cannot run cargo metadata: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("cannot read the answer of cargo metadata: {error}"))
}
