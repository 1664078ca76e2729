//! Reading, writing, making and removing the files of a control group, with errors that name them.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::CgroupError;

pub(super) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CgroupError {
    let path = path.to_path_buf();
    move |source| CgroupError::Io { action, path, source }
}

pub(super) fn read(path: &Path) -> Result<String, CgroupError> {
    fs::read_to_string(path).map_err(failed("read", path))
}

/// Writes in a single write(2), as the kernel's control files want; never creates a file.
pub(super) fn write(path: &Path, text: &str) -> Result<(), CgroupError> {
    fs::OpenOptions::new().write(true).open(path).and_then(|mut file| file.write_all(text.as_bytes())).map_err(failed("write", path))
}

pub(super) fn make_dir(path: &Path) -> Result<(), CgroupError> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed("create", path)(error)),
        _ => Ok(()),
    }
}

/// The directories beneath and including `top`, children before parents; empty if it is not there.
pub(super) fn depth_first(top: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    visit(top, &mut found);
    found
}

fn visit(dir: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            visit(&entry.path(), found);
        }
    }
    found.push(dir.to_path_buf());
}

/// The pids in `dir` alone. A group that has gone holds none.
pub(super) fn pids(dir: &Path) -> Vec<i32> {
    fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default().lines().filter_map(|line| line.parse().ok()).collect()
}
