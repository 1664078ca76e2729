//! Files that are generated from code and committed: written anew, or compared with what the code says now.

use std::path::Path;
use std::process::Command;

use crate::Problems;

/// What `pan` prints for these arguments, and where it is kept.
const FILES: [(&[&str], &str); 1] = [(&["generate", "openapi"], "docs/openapi.json")];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Write,
    Compare,
}

/// Builds `pan`, then writes or compares every file.
pub fn run(root: &Path, mode: Mode) -> Problems {
    FILES.iter().filter_map(|(arguments, file)| one(root, mode, arguments, file).err()).collect()
}

fn one(root: &Path, mode: Mode, arguments: &[&str], file: &str) -> Result<(), String> {
    let fresh = print(root, arguments)?;
    let path = root.join(file);
    match mode {
        Mode::Write => std::fs::write(path, fresh).map_err(|error| format!("cannot write {file}: {error}")),
        Mode::Compare => match std::fs::read(path) {
            Ok(kept) if kept == fresh => Ok(()),
            Ok(_) => Err(format!("{file} is not what the code says now: run cargo xtask generate and read the diff")),
            Err(error) => Err(format!("{file}: {error}: run cargo xtask generate")),
        },
    }
}

fn print(root: &Path, arguments: &[&str]) -> Result<Vec<u8>, String> {
    let words = arguments.join(" ");
    let mut command = Command::new("cargo");
    command.args(["run", "--quiet", "--locked", "--package", "pan", "--"]).args(arguments).current_dir(root);
    let output = command.output().map_err(|error| format!("cannot run pan {words}: {error}"))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(format!("pan {words} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
    }
}
