//! Hosts, containers and the shim on the real kernel. Needs root and runc.
//!
//! The test program starts itself again in the roles it needs: `init` (pid 1 of a host), `agent`
//! (starts a container, then is killed) and `shim`.
#![allow(clippy::unwrap_used)]

use std::ffi::OsString;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use pan_linux::cgroup::{CGROUP_ROOT, CgroupTree, Layout};
use pan_linux::hostns::{self, HostHandle, HostNsError, HostNsSpec};
use pan_linux::mount;
use pan_linux::oci::{ContainerSpec, ExitRecord, Runtime, ShimArgs, Status, Swap, Until, shim_main, spawn_shim};
use pan_linux::process::{PidFd, Reaper, Seen, is_running};

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let role = words.next().unwrap_or_default();
    match role.to_str() {
        Some("shim") => return shim_main(ShimArgs::parse(words).unwrap()),
        Some("init") => return init(),
        Some("agent") => return agent(words.collect()),
        Some("--list") => return ExitCode::SUCCESS,
        _ => {}
    }
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("SKIP: host tests need root");
        return ExitCode::SUCCESS;
    }
    let tests: [(&str, fn()); 4] = [
        ("a_host_is_a_closed_world", a_host_is_a_closed_world),
        ("a_container_outlives_its_agent", a_container_outlives_its_agent),
        ("a_power_cut_leaves_only_names", a_power_cut_leaves_only_names),
        ("pure_v2_groups", pure_v2_groups),
    ];
    for (name, test) in tests {
        let start = Instant::now();
        test();
        println!("test {name} ... ok ({} ms)", start.elapsed().as_millis());
    }
    ExitCode::SUCCESS
}

/// Pid 1 of the test host: reaps until SIGTERM.
fn init() -> ExitCode {
    let reaper = Reaper::new(&[Signal::SIGTERM]).unwrap();
    let stop = |seen: &Seen| matches!(seen, Seen::Signal(Signal::SIGTERM));
    pan_linux::process::reap_until(&reaper, Duration::from_secs(600), stop).unwrap();
    ExitCode::SUCCESS
}

/// Runs inside the host: mounts a root, starts a container through the shim, dies without a goodbye.
fn agent(words: Vec<OsString>) -> ExitCode {
    let mut words = words.into_iter().map(|word| word.into_string().unwrap());
    let id = words.next().unwrap();
    let command: Vec<String> = words.collect();
    let dir = PathBuf::from("/run/c").join(&id);
    for part in ["upper", "work", "root"] {
        std::fs::create_dir_all(dir.join(part)).unwrap();
    }
    let root = dir.join("root");
    mount::overlay(Path::new("/"), &dir.join("upper"), &dir.join("work"), &root).unwrap();
    let made = Command::new("ip").args(["netns", "add", &id]).status().unwrap();
    assert!(made.success());
    let spec = ContainerSpec {
        id: id.clone(),
        rootfs: root,
        hostname: id.clone(),
        command,
        env: vec![("GREETING".into(), "hello".into())],
        cwd: "/".into(),
        user: pan_linux::oci::Identity::default(),
        netns: format!("/run/netns/{id}").into(),
        cgroups_path: format!("/{id}"),
        cpu_shares: 512,
        cpu_max: None,
        memory_max: Some(64 << 20),
        pids_max: Some(50),
        masked: vec!["/root".into(), "/etc/shadow".into()],
        tmpfs: vec![],
        binds: vec![],
        terminal: false,
        users: None,
        swap: Swap::NotCounted,
    };
    spec.write_bundle(&dir.join("bundle")).unwrap();
    let exe = std::env::current_exe().unwrap();
    match spawn_shim(&exe, &shim_args(&id)) {
        Ok(()) => println!("started"),
        Err(error) => println!("{error}"),
    }
    nix::sys::signal::raise(Signal::SIGKILL).unwrap();
    unreachable!("it was killed");
}

fn shim_args(id: &str) -> ShimArgs {
    let dir = PathBuf::from("/run/c").join(id);
    ShimArgs {
        bundle: dir.join("bundle"),
        id: id.to_owned(),
        root: "/run/runc".into(),
        log: dir.join("log"),
        exit_file: dir.join("exit"),
        pid_file: dir.join("pid"),
        until: Until::Running,
    }
}

/// A host that is taken away again whatever the test does.
struct TestHost {
    name: String,
    handle: HostHandle,
    groups: CgroupTree,
    _listener: TcpListener,
    data: tempfile::TempDir,
}

impl TestHost {
    fn start(tag: &str) -> Self {
        let name = format!("pt{}-{tag}", std::process::id());
        run(&["ip", "netns", "add", &name]);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let exe = std::env::current_exe().unwrap();
        let data = tempfile::tempdir_in("/var/tmp").unwrap();
        let cgroup = PathBuf::from(format!("pan-test-{name}/h"));
        let handle = hostns::start(&HostNsSpec {
            hostname: name.clone(),
            netns: format!("/run/netns/{name}").into(),
            cgroup,
            init: vec![exe.display().to_string(), "init".into()],
            env: vec![("PATH".into(), std::env::var("PATH").unwrap())],
            listen_fds: vec![listener.as_raw_fd()],
            log: data.path().join("init.log"),
            disks: Vec::new(),
            binds: vec![(data.path().to_path_buf(), "/srv".into())],
        })
        .unwrap();
        let layout = Layout::detect(Path::new(CGROUP_ROOT)).unwrap();
        Self { groups: CgroupTree::new(layout, format!("pan-test-{name}")), name, handle, _listener: listener, data }
    }

    fn enter(&self, argv: &[&str]) -> Command {
        hostns::enter(self.handle.init_pid, argv).unwrap()
    }

    fn output(&self, argv: &[&str]) -> String {
        let output = self.enter(argv).output().unwrap();
        assert!(output.status.success(), "{argv:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Starts a container by an agent that is killed right after, and returns what the agent had said.
    fn container(&self, id: &str, command: &[&str]) -> String {
        let exe = std::env::current_exe().unwrap();
        let mut argv = vec![exe.to_str().unwrap(), "agent", id];
        argv.extend(command);
        let agent = self.enter(&argv).stderr(Stdio::inherit()).output().unwrap();
        assert_eq!(agent.status.signal(), Some(9), "{agent:?}");
        String::from_utf8(agent.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for TestHost {
    fn drop(&mut self) {
        self.groups.kill_all(Duration::from_secs(10)).unwrap();
        self.groups.remove_recursive(Duration::from_secs(5)).unwrap();
        run(&["ip", "netns", "del", &self.name]);
        assert!(!self.groups.exists());
    }
}

fn run(argv: &[&str]) {
    assert!(Command::new(argv[0]).args(&argv[1..]).status().unwrap().success(), "{argv:?}");
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < deadline, "not within 10 s: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn a_host_is_a_closed_world() {
    let host = TestHost::start("world");
    assert_eq!(host.output(&["hostname"]), host.name);
    assert!(host.output(&["readlink", "/proc/1/fd/3"]).starts_with("socket:"));
    assert_eq!(host.output(&["sh", "-c", "tr '\\0' '\\n' </proc/1/environ | grep LISTEN"]), "LISTEN_FDS=1");
    assert_eq!(host.output(&["ls", "/run/netns"]), "");
    assert_eq!(host.output(&["sh", "-c", "ls /sys/class/net"]), "lo");
    assert_eq!(host.output(&["sh", "-c", "echo x >/srv/seen; ls /srv"]), "init.log\nseen");
    assert!(host.data.path().join("seen").exists());
    let groups = host.output(&["cat", "/proc/self/cgroup"]);
    assert!(groups.lines().all(|line| line.ends_with(":/") || line.ends_with(":/init")), "{groups}");
    let mounts = host.output(&["cat", "/proc/self/mountinfo"]);
    assert!(!mounts.contains(&format!("/run/netns/{}", host.name)), "{mounts}");
    let code = host.enter(&["sh", "-c", "exit 5"]).status().unwrap();
    assert_eq!(code.code(), Some(5));
    assert!(host.enter(&["/no/such/program"]).status().is_err());

    host.groups.freeze().unwrap();
    assert!(host.groups.is_frozen());
    let refused = hostns::enter(host.handle.init_pid, &["true"]);
    assert!(matches!(refused, Err(HostNsError::Frozen(_))));
    host.groups.thaw().unwrap();
    assert_eq!(host.output(&["echo", "awake"]), "awake");
    assert!(host.groups.usage().unwrap().memory_bytes > 0);
}

fn a_container_outlives_its_agent() {
    let host = TestHost::start("agent");
    let script = "trap 'exit 7' TERM; echo $GREETING from $(hostname); ls /root | wc -l; \
                  cat /etc/shadow | wc -c; while :; do sleep 0.02; done";
    assert_eq!(host.container("c1", &["sh", "-c", script]), "started");

    let inside = Path::new("/proc").join(host.handle.init_pid.to_string()).join("root");
    let seen = |path: &Path| inside.join(path.strip_prefix("/").unwrap());
    let files = shim_args("c1");
    wait_for("its output", || {
        let text = std::fs::read_to_string(seen(&files.log)).unwrap_or_default();
        text.lines().count() == 3
    });
    let log = std::fs::read_to_string(seen(&files.log)).unwrap();
    assert_eq!(log, "hello from c1\n0\n0\n");
    assert_limits(&host.name);
    assert_eq!(host.output(&["runc", "exec", "c1", "hostname"]), "c1");
    assert_eq!(ExitRecord::read(&seen(&files.exit_file)).unwrap(), None);

    host.output(&["runc", "kill", "c1", "TERM"]);
    wait_for("its exit record", || ExitRecord::read(&seen(&files.exit_file)).unwrap().is_some());
    let record = ExitRecord::read(&seen(&files.exit_file)).unwrap().unwrap();
    assert_eq!((record.code, record.signal), (Some(7), None));

    let failure = host.container("c2", &["/no/such/program"]);
    assert!(failure.contains("start of container c2 failed"), "{failure}");
    assert!(failure.contains("no such file"), "{failure}");
}

/// The limits of container `c1` as the machine's own control groups have them.
fn assert_limits(host: &str) {
    let base = format!("pan-test-{host}/h/c1");
    let root = Path::new(CGROUP_ROOT);
    let (memory, pids) = match Layout::detect(root).unwrap() {
        Layout::V2 { .. } => (root.join(&base).join("memory.max"), root.join(&base).join("pids.max")),
        Layout::Hybrid { .. } => {
            (root.join("memory").join(&base).join("memory.limit_in_bytes"), root.join("pids").join(&base).join("pids.max"))
        }
    };
    assert_eq!(std::fs::read_to_string(memory).unwrap().trim(), (64 << 20).to_string());
    assert_eq!(std::fs::read_to_string(pids).unwrap().trim(), "50");
}

fn a_power_cut_leaves_only_names() {
    let host = TestHost::start("power");
    for id in ["c1", "c2"] {
        assert_eq!(host.container(id, &["sleep", "600"]), "started");
    }
    let all = host.groups.procs();
    assert!(all.len() >= 5, "init, two shims, two containers: {all:?}");
    let init = PidFd::open(host.handle.init_pid).unwrap();
    init.kill(Signal::SIGKILL).unwrap();
    host.groups.wait_until_empty(Duration::from_secs(10)).unwrap();
    wait_for("every process to be dead", || !all.iter().any(|pid| is_running(*pid)));
    assert!(matches!(hostns::enter(host.handle.init_pid, &["true"]), Err(HostNsError::NotRunning(_))));
}

/// Where the machine itself is hybrid, its bare v2 stands in for a pure one.
fn pure_v2_groups() {
    let layout = Layout::detect(Path::new(CGROUP_ROOT)).unwrap();
    let unified = Layout::V2 { root: layout.unified().expect("cgroup v2 is mounted") };
    let tree = CgroupTree::new(unified, format!("pan-test-{}-v2/a", std::process::id()));
    tree.create().unwrap();
    tree.create().unwrap();
    let mut sleeper = Command::new("sleep").arg("600").spawn().unwrap();
    let pid = i32::try_from(sleeper.id()).unwrap();
    let leaf = tree.child("leaf");
    leaf.create().unwrap();
    leaf.join(pid).unwrap();
    assert_eq!(tree.procs(), [pid]);
    tree.freeze().unwrap();
    assert!(leaf.is_frozen());
    tree.kill_all(Duration::from_secs(5)).unwrap();
    sleeper.wait().unwrap();
    let top = CgroupTree::new(tree.layout().clone(), format!("pan-test-{}-v2", std::process::id()));
    top.remove_recursive(Duration::from_secs(5)).unwrap();
    assert!(!top.exists());
    let _ = (Runtime::default(), Status::Running);
}
