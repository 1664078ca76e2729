//! Labs for tests: unique, side by side, gone when the test ends however it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use pan_linux::netns::Netns;
use pan_model::{ByteSize, Cpu};

use crate::error::LabError;
use crate::heir::Heir;
use crate::lab::Lab;
use crate::name::{HostKind, LabHost, LabName};
use crate::spec::LabSpec;
use crate::view::Power;

/// Where test labs keep their data, each in a folder of its own.
const DATA: &str = "/var/tmp/pan-lab";

/// The `pan` program to test: `PAN_EXE`, else `pan` beside or above the running test program.
///
/// # Errors
/// There is none; the message says how to get one.
pub fn exe() -> Result<PathBuf, LabError> {
    if let Some(path) = std::env::var_os("PAN_EXE") {
        return Ok(path.into());
    }
    let test = std::env::current_exe().map_err(LabError::file("find", "this program".as_ref()))?;
    let found = test.ancestors().skip(1).take(3).map(|dir| dir.join("pan")).find(|path| path.is_file());
    found.ok_or_else(|| LabError::Spec {
        field: "PAN_EXE",
        problem: format!("no program `pan` near {}; build it (cargo build -p pan) or set PAN_EXE", test.display()),
    })
}

/// Whether labs can be made here; says why not on standard error.
pub fn can_run() -> bool {
    let root = nix::unistd::Uid::effective().is_root();
    if !root {
        eprintln!("SKIP: laboratory tests need root");
    }
    root
}

/// What most tests want: four nodes, two directors, one controller, no link to the machine, with a
/// name and a place nobody else has.
pub fn spec() -> Result<LabSpec, LabError> {
    spec_with(exe()?)
}

/// The same with another program in the place of `pan`.
pub fn spec_with(exe: PathBuf) -> Result<LabSpec, LabError> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name: LabName = format!("t{}x{number}", std::process::id()).parse()?;
    Ok(LabSpec {
        data: Path::new(DATA).join(name.as_str()),
        name,
        nodes: 4,
        storage: 0,
        directors: 2,
        controllers: 1,
        profile: "shared".to_owned(),
        node_cpu: Cpu(4000),
        node_memory: ByteSize(4 << 30),
        labels: BTreeMap::new(),
        in_the_clear: BTreeSet::new(),
        gate: None,
        machine_link: false,
        exe,
    })
}

/// What a lab of this name has left anywhere.
pub fn leftovers(name: &str, data: &Path) -> Vec<String> {
    let mut left = Vec::new();
    let lines = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    left.extend(lines.lines().filter(|line| line.contains(name)).map(str::to_owned));
    left.extend(Netns::list().unwrap_or_default().into_iter().filter(|netns| netns.contains(name)));
    for entry in std::fs::read_dir("/sys/block").into_iter().flatten().flatten() {
        let backing = std::fs::read_to_string(entry.path().join("loop/backing_file")).unwrap_or_default();
        left.extend(backing.contains(name).then(|| format!("{}: {backing}", entry.path().display())));
    }
    match Command::new("find").args(["/sys/fs/cgroup", "-name", &format!("*{name}*")]).output() {
        Ok(groups) => left.extend(String::from_utf8_lossy(&groups.stdout).lines().map(str::to_owned)),
        Err(error) => left.push(format!("control groups were not looked for: {error}")),
    }
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let mark = format!("PAN_LAB={name}");
        if environment.split(|b| *b == 0).any(|one| one == mark.as_bytes()) {
            left.push(format!("process {}", entry.file_name().display()));
        }
    }
    left.extend(data.exists().then(|| data.display().to_string()));
    left
}

/// Whether laboratories of tests are left running, for a look.
fn is_kept() -> bool {
    std::env::var_os("PAN_KEEP").is_some()
}

/// A lab that lives as long as this value.
#[derive(Debug)]
pub struct TestLab {
    lab: Lab,
    exe: PathBuf,
    /// Until the laboratory is gone or kept.
    heir: Option<Heir>,
}

impl TestLab {
    /// Brings up what [`spec`] says.
    pub fn up() -> Result<Self, LabError> {
        Self::with(spec()?)
    }

    /// Brings up a lab. With `PAN_KEEP` set it is left running at the end, for a look.
    pub fn with(spec: LabSpec) -> Result<Self, LabError> {
        let (exe, name) = (spec.exe.clone(), spec.name.clone());
        let heir = if is_kept() { None } else { Some(Heir::of(&exe, &name)?) };
        match Lab::up(spec, &mut |_| {}) {
            Ok(lab) => Ok(Self { lab, exe, heir }),
            Err(error) => {
                let _ = Lab::down(&name);
                heir.into_iter().for_each(Heir::dismiss);
                Err(error)
            }
        }
    }

    /// Runs a command in the client outside and waits for it.
    pub fn exec_outside(&self, argv: &[&str]) -> Result<Output, LabError> {
        self.exec_in(LabHost::OUTSIDE, argv)
    }

    /// Runs a command in a host and waits for it.
    pub fn exec_in(&self, host: LabHost, argv: &[&str]) -> Result<Output, LabError> {
        let mut command = self.lab.exec(host, argv)?;
        command.output().map_err(LabError::kernel(format!("run {argv:?} in {host}")))
    }

    /// Prepares the command line tool with this lab as its context, whatever the user's are.
    pub fn pan_command(&self, arguments: &[&str]) -> Result<Command, LabError> {
        let given = self.lab.credentials()?;
        let mut command = Command::new(&self.exe);
        command
            .args(arguments)
            .env("PAN_URL", given.url)
            .env("PAN_TOKEN", given.token)
            .env("PAN_CA", given.ca_file)
            .env("PAN_LAB", self.lab.name().as_str())
            .env("XDG_CONFIG_HOME", self.lab.data().join("config-of-nobody"));
        Ok(command)
    }

    /// Runs the command line tool and waits for it.
    pub fn pan(&self, arguments: &[&str]) -> Result<Output, LabError> {
        let mut command = self.pan_command(arguments)?;
        command.output().map_err(LabError::kernel(format!("run pan {arguments:?}")))
    }

    /// Waits until the controller answers and counts every powered node as alive.
    pub fn wait_ready(&self, timeout: Duration) -> Result<(), LabError> {
        self.wait_alive(HostKind::Node, "node", timeout)?;
        self.wait_alive(HostKind::Storage, "host", timeout)
    }

    /// Waits until the controller takes all hosts of a kind that have power for alive.
    fn wait_alive(&self, kind: HostKind, listed: &str, timeout: Duration) -> Result<(), LabError> {
        let hosts = self.lab.hosts()?;
        let powered: Vec<String> =
            hosts.iter().filter(|host| host.role == kind.as_str() && host.power == Power::On).map(|host| host.name.to_string()).collect();
        self.wait_for(&format!("every {kind} alive", kind = kind.as_str()), timeout, |lab| {
            let Ok(output) = lab.pan(&["get", listed, "-o", "json"]) else {
                return false;
            };
            let shown: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap_or_default();
            powered.iter().all(|name| shown.iter().any(|host| host["name"] == name.as_str() && host["state"] == "alive"))
        })
    }

    /// Waits until `done` holds, looking every 10 ms. A failure shows the ends of all logs.
    pub fn wait_for(&self, what: &str, timeout: Duration, mut done: impl FnMut(&Self) -> bool) -> Result<(), LabError> {
        let deadline = Instant::now() + timeout;
        while !done(self) {
            if Instant::now() >= deadline {
                return Err(LabError::TimedOut { what: what.to_owned(), seconds: timeout.as_secs(), hint: format!("\n{}", self.logs()) });
            }
            sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// The last lines of every log of every host.
    pub fn logs(&self) -> String {
        let mut text = String::new();
        let hosts = std::fs::read_dir(self.lab.data().join("hosts")).into_iter().flatten().flatten();
        for host in hosts {
            let logs = std::fs::read_dir(host.path().join("log")).into_iter().flatten().flatten();
            for log in logs {
                let content = std::fs::read_to_string(log.path()).unwrap_or_default();
                let lines: Vec<&str> = content.lines().collect();
                let tail = lines[lines.len().saturating_sub(15)..].join("\n");
                text.push_str(&format!("--- {}\n{tail}\n", log.path().display()));
            }
        }
        text
    }
}

impl std::ops::Deref for TestLab {
    type Target = Lab;
    fn deref(&self) -> &Lab {
        &self.lab
    }
}

impl Drop for TestLab {
    fn drop(&mut self) {
        self.end();
        self.heir.take().into_iter().for_each(Heir::dismiss);
    }
}

impl TestLab {
    fn end(&self) {
        let name = self.lab.name();
        if std::thread::panicking() {
            eprintln!("laboratory {name}, logs:\n{}", self.logs());
        }
        if is_kept() {
            eprintln!("laboratory {name} was kept; `pan down --name {name}` removes it");
            return;
        }
        if let Err(error) = Lab::down(name) {
            eprintln!("laboratory {name}: {}", error.chain());
            return;
        }
        // What tests wrote beside the lab's own files.
        if self.lab.data().parent() == Some(Path::new(DATA)) {
            let _ = std::fs::remove_dir_all(self.lab.data());
        }
    }
}
