//! The programs that come with the file systems.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::FilesystemError;
use super::contents::Kind;

pub(super) struct Tool {
    program: &'static str,
    package: &'static str,
}

pub(super) const MKFS_EXT4: Tool = Tool { program: "mkfs.ext4", package: "e2fsprogs" };
pub(super) const MKFS_XFS: Tool = Tool { program: "mkfs.xfs", package: "xfsprogs" };
pub(super) const RESIZE_EXT4: Tool = Tool { program: "resize2fs", package: "e2fsprogs" };
pub(super) const GROW_XFS: Tool = Tool { program: "xfs_growfs", package: "xfsprogs" };
const CHECK_EXT4: Tool = Tool { program: "e2fsck", package: "e2fsprogs" };

/// e2fsck(8): bits of its exit status that say it is good now.
const CORRECTED: i32 = 1;

/// Runs one; `device` is what it is about.
pub(super) fn run(tool: &Tool, arguments: &[&str], device: &Path) -> Result<(), FilesystemError> {
    let output = output(tool, arguments)?;
    if output.status.success() {
        return Ok(());
    }
    Err(FilesystemError::Refused { program: tool.program, device: device.to_path_buf(), message: said(&output) })
}

/// Repairs what can be repaired without a decision, after replaying the journal. Only ext4 says that it needs it; XFS shuts
/// down instead and refuses to be mounted.
pub(super) fn repair(device: &Path, options: &[&str]) -> Result<(), FilesystemError> {
    let path = device.to_string_lossy();
    let output = output(&CHECK_EXT4, &[options, &["-p", &path]].concat())?;
    match output.status.code() {
        Some(code) if code & !CORRECTED == 0 => Ok(()),
        _ => Err(FilesystemError::Damaged { kind: Kind::Ext4, device: device.to_path_buf(), advice: format!("e2fsck -f {path}") }),
    }
}

fn output(tool: &Tool, arguments: &[&str]) -> Result<Output, FilesystemError> {
    let Tool { program, package } = *tool;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).env("LC_ALL", "C");
    command.output().map_err(|source| FilesystemError::Tool { program, package, source })
}

/// What it said, of the two places the one where something is.
fn said(output: &Output) -> String {
    let [error, out] = [&output.stderr, &output.stdout].map(|text| String::from_utf8_lossy(text).trim().to_owned());
    if error.is_empty() { out } else { error }
}
