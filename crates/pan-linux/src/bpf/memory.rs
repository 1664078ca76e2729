//! A map whose memory is also this process's: writing it is one store, no system call.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use super::BpfError;
use super::sys::{self, MapInfo};

/// `N` numbers of 64 bits that programs and processes share. Several processes can open the same pin.
#[derive(Debug)]
pub(crate) struct SharedCells<const N: usize> {
    fd: OwnedFd,
    mapped: NonNull<AtomicU64>,
}

// SAFETY: the memory stays mapped as long as the value lives and is only reached through atomics.
unsafe impl<const N: usize> Send for SharedCells<N> {}
// SAFETY: as above.
unsafe impl<const N: usize> Sync for SharedCells<N> {}

impl<const N: usize> SharedCells<N> {
    const BYTES: usize = N * size_of::<u64>();

    /// Makes the map, all zeros.
    pub(crate) fn create(name: &'static str) -> Result<Self, BpfError> {
        let fd = sys::map_create(name, MapInfo::mappable_array(Self::BYTES as u32))
            .map_err(BpfError::call(format!("make the BPF map {name}")))?;
        Self::map(fd)
    }

    /// Opens a pinned one; none if nothing is pinned there.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, BpfError> {
        open_map(path, MapInfo::mappable_array(Self::BYTES as u32))?.map(Self::map).transpose()
    }

    /// Pins it: it outlives this process.
    pub(crate) fn pin(&self, path: &Path) -> Result<(), BpfError> {
        pin(self.fd.as_fd(), path)
    }

    /// The descriptor for [`super::Asm::map_value`].
    pub(crate) fn descriptor(&self) -> i32 {
        self.fd.as_raw_fd()
    }

    /// The numbers.
    pub(crate) fn cells(&self) -> &[AtomicU64; N] {
        // SAFETY: the mapping has at least `N` aligned numbers, lives as long as `self`, and everybody
        // who writes to it does so atomically.
        unsafe { self.mapped.cast::<[AtomicU64; N]>().as_ref() }
    }

    fn map(fd: OwnedFd) -> Result<Self, BpfError> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address the kernel chooses.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), Self::BYTES, protection, libc::MAP_SHARED, fd.as_raw_fd(), 0) };
        if at == libc::MAP_FAILED {
            return Err(BpfError::call("map the memory of a BPF map")(io::Error::last_os_error()));
        }
        let mapped = NonNull::new(at.cast()).expect("a successful mmap is not at address zero");
        Ok(Self { fd, mapped })
    }
}

impl<const N: usize> Drop for SharedCells<N> {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this length; no reference outlives `self`.
        unsafe { libc::munmap(self.mapped.as_ptr().cast(), Self::BYTES) };
    }
}

/// Opens a pinned map of this kind; none if nothing is pinned there.
pub(super) fn open_map(path: &Path, expected: MapInfo) -> Result<Option<OwnedFd>, BpfError> {
    let what = || BpfError::call(format!("open the BPF map pinned at {}", path.display()));
    let fd = match sys::obj_get(&c_path(path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(what())?,
    };
    let found = MapInfo { id: 0, ..sys::map_info(fd.as_fd()).map_err(what())? };
    if found != expected {
        let (found, expected) = (format!("{found:?}"), format!("{expected:?}"));
        return Err(BpfError::Foreign { path: path.to_owned(), found, expected });
    }
    Ok(Some(fd))
}

pub(super) fn pin(fd: std::os::fd::BorrowedFd<'_>, path: &Path) -> Result<(), BpfError> {
    sys::obj_pin(fd, &c_path(path)).map_err(BpfError::call(format!("pin at {}", path.display())))
}

pub(super) fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("a path to a pin holds no NUL")
}
