//! How an upgrade reaches the beat process: a role that was started from another build asks for its replacement.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pan_linux::seqpacket::Connection;
use pan_model::host_config::HostConfig;

use super::build::Build;
use super::entry::answer;
use super::message::{Answer, Request, decode, encode};
use crate::paths::beat_socket;

/// How often a role looks which build is in office. Upgrades are rare and may take a moment.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the one in office may take to say who it is: it is the most punctual process of the host.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Looks between two requests to the same process: its successor may have failed for a passing reason.
const LOOKS_BETWEEN: u32 = 10;

/// Has the beat process of this host be of this process's build, for ever. Blocks; to be called by every role in a thread of its
/// own. Whoever keeps the beat process running may start another build again, and is left alone then.
pub fn keep_current(config: &HostConfig) {
    let (own, program) = match (Build::own(), std::env::current_exe()) {
        (Ok(own), Ok(program)) => (own, program),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(
                error = crate::error::chain(&error),
                "cannot read which build this process is of: the beat process is left as it is, also after an upgrade; end it then"
            );
            return;
        }
    };
    let socket = beat_socket(&config.run_dir);
    let (mut wish, mut strange) = (Wish::default(), false);
    loop {
        match ask(&socket, &Request::Who) {
            Ok(Answer::InOffice { build, pid }) => match wish.look(&own, &build, pid) {
                Look::Fine => {}
                Look::PutBack => tracing::warn!(%build, %own, "the beat process was started from another program again; left as it is"),
                Look::Ask => request(&socket, &own, &build, &program),
            },
            // One that speaks otherwise is of a build that this one cannot replace.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                if !std::mem::replace(&mut strange, true) {
                    tracing::warn!(%error, "what the beat process answers cannot be read: it is left as it is, and asked again each second");
                }
            }
            // None in office, or a busy one: another look comes.
            Ok(_) | Err(_) => {}
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn request(socket: &Path, own: &Build, build: &Build, program: &Path) {
    // The program may have been replaced since this process was started: its next life will see to it.
    if !Build::of(program).is_ok_and(|now| now == *own) {
        return;
    }
    tracing::info!(%build, %own, "the beat process is of another build: it is asked to hand over");
    match ask(socket, &Request::Replace { program: PathBuf::from(program) }) {
        Ok(Answer::Starting) => {}
        Ok(other) => tracing::warn!(answer = ?other, "the beat process stays"),
        Err(error) => tracing::warn!(%error, "the beat process stays"),
    }
}

fn ask(socket: &Path, request: &Request) -> io::Result<Answer> {
    let connection = Connection::to(socket)?;
    connection.send(&encode(request), &[])?;
    let Some((bytes, _)) = answer(&connection, ANSWER_MAX)? else {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the beat process ended"));
    };
    decode(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, crate::error::chain(&error)))
}

/// What was asked for so far. Pure.
#[derive(Debug, Default)]
struct Wish {
    /// Processes that were asked to leave, by build.
    asked: BTreeSet<(Build, u32)>,
    looks: u32,
    told: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Fine,
    Ask,
    /// The build that was to go is back in another process; said once.
    PutBack,
}

impl Wish {
    fn look(&mut self, own: &Build, build: &Build, pid: u32) -> Look {
        if build == own {
            return Look::Fine;
        }
        if self.asked.contains(&(build.clone(), pid)) {
            self.looks += 1;
            return if self.looks.is_multiple_of(LOOKS_BETWEEN) { Look::Ask } else { Look::Fine };
        }
        if self.asked.iter().any(|(asked, _)| asked == build) {
            return if std::mem::replace(&mut self.told, true) { Look::Fine } else { Look::PutBack };
        }
        self.asked.insert((build.clone(), pid));
        self.looks = 0;
        Look::Ask
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn another_build_is_asked_to_leave_and_one_that_was_put_back_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let [own, other] = ["own", "other"].map(|name| {
            fs::write(dir.path().join(name), "the same").unwrap();
            Build::of(&dir.path().join(name)).unwrap()
        });
        assert_ne!(own, other, "a copy is another build");
        let mut wish = Wish::default();
        assert_eq!(wish.look(&own, &own, 1), Look::Fine);
        assert_eq!(wish.look(&own, &other, 2), Look::Ask);
        // Its successor fails: it is asked again, not all the time.
        let again: Vec<Look> = (0..LOOKS_BETWEEN).map(|_| wish.look(&own, &other, 2)).collect();
        assert_eq!(again.iter().filter(|look| **look == Look::Ask).count(), 1);
        assert_eq!(wish.look(&own, &own, 3), Look::Fine);
        assert_eq!([0; 3].map(|_| wish.look(&own, &other, 4)), [Look::PutBack, Look::Fine, Look::Fine]);
    }
}
