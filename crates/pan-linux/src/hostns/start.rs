//! Starting a host: fork a starter, let it enter control groups and namespaces, let it fork init, and
//! let it end, so that init has no living parent that could be frozen or killed with the host.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, chdir, fork, pipe2, setsid};

use super::mounts::HostMounts;
use super::{HostHandle, HostNsError, HostNsSpec};
use crate::cgroup::{CGROUP_ROOT, CgroupTree, Layout};
use crate::process::{open_log, place_fds, start_time};

/// Everything the children need, made before the fork so that they allocate as little as possible.
struct Prepared {
    hostname: String,
    netns: File,
    log: File,
    null: File,
    groups: CgroupTree,
    mounts: HostMounts,
    argv: Vec<CString>,
    envp: Vec<CString>,
    listen_fds: Vec<i32>,
}

/// Starts a host and returns once its init program runs.
///
/// May be called from a program with threads: the children use nothing that another thread may
/// hold locked (glibc makes malloc safe after fork).
pub fn start(spec: &HostNsSpec) -> Result<HostHandle, HostNsError> {
    let prepared = prepare(spec)?;
    let failed = |action: &str| {
        let (host, action) = (spec.hostname.clone(), action.to_owned());
        move |source: io::Error| HostNsError::Io { host, action, source }
    };
    let (reader, writer) = pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(|error| failed("make a pipe")(error.into()))?;
    // SAFETY: see above; the child ends by exec or _exit and never returns.
    let starter = match unsafe { fork() } {
        Err(error) => return Err(failed("fork")(error.into())),
        Ok(ForkResult::Child) => run_starter(&prepared, writer),
        Ok(ForkResult::Parent { child }) => child,
    };
    drop(writer);
    let mut report = String::new();
    let heard = File::from(reader).read_to_string(&mut report);
    while let Err(nix::Error::EINTR) = waitpid(starter, None) {}
    heard.map_err(failed("hear from the starter"))?;
    parse_report(spec, &report)
}

fn parse_report(spec: &HostNsSpec, report: &str) -> Result<HostHandle, HostNsError> {
    let inside = |message: &str| HostNsError::Inside { host: spec.hostname.clone(), message: message.to_owned() };
    if let Some((_, message)) = report.split_once("error: ") {
        return Err(inside(message.trim()));
    }
    let pid: Option<i32> = report.trim().strip_prefix("pid ").and_then(|p| p.parse().ok());
    let pid = pid.ok_or_else(|| inside("the starter ended without a word"))?;
    let init_start = start_time(pid).ok_or_else(|| inside("its init ended at once; see its log"))?;
    Ok(HostHandle { init_pid: pid, init_start })
}

fn prepare(spec: &HostNsSpec) -> Result<Prepared, HostNsError> {
    let failed = |action: String| {
        let host = spec.hostname.clone();
        move |source| HostNsError::Io { host, action, source }
    };
    let text = |value: &str| {
        let wrong = failed(format!("pass on {value:?}"));
        CString::new(value).map_err(|error| wrong(io::Error::new(io::ErrorKind::InvalidInput, error)))
    };
    let layout = Layout::detect(Path::new(CGROUP_ROOT))?;
    let groups = CgroupTree::new(layout.clone(), &spec.cgroup);
    groups.create().map_err(|source| HostNsError::Cgroup { host: spec.hostname.clone(), source })?;
    for (source, _) in &spec.binds {
        std::fs::create_dir_all(source).map_err(failed(format!("create {}", source.display())))?;
    }
    let program = spec.init.first().ok_or(HostNsError::NoProgram)?;
    let mut needed: Vec<_> = spec.binds.iter().map(|(source, _)| source.clone()).collect();
    needed.push(program.into());
    needed.extend(spec.disks.iter().map(|(device, _)| device.clone()));
    let mut env = spec.env.clone();
    if !spec.listen_fds.is_empty() {
        env.push(("LISTEN_FDS".into(), spec.listen_fds.len().to_string()));
    }
    Ok(Prepared {
        hostname: spec.hostname.clone(),
        netns: File::open(&spec.netns).map_err(failed(format!("open {}", spec.netns.display())))?,
        log: open_log(&spec.log).map_err(failed(format!("open {}", spec.log.display())))?,
        null: File::open("/dev/null").map_err(failed("open /dev/null".into()))?,
        mounts: HostMounts::new(layout, needed, spec.disks.clone(), spec.binds.clone()),
        groups,
        argv: spec.init.iter().map(|one| text(one)).collect::<Result<_, _>>()?,
        envp: env.iter().map(|(key, value)| text(&format!("{key}={value}"))).collect::<Result<_, _>>()?,
        listen_fds: spec.listen_fds.clone(),
    })
}

/// Names a step in its error.
fn step<T, E: Into<io::Error>>(name: &str, done: Result<T, E>) -> Result<T, String> {
    done.map_err(|error| format!("{name}: {}", error.into()))
}

fn say(pipe: &OwnedFd, line: &str) {
    let _ = nix::unistd::write(pipe, line.as_bytes());
}

/// The starter: says the pid of init, or what failed, and ends.
fn run_starter(prepared: &Prepared, pipe: OwnedFd) -> ! {
    // A panic must not unwind into the caller's code in a second process.
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        enter_namespaces(prepared)?;
        // SAFETY: the starter has one thread.
        match step("fork", unsafe { fork() })? {
            ForkResult::Parent { child } => Ok::<_, String>(child),
            ForkResult::Child => {
                let error = match become_init(prepared) {
                    Err(error) => error,
                    Ok(never) => match never {},
                };
                say(&pipe, &format!("error: {error}\n"));
                // SAFETY: ends this process only.
                unsafe { libc::_exit(1) }
            }
        }
    }));
    match outcome {
        Ok(Ok(child)) => say(&pipe, &format!("pid {child}\n")),
        Ok(Err(error)) => say(&pipe, &format!("error: {error}\n")),
        Err(_) => say(&pipe, "error: the starter panicked\n"),
    }
    // SAFETY: ends this process only, without running the caller's exit handlers.
    unsafe { libc::_exit(0) }
}

/// Control groups first, so that the cgroup namespace has the host's group as its root.
fn enter_namespaces(prepared: &Prepared) -> Result<(), String> {
    step("setsid", setsid())?;
    let groups = &prepared.groups;
    groups.join_self().map_err(|error| describe(&error))?;
    step("enter the network namespace", setns(&prepared.netns, CloneFlags::CLONE_NEWNET))?;
    let all = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWCGROUP
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    step("unshare", unshare(all))?;
    if matches!(groups.layout(), Layout::V2 { .. }) {
        // A v2 group with processes cannot hand controllers down: init lives in a leaf.
        let leaf = groups.child("init");
        let moved = leaf.create().and_then(|()| leaf.join_self());
        moved.map_err(|error| describe(&error))?;
        groups.delegate();
    }
    Ok(())
}

fn describe(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", describe(source)),
        None => error.to_string(),
    }
}

/// Pid 1 of the new host: mounts, name, descriptors, exec.
fn become_init(prepared: &Prepared) -> Result<std::convert::Infallible, String> {
    prepared.mounts.build().map_err(|error| describe(&error))?;
    step("set the host name", nix::unistd::sethostname(&prepared.hostname))?;
    step("setsid", setsid())?;
    step("chdir", chdir("/"))?;
    for (file, target) in [(&prepared.null, 0), (&prepared.log, 1), (&prepared.log, 2)] {
        // SAFETY: replaces a standard stream; the source is open.
        if unsafe { libc::dup2(file.as_raw_fd(), target) } < 0 {
            return Err(format!("set up a standard stream: {}", io::Error::last_os_error()));
        }
    }
    let mut moved = vec![0; prepared.listen_fds.len()];
    step("pass the sockets on", place_fds(&prepared.listen_fds, &mut moved))?;
    let beyond = 3 + u32::try_from(moved.len()).expect("few sockets");
    // SAFETY: marks descriptors close-on-exec; closes none before the exec.
    unsafe { libc::close_range(beyond, u32::MAX, libc::CLOSE_RANGE_CLOEXEC as i32) };
    step("clear the signal mask", sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None))?;
    // SAFETY: restores a default; no handler of ours is involved.
    step("reset SIGPIPE", unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) })?;
    let _ = crate::process::raise_file_limit();
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let _ = io::stdout().flush();
    let program = prepared.argv[0].clone();
    let failed = nix::unistd::execve(&program, &prepared.argv, &prepared.envp);
    let name = program.to_string_lossy().into_owned();
    step(&format!("run {name}"), failed)
}
