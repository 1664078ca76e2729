//! Paths of archives.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::Refusal;

/// Longest path, as of the kernel (PATH_MAX).
pub(crate) const PATH_MAX: usize = 4096;
/// Longest name, as of all file systems in use.
const NAME_MAX: usize = 255;
/// Folders within each other: a tree that deep is nobody's, and walking it costs.
const DEPTH_MAX: usize = 128;

/// The path relative to the root. Empty for the root itself.
pub(crate) fn clean(path: &[u8]) -> Result<PathBuf, Refusal> {
    let wrong = |reason| Refusal::path(path, reason);
    if path.len() > PATH_MAX {
        return Err(wrong("it is too long"));
    }
    if path.contains(&0) {
        return Err(wrong("it has a NUL in it"));
    }
    let mut found = PathBuf::new();
    let mut depth = 0;
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(wrong("it leads out of a folder with '..'")),
            part if part.len() > NAME_MAX => return Err(wrong("one of its names is too long")),
            part => {
                depth += 1;
                found.push(OsStr::from_bytes(part));
            }
        }
    }
    if depth > DEPTH_MAX {
        return Err(wrong("it lies too deep"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_plain_or_refused() {
        for (given, found) in [("a/b", "a/b"), ("./a//b/", "a/b"), ("/a/./b", "a/b"), (".", ""), ("/", ""), ("...", "...")] {
            assert_eq!(clean(given.as_bytes()).unwrap(), PathBuf::from(found), "{given}");
        }
        let (long, deep) = ("x".repeat(256), "a/".repeat(129));
        for bad in ["..", "a/../b", "/..", "a\0b", &long, &deep, &"a/".repeat(2049)] {
            assert!(clean(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
