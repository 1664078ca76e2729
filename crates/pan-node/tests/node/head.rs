//! The head of a volume in these tests: the real keeper, and a worker that serves a file of the test's folder instead of replicas.
//!
//! Files beside that one tell it what to do: `mute` not to answer any more, `over` to end as one that lost its volume.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pan_linux::fuse::{self, Answer, Extent, Inbox, InboxSpec, Next, Operation, Standing, TheFile};
use pan_linux::hole;
use pan_linux::seqpacket::{Connection, Received};
use pan_node::head::{HeadOrder, Part};
use serde_json::{Value, json};

/// How a worker ends that another head has replaced, by agreement with the keeper.
const OVER: u8 = 3;
/// How often it looks what it is told, in milliseconds.
const LOOK: u16 = 5;
/// How often it says how it stands.
const TELL: Duration = Duration::from_secs(1);

/// `--folder FOLDER [--serve|--serve-again]`
pub fn main(words: &[String]) -> ExitCode {
    let folder = Path::new(&words[1]);
    match words.get(2).map(String::as_str) {
        None => pan_node::head::run(Part::Keep, folder),
        Some("--serve") => serve(folder, Standing::First),
        Some(_) => serve(folder, Standing::Successor),
    }
}

/// What the volume's bytes are in.
pub fn storage(folder: &Path, volume: u64) -> PathBuf {
    folder.join(format!("volume-{volume}"))
}

fn serve(folder: &Path, standing: Standing) -> ExitCode {
    let order: HeadOrder = serde_json::from_slice(&fs::read(folder.join("order.json")).unwrap()).unwrap();
    let keeper = Connection::to(&folder.join("control")).unwrap();
    keeper.send(&serde_json::to_vec(&json!("take")).unwrap(), &[]).unwrap();
    let session = fuse::take(&keeper, Duration::from_secs(5)).unwrap();
    let path = storage(Path::new("/srv"), order.volume.volume.0);
    let storage = File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap();
    storage.set_len(order.volume.size.0.max(storage.metadata().unwrap().len())).unwrap();
    let name = order.file.file_name().unwrap().to_str().unwrap().to_owned();
    let file = TheFile { name, size: order.volume.size.0, block: 4096 };
    let mut inbox = Inbox::start(session, InboxSpec { file, large_writes_max: 8, standing }).unwrap();
    let mut backend = OnFile { storage, kept: Vec::new() };
    let epoch = order.volume.claim.unwrap().record.epoch;
    let mut told = None;
    loop {
        if told.is_none_or(|at: Instant| at.elapsed() >= TELL) {
            told = Some(Instant::now());
            tell(&keeper, &json!({"status": {"state": "open", "epoch": epoch, "behind": 0}}));
        }
        if Path::new("/srv/over").exists() {
            tell(&keeper, &json!({"status": {"state": {"over": "another head writes it"}, "epoch": epoch, "behind": 0}}));
            return ExitCode::from(OVER);
        }
        match inbox.take().unwrap() {
            Next::Asked(operation, answer) => backend.perform(operation, answer),
            Next::Settled => {}
            Next::Nothing => drop(poll(&mut [PollFd::new(inbox.as_fd(), PollFlags::POLLIN)], PollTimeout::from(LOOK))),
            Next::End => return ExitCode::SUCCESS,
        }
        let mut buffer = vec![0; 1 << 16];
        match keeper.receive(&mut buffer).unwrap() {
            Received::Nothing => {}
            Received::End => return ExitCode::FAILURE,
            Received::Message(bytes, _) => {
                let message: Value = serde_json::from_slice(&buffer[..bytes]).unwrap();
                let size = message["order"]["volume"]["size"].clone();
                if let Ok(size) = serde_json::from_value::<pan_model::ByteSize>(size) {
                    backend.storage.set_len(size.0).unwrap();
                    inbox.set_size(size.0).unwrap();
                }
            }
        }
    }
}

fn tell(keeper: &Connection, what: &Value) {
    keeper.send(&serde_json::to_vec(what).unwrap(), &[]).unwrap();
}

struct OnFile {
    storage: File,
    /// What is not answered.
    kept: Vec<Answer>,
}

impl OnFile {
    fn perform(&mut self, operation: Operation, answer: Answer) {
        if Path::new("/srv/mute").exists() {
            return self.kept.push(answer);
        }
        if let Operation::Read(extent) = operation {
            let mut buffer = vec![0; usize::try_from(extent.bytes).unwrap()];
            self.storage.read_exact_at(&mut buffer, extent.offset).unwrap();
            return answer.data(&[&buffer]);
        }
        match self.change(&operation) {
            Ok(()) => answer.done(),
            Err(_) => answer.fail(5),
        }
    }

    fn change(&self, operation: &Operation) -> io::Result<()> {
        let zero = |extent: &Extent| self.storage.write_all_at(&vec![0; usize::try_from(extent.bytes).unwrap()], extent.offset);
        match operation {
            Operation::Read(_) => Ok(()),
            Operation::Write(offset, data) => self.storage.write_all_at(data, *offset),
            Operation::Flush => self.storage.sync_data(),
            Operation::Discard(extent) => hole::punch(&self.storage, extent.offset, extent.bytes),
            Operation::Zero(extent) => zero(extent),
        }
    }
}
