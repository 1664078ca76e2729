//! What layers do to a root, and which are refused.

use proptest::prelude::*;

use super::*;
use crate::Bounds;
use crate::testing::{Memory, Node, SMALL, Tar, applied};

fn tar() -> Tar {
    Tar::default()
}

/// What is there, a line each.
#[track_caller]
fn check(layers: &[Tar], expected: &[&str]) {
    let lines: Vec<String> = applied(layers).unwrap().0.iter().map(line).collect();
    assert_eq!(lines, expected);
}

fn line((path, node): (&PathBuf, &Node)) -> String {
    match node {
        Node::Folder(_) => format!("{}/", path.display()),
        Node::File(content) => format!("{} {}", path.display(), String::from_utf8_lossy(content)),
        Node::Link(target) => format!("{} -> {target}", path.display()),
    }
}

#[track_caller]
fn refused(layers: &[Tar], words: &str) {
    let error = crate::error::Refusal::to_string(&applied(layers).expect_err(words));
    assert!(error.contains(words), "{error}");
}

#[test]
fn layers_lie_over_each_other() {
    let below = tar().folder("./").folder("etc/").file("etc/a", "1").file("etc/b", "1").symlink("etc/l", "/x").file("x/y/z", "1");
    check(std::slice::from_ref(&below), &["etc/", "etc/a 1", "etc/b 1", "etc/l -> /x", "x/", "x/y/", "x/y/z 1"]);
    let above =
        tar().file("/etc/a", "2").file("etc/.wh.b", "").hardlink("etc/c", "./etc/a").file("etc/l", "now a file").file("x/y", "no folder");
    check(&[below, above], &["etc/", "etc/a 2", "etc/c 2", "etc/l now a file", "x/", "x/y no folder"]);
}

#[test]
fn marks_are_about_the_layers_below_wherever_they_stand() {
    let below = tar().file("d/old", "1").file("d/sub/old", "1").file("d/sub/deep/old", "1").file("e/f", "1");
    let kept = ["d/", "d/new 2", "d/sub/", "d/sub/new 2", "e/", "e/f 1"];
    for above in [
        tar().file("d/.wh..wh..opq", "").file("d/new", "2").file("d/sub/new", "2"),
        tar().file("d/new", "2").file("d/sub/new", "2").file("d/.wh..wh..opq", ""),
    ] {
        check(&[below.clone(), above], &kept);
    }
    check(
        &[below.clone(), tar().file("e/f", "2").file("e/.wh.f", "")],
        &["d/", "d/old 1", "d/sub/", "d/sub/deep/", "d/sub/deep/old 1", "d/sub/old 1", "e/", "e/f 2"],
    );
    check(&[below.clone(), tar().file(".wh.d", "").file(".wh..wh.aufs", "").file(".wh..wh.plnk/1.2", "")], &["e/", "e/f 1"]);
    check(&[below.clone(), tar().file(".wh..wh..opq", "")], &[]);
    check(&[below, tar().file(".wh.d", "").file(".wh.none", "").file("d/x", "2")], &["d/", "d/x 2", "e/", "e/f 1"]);
    for bad in [".wh.", ".wh...", ".wh..", "d/.wh.../x"] {
        refused(&[tar().file(bad, "")], "");
    }
    refused(&[tar().file("a/.wh.b/c", "")], "it lies in a mark for what is gone");
}

#[test]
fn whatever_leads_out_is_refused() {
    refused(&[tar().file("../x", "")], "leads out");
    refused(&[tar().file("a/../../x", "")], "leads out");
    refused(&[tar().hardlink("x", "../etc/shadow")], "leads out");
    refused(&[tar().hardlink("x", "etc/none")], "cannot make \"x\"");
    refused(&[tar().folder("d").hardlink("x", "d")], "cannot make \"x\"");
    refused(&[tar().hardlink("x", "/")], "cannot make \"x\"");
    // Nothing is made through a link, in the same layer or a later one.
    refused(&[tar().symlink("l", "/etc").file("l/passwd", "")], "cannot make \"l\"");
    refused(&[tar().symlink("l", ".."), tar().file("l/passwd", "")], "cannot make \"l\"");
    refused(&[tar().folder("a/b").file("a/b/c", "1").symlink("a", "/etc").file("a/b/c", "2")], "cannot make \"a\"");
    refused(&[tar().symlink("l", "")], "link to what is no path");
    refused(&[tar().owned("x", b'0', "", b"", 0, 65_536)], "above 65535");
    refused(&[tar().raw(".", b'0', "", b"", 0)], "no name");
}

#[test]
fn devices_and_pipes_are_left_out() {
    let layer = tar()
        .raw("dev/null", b'3', "", b"", 0)
        .raw("disk", b'4', "", b"", 0)
        .raw("pipe", b'6', "", b"", 0)
        .raw("odd", b'Z', "", b"abc", 3)
        .file("x", "1");
    check(&[layer], &["x 1"]);
}

#[test]
fn bombs_are_refused_each_by_its_bound() {
    let many = (0..=SMALL.entries).fold(tar(), |tar, n| tar.folder(&format!("{n}")));
    refused(&[many], "more than 200 files and folders");
    // Folders on the way cost as much as those that are named.
    let deep = |n: usize| format!("{}x", format!("{n}/").repeat(45));
    refused(&[(1..=5).fold(tar(), |tar, n| tar.file(&deep(n), ""))], "more than 200 files and folders");
    let long = |n: usize| format!("{n}{}", "n".repeat(90));
    refused(&[(0..190).fold(tar(), |tar, n| tar.folder(&long(n)))], "more than 16384 bytes of paths");
    // What is skipped is read all the same.
    let skipped = vec![0_u8; 300 << 10];
    let odd = |tar: Tar| tar.raw("odd", b'Z', "", &skipped, skipped.len() as u64);
    refused(&[odd(odd(odd(odd(tar()))))], "more than 1048576 bytes, unpacked");
    refused(&[tar().raw("huge", b'0', "", b"", 1 << 32)], "more than 1048576 bytes, unpacked");
    // A file of one byte takes a block.
    let small = (0..150).fold(tar(), |tar, n| tar.file(&format!("{n}"), "x"));
    refused(&[small], "more than 1048576 bytes, unpacked");
    // Each of those marks is about everything.
    let walks = (0..40).fold((0..40).fold(tar(), |tar, n| tar.folder(&format!("{n}"))), |tar, _| tar.file(".wh..wh..opq", ""));
    refused(&[walks], "more than 800 files under marks");
    // Two deep folders in turn: each way is gone from its beginning.
    let branch = |name: &str| format!("{}x", format!("{name}/").repeat(60));
    let turns = (0..30).fold(tar(), |tar, n| tar.hardlink(&branch(["a", "b"][n % 2]), "x"));
    refused(&[tar().file("x", ""), turns], "more than 12800 names on the ways to its files");
    // Marks and targets of links have ways as well.
    let folder = "a/".repeat(45);
    let links = (0..140).fold(tar().file(&format!("{folder}x"), ""), |tar, n| tar.hardlink(&format!("{folder}{n}"), &format!("{folder}x")));
    refused(&[links], "more than 12800 names on the ways to its files");
    let marks = (0..180).fold(tar(), |tar, _| tar.file(&format!("{}.wh.x", "a/".repeat(96)), ""));
    refused(&[marks], "more than 12800 names on the ways to its files");
    // A head that is written again and again, and one that is large.
    let again = (0..5).fold(tar(), |tar, _| tar.raw("l", b'L', "", b"name", 4)).file("x", "");
    refused(&[again], "an entry has too many heads");
    refused(&[tar().raw("l", b'L', "", b"", 1 << 30).file("x", "")], "bytes in the head of a file");
    refused(&[tar().raw("l", b'x', "", b"", 1 << 30).file("x", "")], "bytes in the head of a file");
    refused(&[tar().file("x", "1").raw("y", b'0', "", b"ab", 2000)], "it ends within a file");
}

#[test]
fn files_have_a_bound_of_their_own() {
    let bounds = Bounds { files: 3, ..SMALL };
    let made = |layer: Tar| {
        let mut budget = Budget::new(bounds);
        apply(layer.end().as_slice(), &mut budget, &mut Memory::default()).map(|()| budget.files()).map_err(|error| error.to_string())
    };
    // Heads that are about others make nothing.
    let long = tar().pax(&[("path", "a/b")]).file("x", "").pax(&[("path", "c")]).file("x", "").file(".wh.none", "");
    assert_eq!(made(long.clone()), Ok(3));
    assert_eq!(made(long.symlink("l", "c")), Err("it has more than 3 files and folders".into()));
}

#[test]
fn files_of_one_deep_folder_cost_its_way_once() {
    let deep = format!("{}/", vec!["d"; 100].join("/"));
    // 5,050 looks for the folder, and 100 for each of its files.
    check_steps((0..70).fold(tar(), |tar, n| tar.file(&format!("{deep}{n}"), "")));
    // A neighbour's is the same but for its end.
    check_steps((0..30).fold(tar(), |tar, n| tar.file(&format!("{deep}{}/x", n % 2), "")));
}

#[track_caller]
fn check_steps(layer: Tar) {
    let bounds = Bounds { bytes: 16 << 20, names: 1 << 20, ..SMALL };
    apply(layer.end().as_slice(), &mut Budget::new(bounds), &mut Memory::default()).unwrap();
}

proptest! {
    /// Whatever bytes come: no panic, no path that is not plain (which the table asserts), and no more than the bounds.
    #[test]
    fn any_bytes_are_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
        let _ = apply(bytes.as_slice(), &mut Budget::new(SMALL), &mut Memory::default());
    }

    #[test]
    fn an_archive_with_bytes_changed_is_taken_or_refused(changes in proptest::collection::vec((0_usize..8192, any::<u8>()), 1..8), fix in any::<bool>()) {
        let layer = tar().pax(&[("path", "a/long/name"), ("uid", "7")]).file("x", "1").raw("l", b'L', "", b"other/name\0", 11).symlink("y", "../../z").hardlink("h", "other").file("a/.wh.long", "");
        let mut bytes = layer.end();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        if fix {
            for head in bytes.chunks_mut(512) {
                head[148..156].copy_from_slice(b"        ");
                let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
                head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
        }
        let mut memory = Memory::default();
        let bounds = Bounds { entries: 20, ..SMALL };
        let _ = apply(bytes.as_slice(), &mut Budget::new(bounds), &mut memory);
        prop_assert!(memory.0.len() <= 20);
    }
}
