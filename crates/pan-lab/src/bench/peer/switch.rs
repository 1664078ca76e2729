//! The power switch that fence agents ask: kills a host, waits for its death, and only then confirms it. It is
//! reached over the network: a host that was cut off gets nothing from it.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::site::Site;
use crate::bench::error::BenchError;

/// Ends the switch.
const STOP: &str = "stop";

/// A switch that works as long as this value lives.
#[derive(Debug)]
pub(super) struct Switch {
    requests: PathBuf,
    worker: Option<JoinHandle<()>>,
}

impl Switch {
    /// A switch for the hosts of a site. Who asks writes `HOST ASKER ANSWER` to the pipe `requests`, and reads
    /// from the pipe `ANSWER` that it has made beside it.
    pub(super) fn start(site: &Site) -> Result<Self, BenchError> {
        let failed = |action| move |source| BenchError::System { action, source };
        let dir = site.switch();
        let requests = dir.join("requests");
        mkfifo(&requests, Mode::S_IRUSR | Mode::S_IWUSR).map_err(|error| failed("make the switch's pipe")(error.into()))?;
        // Also for writing, so that it never ends.
        let pipe = OpenOptions::new().read(true).write(true).open(&requests).map_err(failed("open the switch's pipe"))?;
        let killer = site.killer();
        let worker = thread::spawn(move || serve(pipe, &dir, &killer));
        Ok(Self { requests, worker: Some(worker) })
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        // Its reader is there as long as the worker is; without one the write is refused, not waited for.
        let told = OpenOptions::new().write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&self.requests);
        if told.and_then(|mut pipe| writeln!(pipe, "{STOP}")).is_ok()
            && let Some(worker) = self.worker.take()
        {
            let _ = worker.join();
        }
    }
}

fn serve(pipe: File, dir: &Path, kill: &dyn Fn(&str, &str) -> bool) {
    for line in BufReader::new(pipe).lines() {
        let Ok(line) = line else { return };
        if line == STOP {
            return;
        }
        let [host, asker, answer] = line.split(' ').collect::<Vec<_>>()[..] else { continue };
        let word = if kill(host, asker) { "dead" } else { "failed" };
        // Who asked may have been killed meanwhile: then there is no reader, and nobody to tell.
        let opened = OpenOptions::new().write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(dir.join(answer));
        let _ = opened.and_then(|mut answer| writeln!(answer, "{word}"));
    }
}
