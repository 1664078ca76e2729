//! Nothing outside of the folder is reached, whatever lies in it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::*;

fn own(mode: u32) -> Attributes {
    Attributes { mode, uid: nix::unistd::geteuid().as_raw(), gid: nix::unistd::getegid().as_raw(), mtime: 86_400 }
}

/// A folder with something beside it that must stay as it is.
fn rig() -> (tempfile::TempDir, Beneath) {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["outside/deep", "root"] {
        fs::create_dir_all(dir.path().join(folder)).unwrap();
    }
    fs::write(dir.path().join("outside/secret"), "secret").unwrap();
    let root = Beneath::open(&dir.path().join("root")).unwrap();
    (dir, root)
}

fn untouched(dir: &tempfile::TempDir) {
    assert_eq!(fs::read_to_string(dir.path().join("outside/secret")).unwrap(), "secret");
    assert_eq!(fs::read_dir(dir.path().join("outside")).unwrap().count(), 2);
    assert!(dir.path().join("outside/deep").is_dir());
}

fn none(_: &Path) -> bool {
    false
}

#[test]
fn things_are_made_with_what_belongs_to_them() {
    let (dir, root) = rig();
    let at = |path: &str| dir.path().join("root").join(path);
    assert!(root.ensure_folder(Path::new("a")).unwrap());
    assert!(!root.ensure_folder(Path::new("a")).unwrap());
    root.set_folder(Path::new("a/b"), &own(0o1770)).unwrap();
    root.set_folder(Path::new(""), &own(0o755)).unwrap();
    root.write(Path::new("a/b/c"), &own(0o4711), &mut "hello".as_bytes()).unwrap();
    root.symlink(Path::new("a/l"), &own(0o777), OsStr::new("/etc/shadow")).unwrap();
    root.hardlink(Path::new("h"), Path::new("a/b/c")).unwrap();
    let mode = |path: &str| fs::symlink_metadata(at(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("a"), mode("a/b"), mode("a/b/c"), mode("h")), (0o755, 0o1770, 0o4711, 0o4711));
    assert_eq!(fs::symlink_metadata(at("a/b/c")).unwrap().mtime(), 86_400);
    assert_eq!(fs::symlink_metadata(at("a/b/c")).unwrap().nlink(), 2);
    // Replacing one name leaves the other alone.
    root.write(Path::new("h"), &own(0o600), &mut "new".as_bytes()).unwrap();
    assert_eq!(fs::read_to_string(at("a/b/c")).unwrap(), "hello");
    // A folder gives way to a file, and the other way round.
    root.write(Path::new("a"), &own(0o600), &mut "file".as_bytes()).unwrap();
    root.set_folder(Path::new("h"), &own(0o700)).unwrap();
    assert!(at("a").is_file() && at("h").is_dir());
}

#[test]
fn links_lead_nowhere() {
    let (dir, root) = rig();
    symlink("../outside", dir.path().join("root/out")).unwrap();
    symlink(dir.path().join("outside"), dir.path().join("root/abs")).unwrap();
    symlink("../outside/secret", dir.path().join("root/file")).unwrap();
    for link in ["out", "abs"] {
        let inside = |name: &str| Path::new(link).join(name);
        assert!(root.write(&inside("secret"), &own(0o600), &mut "x".as_bytes()).is_err());
        assert!(root.set_folder(&inside("new"), &own(0o700)).is_err());
        assert!(root.ensure_folder(Path::new(link)).is_err());
        assert!(root.symlink(&inside("l"), &own(0o777), OsStr::new("x")).is_err());
        assert!(root.hardlink(Path::new("h"), &inside("secret")).is_err());
        assert!(root.hardlink(&inside("h"), Path::new("file")).is_err());
        assert!(root.file(&inside("secret")).is_err());
        assert!(root.remove(&inside("secret"), &none).is_err());
        assert!(root.remove_inside(Path::new(link), &none).is_err());
        assert_eq!(root.text(&inside("secret"), 100), "");
    }
    for path in ["../outside/secret", "/etc/passwd", "x/../../outside/secret"] {
        assert!(root.file(Path::new(path)).is_err(), "{path}");
        assert!(root.write(Path::new(path), &own(0o600), &mut "x".as_bytes()).is_err(), "{path}");
        assert!(root.remove(Path::new(path), &none).is_err() || path.starts_with('x'), "{path}");
    }
    assert!(root.file(Path::new("file")).is_err());
    // What takes a link's place does not go where it leads.
    root.write(Path::new("file"), &own(0o600), &mut "mine".as_bytes()).unwrap();
    root.set_folder(Path::new("out"), &own(0o700)).unwrap();
    root.remove(Path::new("abs"), &none).unwrap();
    assert!(dir.path().join("root/out").is_dir());
    untouched(&dir);
}

#[test]
fn trees_go_without_what_their_links_lead_to() {
    let (dir, root) = rig();
    for folder in ["t/a/b", "t/c"] {
        fs::create_dir_all(dir.path().join("root").join(folder)).unwrap();
    }
    for file in ["t/a/b/x", "t/a/y", "t/c/z"] {
        fs::write(dir.path().join("root").join(file), "").unwrap();
    }
    symlink("../../../outside", dir.path().join("root/t/a/out")).unwrap();
    let kept = |path: &Path| Path::new("t/a/y").starts_with(path);
    root.remove(Path::new("t"), &kept).unwrap();
    let left = |folder: &str| root.folder(Path::new(folder)).unwrap().names().unwrap();
    assert_eq!((left("t"), left("t/a")), (vec!["a".into()], vec!["y".into()]));
    root.remove_inside(Path::new(""), &none).unwrap();
    assert!(left("").is_empty());
    root.remove(Path::new("none/at/all"), &none).unwrap();
    untouched(&dir);
}

#[test]
fn only_regular_files_are_opened_and_texts_follow_links_within() {
    let (dir, root) = rig();
    nix::unistd::mkfifo(&dir.path().join("root/pipe"), Mode::from_bits_truncate(0o600)).unwrap();
    fs::write(dir.path().join("root/real"), "abcdef").unwrap();
    symlink("/real", dir.path().join("root/link")).unwrap();
    symlink("/../../outside/secret", dir.path().join("root/up")).unwrap();
    // Would wait for somebody to write into it.
    assert!(root.file(Path::new("pipe")).is_err());
    assert!(root.file(Path::new("")).is_err());
    assert!(root.file(Path::new("real")).is_ok());
    let text = |path: &str| root.text(Path::new(path), 3);
    assert_eq!((text("real"), text("link"), text("up"), text("pipe")), ("abc".into(), "abc".into(), String::new(), String::new()));
}
