//! `config.json` of the OCI runtime specification 1.0.2, written by hand: the part of it that is
//! used fits on a page.

use serde_json::{Value, json};

use super::spec::{Access, ContainerSpec};

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The set every container engine grants by default.
const CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// Kernel interfaces that tell or change things about the whole machine.
const MASKED: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
];

const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Files a server may hold open; the usual 1024 is too few for a web server.
const FILES_MAX: u64 = 65_536;

pub(super) fn config_json(spec: &ContainerSpec) -> Value {
    let mut masked: Vec<String> = MASKED.iter().map(|path| (*path).to_owned()).collect();
    masked.extend(spec.masked.iter().map(|path| path.display().to_string()));
    json!({
        "ociVersion": "1.0.2",
        "hostname": spec.hostname,
        "root": {"path": spec.rootfs, "readonly": false},
        "process": process(spec),
        "mounts": mounts(spec),
        "linux": {
            "cgroupsPath": spec.cgroups_path,
            "namespaces": [
                {"type": "pid"},
                {"type": "mount"},
                {"type": "uts"},
                {"type": "ipc"},
                {"type": "cgroup"},
                {"type": "network", "path": spec.netns},
            ],
            "resources": resources(spec),
            "maskedPaths": masked,
            "readonlyPaths": READ_ONLY,
        },
    })
}

fn process(spec: &ContainerSpec) -> Value {
    let mut env: Vec<String> = spec.env.iter().map(|(k, v)| format!("{k}={v}")).collect();
    if !spec.env.iter().any(|(key, _)| key == "PATH") {
        env.push(format!("PATH={DEFAULT_PATH}"));
    }
    let files = files_allowed();
    json!({
        "terminal": spec.terminal,
        "user": {"uid": 0, "gid": 0},
        "args": spec.command,
        "env": env,
        "cwd": spec.cwd,
        "noNewPrivileges": true,
        "capabilities": {
            "bounding": CAPABILITIES,
            "effective": CAPABILITIES,
            "permitted": CAPABILITIES,
        },
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": files, "soft": files}],
    })
}

/// [`FILES_MAX`], or the hard limit of this very process where that is lower: without CAP_SYS_RESOURCE
/// a runtime cannot raise it, and then refuses to start anything.
fn files_allowed() -> u64 {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let hard = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    hard.map_or(FILES_MAX, |hard: u64| hard.min(FILES_MAX))
}

fn resources(spec: &ContainerSpec) -> Value {
    let mut resources = json!({
        "devices": [{"allow": false, "access": "rwm"}],
        "cpu": {"shares": spec.cpu_shares},
    });
    if let Some(bytes) = spec.memory_max {
        resources["memory"] = json!({"limit": bytes});
    }
    if let Some(count) = spec.pids_max {
        resources["pids"] = json!({"limit": count});
    }
    resources
}

fn mount(target: &str, fstype: &str, options: &[&str]) -> Value {
    json!({"destination": target, "type": fstype, "source": fstype, "options": options})
}

fn mounts(spec: &ContainerSpec) -> Vec<Value> {
    let mut all = vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
        mount("/run", "tmpfs", &["nosuid", "nodev", "mode=755"]),
        mount("/tmp", "tmpfs", &["nosuid", "nodev", "mode=1777"]),
    ];
    for (target, options) in &spec.tmpfs {
        let mut given: Vec<&str> = vec!["nosuid", "nodev"];
        given.extend(options.split(',').filter(|option| !option.is_empty()));
        all.push(mount(&target.display().to_string(), "tmpfs", &given));
    }
    for bind in &spec.binds {
        let access = match bind.access {
            Access::ReadOnly => "ro",
            Access::ReadWrite => "rw",
        };
        all.push(json!({
            "destination": bind.target,
            "type": "bind",
            "source": bind.source,
            "options": ["rbind", "rprivate", access, "nosuid", "nodev"],
        }));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::spec::Bind;
    use super::*;

    #[test]
    fn carries_what_was_asked() {
        let spec = ContainerSpec {
            id: "web-1".into(),
            rootfs: "/run/r".into(),
            hostname: "web-1".into(),
            command: vec!["sleep".into(), "1".into()],
            env: vec![("A".into(), "b".into())],
            cwd: "/".into(),
            netns: "/run/netns/w".into(),
            cgroups_path: "/web-1".into(),
            cpu_shares: 512,
            memory_max: Some(1 << 20),
            pids_max: None,
            masked: vec!["/root".into()],
            tmpfs: vec![("/var/tmp".into(), "size=1m".into())],
            binds: vec![Bind { source: "/a".into(), target: "/b".into(), access: Access::ReadOnly }],
            terminal: false,
        };
        let config = spec.config();
        assert_eq!(config["process"]["env"], json!(["A=b", format!("PATH={DEFAULT_PATH}")]));
        assert_eq!(config["linux"]["resources"]["memory"]["limit"], 1 << 20);
        assert!(config["linux"]["resources"].get("pids").is_none());
        assert_eq!(config["linux"]["maskedPaths"][MASKED.len()], "/root");
        let mounts = config["mounts"].as_array().expect("mounts");
        assert_eq!(mounts[mounts.len() - 1]["options"], json!(["rbind", "rprivate", "ro", "nosuid", "nodev"]));
        assert_eq!(mounts[mounts.len() - 2]["options"][2], "size=1m");
    }
}
