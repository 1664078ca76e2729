//! Beat processes that hand over, are killed and are stopped at every step, with a lessor that grants their lease and a
//! gate that must not shut while one of them lives.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::Pid;
use pan_linux::datagram::{BeatSocket, Waker, wait};
use pan_linux::gate::{Gate, GateKind};
use pan_linux::mount::{self, Busy};
use pan_linux::netns::Netns;
use pan_linux::realtime::{schedule_fifo, since_boot};
use pan_linux::seqpacket::Connection;
use pan_member::frame::{FRAME_BYTES_MAX, Key};
use pan_member::wire::{ACK_BYTES_MAX, encode_ack};
use pan_member::{Ack, Admission, Frame, Term, Verdict};
use pan_model::host_config::HostConfig;

use super::entry::answer;
use super::message::{Answer, Request, decode, encode};
use super::steps::Step;
use crate::beat::heart::tests::config;
use crate::beat::run::run_on;
use crate::beat::{Way, keep};
use crate::boot::Mark;
use crate::paths::{admission_file, beat_socket, gate_dir};

/// Of the profile `shared`: a machine that tests other things at the time is late by less than this.
const PERIOD: Duration = Duration::from_millis(100);
const LEASE: Duration = Duration::from_millis(600);
const DEADLINE: Duration = Duration::from_secs(20);

/// A host's folder, what is heard of it, and its gate.
struct Bench {
    dir: tempfile::TempDir,
    ear: BeatSocket,
    port: u16,
    waker: Waker,
    key: Key,
    gate: Gate,
    heard: Vec<Heard>,
}

#[derive(Debug, Clone, Copy)]
struct Heard {
    boot: u64,
    sequence: u64,
    /// By the kernel: this process may be late itself.
    at: Duration,
    shut: bool,
}

impl Bench {
    fn new() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("SKIP: handing over needs root, for the gate");
            return None;
        }
        // For the gate's file system; children have the same.
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount::make_private(Path::new("/")).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (mut config, key) = config(dir.path());
        let lessor = r#"{"name": "l1", "address": "127.0.0.1", "a": "127.0.0.1", "b": "127.0.0.1"}"#;
        config.controllers = Vec::new();
        config.lessors = vec![serde_json::from_str(lessor).unwrap()];
        config.profile = "shared".to_owned();
        fs::write(dir.path().join("host.json"), serde_json::to_string(&config).unwrap()).unwrap();
        Mark::open(&admission_file(dir.path())).unwrap().set(1).unwrap();
        let ear = UdpSocket::bind("127.0.0.1:0").unwrap();
        setsockopt(&ear, sockopt::ReceiveTimestampns, &true).unwrap();
        let (port, ear) = (ear.local_addr().unwrap().port(), BeatSocket::adopt(ear.into()));
        // As a lessor has it: a lease that is granted late is a shut gate.
        if let Err(error) = schedule_fifo(10) {
            eprintln!("no real-time scheduling ({error}): this may be late on a loaded machine");
        }
        let gate = Gate::open_as(GateKind::Bpf, &gate_dir(dir.path()), &Netns::current().unwrap()).unwrap();
        Some(Self { dir, ear, port, waker: Waker::new().unwrap(), key, gate, heard: Vec::new() })
    }

    /// A beat process that dies, or stops, at a step.
    fn start(&self, way: &Way, fault: Option<(&str, Step)>) -> Process {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "--ignored", "beat::handover::tests::beat_process"]);
        command.env("PAN_TEST_DIR", self.dir.path()).env("PAN_TEST_PORT", self.port.to_string());
        command.env("PAN_TEST_SUCCEED", if *way == Way::Successor { "yes" } else { "no" });
        if let Some((variable, step)) = fault {
            command.env(variable, format!("{step:?}"));
        }
        Process(command.stdout(Stdio::null()).spawn().unwrap())
    }

    /// Grants the lease of what comes in, until something holds of the heartbeats heard and the time.
    fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let give_up = Instant::now() + DEADLINE;
        while !holds(self) {
            assert!(Instant::now() < give_up, "not within {DEADLINE:?}: {what}");
            self.hear();
        }
    }

    fn hear(&mut self) {
        let mut datagram = [0; FRAME_BYTES_MAX];
        let Some(arrived) = self.ear.receive(&mut datagram).unwrap() else {
            return wait([&self.ear], &self.waker, PERIOD / 10).unwrap();
        };
        let frame = Frame::decode(&datagram[..arrived.bytes], |_| Some(self.key)).unwrap();
        self.grant(&frame, arrived.from.unwrap());
        if frame.fabric == pan_model::host::Fabric::A {
            let shut = !self.gate.is_open().unwrap();
            self.heard.push(Heard { boot: frame.boot.0, sequence: frame.sequence, at: Duration::from_nanos(arrived.at), shut });
        }
    }

    fn grant(&self, frame: &Frame, to: SocketAddr) {
        let Frame { boot, sequence, fabric, admission, .. } = frame;
        assert_eq!(*admission, Admission(1), "the number goes along");
        let lessor = "l1".parse().unwrap();
        let ack = Ack {
            lessor,
            term: Term(1),
            boot: *boot,
            sequence: *sequence,
            fabric: *fabric,
            admission: *admission,
            verdict: Verdict::Granted,
        };
        let mut out = [0; ACK_BYTES_MAX];
        let length = encode_ack(&ack, &self.key, &mut out);
        let _ = self.ear.send(&out[..length], to);
    }

    fn more(&mut self, count: usize) {
        let before = self.heard.len();
        self.until("more heartbeats", |bench| bench.heard.len() >= before + count);
    }

    /// One boot, numbers that only grow, no silence longer than that, and from the first opening on an open gate.
    fn check(&self, silence_max: Duration, what: &str) {
        let opened = self.heard.iter().position(|heard| !heard.shut).unwrap();
        for pair in self.heard.windows(2) {
            assert!(pair[0].boot == pair[1].boot && pair[0].sequence < pair[1].sequence, "{what}: {pair:?}");
        }
        for pair in self.heard[opened..].windows(2) {
            let silence = pair[1].at - pair[0].at;
            assert!(silence <= silence_max, "{what}: silent for {silence:?}: {pair:?}");
            assert!(silence_max > LEASE || !pair[1].shut, "{what}: the gate shut");
        }
    }

    /// The numbers since the one heard at that place follow each other.
    fn counts_on(&self, from: usize) -> bool {
        self.heard[from..].windows(2).all(|pair| pair[0].sequence + 1 == pair[1].sequence)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = mount::unmount(&gate_dir(self.dir.path()), Busy::Detach);
    }
}

struct Process(Child);

impl Process {
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().cast_signed()), signal).unwrap();
    }

    /// What it ended with; `None` while it runs.
    fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.0.try_wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The beat process of the following tests.
#[test]
#[ignore = "started by other tests in a process of its own"]
fn beat_process() {
    let Some(dir) = std::env::var_os("PAN_TEST_DIR") else { return };
    let port: u16 = std::env::var("PAN_TEST_PORT").unwrap().parse().unwrap();
    let way = if std::env::var("PAN_TEST_SUCCEED").unwrap() == "yes" { Way::Successor } else { Way::Supervised };
    let path = Path::new(&dir).join("host.json");
    let config: HostConfig = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    run_on(&config, &path, &way, [port; 3]).unwrap();
}

#[test]
fn a_chain_of_processes_beats_as_one() {
    let Some(mut bench) = Bench::new() else { return };
    let mut last = bench.start(&Way::Supervised, None);
    bench.more(5);
    let first = bench.heard.len() - 1;
    for way in [Way::Successor, Way::Supervised, Way::Supervised] {
        let next = bench.start(&way, None);
        let mut former = std::mem::replace(&mut last, next);
        bench.until("the former one ends", |_| former.ended().is_some());
        assert!(former.ended().unwrap().success());
        bench.more(5);
    }
    bench.check(PERIOD * 2 + PERIOD / 2, "a chain");
    assert!(bench.counts_on(first), "{:?}", bench.heard);
}

#[test]
fn whichever_process_dies_at_whichever_step_the_host_beats_on() {
    let Some(mut bench) = Bench::new() else { return };
    let die = "PAN_TEST_DIE_AT";
    let cases = [
        (Some((die, Step::Applied)), None),
        (Some((die, Step::Stopped)), None),
        (Some((die, Step::Handed)), None),
        (Some((die, Step::Relieved)), None),
        (None, Some((die, Step::Received))),
        (None, Some(("PAN_TEST_STOP_AT", Step::Received))),
        (None, Some((die, Step::Said))),
        (None, Some((die, Step::Sent))),
    ];
    for (former_fault, next_fault) in cases {
        let what = format!("former {former_fault:?}, next {next_fault:?}");
        bench.heard.clear();
        let mut former = bench.start(&Way::Supervised, former_fault);
        bench.more(5);
        let mut next = bench.start(&Way::Successor, next_fault);
        let nobody_left = matches!(next_fault, Some((_, Step::Said | Step::Sent)));
        let left = 1 - usize::from(nobody_left);
        bench.until(&what, |_| [&mut former, &mut next].into_iter().filter_map(|process| process.ended()).count() == 2 - left);
        // Whoever keeps roles running starts one when there is none.
        let third = nobody_left.then(|| bench.start(&Way::Supervised, None));
        bench.more(5);
        let stopped = matches!(next_fault, Some(("PAN_TEST_STOP_AT", _)));
        let silence = match (nobody_left, stopped) {
            // A process takes its time to start, and the lease may run out meanwhile; what is handed over does not wait.
            (true, _) => DEADLINE,
            // One period since the last heartbeat, and the former one's patience.
            (false, true) => PERIOD * 3 + PERIOD / 2,
            (false, false) => PERIOD * 2 + PERIOD / 2,
        };
        bench.check(silence, &what);
        let resumed = matches!(next_fault, Some((_, Step::Received)));
        assert_eq!(former.ended().is_none(), resumed, "{what}: only before it was relieved does the former one go on");
        drop((former, next, third));
    }
}

#[test]
fn a_successor_that_is_stopped_after_it_took_over_lets_the_lease_run_out_and_then_goes_on() {
    let Some(mut bench) = Bench::new() else { return };
    let mut former = bench.start(&Way::Supervised, None);
    bench.more(5);
    let next = bench.start(&Way::Successor, Some(("PAN_TEST_STOP_AT", Step::Said)));
    bench.until("the former one ends", |_| former.ended().is_some());
    bench.until("the gate shuts by itself", |bench| !bench.gate.is_open().unwrap());
    let shut_at = bench.gate.deadline().unwrap();
    next.signal(Signal::SIGCONT);
    bench.until("it opens again", |bench| bench.gate.is_open().unwrap());
    assert!(bench.gate.deadline().unwrap() > since_boot() && shut_at < since_boot());
    bench.more(3);
    for pair in bench.heard.windows(2) {
        assert!(pair[0].sequence < pair[1].sequence, "{pair:?}");
    }
}

#[test]
fn whoever_is_not_understood_or_configured_otherwise_takes_nothing_over() {
    let Some(mut bench) = Bench::new() else { return };
    let mut former = bench.start(&Way::Supervised, None);
    bench.more(3);
    let say = |words: &[u8]| {
        let connection = Connection::to(&beat_socket(bench.dir.path())).unwrap();
        connection.send(words, &[]).unwrap();
        decode::<Answer>(&answer(&connection, DEADLINE).unwrap().unwrap().0).unwrap()
    };
    let refusal = say(br#"{"format":9,"say":"apply","more":"than anybody knows"}"#);
    assert!(matches!(&refusal, Answer::Refused { why } if why.contains("format 9")), "{refusal:?}");
    let program = bench.dir.path().join("no-such-program");
    assert_eq!(say(&encode(&Request::Replace { program })), Answer::Starting, "that it cannot be started is told in the log");
    assert!(matches!(say(&encode(&Request::Who)), Answer::InOffice { pid, .. } if pid == former.0.id()));

    let path = bench.dir.path().join("host.json");
    let told = fs::read_to_string(&path).unwrap();
    fs::write(&path, told.replace("127.0.0.3/8", "127.0.0.4/8")).unwrap();
    let mut refused = bench.start(&Way::Successor, None);
    bench.until("it ends", |_| refused.ended().is_some());
    assert!(!refused.ended().unwrap().success());
    let waits = bench.start(&Way::Supervised, None);
    bench.more(5);
    assert!(former.ended().is_none());
    bench.check(PERIOD * 3, "refused");
    former.signal(Signal::SIGKILL);
    bench.more(5);
    drop(waits);
}

#[test]
fn one_process_at_a_time_has_a_lessors_file() {
    let dir = tempfile::tempdir().unwrap();
    let waker = pan_linux::datagram::Waker::new().unwrap();
    let mut former = keep::Keeper::prepare(dir.path(), waker.clone()).unwrap();
    former.open().unwrap();
    let lock = || fs::OpenOptions::new().write(true).open(dir.path().join("lessor").join("lock")).unwrap();
    assert!(lock().try_lock().is_err());
    let mut next = keep::Keeper::prepare(dir.path(), waker).unwrap();
    next.adopt(former.lock().unwrap().try_clone_to_owned().unwrap());
    drop(former);
    assert!(lock().try_lock().is_err(), "the next one has it");
    drop(next);
    assert!(lock().try_lock().is_ok());
}
