//! Which files are looked at: everything people write, nothing that is built.

use std::fs;
use std::io;
use std::path::Path;

/// Directories that hold nothing people wrote.
const SKIPPED: [&str; 3] = [".git", "target", "node_modules"];

/// A file of the project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextFile {
    /// Relative to the workspace, with slashes.
    pub path: String,
    pub text: String,
}

impl TextFile {
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().expect("rsplit yields at least one part")
    }

    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether all of it is test code.
    pub fn is_test(&self) -> bool {
        self.path.split('/').any(|part| ["tests", "benches", "examples"].contains(&part)) || self.name() == "tests.rs"
    }
}

/// All text files under `root`, sorted by path.
///
/// # Errors
/// Reading fails.
pub fn find(root: &Path) -> io::Result<Vec<TextFile>> {
    let mut found = Vec::new();
    walk(root, "", &mut found)?;
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

fn walk(directory: &Path, prefix: &str, found: &mut Vec<TextFile>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        let kind = entry.file_type()?;
        if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
            walk(&entry.path(), &format!("{path}/"), found)?;
        }
        // Whatever is not UTF-8 is no text.
        if kind.is_file()
            && let Ok(text) = String::from_utf8(fs::read(entry.path())?)
        {
            found.push(TextFile { path, text });
        }
    }
    Ok(())
}
