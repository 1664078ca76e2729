//! Archives made by hand, and a root file system in memory, for tests.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::{Bounds, Budget, Meta, Parent, Refusal, Sink};

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    Folder(u32),
    File(Vec<u8>),
    Link(String),
}

/// The slow and obvious root file system: a table.
#[derive(Debug, Default)]
pub(crate) struct Memory(pub BTreeMap<PathBuf, Node>);

impl Memory {
    fn fits(&self, path: &Path) -> io::Result<()> {
        let plain = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        assert!(plain && !path.as_os_str().is_empty(), "no plain path: {path:?}");
        let folders = path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty());
        match folders.map(|folder| self.0.get(folder)).find(|found| !matches!(found, Some(Node::Folder(_)))) {
            Some(_) => Err(io::ErrorKind::NotADirectory.into()),
            None => Ok(()),
        }
    }

    fn put(&mut self, path: &Path, node: Node) -> io::Result<()> {
        self.fits(path)?;
        self.0.retain(|other, _| !other.starts_with(path));
        self.0.insert(path.to_owned(), node);
        Ok(())
    }
}

impl Sink for Memory {
    fn parent(&mut self, path: &Path) -> io::Result<Parent> {
        self.fits(path)?;
        match self.0.get(path) {
            Some(Node::Folder(_)) => Ok(Parent::Found),
            Some(_) => Err(io::ErrorKind::NotADirectory.into()),
            None => self.put(path, Node::Folder(0o755)).map(|()| Parent::Made),
        }
    }

    fn folder(&mut self, path: &Path, meta: &Meta) -> io::Result<()> {
        if path.as_os_str().is_empty() {
            return Ok(());
        }
        match self.0.get_mut(path) {
            Some(Node::Folder(mode)) => {
                *mode = meta.mode;
                Ok(())
            }
            _ => self.put(path, Node::Folder(meta.mode)),
        }
    }

    fn file(&mut self, path: &Path, _: &Meta, content: &mut dyn Read) -> io::Result<()> {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        self.put(path, Node::File(bytes))
    }

    fn symlink(&mut self, path: &Path, _: &Meta, target: &OsStr) -> io::Result<()> {
        self.put(path, Node::Link(target.to_string_lossy().into_owned()))
    }

    fn hardlink(&mut self, path: &Path, target: &Path) -> io::Result<()> {
        let Some(found @ (Node::File(_) | Node::Link(_))) = self.0.get(target).cloned() else { return Err(io::ErrorKind::NotFound.into()) };
        self.put(path, found)
    }

    fn hide(&mut self, path: &Path, kept: &dyn Fn(&Path) -> bool) -> io::Result<()> {
        self.0.retain(|other, _| !other.starts_with(path) || kept(other));
        Ok(())
    }

    fn hide_inside(&mut self, folder: &Path, kept: &dyn Fn(&Path) -> bool) -> io::Result<()> {
        self.0.retain(|other, _| other == folder || !other.starts_with(folder) || kept(other));
        Ok(())
    }
}

/// An archive in the making.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tar(pub Vec<u8>);

impl Tar {
    pub(crate) fn file(self, path: &str, content: &str) -> Self {
        self.raw(path, b'0', "", content.as_bytes(), content.len() as u64)
    }

    pub(crate) fn folder(self, path: &str) -> Self {
        self.raw(path, b'5', "", b"", 0)
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.raw(path, b'2', target, b"", 0)
    }

    pub(crate) fn hardlink(self, path: &str, target: &str) -> Self {
        self.raw(path, b'1', target, b"", 0)
    }

    pub(crate) fn pax(self, records: &[(&str, &str)]) -> Self {
        let mut text = String::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let length = (1..).map(|digits| rest + digits).find(|length| length.to_string().len() + rest == *length).unwrap();
            text += &format!("{length} {key}={value}\n");
        }
        self.raw("pax", b'x', "", text.as_bytes(), text.len() as u64)
    }

    /// An entry that may lie about its size.
    pub(crate) fn raw(self, path: &str, flag: u8, target: &str, content: &[u8], size: u64) -> Self {
        self.owned(path, flag, target, content, size, 0)
    }

    pub(crate) fn owned(mut self, path: &str, flag: u8, target: &str, content: &[u8], size: u64, uid: u32) -> Self {
        let mut head = [0_u8; 512];
        let mut put = |at: usize, text: &[u8]| head[at..at + text.len()].copy_from_slice(text);
        // A path that is too long for its field begins in another.
        let cut = if path.len() > 100 { path[..path.len().min(156)].rfind('/') } else { None };
        let (prefix, name) = cut.map_or(("", path), |at| (&path[..at], &path[at + 1..]));
        put(0, &name.as_bytes()[..name.len().min(100)]);
        put(345, prefix.as_bytes());
        put(100, b"0000755\0");
        put(108, format!("{uid:07o}\0").as_bytes());
        put(116, b"0000000\0");
        put(124, format!("{size:011o}\0").as_bytes());
        put(136, b"00000000001\0");
        put(148, b"        ");
        put(156, &[flag]);
        put(157, &target.as_bytes()[..target.len().min(100)]);
        put(257, b"ustar\x0000");
        let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
        head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&head);
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

pub(crate) const SMALL: Bounds = Bounds { bytes: 1 << 20, entries: 200, names: 16_384, files: 200 };

/// Applies layers to an empty root.
pub(crate) fn applied(layers: &[Tar]) -> Result<Memory, Refusal> {
    let (mut memory, mut budget) = (Memory::default(), Budget::new(SMALL));
    for layer in layers {
        crate::apply(layer.clone().end().as_slice(), &mut budget, &mut memory)?;
    }
    Ok(memory)
}
