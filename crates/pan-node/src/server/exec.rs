//! Programs run inside a server's container. Whatever happens to whoever asked, the program does not
//! outlive the question, and neither does what it started.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::fchown;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pan_linux::oci::{Leader, NotStarted, Runtime, end_program};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

/// What a shell says of a program that is not there, POSIX.1-2017 XCU 2.8.2.
const NOT_FOUND: i32 = 127;
/// What a shell says of a file that is not a program, likewise.
const NOT_EXECUTABLE: i32 = 126;
/// What container engines say when they themselves failed.
const ENGINE_FAILED: i32 = 125;
/// First pause before the runtime's note that a program runs is looked for again; a start takes some 16 ms.
const LOOK_MIN: Duration = Duration::from_millis(2);
/// The longest such pause.
const LOOK_MAX: Duration = Duration::from_millis(20);
/// Of what a runtime or a check prints, this much is kept.
const WORDS_MAX: u64 = 4096;

/// Why a program does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The status a shell would give.
    pub status: i32,
    /// The reason, for people.
    pub message: String,
}

/// A container in which programs can be run.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    /// Its id.
    pub id: String,
    /// Where the runtime leaves its note of a program.
    pub folder: PathBuf,
    /// The host's id of its root.
    pub root: u32,
    pub runtime: Runtime,
}

/// A program running in a container; dropping it kills the program and what it started.
#[derive(Debug)]
pub(crate) struct Inside {
    pub child: Child,
    note: PathBuf,
    leader: Option<Leader>,
}

impl Inside {
    /// Starts `program`; the streams are set up by `wire`.
    pub(crate) fn start(container: &Container, program: &[String], wire: impl FnOnce(&mut Command)) -> io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let note = container.folder.join(format!("exec-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)));
        match std::fs::remove_file(&note) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut command = Command::from(container.runtime.exec(&container.id, program, &note));
        wire(&mut command);
        command.kill_on_drop(true);
        let inside = Self { child: command.spawn()?, note, leader: None };
        inside.give_streams(container.root)?;
        Ok(inside)
    }

    /// Lets the container's root open the program's streams by name, as with /dev/stdout: both ends of a pipe have the same owner.
    fn give_streams(&self, root: u32) -> io::Result<()> {
        let (input, out, err) = (&self.child.stdin, &self.child.stdout, &self.child.stderr);
        let all = [input.as_ref().map(AsFd::as_fd), out.as_ref().map(AsFd::as_fd), err.as_ref().map(AsFd::as_fd)];
        all.into_iter().flatten().try_for_each(|stream| fchown(stream, Some(root), Some(root)))
    }

    /// Waits until the program runs, or ran. Its streams are untouched, unless it could not be started at all: what
    /// stands in the standard error is the runtime's then.
    pub(crate) async fn begun(&mut self, program: &[String]) -> io::Result<Result<(), Refused>> {
        // Waiting for a child closes its standard input.
        let stdin = self.child.stdin.take();
        let begun = self.wait_for_note(program).await;
        self.child.stdin = stdin;
        begun
    }

    async fn wait_for_note(&mut self, program: &[String]) -> io::Result<Result<(), Refused>> {
        let mut pause = LOOK_MIN;
        loop {
            if self.note.exists() {
                self.leader = Leader::read(&self.note);
                return Ok(Ok(()));
            }
            tokio::select! {
                ended = self.child.wait() => {
                    ended?;
                    break;
                }
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LOOK_MAX),
            }
        }
        if self.note.exists() {
            return Ok(Ok(()));
        }
        let said = words(self.child.stderr.take()).await;
        Ok(Err(refused(program, NotStarted::read(&said))))
    }

    /// Waits for its end.
    pub(crate) async fn wait(&mut self) -> io::Result<i32> {
        use std::os::unix::process::ExitStatusExt;
        let status = self.child.wait().await?;
        Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
    }

    /// It ended by itself, and what it left behind is meant to stay.
    pub(crate) fn leave(&mut self) {
        self.leader = None;
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        // Killing the runtime's process alone would leave the program running in the container.
        let runtime = self.child.id().and_then(|pid| i32::try_from(pid).ok());
        let leader = self.leader.or_else(|| Leader::read(&self.note).filter(|_| runtime.is_some()));
        if runtime.is_some() || leader.is_some() {
            end_program(runtime, leader);
        }
        if let Err(error) = std::fs::remove_file(&self.note)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::debug!(%error, "the note of a program stays behind");
        }
    }
}

fn refused(program: &[String], why: NotStarted) -> Refused {
    let name = program.first().map_or("", String::as_str);
    let (status, message) = match why {
        NotStarted::NotFound if name.contains('/') => {
            (NOT_FOUND, format!("there is no program {name} in the server, or what its first line names to run it is missing"))
        }
        NotStarted::NotFound => {
            (NOT_FOUND, format!("there is no program {name:?} in the server's PATH: give its whole path, or add it to the image"))
        }
        NotStarted::NotExecutable => (NOT_EXECUTABLE, format!("{name} is no program that the server may run: expected an executable file")),
        NotStarted::Other(said) if said.is_empty() => {
            (ENGINE_FAILED, format!("{name} could not be started; the container runtime does not say why"))
        }
        NotStarted::Other(said) => (ENGINE_FAILED, format!("{name} could not be started: {said}")),
    };
    Refused { status, message }
}

async fn words(stream: Option<impl AsyncRead + Unpin>) -> String {
    let Some(stream) = stream else { return String::new() };
    let mut text = Vec::new();
    // What was read before an error is all there is.
    let _rest = stream.take(WORDS_MAX).read_to_end(&mut text).await;
    String::from_utf8_lossy(&text).into_owned()
}

/// How a short program in a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With this status, 128 + signal if it was killed, and the last line it printed.
    Exit(i32, String),
    /// It did not, and was killed.
    TooLong,
    /// It never ran.
    Refused(String),
}

/// Runs a program without input for at most `limit`.
pub(crate) async fn run(container: &Container, program: &[String], limit: Duration) -> io::Result<Outcome> {
    let mut inside = Inside::start(container, program, |command| {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    })?;
    let work = async {
        if let Err(refused) = inside.begun(program).await? {
            return Ok(Outcome::Refused(refused.message));
        }
        let (out, err) = (inside.child.stdout.take(), inside.child.stderr.take());
        let (mut printed, mut complained) = (Vec::new(), Vec::new());
        let status = {
            let mut reading = std::pin::pin!(async { tokio::join!(drain(out, &mut printed), drain(err, &mut complained)) });
            let mut ended = std::pin::pin!(inside.wait());
            tokio::select! {
                status = &mut ended => {
                    // What it started may hold its output open for ever.
                    let _late = tokio::time::timeout(LOOK_MAX, reading).await;
                    status?
                }
                _ = &mut reading => ended.await?,
            }
        };
        inside.leave();
        Ok(Outcome::Exit(status, last_line(&complained).or_else(|| last_line(&printed)).unwrap_or_default()))
    };
    tokio::time::timeout(limit, work).await.unwrap_or(Ok(Outcome::TooLong))
}

/// Reads to the end and keeps the last [`WORDS_MAX`] bytes.
async fn drain(stream: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut stream) = stream else { return };
    let mut buffer = vec![0; usize::try_from(WORDS_MAX).expect("a few thousand")];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..count]);
        let over = kept.len().saturating_sub(buffer.len());
        kept.drain(..over);
    }
}

/// Longest part of a line that goes into a message.
const LINE_MAX: usize = 200;

fn last_line(text: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(text);
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty())?;
    let plain = line.chars().filter(|c| !c.is_control());
    Some(plain.take(LINE_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_the_status_of_a_shell() {
        let of = |name: &str, why| refused(&[name.to_owned()], why);
        assert_eq!(of("nosuch", NotStarted::NotFound).status, 127);
        assert!(of("nosuch", NotStarted::NotFound).message.contains("no program \"nosuch\" in the server's PATH"));
        assert!(of("/x", NotStarted::NotFound).message.contains("there is no program /x in the server"));
        assert_eq!(of("/etc", NotStarted::NotExecutable).status, 126);
        assert_eq!(of("sh", NotStarted::Other("cannot exec in a stopped container".into())).status, 125);
    }

    #[test]
    fn the_last_line_is_what_a_message_quotes() {
        assert_eq!(last_line(b"one\n two \n\n").as_deref(), Some("two"));
        assert_eq!(last_line(b"\x1b[31mred\x07\n").as_deref(), Some("[31mred"));
        assert_eq!(last_line(&b"x".repeat(500)).map(|line| line.len()), Some(LINE_MAX));
        assert_eq!(last_line(b" \n"), None);
    }
}
