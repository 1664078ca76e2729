//! BPF without a toolchain: programs assembled here, loaded with bpf(2) itself, sharing one page of
//! memory with this process, and pinned in a file system of their own.
//!
//! It knows instructions, maps, pins and packets; it must not know what a program is for. Needs Linux 5.8.

mod asm;
mod error;
mod fs;
mod hash;
mod memory;
mod packet;
mod program;
mod sys;

pub(crate) use asm::{Asm, Condition, Instruction, Reg, Width};
pub use error::BpfError;
pub(crate) use fs::{ensure as ensure_bpffs, is_mounted as is_bpffs};
pub(crate) use hash::HashMap;
pub(crate) use memory::SharedCells;
pub(crate) use packet::{DROP, GO_ON, HEADER_AT, load_bytes, udp_port};
pub(crate) use program::Program;
