//! One path in every hierarchy: make it, join it, freeze it, kill all in it, remove it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::files::{depth_first, failed, make_dir, pids, read, write};
use super::{CgroupError, Hierarchy, Layout};
use crate::process::{is_running, start_time};

/// How often a condition is looked at again while waiting; the kernel offers no event for these.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// Freezing waits for every task to reach a stopping point; one in a long disk wait may take a while.
const FREEZE_WAIT: Duration = Duration::from_secs(5);

/// What a control group has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Processor time since the group was made, microseconds.
    pub cpu_usec: u64,
    /// Memory charged now, bytes.
    pub memory_bytes: u64,
}

/// A control group of the same path in every hierarchy. The value is only a name: dropping it
/// removes nothing.
#[derive(Debug, Clone)]
pub struct CgroupTree {
    pub(super) layout: Layout,
    pub(super) path: PathBuf,
}

impl CgroupTree {
    /// Names the group `path` (relative, empty for the root the caller sees). Touches nothing.
    pub fn new(layout: Layout, path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        let path = path.strip_prefix("/").unwrap_or(path).to_path_buf();
        Self { layout, path }
    }

    /// Makes it, with its parents, ready to take processes: v1 cpusets get their parent's processors
    /// (an empty one refuses processes), v2 parents hand all their controllers down. Repeatable.
    pub fn create(&self) -> Result<(), CgroupError> {
        for hierarchy in self.layout.hierarchies() {
            let mut dir = hierarchy.dir.clone();
            for part in &self.path {
                if hierarchy.v1_options.is_none() {
                    hand_down_controllers(&dir);
                }
                let parent = dir.clone();
                dir.push(part);
                make_dir(&dir)?;
                if hierarchy.has("cpuset") {
                    inherit_cpuset(&parent, &dir)?;
                }
            }
        }
        Ok(())
    }

    /// Lets groups beneath this one use all controllers (v2 only; v1 needs nothing). No process may
    /// sit in the group itself then, except in the root of the machine.
    pub fn delegate(&self) {
        if let Layout::V2 { root } = &self.layout {
            hand_down_controllers(&root.join(&self.path));
        }
    }

    /// Lets the group's processes use real-time scheduling for `runtime` in every `period`, where the kernel rations
    /// it per group (v1 with `CONFIG_RT_GROUP_SCHED`, where a new group has none). Returns whether it may be used;
    /// the parent must have been allowed at least the sum of its children.
    pub fn allow_realtime(&self, runtime: Duration, period: Duration) -> bool {
        let cpu = self.layout.hierarchies().into_iter().find(|hierarchy| hierarchy.v1_options.is_some() && hierarchy.has("cpu"));
        let Some(dir) = cpu.map(|hierarchy| hierarchy.dir.join(&self.path)) else { return true };
        let set = |file: &str, span: Duration| write(&dir.join(file), &span.as_micros().to_string()).is_ok();
        !dir.join("cpu.rt_period_us").exists() || (set("cpu.rt_period_us", period) && set("cpu.rt_runtime_us", runtime))
    }

    /// Gives the group `times` the weight of a new one: so many times the processor time of each of its neighbours, while all
    /// want more than there is.
    pub fn weigh(&self, times: u32) -> Result<(), CgroupError> {
        for hierarchy in self.layout.hierarchies() {
            let dir = hierarchy.dir.join(&self.path);
            // What a new group has, and the most that is taken.
            let (file, one, most) = match &hierarchy.v1_options {
                None => ("cpu.weight", 100, 10_000),
                Some(_) => ("cpu.shares", 1024, 262_144),
            };
            // Each file is where the controller is.
            if dir.join(file).exists() {
                write(&dir.join(file), &times.max(1).saturating_mul(one).min(most).to_string())?;
            }
        }
        Ok(())
    }

    /// Lets the group's processes have at most so many bytes of memory, where the kernel counts it for each group. Who needs more is
    /// killed.
    pub fn limit_memory(&self, bytes: u64) -> Result<(), CgroupError> {
        for hierarchy in self.layout.hierarchies() {
            let file = if hierarchy.v1_options.is_none() { "memory.max" } else { "memory.limit_in_bytes" };
            let path = hierarchy.dir.join(&self.path).join(file);
            if path.exists() {
                write(&path, &bytes.to_string())?;
            }
        }
        Ok(())
    }

    /// The controllers that limit this group, once it is made: those of every v1 hierarchy, and those that its v2 parents hand down.
    pub fn controllers(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for hierarchy in self.layout.hierarchies() {
            let offered = match &hierarchy.v1_options {
                Some(options) => options.replace(',', " "),
                None => read(&hierarchy.dir.join(&self.path).join("cgroup.controllers")).unwrap_or_default(),
            };
            found.extend(offered.split_whitespace().map(str::to_owned));
        }
        found
    }

    /// The group beneath this one.
    pub fn child(&self, name: &str) -> Self {
        Self { layout: self.layout.clone(), path: self.path.join(name) }
    }

    /// The names of the groups directly beneath this one, in any hierarchy, in order.
    pub fn children(&self) -> Vec<String> {
        let mut found = BTreeSet::new();
        for entry in self.dirs().filter_map(|dir| std::fs::read_dir(dir).ok()).flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                found.extend(entry.file_name().to_str().map(str::to_owned));
            }
        }
        found.into_iter().collect()
    }

    /// The layout it was named in.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// True if the group exists in any hierarchy.
    pub fn exists(&self) -> bool {
        self.dirs().any(|dir| dir.is_dir())
    }

    /// Moves a process into the group.
    pub fn join(&self, pid: i32) -> Result<(), CgroupError> {
        for dir in self.dirs() {
            write(&dir.join("cgroup.procs"), &pid.to_string())?;
        }
        Ok(())
    }

    /// Moves the calling process into the group.
    pub fn join_self(&self) -> Result<(), CgroupError> {
        self.join(0)
    }

    /// The files that take a process into the group, open for writing: between fork and exec only
    /// a plain write is allowed.
    pub fn open_procs(&self) -> Result<Vec<File>, CgroupError> {
        self.dirs()
            .map(|dir| {
                let path = dir.join("cgroup.procs");
                let opened = OpenOptions::new().write(true).open(&path);
                opened.map_err(failed("open", &path))
            })
            .collect()
    }

    /// Stops every process in it and beneath, and returns when they stand still.
    pub fn freeze(&self) -> Result<(), CgroupError> {
        self.set_frozen("1")
    }

    /// Lets them run again.
    pub fn thaw(&self) -> Result<(), CgroupError> {
        self.set_frozen("0")
    }

    /// True if every process in it and beneath stands still.
    pub fn is_frozen(&self) -> bool {
        self.unified_dir().and_then(|dir| read(&dir.join("cgroup.events"))).is_ok_and(|text| text.lines().any(|line| line == "frozen 1"))
    }

    fn set_frozen(&self, wanted: &str) -> Result<(), CgroupError> {
        let dir = self.unified_dir()?;
        write(&dir.join("cgroup.freeze"), wanted)?;
        wait_for(&dir, "did not freeze or thaw", FREEZE_WAIT, || {
            // A group without processes never reports itself frozen.
            self.is_frozen() == (wanted == "1") || self.procs().is_empty()
        })
    }

    /// Kills every process in it and beneath, and returns when none is left.
    pub fn kill_all(&self, timeout: Duration) -> Result<(), CgroupError> {
        let start = Instant::now();
        self.until_empty(timeout, |left| {
            let whole = self.unified_dir().and_then(|dir| write(&dir.join("cgroup.kill"), "1"));
            // Repeated one by one: a process may sit outside the v2 group, or come from a kernel
            // before 5.14, which has no cgroup.kill.
            if whole.is_err() || start.elapsed() > Duration::from_millis(100) {
                self.thaw_v1();
                for pid in left {
                    let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
                }
            }
        })
    }

    /// Kills every process in it and beneath, once and without waiting. Those that were forked meanwhile are left, where the kernel cannot kill a group
    /// as a whole: whoever wants all of them gone asks again.
    pub fn kill_once(&self) {
        let _ = self.unified_dir().and_then(|dir| write(&dir.join("cgroup.kill"), "1"));
        self.thaw_v1();
        for dir in self.dirs().flat_map(|dir| depth_first(&dir)) {
            for pid in pids(&dir) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }

    /// Returns when no process is left in it and beneath. Zombies do not count.
    pub fn wait_until_empty(&self, timeout: Duration) -> Result<(), CgroupError> {
        self.until_empty(timeout, |_| {})
    }

    fn until_empty(&self, timeout: Duration, mut nudge: impl FnMut(&[i32])) -> Result<(), CgroupError> {
        let name = self.unified_dir().unwrap_or_else(|_| self.path.clone());
        // A dying process leaves its group some time before it is dead, so the group alone does not tell.
        let mut seen = BTreeMap::new();
        wait_for(&name, "still holds processes that do not die", timeout, || {
            let left = self.procs();
            for pid in &left {
                seen.entry(*pid).or_insert_with(|| start_time(*pid));
            }
            if left.is_empty() {
                seen.retain(|pid, start| is_running(*pid) && start_time(*pid) == *start);
                return seen.is_empty();
            }
            nudge(&left);
            false
        })
    }

    /// v1-frozen processes ignore SIGKILL until they are thawed.
    fn thaw_v1(&self) {
        for hierarchy in self.layout.hierarchies() {
            if hierarchy.has("freezer") {
                for dir in depth_first(&hierarchy.dir.join(&self.path)).iter().rev() {
                    let _ = write(&dir.join("freezer.state"), "THAWED");
                }
            }
        }
    }

    /// The pids in it and beneath, in any hierarchy, in order. Zombies are left out: a group lists a dead
    /// process until its parent reaps it, and that may be a busy init of the machine.
    pub fn procs(&self) -> Vec<i32> {
        let mut found = BTreeSet::new();
        for dir in self.dirs() {
            for dir in depth_first(&dir) {
                found.extend(pids(&dir));
            }
        }
        found.into_iter().filter(|pid| is_running(*pid)).collect()
    }

    /// Removes it and everything beneath from every hierarchy. Groups whose last process is just
    /// dying are tried again until `timeout`. Nothing there is success.
    pub fn remove_recursive(&self, timeout: Duration) -> Result<(), CgroupError> {
        let deadline = Instant::now() + timeout;
        for top in self.dirs() {
            for dir in depth_first(&top) {
                loop {
                    match std::fs::remove_dir(&dir) {
                        Ok(()) => break,
                        Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                        Err(error) if Instant::now() >= deadline => {
                            return Err(failed("remove", &dir)(error));
                        }
                        Err(_) => sleep(LOOK_AGAIN),
                    }
                }
            }
        }
        Ok(())
    }

    /// What it has used so far.
    pub fn usage(&self) -> Result<Usage, CgroupError> {
        match &self.layout {
            Layout::V2 { root } => {
                let dir = root.join(&self.path);
                let stat = read(&dir.join("cpu.stat"))?;
                let cpu = stat.lines().find_map(|line| line.strip_prefix("usage_usec "));
                Ok(Usage {
                    cpu_usec: cpu.and_then(|text| text.parse().ok()).unwrap_or(0),
                    memory_bytes: read_number(&dir.join("memory.current"))?,
                })
            }
            Layout::Hybrid { hierarchies, .. } => Ok(Usage {
                cpu_usec: self.v1_number(hierarchies, "cpuacct", "cpuacct.usage")? / 1000,
                memory_bytes: self.v1_number(hierarchies, "memory", "memory.usage_in_bytes")?,
            }),
        }
    }

    fn v1_number(&self, hierarchies: &[Hierarchy], controller: &str, file: &str) -> Result<u64, CgroupError> {
        match hierarchies.iter().find(|one| one.has(controller)) {
            Some(hierarchy) => read_number(&hierarchy.dir.join(&self.path).join(file)),
            None => Err(CgroupError::NotMounted(self.layout.root().join(controller))),
        }
    }

    fn dirs(&self) -> impl Iterator<Item = PathBuf> {
        let path = self.path.clone();
        let hierarchies = self.layout.hierarchies().into_iter();
        hierarchies.map(move |hierarchy| hierarchy.dir.join(&path))
    }

    fn unified_dir(&self) -> Result<PathBuf, CgroupError> {
        match self.layout.unified() {
            Some(dir) => Ok(dir.join(&self.path)),
            None => Err(CgroupError::NoUnified(self.layout.root().to_path_buf())),
        }
    }
}

/// The files that take a process into the very groups process `pid` is in, see [`CgroupTree::open_procs`].
pub(crate) fn open_procs_of(pid: i32, layout: &Layout) -> Result<Vec<File>, CgroupError> {
    let text = read(&PathBuf::from(format!("/proc/{pid}/cgroup")))?;
    let mut files = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(names), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let hierarchies = layout.hierarchies();
        let found = hierarchies.iter().find(|one| match &one.v1_options {
            None => names.is_empty(),
            Some(_) => names.split(',').any(|name| one.has(name)),
        });
        if let Some(hierarchy) = found {
            let inside = path.trim_start_matches('/');
            let path = hierarchy.dir.join(inside).join("cgroup.procs");
            let opened = OpenOptions::new().write(true).open(&path);
            files.push(opened.map_err(failed("open", &path))?);
        }
    }
    Ok(files)
}

/// Best effort: a parent that holds processes refuses, and then the runtime that needs the
/// controller says so with its own words.
fn hand_down_controllers(dir: &Path) {
    for controller in read(&dir.join("cgroup.controllers")).unwrap_or_default().split_whitespace() {
        let _ = write(&dir.join("cgroup.subtree_control"), &format!("+{controller}"));
    }
}

fn inherit_cpuset(parent: &Path, dir: &Path) -> Result<(), CgroupError> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if read(&dir.join(file))?.trim().is_empty() {
            write(&dir.join(file), read(&parent.join(file))?.trim())?;
        }
    }
    Ok(())
}

fn read_number(path: &Path) -> Result<u64, CgroupError> {
    let text = read(path)?;
    text.trim().parse().map_err(|error| {
        let source = io::Error::new(io::ErrorKind::InvalidData, error);
        failed("read", path)(source)
    })
}

fn wait_for(path: &Path, what: &str, timeout: Duration, mut done: impl FnMut() -> bool) -> Result<(), CgroupError> {
    let start = Instant::now();
    while !done() {
        if start.elapsed() >= timeout {
            return Err(CgroupError::TimedOut { path: path.to_path_buf(), what: what.to_owned(), waited_ms: timeout.as_millis() });
        }
        sleep(LOOK_AGAIN);
    }
    Ok(())
}
