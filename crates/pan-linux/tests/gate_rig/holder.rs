//! A process that holds a gate's lease, is told when to renew or reopen it, and can be stopped at any instruction.
#![allow(unsafe_code)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use pan_linux::gate::{Gate, GateKind, Renewal};
use pan_linux::netns::Netns;

use crate::net_rig::Space;

const ROLE: &str = "PAN_TEST_GATE_HOLDER";

/// The other process. It is killed with this value.
pub struct Holder {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    thread: libc::pid_t,
    seized: bool,
}

impl Holder {
    /// Starts this test program again; `entry` is the test that calls [`serve`].
    pub fn start(entry: &str, space: &Space, kind: GateKind, dir: &Path) -> Holder {
        let spawn = || {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", entry, "--nocapture", "--test-threads=1"])
                .env(ROLE, format!("{kind} {}", dir.display()))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        };
        let mut child = space.netns.run(spawn).unwrap();
        let (orders, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut holder = Holder { child, orders, answers, thread: 0, seized: false };
        holder.thread = holder.answer("thread").parse().unwrap();
        holder
    }

    /// Tells it what to do with the gate, until then.
    pub fn order(&mut self, order: Order, until: Duration) {
        writeln!(self.orders, "{order:?} {}", until.as_nanos()).unwrap();
    }

    /// What became of that.
    pub fn outcome(&mut self) -> Renewal {
        match self.answer("renewal").as_str() {
            "Renewed" => Renewal::Renewed,
            "Expired" => Renewal::Expired,
            other => panic!("{other}"),
        }
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        if self.seized {
            // A process is not gone before its tracer has taken note of each traced thread's end.
            // SAFETY: no status is asked for.
            unsafe { libc::waitpid(self.thread, std::ptr::null_mut(), libc::__WALL) };
        }
        self.child.wait().unwrap();
    }

    /// The rest of the next line that has this word and a colon; the test harness may write before it.
    fn answer(&mut self, word: &str) -> String {
        let wanted = format!("{word}: ");
        loop {
            let mut line = String::new();
            assert!(self.answers.read_line(&mut line).unwrap() > 0, "the holder ended");
            if let Some((_, rest)) = line.split_once(&wanted) {
                return rest.trim().to_owned();
            }
        }
    }

    /// Becomes its tracer. The calling thread has to make all the calls that follow.
    pub fn seize(&mut self) {
        // SAFETY: no addresses are passed.
        let done = unsafe { libc::ptrace(libc::PTRACE_SEIZE, self.thread, 0, 0) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
        self.seized = true;
    }

    /// Lets it run on, to the next signal or less far; returns the signal it stopped with.
    pub fn resume(&self, how: Resume) -> libc::c_int {
        let request = match how {
            Resume::Run => libc::PTRACE_CONT,
            Resume::Step => libc::PTRACE_SINGLESTEP,
            Resume::SystemCall => libc::PTRACE_SYSCALL,
        };
        // SAFETY: no addresses are passed; the last argument says that no signal is delivered.
        let done = unsafe { libc::ptrace(request, self.thread, 0, 0) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
        self.stopped()
    }

    /// Waits until it stops.
    pub fn stopped(&self) -> libc::c_int {
        let mut status = 0;
        // SAFETY: the status outlives the call.
        let got = unsafe { libc::waitpid(self.thread, &raw mut status, libc::__WALL) };
        assert!(got == self.thread && libc::WIFSTOPPED(status), "{status:#x}: {}", std::io::Error::last_os_error());
        libc::WSTOPSIG(status)
    }

    /// Lets it run on untraced signals apart, without waiting for a stop.
    pub fn release(&self) {
        // SAFETY: no addresses are passed.
        let done = unsafe { libc::ptrace(libc::PTRACE_CONT, self.thread, 0, 0) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    }
}

/// What a holder does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Renew,
    Reopen,
}

/// How [`Holder::resume`] goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    Run,
    /// For one instruction.
    Step,
    /// To the next beginning or end of a system call.
    SystemCall,
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Signals of [`serve`], just before and just after a renewal. Only a tracer survives them.
pub const BEFORE: libc::c_int = libc::SIGUSR1;
pub const AFTER: libc::c_int = libc::SIGUSR2;

/// The other process: renews when told. False if this process was not started for that.
pub fn serve() -> bool {
    let Ok(role) = std::env::var(ROLE) else { return false };
    let (kind, dir) = role.split_once(' ').unwrap();
    let kind = if kind == "bpf" { GateKind::Bpf } else { GateKind::NftSet };
    let gate = Gate::open_as(kind, Path::new(dir), &Netns::current().unwrap()).unwrap();
    println!("thread: {}", nix::unistd::gettid());
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let (order, until) = line.split_once(' ').unwrap();
        let order = if order == "Renew" { Order::Renew } else { Order::Reopen };
        println!("renewal: {:?}", between_signals(&gate, order, Duration::from_nanos(until.parse().unwrap())));
    }
    true
}

fn between_signals(gate: &Gate, order: Order, until: Duration) -> Renewal {
    let tell = |signal| nix::sys::signal::raise(nix::sys::signal::Signal::try_from(signal).unwrap()).unwrap();
    let traced = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let traced = !traced.contains("TracerPid:\t0");
    if traced {
        tell(BEFORE);
    }
    let outcome = match order {
        Order::Renew => gate.renew(until).unwrap(),
        Order::Reopen => gate.reopen(until).map(|()| Renewal::Renewed).unwrap(),
    };
    if traced {
        tell(AFTER);
    }
    outcome
}
