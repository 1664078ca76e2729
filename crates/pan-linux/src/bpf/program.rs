//! A loaded program.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use super::asm::Instruction;
use super::memory::{c_path, pin};
use super::{BpfError, sys};

/// A traffic-control classifier in the kernel. It lives as long as a descriptor, a pin or a filter holds it.
#[derive(Debug)]
pub(crate) struct Program {
    fd: OwnedFd,
    id: u32,
}

impl Program {
    /// Loads it.
    pub(crate) fn load(name: &'static str, code: &[Instruction]) -> Result<Program, BpfError> {
        let fd = sys::prog_load(name, code).map_err(|(source, log)| BpfError::Refused { program: name, log, source })?;
        Self::of(fd)
    }

    /// The one that is pinned in the folder, or a new one if this release's is another: pins are named by their
    /// content, which is `plain`, the code with no descriptors in it. `code` is the same with them.
    pub(crate) fn pinned(
        dir: &Path,
        name: &'static str,
        plain: &[Instruction],
        code: impl FnOnce() -> Vec<Instruction>,
    ) -> Result<Program, BpfError> {
        let pin = dir.join(format!("{name}_{:016x}", digest(plain)));
        if let Some(program) = Self::open(&pin)? {
            return Ok(program);
        }
        let program = Self::load(name, &code())?;
        program.pin(&pin)?;
        Ok(program)
    }

    /// Opens a pinned one; none if nothing is pinned there.
    pub(crate) fn open(path: &Path) -> Result<Option<Program>, BpfError> {
        match sys::obj_get(&c_path(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(BpfError::call(format!("open the BPF program pinned at {}", path.display()))(error)),
            Ok(fd) => Self::of(fd).map(Some),
        }
    }

    /// Pins it: it outlives this process.
    pub(crate) fn pin(&self, path: &Path) -> Result<(), BpfError> {
        pin(self.fd.as_fd(), path)
    }

    /// The kernel's number of this very program.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// The descriptor for attaching it.
    pub(crate) fn descriptor(&self) -> i32 {
        self.fd.as_raw_fd()
    }

    /// Runs it on a frame without sending it anywhere, `repeat` times: verdict, and mean nanoseconds.
    #[cfg_attr(not(test), allow(dead_code, reason = "how programs are tested and timed"))]
    pub(crate) fn run(&self, frame: &[u8], repeat: u32) -> Result<(u32, u32), BpfError> {
        sys::test_run(self.fd.as_fd(), frame, repeat).map_err(BpfError::call("run a BPF program on a frame"))
    }

    fn of(fd: OwnedFd) -> Result<Program, BpfError> {
        let id = sys::prog_info(fd.as_fd()).map_err(BpfError::call("read about a BPF program"))?.id;
        Ok(Program { fd, id })
    }
}

/// FNV-1a (RFC 9923); it only has to tell releases apart.
fn digest(code: &[Instruction]) -> u64 {
    let bytes = code.iter().flat_map(Instruction::bytes);
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
