//! Heads of archives.

use super::*;
use crate::testing::{SMALL, Tar};

fn entries(bytes: &[u8]) -> Result<Vec<Entry>, String> {
    let mut budget = Budget::new(SMALL);
    let mut archive = Archive::new(bytes, &mut budget);
    let mut found = Vec::new();
    while let Some(entry) = archive.next_entry().map_err(|error| error.to_string())? {
        found.push(entry);
    }
    Ok(found)
}

#[test]
fn long_names_and_large_numbers_are_read_where_they_stand() {
    let long = "n/".repeat(200) + "x";
    let layer = Tar::default()
        .pax(&[("path", &long), ("uid", "70000"), ("mtime", "-1.5"), ("comment", "=")])
        .file("short", "ab")
        .raw("././@LongLink", b'L', "", format!("{long}\0").as_bytes(), 402)
        .raw("././@LongLink", b'K', "", b"far/away\0", 9)
        .symlink("short", "near")
        .raw("folder/", b'0', "", b"", 0)
        .raw("link", b'1', "x", b"", 5);
    let found = entries(&layer.end()).unwrap();
    assert_eq!((found[0].path.as_slice(), found[0].uid, found[0].mtime, found[0].size), (long.as_bytes(), 70_000, 0, 2));
    assert_eq!(
        (found[1].path.as_slice(), found[1].target.as_slice(), found[1].kind),
        (long.as_bytes(), b"far/away".as_slice(), Kind::Symlink)
    );
    assert_eq!((found[2].kind, found[3].kind, found[3].size, found[3].mtime), (Kind::Folder, Kind::Hardlink, 0, 1));
}

#[test]
fn contents_are_where_the_entry_says() {
    let bytes = Tar::default().file("a", "first").file("b", "second").end();
    for (entry, content) in entries(&bytes).unwrap().iter().zip(["first", "second"]) {
        let at = usize::try_from(entry.position).unwrap();
        assert_eq!(&bytes[at..at + content.len()], content.as_bytes());
    }
}

#[test]
fn numbers_may_be_binary() {
    let fixed = |change: &dyn Fn(&mut [u8])| {
        let mut bytes = Tar::default().file("a", "").end();
        change(&mut bytes);
        bytes[148..156].copy_from_slice(b"        ");
        let sum: u32 = bytes[..512].iter().map(|byte| u32::from(*byte)).sum();
        bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        entries(&bytes)
    };
    let binary = fixed(&|bytes| bytes[108..116].copy_from_slice(&[0x80, 0, 0, 0, 0, 1, 0, 2])).unwrap();
    assert_eq!(binary[0].uid, 65_538);
    assert_eq!(fixed(&|bytes| bytes[136..148].fill(0xff)).unwrap()[0].mtime, 0);
    let wrong = "one of its archives is broken: a number in a head is none";
    assert_eq!(fixed(&|bytes| bytes[124..136].fill(0xff)).unwrap_err(), wrong);
    assert_eq!(fixed(&|bytes| bytes[124..136].copy_from_slice(b"00000000008\0")).unwrap_err(), wrong);
}

#[test]
fn broken_archives_are_refused() {
    let whole = Tar::default().file("a", "first").end();
    assert!(entries(&whole[..700]).is_err());
    assert!(entries(&whole[..100]).unwrap_err().contains("ends within a head"));
    let mut bad = whole.clone();
    bad[0] = b'b';
    assert!(entries(&bad).unwrap_err().contains("checksum"));
    // The marks of the end may be missing.
    assert_eq!(entries(&whole[..1024]).unwrap().len(), 1);
    // So may one of the two; but whoever skips it would read another archive.
    assert_eq!(entries(&whole[..1536]).unwrap().len(), 1);
    let lone = [&whole[..1536], &Tar::default().file("b", "second").end()].concat();
    assert_eq!(entries(&lone).unwrap_err(), "one of its archives is broken: something follows a lone block of zeros");
    assert!(entries(&whole[..1700]).unwrap_err().contains("ends within a head"));
    // What follows two is not looked at.
    let both = [whole.as_slice(), &Tar::default().file("b", "second").end()].concat();
    assert_eq!(entries(&both).unwrap().len(), 1);
    assert!(entries(&Tar::default().raw("s", b'S', "", b"", 0).end()).unwrap_err().contains("sparse"));
    assert!(entries(&Tar::default().pax(&[("GNU.sparse.major", "1")]).file("x", "").end()).unwrap_err().contains("sparse"));
    for records in ["5 a=", "x a=b\n", "99 a=b\n", "7 a=b\n", "2 a=b\n", "6 ab\n\n"] {
        let bytes = Tar::default().raw("p", b'x', "", records.as_bytes(), records.len() as u64).file("x", "").end();
        assert!(entries(&bytes).is_err(), "{records:?}");
    }
    let global = Tar::default().raw("g", b'g', "", b"11 path=ab\n", 11).file("x", "").end();
    assert!(entries(&global).unwrap_err().contains("head for all its files"));
}
