//! bpf(2) as far as it is used here: one function per command, each with its own argument block.
//!
//! The blocks are prefixes of `union bpf_attr` (linux/bpf.h): the kernel takes the rest for zero.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::asm::Instruction;

const MAP_CREATE: libc::c_long = 0;
const MAP_LOOKUP_ELEM: libc::c_long = 1;
const MAP_UPDATE_ELEM: libc::c_long = 2;
const MAP_DELETE_ELEM: libc::c_long = 3;
const MAP_GET_NEXT_KEY: libc::c_long = 4;
const PROG_LOAD: libc::c_long = 5;
const OBJ_PIN: libc::c_long = 6;
const OBJ_GET: libc::c_long = 7;
const PROG_TEST_RUN: libc::c_long = 10;
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;

const MAP_TYPE_HASH: u32 = 1;
const MAP_TYPE_ARRAY: u32 = 2;
/// Memory for elements is taken when they come (`BPF_F_NO_PREALLOC`).
const F_NO_PREALLOC: u32 = 1;
/// The map's memory can be mapped into processes (Linux 5.5).
const F_MMAPABLE: u32 = 1 << 10;
const PROG_TYPE_SCHED_CLS: u32 = 3;

const NAME_BYTES: usize = 16;
/// Enough for what the verifier says of a program of fifty instructions.
const LOG_BYTES: usize = 64 * 1024;

/// An object of the kernel's interface that is plain old data without padding.
///
/// # Safety
/// The type is `repr(C)`, has no padding bytes, and any bytes are a valid value.
unsafe trait Block {}

#[repr(C)]
#[derive(Default)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    name: [u8; NAME_BYTES],
}
// SAFETY: seven u32 and sixteen bytes, no padding.
unsafe impl Block for MapCreate {}

#[repr(C)]
#[derive(Default)]
struct Element {
    map_fd: u32,
    _hole: u32,
    key: u64,
    /// The value, or the next key.
    value: u64,
    flags: u64,
}
// SAFETY: every u64 stands at a multiple of eight, the hole is a field; no padding.
unsafe impl Block for Element {}

#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    name: [u8; NAME_BYTES],
}
// SAFETY: every u64 stands at a multiple of eight; no padding.
unsafe impl Block for ProgLoad {}

#[repr(C)]
#[derive(Default)]
struct Object {
    path: u64,
    fd: u32,
    flags: u32,
}
// SAFETY: no padding.
unsafe impl Block for Object {}

#[repr(C)]
#[derive(Default)]
struct TestRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
}
// SAFETY: no padding.
unsafe impl Block for TestRun {}

#[repr(C)]
#[derive(Default)]
struct Info {
    fd: u32,
    info_len: u32,
    info: u64,
}
// SAFETY: no padding.
unsafe impl Block for Info {}

/// The beginning of `struct bpf_map_info`.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct MapInfo {
    pub map_type: u32,
    pub id: u32,
    pub key_size: u32,
    pub value_size: u32,
    pub max_entries: u32,
    pub map_flags: u32,
}
// SAFETY: six u32.
unsafe impl Block for MapInfo {}

/// The beginning of `struct bpf_prog_info`.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProgInfo {
    pub prog_type: u32,
    pub id: u32,
}
// SAFETY: two u32.
unsafe impl Block for ProgInfo {}

impl MapInfo {
    /// An array of one value whose memory can be mapped.
    pub(super) fn mappable_array(value_size: u32) -> MapInfo {
        MapInfo { map_type: MAP_TYPE_ARRAY, id: 0, key_size: 4, value_size, max_entries: 1, map_flags: F_MMAPABLE }
    }

    /// A hash map that takes memory as it fills.
    pub(super) fn hash(key_size: u32, value_size: u32, max_entries: u32) -> MapInfo {
        MapInfo { map_type: MAP_TYPE_HASH, id: 0, key_size, value_size, max_entries, map_flags: F_NO_PREALLOC }
    }
}

/// Makes a map of this kind; its number is the kernel's to give.
pub(super) fn map_create(name: &'static str, kind: MapInfo) -> io::Result<OwnedFd> {
    let MapInfo { map_type, id: _, key_size, value_size, max_entries, map_flags } = kind;
    let make = || {
        let mut block = MapCreate { map_type, key_size, value_size, max_entries, map_flags, name: name_of(name), ..Default::default() };
        descriptor(MAP_CREATE, &mut block)
    };
    with_memory_limit_lifted(make)
}

/// Puts an element into a hash map, in place of any other of its key.
pub(super) fn map_update(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    call(MAP_UPDATE_ELEM, &mut element(map, key.as_ptr(), value.as_ptr())).map(|_| ())
}

/// Takes an element out; an error of the kind "not found" if there is none.
pub(super) fn map_delete(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<()> {
    call(MAP_DELETE_ELEM, &mut element(map, key.as_ptr(), std::ptr::null())).map(|_| ())
}

/// Copies the element of a key; an error of the kind "not found" if there is none.
pub(super) fn map_lookup(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<()> {
    call(MAP_LOOKUP_ELEM, &mut element(map, key.as_ptr(), value.as_mut_ptr())).map(|_| ())
}

/// The key after this one, or the first; an error of the kind "not found" after the last.
pub(super) fn map_next_key(map: BorrowedFd<'_>, key: Option<&[u8]>, next: &mut [u8]) -> io::Result<()> {
    let key = key.map_or(std::ptr::null(), <[u8]>::as_ptr);
    call(MAP_GET_NEXT_KEY, &mut element(map, key, next.as_mut_ptr())).map(|_| ())
}

fn element(map: BorrowedFd<'_>, key: *const u8, value: *const u8) -> Element {
    Element { map_fd: map.as_raw_fd() as u32, key: key as u64, value: value as u64, ..Element::default() }
}

/// Loads a traffic-control classifier. A refusal comes with what the verifier wrote.
pub(super) fn prog_load(name: &'static str, code: &[Instruction]) -> Result<OwnedFd, (io::Error, String)> {
    let load = |log: &mut [u8]| {
        let mut block = ProgLoad {
            prog_type: PROG_TYPE_SCHED_CLS,
            insn_cnt: u32::try_from(code.len()).expect("programs here are short"),
            insns: code.as_ptr() as u64,
            license: c"Dual MIT/GPL".as_ptr() as u64,
            log_level: u32::from(!log.is_empty()),
            log_size: u32::try_from(log.len()).expect("the log is small"),
            log_buf: if log.is_empty() { 0 } else { log.as_mut_ptr() as u64 },
            name: name_of(name),
            ..Default::default()
        };
        descriptor(PROG_LOAD, &mut block)
    };
    with_memory_limit_lifted(|| load(&mut [])).or_else(|first| {
        let mut log = vec![0; LOG_BYTES];
        // Loading again only to hear why; should it work this time, fine.
        load(&mut log).map_err(|_| {
            let text = CStr::from_bytes_until_nul(&log).map(|text| text.to_string_lossy().trim().to_owned());
            (first, text.unwrap_or_default())
        })
    })
}

/// Gives an object a name in a BPF file system, which keeps it alive.
pub(super) fn obj_pin(fd: BorrowedFd<'_>, path: &CStr) -> io::Result<()> {
    let mut block = Object { path: path.as_ptr() as u64, fd: fd.as_raw_fd() as u32, flags: 0 };
    call(OBJ_PIN, &mut block).map(|_| ())
}

/// Opens a pinned object.
pub(super) fn obj_get(path: &CStr) -> io::Result<OwnedFd> {
    let mut block = Object { path: path.as_ptr() as u64, ..Default::default() };
    descriptor(OBJ_GET, &mut block)
}

/// What the kernel says of a map.
pub(super) fn map_info(fd: BorrowedFd<'_>) -> io::Result<MapInfo> {
    info(fd)
}

/// What the kernel says of a program.
pub(super) fn prog_info(fd: BorrowedFd<'_>) -> io::Result<ProgInfo> {
    info(fd)
}

/// Runs a program on a frame, `repeat` times, and returns its verdict and the mean time in nanoseconds.
pub(super) fn test_run(fd: BorrowedFd<'_>, frame: &[u8], repeat: u32) -> io::Result<(u32, u32)> {
    let mut block = TestRun {
        prog_fd: fd.as_raw_fd() as u32,
        data_size_in: u32::try_from(frame.len()).expect("a frame is short"),
        data_in: frame.as_ptr() as u64,
        repeat,
        ..Default::default()
    };
    call(PROG_TEST_RUN, &mut block)?;
    Ok((block.retval, block.duration))
}

fn info<T: Block + Default>(fd: BorrowedFd<'_>) -> io::Result<T> {
    let mut found = T::default();
    let mut block = Info { fd: fd.as_raw_fd() as u32, info_len: size_of::<T>() as u32, info: (&raw mut found) as u64 };
    call(OBJ_GET_INFO_BY_FD, &mut block)?;
    Ok(found)
}

fn descriptor<T: Block>(command: libc::c_long, block: &mut T) -> io::Result<OwnedFd> {
    let fd = call(command, block)?;
    // SAFETY: these commands return a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn call<T: Block>(command: libc::c_long, block: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: the block is as long as said, and every address in it is that of memory which outlives the
    // call and is as long as the block says.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *block, size_of::<T>()) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        other => Ok(libc::c_int::try_from(other).expect("bpf(2) returns an int")),
    }
}

/// Before Linux 5.11 maps and programs count as locked memory, and the limit is refused with EPERM.
fn with_memory_limit_lifted<T>(mut make: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    match make() {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
            // SAFETY: the structure outlives the call.
            match unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) } {
                0 => make(),
                _ => Err(error),
            }
        }
        other => other,
    }
}

/// At most fifteen characters, for bpftool and the like.
fn name_of(name: &'static str) -> [u8; NAME_BYTES] {
    let mut bytes = [0; NAME_BYTES];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes
}
