//! What a lessor must never forget, on disk: one small file, replaced whole. A thread of its own writes it, since the
//! one that acknowledges must not wait for a disk.

use pan_linux::datagram::Waker;
use pan_member::Term;
use pan_member::lessor::{Durable, Ticket};
use pan_model::{Admission, HostName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::error::{Error, FileError};

const VERSION: u16 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u16,
    term: u64,
    revoked: BTreeMap<HostName, Admission>,
}

/// The file and the thread that writes it.
pub(super) struct Keeper {
    jobs: Sender<(Durable, Ticket)>,
    done: Receiver<(Ticket, Result<(), Error>)>,
    dir: PathBuf,
    /// The folder was not there: no process of this host was ever a lessor, not of an earlier release either.
    first: bool,
    /// Who has it may read and write the file: one process at a time.
    lock: Option<File>,
}

impl Keeper {
    /// Prepares everything but touches no file: it may be another process's yet.
    pub fn prepare(state_dir: &Path, waker: Waker) -> Result<Self, Error> {
        let dir = state_dir.join("lessor");
        let first = !dir.exists();
        fs::create_dir_all(&dir).map_err(FileError::of("make", &dir))?;
        let (path, own) = (file(&dir), dir.clone());
        let (jobs, job) = channel::<(Durable, Ticket)>();
        let (finished, done) = channel();
        let write = move || {
            while let Ok((state, ticket)) = job.recv() {
                let written = write(&dir, &path, &state).map_err(Error::from);
                if finished.send((ticket, written)).is_err() {
                    return;
                }
                waker.wake();
            }
        };
        let started = std::thread::Builder::new().name("lessor-disk".into()).spawn(write);
        started.map_err(|source| Error::Watch { source })?;
        Ok(Self { jobs, done, dir: own, first, lock: None })
    }

    /// Waits for the end of an earlier process, then reads what it left; `None`: there was never one. From then on the disk says that there was.
    pub fn open(&mut self) -> Result<Option<Durable>, Error> {
        let lock_path = self.dir.join("lock");
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock_path);
        let lock = lock.and_then(|lock| lock.lock().map(|()| lock)).map_err(FileError::of("lock", &lock_path))?;
        self.lock = Some(lock);
        let path = file(&self.dir);
        let found = read(&path)?;
        if found.is_some() {
            return Ok(found);
        }
        write(&self.dir, &path, &Durable::default())?;
        Ok((!self.first).then(Durable::default))
    }

    /// Takes the file over from a process that has no write under way and begins none.
    pub fn adopt(&mut self, lock: OwnedFd) {
        self.lock = Some(lock.into());
    }

    /// For the process that follows.
    pub fn lock(&self) -> Option<BorrowedFd<'_>> {
        self.lock.as_ref().map(AsFd::as_fd)
    }

    /// Writes it, some time; [`Keeper::done`] says when.
    pub fn keep(&self, state: Durable, ticket: Ticket) {
        // The thread ends only together with this.
        let _ = self.jobs.send((state, ticket));
    }

    /// A write that is durable, or failed.
    pub fn done(&self) -> Option<(Ticket, Result<(), Error>)> {
        self.done.try_recv().ok()
    }
}

fn file(dir: &Path) -> PathBuf {
    dir.join("revoked.json")
}

fn read(path: &PathBuf) -> Result<Option<Durable>, Error> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FileError::of("read", path)(error).into()),
    };
    let strange = |what: String| FileError::of("understand", path)(std::io::Error::new(std::io::ErrorKind::InvalidData, what));
    let content: Content = serde_json::from_slice(&text).map_err(|error| strange(error.to_string()))?;
    if content.version != VERSION {
        return Err(strange(format!("format version {}, this program knows {VERSION}", content.version)).into());
    }
    Ok(Some(Durable { term: Term(content.term), revoked: content.revoked }))
}

fn write(dir: &Path, path: &Path, state: &Durable) -> Result<(), FileError> {
    let content = Content { version: VERSION, term: state.term.0, revoked: state.revoked.clone() };
    let text = serde_json::to_vec(&content).expect("plain data");
    let fresh = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh).map_err(FileError::of("make", &fresh))?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(FileError::of("write", &fresh))?;
    fs::rename(&fresh, path).map_err(FileError::of("replace", path))?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(FileError::of("make durable", dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_there_again_and_anything_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("revoked.json");
        assert_eq!(read(&path).unwrap(), None);
        let state = Durable { term: Term(7), revoked: BTreeMap::from([("n1".parse().unwrap(), Admission(3))]) };
        write(dir.path(), &path, &state).unwrap();
        assert_eq!(read(&path).unwrap(), Some(state));
        for text in ["", "{}", r#"{"version":2,"term":1,"revoked":{}}"#, r#"{"version":1,"term":1,"revoked":{},"more":1}"#] {
            fs::write(&path, text).unwrap();
            assert!(read(&path).is_err(), "{text}");
        }
    }

    #[test]
    fn a_thread_writes_and_says_when_it_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let waker = Waker::new().unwrap();
        let mut keeper = Keeper::prepare(dir.path(), waker).unwrap();
        assert_eq!(keeper.open().unwrap(), None, "nobody was here before");
        let mut lessor = pan_member::Lessor::new("s1".parse().unwrap(), pan_member::Profile::Lan.timing(1));
        lessor.begin(pan_member::Tick(0));
        let revoke = pan_member::Revoke {
            leader: "c1".parse().unwrap(),
            term: Term(2),
            nonce: pan_member::Nonce(1),
            host: "n1".parse().unwrap(),
            through: Admission(4),
        };
        let effects = lessor.revoke(revoke, pan_member::Tick(5));
        let [pan_member::lessor::Effect::Persist { state, ticket }] = effects.as_slice() else { panic!("{effects:?}") };
        keeper.keep(state.clone(), *ticket);
        let (done, written) = keeper.done.recv().unwrap();
        written.unwrap();
        assert_eq!(done, *ticket);
        assert_eq!(read(&dir.path().join("lessor").join("revoked.json")).unwrap(), Some(state.clone()));
        drop(keeper);
        let mut next = Keeper::prepare(dir.path(), Waker::new().unwrap()).unwrap();
        assert_eq!(next.open().unwrap(), Some(state.clone()));
    }
}
