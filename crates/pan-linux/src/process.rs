//! Processes: stable handles, orphans, signal masks and the reaper an init needs.
//!
//! A bare pid may be reused at any moment; everything that waits for or kills a process that is not
//! our own child goes through [`PidFd`], or compares [`start_time`] first.
#![allow(unsafe_code)]

mod confine;
pub mod interrupt;
mod pidfd;
mod reaper;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

pub use nix::sys::signal::Signal;

use nix::sys::signal::{SigSet, SigmaskHow};

pub use confine::{bound_memory, confine, prefer_to_be_killed};
pub use pidfd::PidFd;
pub use reaper::{Exit, Reaper, Seen, reap_until};

/// Makes the calling process the parent of its orphaned descendants, see prctl(2) `PR_SET_CHILD_SUBREAPER`.
pub fn become_subreaper() -> io::Result<()> {
    Ok(nix::sys::prctl::set_child_subreaper(true)?)
}

/// Asks the kernel to send `signal` to the calling process when the *thread* that created it ends.
pub fn set_pdeathsig(signal: Signal) -> io::Result<()> {
    Ok(nix::sys::prctl::set_pdeathsig(signal)?)
}

/// When a process started, in clock ticks since boot (field 22 of `/proc/PID/stat`); `None` if there
/// is no such process. Together with the pid it names a process for the life of the machine.
pub fn start_time(pid: i32) -> Option<u64> {
    stat_field(pid, 22)?.parse().ok()
}

/// The parent of a process, `None` if there is no such process.
pub fn parent(pid: i32) -> Option<i32> {
    stat_field(pid, 4)?.parse().ok()
}

/// The arguments of a process; empty for a zombie, a kernel thread or no process.
pub fn command_line(pid: i32) -> Vec<String> {
    let raw = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    raw.split(|b| *b == 0).filter(|part| !part.is_empty()).map(|part| String::from_utf8_lossy(part).into_owned()).collect()
}

/// Whom a process runs as, if that is one and the same user in all respects; `None` if there is no such process.
pub fn user_of(pid: i32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let mut all = line.split_whitespace().map(|id| id.parse::<u32>().ok());
    let first = all.next()??;
    all.all(|id| id == Some(first)).then_some(first)
}

/// Makes the whole process a user of this id, and a group of the same, without any other group, right, or way back. To be called
/// before threads that matter are made: what they hold already they keep.
pub fn become_user(id: u32) -> io::Result<()> {
    let (user, group) = (nix::unistd::Uid::from_raw(id), nix::unistd::Gid::from_raw(id));
    nix::unistd::setgroups(&[])?;
    nix::unistd::setresgid(group, group, group)?;
    nix::unistd::setresuid(user, user, user)?;
    Ok(nix::sys::prctl::set_no_new_privs()?)
}

/// True if the process exists and is not a zombie.
pub fn is_running(pid: i32) -> bool {
    stat_field(pid, 3).is_some_and(|state| state != "Z" && state != "X")
}

/// Reads one numbered field of proc_pid_stat(5). The command name (field 2) may hold spaces and
/// parentheses, so counting starts behind the last one.
fn stat_field(pid: i32, number: usize) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let rest = &text[text.rfind(')')? + 1..];
    rest.split_whitespace().nth(number - 3).map(str::to_owned)
}

/// Opens a log file for appending, made 0640 if new. O_APPEND, so that a writer survives the death
/// of whoever opened it and two writers do not overwrite each other.
pub fn open_log(path: &Path) -> io::Result<File> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

/// Lets the child start with no signal blocked. A process that reads its signals from a signalfd
/// blocks them, and children would inherit that.
pub fn clear_signal_mask(command: &mut Command) -> &mut Command {
    // SAFETY: sigprocmask is async-signal-safe and touches only the child's own mask.
    unsafe {
        command.pre_exec(|| {
            nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
            Ok(())
        })
    }
}

/// Lets the child die with `signal` when the thread that spawned it ends. Only for spawners whose
/// thread lives as long as the process.
pub fn die_with_parent(command: &mut Command, signal: Signal) -> &mut Command {
    // SAFETY: prctl is a plain system call on the child itself.
    unsafe { command.pre_exec(move || set_pdeathsig(signal)) }
}

/// Lets the child inherit `fds` as descriptors 3, 4, …, in that order, in the style of systemd's
/// socket activation: `LISTEN_FDS` is set, `LISTEN_PID` is not, because the spawner does not know it.
///
/// The descriptors must stay open in the caller until the child has been spawned.
pub fn pass_listen_fds(command: &mut Command, fds: &[i32]) {
    command.env_remove("LISTEN_PID");
    if fds.is_empty() {
        command.env_remove("LISTEN_FDS");
        return;
    }
    command.env("LISTEN_FDS", fds.len().to_string());
    let fds = fds.to_vec();
    // SAFETY: `place_fds` makes only fcntl, dup2 and close calls; the one allocation was made above.
    unsafe {
        let mut moved = fds.clone();
        command.pre_exec(move || place_fds(&fds, &mut moved));
    }
}

/// The sockets this process was started with (descriptors 3, 4, … up to LISTEN_FDS), marked
/// close-on-exec so that they reach only those children they are passed to on purpose.
///
/// To be called once, before anything else opens a descriptor; a second call would hand out the same
/// descriptors again.
pub fn take_listen_fds() -> io::Result<Vec<OwnedFd>> {
    let count = std::env::var("LISTEN_FDS").ok();
    let count: i32 = count.and_then(|text| text.parse().ok()).unwrap_or(0);
    (3..3 + count)
        .map(|fd| {
            // SAFETY: fcntl on a number; a descriptor that is not open is an error, not a fault.
            if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: whoever set LISTEN_FDS handed this open descriptor over to us.
            Ok(unsafe { OwnedFd::from_raw_fd(fd) })
        })
        .collect()
}

/// Lifts the soft limit of open files to the hard one. Programs that use select(2) must not.
pub fn raise_file_limit() -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls get a valid structure of their own type.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) < 0 {
            return Err(io::Error::last_os_error());
        }
        limit.rlim_cur = limit.rlim_max;
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Puts `fds` at 3, 4, … without close-on-exec. `moved` is scratch space of the same length.
pub(crate) fn place_fds(fds: &[i32], moved: &mut [i32]) -> io::Result<()> {
    let base = 3 + i32::try_from(fds.len()).expect("descriptor counts fit an int");
    for (slot, fd) in moved.iter_mut().zip(fds) {
        // SAFETY: duplicates a descriptor above the target range, so no target is clobbered below.
        *slot = unsafe { libc::fcntl(*fd, libc::F_DUPFD_CLOEXEC, base) };
        if *slot < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    for (index, fd) in moved.iter().enumerate() {
        let target = 3 + i32::try_from(index).expect("descriptor counts fit an int");
        // SAFETY: dup2 onto the target; the copy has no close-on-exec.
        if unsafe { libc::dup2(*fd, target) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
