//! A laboratory whose owner is killed is removed, and not by chance when the next one of its kind begins.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use pan_lab::harness::{self, leftovers};
use pan_lab::{LabName, labs};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Long enough for a loaded machine; a condition that holds ends the wait at once.
const SOON: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);

fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(start.elapsed() < SOON, "{what} did not happen in time");
        sleep(LOOK);
    }
}

/// The laboratory that a process made.
fn of(owner: &Child) -> Option<LabName> {
    let mark = format!("{}x", owner.id());
    labs().into_iter().find(|name| name.as_str().trim_start_matches(|c: char| !c.is_ascii_digit()).starts_with(&mark))
}

#[test]
fn a_laboratory_goes_with_whoever_made_it() {
    if !harness::can_run() {
        assert!(std::env::var_os("PAN_TEST_STRICT").is_none(), "stories must run here");
        return;
    }
    // While it comes up, and when it stands.
    for stands in [false, true] {
        let words = "bench heartbeats --hosts 10 --length 120s --runs 1 --profile shared";
        let mut command = Command::new(harness::exe().unwrap());
        let mut owner = command.args(words.split(' ')).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let name = until("a laboratory", || of(&owner));
        let answers = || Command::new(harness::exe().unwrap()).args(["lab", "--name", name.as_str(), "hosts"]).output();
        if stands {
            until("its hosts have power", || {
                let said = answers().ok()?;
                String::from_utf8_lossy(&said.stdout).contains("c1").then_some(())
            });
        }
        owner.kill().unwrap();
        owner.wait().unwrap();
        until(&format!("an end of {name}"), || leftovers(name.as_str(), Path::new("/nowhere")).is_empty().then_some(()));
        until("its name is free", || (!labs().contains(&name)).then_some(()));
    }
}
