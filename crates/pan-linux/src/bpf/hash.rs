//! A hash map: programs look keys up, processes change them. An element is replaced as a whole.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use super::BpfError;
use super::memory::{open_map, pin};
use super::sys::{self, MapInfo};

/// Keys with their values.
pub(crate) type Elements<const K: usize, const V: usize> = Vec<([u8; K], [u8; V])>;

/// Keys of `K` bytes, values of `V`.
#[derive(Debug)]
pub(crate) struct HashMap<const K: usize, const V: usize> {
    fd: OwnedFd,
}

impl<const K: usize, const V: usize> HashMap<K, V> {
    fn kind(entries_max: u32) -> MapInfo {
        MapInfo::hash(K as u32, V as u32, entries_max)
    }

    /// Makes an empty one.
    pub(crate) fn create(name: &'static str, entries_max: u32) -> Result<Self, BpfError> {
        let fd = sys::map_create(name, Self::kind(entries_max)).map_err(BpfError::call(format!("make the BPF map {name}")))?;
        Ok(Self { fd })
    }

    /// Opens a pinned one; none if nothing is pinned there.
    pub(crate) fn open(path: &Path, entries_max: u32) -> Result<Option<Self>, BpfError> {
        Ok(open_map(path, Self::kind(entries_max))?.map(|fd| Self { fd }))
    }

    /// Pins it: it outlives this process.
    pub(crate) fn pin(&self, path: &Path) -> Result<(), BpfError> {
        pin(self.fd.as_fd(), path)
    }

    /// The descriptor for [`super::Asm::map`].
    pub(crate) fn descriptor(&self) -> i32 {
        self.fd.as_raw_fd()
    }

    /// Puts an element in, in place of any other of its key.
    pub(crate) fn set(&self, key: &[u8; K], value: &[u8; V]) -> Result<(), BpfError> {
        sys::map_update(self.fd.as_fd(), key, value).map_err(BpfError::call("change an element of a BPF map"))
    }

    /// Takes an element out. None there is fine.
    pub(crate) fn remove(&self, key: &[u8; K]) -> Result<(), BpfError> {
        match sys::map_delete(self.fd.as_fd(), key) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(BpfError::call("remove an element of a BPF map")(error)),
            _ => Ok(()),
        }
    }

    /// All elements. Nobody else may remove any meanwhile: the walk would begin again.
    pub(crate) fn read(&self) -> Result<Elements<K, V>, BpfError> {
        let failed = || BpfError::call("read a BPF map");
        let (mut all, mut at) = (Vec::new(), None);
        loop {
            let mut next = [0; K];
            match sys::map_next_key(self.fd.as_fd(), at.as_ref().map(<[u8; K]>::as_slice), &mut next) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(all),
                other => other.map_err(failed())?,
            }
            let mut value = [0; V];
            sys::map_lookup(self.fd.as_fd(), &next, &mut value).map_err(failed())?;
            all.push((next, value));
            at = Some(next);
        }
    }
}
