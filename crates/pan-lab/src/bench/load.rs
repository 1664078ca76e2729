//! Processors kept busy by `stress-ng`, in a control group of the laboratory: gone with it, whoever ends it.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pan_linux::cgroup::CgroupTree;

use super::error::BenchError;
use crate::boot::{self, DEATH_WAIT, GROUP_WAIT};
use crate::error::LabError;
use crate::lab::Lab;

/// What makes the load.
const PROGRAM: &str = "/usr/bin/stress-ng";
/// Its package.
const PACKAGE: &str = "stress-ng";
/// It ends by itself this long after it is no longer needed: nobody takes it away if this benchmark is killed and none follows.
const OVERTIME: Duration = Duration::from_secs(60);
/// The shell waits for its line, so that the load is in its control group before there is any. A benchmark that is killed
/// before it writes leaves an end of file, and nothing is started.
const SCRIPT: &str = "read -r go && exec \"$0\" \"$@\"";

/// One worker on each processor. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Load {
    child: Child,
    group: CgroupTree,
    begun: Instant,
    processors: u32,
}

impl Load {
    /// Whatever it needs that is not there.
    pub(super) fn require() -> Result<(), BenchError> {
        if Path::new(PROGRAM).exists() { Ok(()) } else { Err(BenchError::Packages(PACKAGE.to_owned())) }
    }

    /// Starts it for at most `length` and some.
    pub(super) fn start(lab: &Lab, length: Duration) -> Result<Self, BenchError> {
        let system = |action| move |source| BenchError::System { action, source };
        let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let group = boot::lab_group(lab.name())?.child("load");
        group.create().map_err(LabError::kernel("make the load's control group"))?;
        // As much as all hosts together: half of the machine is left to them, as beside a neighbour of their size.
        group.weigh(u32::try_from(lab.hosts()?.len()).unwrap_or(1)).map_err(LabError::kernel("give the load its share"))?;
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", SCRIPT, PROGRAM, "--quiet", "--cpu", &count.to_string()])
            .args(["--timeout", &format!("{}s", (length + OVERTIME).as_secs())])
            .env("PAN_LAB", lab.name().as_str())
            .current_dir(lab.data())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let child = command.spawn().map_err(system("start the load"))?;
        let mut load = Self { child, group, begun: Instant::now(), processors: u32::try_from(count).unwrap_or(1) };
        let pid = i32::try_from(load.child.id()).expect("process ids are positive 32-bit numbers");
        load.group.join(pid).map_err(LabError::kernel("put the load into its control group"))?;
        let mut stdin = load.child.stdin.take().expect("it was piped");
        stdin.write_all(b"go\n").map_err(system("start the load"))?;
        load.begun = Instant::now();
        Ok(load)
    }

    /// An error if it has ended by itself.
    pub(super) fn check(&mut self) -> Result<(), BenchError> {
        let ended = self.child.try_wait().map_err(|source| BenchError::System { action: "look after the load", source })?;
        let Some(status) = ended else { return Ok(()) };
        let mut said = String::new();
        if let Some(mut errors) = self.child.stderr.take() {
            let _ = errors.read_to_string(&mut said);
        }
        Err(BenchError::Surprise(format!("the load ended early: {} ({status})", said.trim())))
    }

    /// What it has had so far, in percent of all processors' time.
    pub(super) fn percent(&self) -> Result<u64, BenchError> {
        let used = self.group.usage().map_err(LabError::kernel("read what the load has used"))?;
        Ok(percent(used.cpu_usec, self.begun.elapsed(), self.processors))
    }
}

fn percent(used_us: u64, elapsed: Duration, processors: u32) -> u64 {
    let whole = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX).saturating_mul(processors.into());
    used_us.saturating_mul(100).checked_div(whole).unwrap_or(0)
}

impl Drop for Load {
    fn drop(&mut self) {
        // All of it is in there. What resists goes with the laboratory.
        let _ = self.group.kill_all(DEATH_WAIT);
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = self.group.remove_recursive(GROUP_WAIT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_a_part_of_all_processors() {
        let second = Duration::from_secs(1);
        assert_eq!(percent(1_000_000, second, 2), 50);
        assert_eq!(percent(3_999_999, 2 * second, 2), 99);
        assert_eq!(percent(1, Duration::ZERO, 2), 0);
    }
}
