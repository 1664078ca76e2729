//! Volumes on files, served by processes that can be killed.

pub mod storage;

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use pan_linux::blockdev::{self, AttachSpec, BlockDevice, BlockDeviceError, Hung};
use pan_linux::fuse::{self, Connection, Inbox, InboxSpec, Next, Session, SessionSpec, Standing, TheFile};
use pan_linux::loopdev::Access;
use pan_linux::process::die_with_parent;
use pan_linux::seqpacket;
use storage::{Backend, Mute, OnFile, OnThreads};

/// How long a condition may take to come true.
pub const DEADLINE: Duration = Duration::from_secs(10);
pub const BLOCK: u32 = 4096;
/// A test that is killed at the wrong moment leaves threads that wait for a server and cannot be killed: the kernel ends that.
pub const SPEC: SessionSpec = SessionSpec { timeout: Some(Duration::from_secs(20)) };
static COUNTER: AtomicU32 = AtomicU32::new(0);

pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < deadline, "not within 10 s: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A volume: its storage is a file, its folder is where it is served. Taken away again whatever the test does.
pub struct Volume {
    pub home: PathBuf,
    pub storage: PathBuf,
    pub file: PathBuf,
    pub size: u64,
    pub session: Session,
    pub connection: Connection,
}

impl Volume {
    pub fn new(size: u64) -> Self {
        Self::in_folder("/var/tmp", size)
    }

    pub fn in_folder(parent: &str, size: u64) -> Self {
        // Loop devices are the whole machine's, and so are their names.
        let name = format!("pan-attach-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let home = Path::new(parent).join(&name);
        fs::create_dir_all(home.join("served")).unwrap();
        let storage = home.join("storage");
        File::create(&storage).unwrap().set_len(size).unwrap();
        let (session, connection) = Session::mount(&home.join("served"), &SPEC).unwrap();
        Self { file: home.join("served").join(name), home, storage, size, session, connection }
    }

    pub fn name(&self) -> String {
        self.file.file_name().unwrap().to_str().unwrap().to_owned()
    }

    /// Starts a process that serves it.
    pub fn serve(&self, kind: &str, standing: Standing) -> Served {
        let socket = self.home.join("socket");
        let listener = seqpacket::Listener::bind(&socket).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        let standing = if standing == Standing::Successor { "successor" } else { "first" };
        command.arg("serve").arg(&socket).arg(&self.storage).arg(self.name()).args([&self.size.to_string(), kind, standing]);
        die_with_parent(command.stdin(Stdio::piped()).stdout(Stdio::piped()), Signal::SIGKILL);
        let mut child = command.spawn().unwrap();
        let mut accepted = None;
        wait_for("a server that asks for its session", || {
            accepted = listener.accept().unwrap();
            accepted.is_some()
        });
        fuse::give(&accepted.unwrap(), &self.session).unwrap();
        let mut served = Served { stdin: child.stdin.take().unwrap(), stdout: BufReader::new(child.stdout.take().unwrap()), child };
        assert_eq!(served.line(), "serving");
        served
    }

    pub fn attach(&self, access: Access, limit: Duration) -> Result<BlockDevice, BlockDeviceError> {
        BlockDevice::attach(&AttachSpec { file: self.file.clone(), access, block: BLOCK, limit }, self.connection)
    }

    pub fn attached(&self) -> BlockDevice {
        self.attach(Access::ReadWrite, DEADLINE).unwrap()
    }

    pub fn detach(&self, hung: Hung) -> Result<(), BlockDeviceError> {
        blockdev::detach(&self.file, hung, DEADLINE)
    }

    /// Nothing of it is left on the machine.
    pub fn assert_gone(&self) {
        assert_eq!(pan_linux::loopdev::attached_to(&self.file), [] as [&Path; 0]);
        assert_eq!(Connection::at(&self.home.join("served")).unwrap(), None);
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // First: by now its server may be gone, and unmounting would wait for it.
        let aborted = self.connection.abort();
        let _ = nix::mount::umount2(&self.home.join("mnt"), nix::mount::MntFlags::MNT_DETACH);
        let detached = self.detach(Hung::Abort);
        let _ = fs::remove_dir_all(&self.home);
        if !std::thread::panicking() {
            aborted.unwrap();
            detached.unwrap();
            self.assert_gone();
        }
    }
}

/// A process that serves.
pub struct Served {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Served {
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Requests so far, and those among them that were sent again.
    pub fn counts(&mut self) -> (u64, u64) {
        self.stdin.write_all(b"counts\n").unwrap();
        let line = self.line();
        let (requests, resent) = line.split_once(' ').unwrap();
        (requests.parse().unwrap(), resent.parse().unwrap())
    }

    /// How many writes a mute one has done and says nothing of.
    pub fn silent(&mut self) -> usize {
        self.stdin.write_all(b"silent\n").unwrap();
        self.line().parse().unwrap()
    }

    pub fn resize(&mut self, bytes: u64) {
        writeln!(self.stdin, "size {bytes}").unwrap();
        assert_eq!(self.line(), "resized");
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Takes requests as a process does that waits for other things too.
fn take_all(inbox: &Mutex<Inbox>, backend: &mut dyn Backend) {
    let device = inbox.lock().unwrap().as_fd().try_clone_to_owned().unwrap();
    loop {
        // Without room for a request the kernel says again and again that there is one.
        let _ = poll(&mut [PollFd::new(device.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
        loop {
            let next = inbox.lock().unwrap().take().unwrap();
            match next {
                Next::Asked(operation, answer) => backend.perform(operation, answer),
                Next::Settled => {}
                Next::Nothing => break,
                Next::End => return,
            }
        }
    }
}

/// The process of [`Volume::serve`].
pub fn serve_main(words: &[String]) -> ExitCode {
    let [socket, storage, name, size, kind, standing] = words else { panic!("{words:?}") };
    let keeper = seqpacket::Connection::to(Path::new(socket)).unwrap();
    let session = fuse::take(&keeper, DEADLINE).unwrap();
    pan_linux::realtime::lock_memory().unwrap();
    let (kind, number) = kind.split_once('=').unwrap_or((kind, "0"));
    let number: usize = number.parse().unwrap();
    let file = TheFile { name: name.clone(), size: size.parse().unwrap(), block: BLOCK };
    let standing = if standing == "successor" { Standing::Successor } else { Standing::First };
    let inbox = Inbox::start(session, InboxSpec { file, large_writes_max: 16, standing }).unwrap();
    let inbox = Arc::new(Mutex::new(inbox));
    let storage = Path::new(storage);
    let silent = Arc::new(AtomicUsize::new(0));
    let mut backend: Box<dyn Backend> = match kind {
        "file" => Box::new(OnFile::open(storage)),
        "threads" => Box::new(OnThreads::open(storage, number)),
        "mute" => Box::new(Mute::open(storage, number, Arc::clone(&silent))),
        other => panic!("{other}"),
    };
    let takes = Arc::clone(&inbox);
    std::thread::spawn(move || take_all(&takes, &mut *backend));
    println!("serving");
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        if let Some(size) = line.strip_prefix("size ") {
            let size = size.parse().unwrap();
            File::options().write(true).open(storage).unwrap().set_len(size).unwrap();
            inbox.lock().unwrap().set_size(size).unwrap();
            println!("resized");
        } else if line == "silent" {
            println!("{}", silent.load(Ordering::Relaxed));
        } else {
            let counts = inbox.lock().unwrap().counts();
            println!("{} {}", counts.requests, counts.resent);
        }
    }
    ExitCode::SUCCESS
}

/// Memory that O_DIRECT can use.
pub struct Aligned(Vec<u8>, usize, usize);

impl Aligned {
    pub fn new(bytes: usize) -> Self {
        let memory = vec![0_u8; bytes + 4096];
        let start = memory.as_ptr().align_offset(4096);
        Self(memory, start, bytes)
    }

    pub fn bytes(&mut self) -> &mut [u8] {
        &mut self.0[self.1..self.1 + self.2]
    }
}

pub fn open_direct(device: &Path) -> File {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_DIRECT).open(device).unwrap()
}

/// What block `number` holds in round `round`.
pub fn fill(buffer: &mut [u8], number: u64, round: u64) {
    for (index, word) in buffer.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        *word = (number * 1_000_003 + round * 7919 + index as u64).to_ne_bytes();
    }
}

pub fn read_at(file: &File, offset: u64, bytes: usize) -> Vec<u8> {
    let mut buffer = Aligned::new(bytes);
    file.read_exact_at(buffer.bytes(), offset).unwrap();
    buffer.bytes().to_vec()
}
