//! Who removes a laboratory that was to live as long as a process, when that process is killed: another one, which waits for the end of a
//! pipe that nobody else holds.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::error::LabError;
use crate::lab::Lab;
use crate::name::LabName;

/// What it is told when there is nothing left to do.
const DISMISSED: &[u8] = b"gone\n";

/// The other process, as the owner of the laboratory has it. Letting go of it without a word is an end like any other.
#[derive(Debug)]
pub(crate) struct Heir {
    process: Child,
    life: ChildStdin,
}

impl Heir {
    /// Appoints one, with a program that knows `lab-heir`. In a group of its own, so that it outlives whoever interrupts or kills the owner's.
    pub(crate) fn of(exe: &Path, name: &LabName) -> Result<Self, LabError> {
        let mut command = Command::new(exe);
        command.args(["lab-heir", "--name", name.as_str()]).stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0).current_dir("/");
        let mut process = command.spawn().map_err(LabError::kernel(format!("start the heir of laboratory {name}")))?;
        let life = process.stdin.take().expect("stdin is piped");
        Ok(Self { process, life })
    }

    /// The laboratory is gone, or is to stay.
    pub(crate) fn dismiss(mut self) {
        // One that is gone itself has nothing to do either.
        let _ = self.life.write_all(DISMISSED);
        drop(self.life);
        let _ = self.process.wait();
    }
}

/// Waits for the end of whoever made a laboratory, which stands behind standard input, and removes what it left.
///
/// # Errors
/// As of [`Lab::down`].
pub fn wait(name: &LabName) -> Result<(), LabError> {
    let mut said = Vec::new();
    let _ = std::io::stdin().take(DISMISSED.len() as u64).read_to_end(&mut said);
    if said == DISMISSED {
        return Ok(());
    }
    eprintln!("laboratory {name} is removed: whoever made it was killed");
    Lab::down(name).map(drop)
}
