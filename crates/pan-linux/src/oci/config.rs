//! `config.json` of the OCI runtime specification 1.0.2, written by hand: the part of it that is
//! used fits on a page.

use serde_json::{Value, json};

use super::seccomp;
use super::spec::{Access, ContainerSpec, Swap};
use crate::cgroup::processor_quota;

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What root in a container may do beyond its own files and processes. Engines grant 11 (podman) to 14 (moby) by default; of these are
/// not among them, with what that costs:
///
/// - `NET_RAW`: forging packets and listening to others'. `ping` works without it, see `ping_group_range`;
/// - `MKNOD`: no device may be made in a user namespace anyway; pipes and sockets need no capability;
/// - `AUDIT_WRITE`: the audit log is the host's, and the socket to it is refused;
/// - `SETFCAP`: with `noNewPrivileges` no program gets anything from the capabilities of its file.
const CAPABILITIES: [&str; 10] = [
    // Files of other users: what every package's installation and most entry points do as root.
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    // Its own processes, after they became other users.
    "CAP_KILL",
    // Ports below 1024: web servers.
    "CAP_NET_BIND_SERVICE",
    // Becoming another user: nginx, PostgreSQL, every entry point that steps down from root.
    "CAP_SETGID",
    "CAP_SETUID",
    // Giving up capabilities for good, which can only take away.
    "CAP_SETPCAP",
    // Daemons that lock themselves in: sshd, postfix, named.
    "CAP_SYS_CHROOT",
];

/// Kernel interfaces that tell or change things about the whole machine: what runc and moby mask, and what names other servers'
/// disks or counts what all servers do together.
const MASKED: [&str; 20] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/diskstats",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/key-users",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/partitions",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/block",
    "/sys/class/block",
    "/sys/dev/block",
    "/sys/devices/virtual/block",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs",
];

const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Files a server may hold open; the usual 1024 is too few for a web server.
const FILES_MAX: u64 = 65_536;

pub(super) fn config_json(spec: &ContainerSpec) -> Value {
    let mut masked: Vec<String> = MASKED.iter().map(|path| (*path).to_owned()).collect();
    masked.extend(spec.masked.iter().map(|path| path.display().to_string()));
    let mut linux = json!({
        "cgroupsPath": spec.cgroups_path,
        "namespaces": namespaces(spec),
        "resources": resources(spec),
        "maskedPaths": masked,
        "readonlyPaths": READ_ONLY,
        "seccomp": seccomp::profile(),
    });
    if let Some(users) = &spec.users {
        // Needed beside the namespace, although that has them already.
        let ids = json!([{"containerID": 0, "hostID": users.ids.first, "size": users.ids.count}]);
        linux["uidMappings"] = ids.clone();
        linux["gidMappings"] = ids;
    }
    json!({
        "ociVersion": "1.0.2",
        "hostname": spec.hostname,
        "root": {"path": spec.rootfs, "readonly": false},
        "process": process(spec),
        "mounts": mounts(spec),
        "linux": linux,
    })
}

fn namespaces(spec: &ContainerSpec) -> Vec<Value> {
    let own = ["pid", "mount", "uts", "ipc", "cgroup"].map(|kind| json!({"type": kind}));
    let mut all = vec![json!({"type": "network", "path": spec.netns})];
    all.extend(spec.users.iter().map(|users| json!({"type": "user", "path": users.namespace})));
    all.extend(own);
    all
}

fn process(spec: &ContainerSpec) -> Value {
    let mut env: Vec<String> = spec.env.iter().map(|(k, v)| format!("{k}={v}")).collect();
    if !spec.env.iter().any(|(key, _)| key == "PATH") {
        env.push(format!("PATH={DEFAULT_PATH}"));
    }
    let files = files_allowed();
    json!({
        "terminal": spec.terminal,
        "user": {"uid": spec.user.uid, "gid": spec.user.gid, "additionalGids": spec.user.groups},
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
    if let Some(millis) = spec.cpu_max {
        let (quota, period) = processor_quota(millis);
        resources["cpu"]["quota"] = json!(quota);
        resources["cpu"]["period"] = json!(period);
    }
    if let Some(bytes) = spec.memory_max {
        resources["memory"] = json!({"limit": bytes});
        if spec.swap == Swap::Counted {
            // Memory and swap together: none of the latter.
            resources["memory"]["swap"] = json!(bytes);
        }
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
    use super::super::spec::{Bind, Identity, Users};
    use super::*;
    use crate::userns::IdRange;

    #[test]
    fn carries_what_was_asked() {
        let spec = ContainerSpec {
            id: "web-1".into(),
            rootfs: "/run/r".into(),
            hostname: "web-1".into(),
            command: vec!["sleep".into(), "1".into()],
            env: vec![("A".into(), "b".into())],
            cwd: "/".into(),
            user: Identity { uid: 33, gid: 34, groups: vec![4] },
            netns: "/run/netns/w".into(),
            cgroups_path: "/web-1".into(),
            cpu_shares: 512,
            cpu_max: None,
            memory_max: Some(1 << 20),
            pids_max: None,
            masked: vec!["/root".into()],
            tmpfs: vec![("/var/tmp".into(), "size=1m".into())],
            binds: vec![Bind { source: "/a".into(), target: "/b".into(), access: Access::ReadOnly }],
            terminal: false,
            users: Some(Users { namespace: "/run/u".into(), ids: IdRange { first: 2_000_000_000, count: 65_536 } }),
            swap: Swap::Counted,
        };
        let config = spec.config();
        assert_eq!(config["process"]["user"], json!({"uid": 33, "gid": 34, "additionalGids": [4]}));
        assert_eq!(config["process"]["env"], json!(["A=b", format!("PATH={DEFAULT_PATH}")]));
        assert_eq!(config["linux"]["resources"]["memory"], json!({"limit": 1 << 20, "swap": 1 << 20}));
        assert_eq!(config["linux"]["uidMappings"], json!([{"containerID": 0, "hostID": 2_000_000_000, "size": 65_536}]));
        assert!(config["linux"]["namespaces"].as_array().expect("a list").contains(&json!({"type": "user", "path": "/run/u"})));
        assert!(config["linux"]["resources"].get("pids").is_none());
        assert_eq!(config["linux"]["maskedPaths"][MASKED.len()], "/root");
        let mounts = config["mounts"].as_array().expect("mounts");
        assert_eq!(mounts[mounts.len() - 1]["options"], json!(["rbind", "rprivate", "ro", "nosuid", "nodev"]));
        assert_eq!(mounts[mounts.len() - 2]["options"][2], "size=1m");
    }
}
