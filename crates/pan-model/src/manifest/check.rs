//! What can be said against a spec without knowing anything else.

use super::Object;
use crate::allow::{AllowSpec, PORTS_MAX, RULES_MAX};
use crate::cluster::{Failback, FileSpec, HealthSpec, check_egress};
use crate::node::label;
use crate::notyet::NOT_YET;
use crate::partition::networks;
use crate::volume::{Access, COPIES_MAX, ServerVolume, VolumeSpec, check_size};
use crate::{ByteSize, ClusterName, ClusterSpec, Code, ImportSpec, PartitionName, PartitionSpec, Span};
use std::collections::{BTreeMap, BTreeSet};

/// Most servers of a cluster.
pub const SERVERS_MAX: u32 = 10_000;
/// Checks more often than this cost a node more than its servers.
const EVERY_MIN: Span = Span::millis(50);
/// A server that is deaf to its signal holds up drains and deletions for that long.
const GRACE_MAX: Span = Span::millis(3_600_000);
/// The OCI runtime itself runs within a server's limit while it starts the server. runc 1.1 on two processors fails at
/// 1 MiB, mostly works at 2 and always at 3; more processors mean more threads, so twice that.
const MEMORY_MIN: ByteSize = ByteSize(6 << 20);
/// Where the kernel's own file systems are mounted in every server.
const KERNELS_OWN: [&str; 3] = ["/proc", "/sys", "/dev"];
/// Folders that are mounted empty in every server: files may lie in them.
const MOUNTED: [&str; 2] = ["/run", "/tmp"];
/// Longest path and longest part of one that the kernel takes, path_resolution(7).
const PATH_MAX: usize = 4095;
const NAME_MAX: usize = 255;

/// Code, path of the field, and what is wrong with it.
pub(super) type Finding = (Code, String, String);

/// All that is wrong.
pub(super) fn check(object: &Object) -> Vec<Finding> {
    let mut found = Findings(Vec::new());
    match object {
        Object::Partition(_, spec) => found.partition(spec),
        Object::Cluster(_, name, spec) => found.cluster(name, spec),
        Object::Service(partition, _, spec) => found.service(partition, spec),
        Object::Volume(_, _, spec) => found.volume(spec, ""),
        Object::Import(partition, _, spec) => found.import(partition, spec),
        Object::Policy(_, _, spec) => found.policy(spec),
    }
    found.0
}

/// What was found wrong so far.
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    pub(super) fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push((Code::Invalid, format!("spec.{}", path.into()), message.into()));
    }

    pub(super) fn add_code(&mut self, code: Code, path: impl Into<String>, message: impl Into<String>) {
        self.0.push((code, format!("spec.{}", path.into()), message.into()));
    }

    fn partition(&mut self, spec: &PartitionSpec) {
        if let Err(message) = networks(spec) {
            self.add(if spec.networks.is_empty() { "network" } else { "networks" }, message);
        }
        let Some(capacity) = &spec.capacity else { return };
        if let (Some(guaranteed), Some(max)) = (&capacity.guaranteed, &capacity.max)
            && let Some((name, _)) = guaranteed.entries().find(|(name, amount)| max.amount(name) > 0 && *amount > max.amount(name))
        {
            self.add(format!("capacity.guaranteed.{name}"), format!("more {name} is guaranteed than `max` allows"));
        }
    }

    fn cluster(&mut self, name: &ClusterName, spec: &ClusterSpec) {
        if spec.servers > SERVERS_MAX {
            self.add("servers", format!("{} servers: at most {SERVERS_MAX} are possible", spec.servers));
        }
        if !(spec.command.is_empty() && spec.image.has_command()) {
            self.command("command", &spec.command);
        }
        self.env(&spec.env);
        self.files(&spec.files);
        if spec.resources.cpu.0 == 0 {
            self.add("resources.cpu", "0 cpu: give at least 1m");
        }
        if spec.resources.memory < MEMORY_MIN {
            let text = format!("too little memory for a server to start: {} given, at least {MEMORY_MIN} needed", spec.resources.memory);
            self.add("resources.memory", text);
        }
        if let Some(Err(text)) = spec.resources.egress.map(check_egress) {
            self.add("resources.egress", text);
        }
        if spec.stop.grace > GRACE_MAX {
            self.add("stop.grace", format!("{} is too long to wait for a stop: at most {GRACE_MAX}", spec.stop.grace));
        }
        if spec.protect.is_some_and(|protect| protect.failures == 0) {
            self.add("protect.failures", "0 failures is no protection: give 1 or more, or remove `protect`");
        }
        for (key, value) in &spec.labels {
            if let Err(message) = label(key, value) {
                self.add(format!("labels.{key}"), message);
            }
        }
        self.order(name, spec);
        if spec.priority > 999 {
            self.add("priority", format!("{} is not a priority: expected 0 to 999", spec.priority));
        }
        match spec.failback {
            None | Some(Failback::Stay) => {}
            Some(Failback::Return) => self.add_code(Code::NotYet, "failback", format!("failback return: {NOT_YET}")),
            Some(Failback::Ask) => self.add_code(Code::NotYet, "failback", format!("failback ask: {NOT_YET}")),
        }
        if let Some(health) = &spec.health {
            self.health(health);
        }
        self.volumes(spec);
        self.allow(spec.allow.as_deref().unwrap_or_default());
    }

    fn allow(&mut self, rules: &[AllowSpec]) {
        if rules.len() > RULES_MAX {
            self.add("allow", format!("{} rules: at most {RULES_MAX} are possible", rules.len()));
        }
        for (index, rule) in rules.iter().enumerate() {
            let path = |field: &str| format!("allow[{index}].{field}");
            if rule.ports.len() > PORTS_MAX {
                self.add(path("ports"), format!("{} ports: at most {PORTS_MAX} are possible in a rule", rule.ports.len()));
            }
            let mut seen = BTreeSet::new();
            for (at, port) in rule.ports.iter().enumerate() {
                let path = format!("allow[{index}].ports[{at}]");
                self.port(&path, *port);
                if !seen.insert(port) {
                    self.add(path, format!("port {port} is given twice: keep one of them"));
                }
            }
            let again = |other: &AllowSpec| other.from == rule.from && (other.ports == rule.ports || other.ports.is_empty());
            if rules[..index].iter().any(again) {
                self.add(path("from"), format!("what is begun from {} is allowed by an earlier rule already: remove this one", rule.from));
            }
        }
    }

    fn volumes(&mut self, spec: &ClusterSpec) {
        let mut names = BTreeSet::new();
        for (index, volume) in spec.volumes.iter().enumerate() {
            let path = |field: &str| format!("volumes[{index}].{field}");
            self.which(volume, index);
            let name = volume.name.as_ref().map(ToString::to_string).or_else(|| volume.volume.as_ref().map(ToString::to_string));
            if let Some(name) = name.filter(|name| !names.insert(name.clone())) {
                let field = if volume.name.is_some() { "name" } else { "volume" };
                self.add(path(field), format!("volume {name} is given twice: keep one of them"));
            }
            if let Err(message) = mount_path(&volume.mount) {
                self.add(path("mount"), message);
            }
            let within = |one: &str, other: &str| one == other || one.strip_prefix(other).is_some_and(|rest| rest.starts_with('/'));
            let others = spec.volumes[..index].iter().map(|other| other.mount.as_str());
            if let Some(other) = others.into_iter().find(|other| within(&volume.mount, other) || within(other, &volume.mount)) {
                self.add(path("mount"), format!("{} and {other} lie in each other: mount volumes beside each other", volume.mount));
            }
            if let Some(file) = spec.files.iter().find(|file| within(&file.path, &volume.mount)) {
                let text = format!("file {} would be hidden by the volume mounted at {}: put it elsewhere", file.path, volume.mount);
                self.add(path("mount"), text);
            }
        }
    }

    /// One of the server's own, or one that is there by itself.
    fn which(&mut self, volume: &ServerVolume, index: usize) {
        let path = |field: &str| format!("volumes[{index}].{field}");
        match (&volume.volume, volume.own()) {
            (None, Some((_, spec))) => self.volume(&spec, &format!("volumes[{index}].")),
            (None, None) => self.add(
                format!("volumes[{index}]"),
                "which volume? give a name for one of the server's own, or the volume that is to be used",
            ),
            (Some(_), Some(_)) => {
                self.add(path("volume"), "a name for one of the server's own, or the volume that is to be used, not both")
            }
            (Some(standing), None) => {
                let given = [
                    ("size", volume.size.is_some()),
                    ("from", volume.from.is_some()),
                    ("copies", volume.copies.is_some()),
                    ("filesystem", volume.filesystem.is_some()),
                ];
                for (field, _) in given.into_iter().filter(|(_, given)| *given) {
                    self.add(path(field), format!("{field} is said where volume {standing} is defined: remove it here"));
                }
            }
        }
    }

    fn volume(&mut self, spec: &VolumeSpec, at: &str) {
        match spec.size {
            Some(size) => {
                if let Err(message) = check_size(size) {
                    self.add(format!("{at}size"), message);
                }
            }
            None if spec.from.is_none() => {
                self.add(at.trim_end_matches('.'), "how large is it to be? give a size, or a snapshot that it is to begin as (`from`)")
            }
            None => {}
        }
        if spec.copies == 0 || spec.copies > COPIES_MAX {
            self.add(format!("{at}copies"), format!("{} copies: expected 1 to {COPIES_MAX}", spec.copies));
        }
        if spec.access == Access::ReadersMany && spec.from.is_none() {
            self.add(format!("{at}access"), "what many servers read does not change: give the snapshot that they are to read (`from`)");
        }
        if spec.access == Access::ReadersMany && spec.size.is_some() {
            self.add(format!("{at}size"), "what many servers read is as large as the snapshot: remove `size`");
        }
    }

    fn order(&mut self, name: &ClusterName, spec: &ClusterSpec) {
        let mut seen = BTreeSet::new();
        for (index, after) in spec.after.iter().enumerate() {
            let path = format!("after[{index}].cluster");
            if after.cluster == *name {
                self.add_code(Code::Cycle, path, format!("cluster {name} would wait for itself"));
            } else if !seen.insert(&after.cluster) {
                self.add(path, format!("cluster {} is named twice", after.cluster));
            }
        }
        let mut seen = BTreeSet::new();
        for (index, with) in spec.with.iter().enumerate() {
            let path = format!("with[{index}]");
            if with == name {
                self.add_code(Code::Cycle, path, format!("cluster {name} is always with itself: remove it"));
            } else if !seen.insert(with) {
                self.add(path, format!("cluster {with} is named twice"));
            }
        }
    }

    fn command(&mut self, path: &str, command: &[String]) {
        match command.first() {
            None => self.add(path, "the command is empty: expected a program and its arguments, like [sleep, infinity]"),
            Some(program) if program.is_empty() => self.add(format!("{path}[0]"), "the program's name is empty"),
            Some(_) => {}
        }
        if let Some(index) = command.iter().position(|word| word.contains('\0')) {
            self.add(format!("{path}[{index}]"), "a command cannot have a NUL character in it");
        }
    }

    fn env(&mut self, env: &BTreeMap<String, String>) {
        for (name, value) in env {
            let path = format!("env.{name}");
            if name.is_empty() || name.contains(['=', '\0']) {
                self.add("env", format!("{name:?} is not the name of a variable"));
            } else if ["PAN_PARTITION", "PAN_CLUSTER", "PAN_SERVER", "PAN_INSTANCE"].contains(&name.as_str()) {
                self.add(path, format!("{name} is set by the PAN itself"));
            } else if value.contains('\0') {
                self.add(path, "a variable cannot have a NUL character in it");
            }
        }
    }

    fn files(&mut self, files: &[FileSpec]) {
        let mut seen = BTreeSet::new();
        for (index, file) in files.iter().enumerate() {
            let path = file.path.as_str();
            if let Err(message) = file_path(path) {
                self.add(format!("files[{index}].path"), message);
            } else if !seen.insert(path) {
                self.add(format!("files[{index}].path"), format!("{path} is given twice: keep one of them"));
            }
        }
        for (index, file) in files.iter().enumerate() {
            let folders = file.path.match_indices('/').skip(1).map(|(at, _)| &file.path[..at]);
            if let Some(above) = folders.into_iter().find(|folder| seen.contains(folder)) {
                self.add(format!("files[{index}].path"), format!("{} cannot lie in {above}, which is given as a file", file.path));
            }
        }
    }

    fn health(&mut self, health: &HealthSpec) {
        let given = [health.http.is_some(), health.tcp.is_some(), health.exec.is_some()];
        if given.into_iter().filter(|given| *given).count() != 1 {
            self.add("health", "exactly one of http, tcp and exec is expected");
        }
        if let Some(http) = &health.http {
            self.port("health.http.port", http.port);
            if !http.path.starts_with('/') || http.path.contains(|c: char| c.is_whitespace() || c.is_control()) {
                self.add("health.http.path", format!("{:?} is not a path: expected one that begins with '/' and has no spaces", http.path));
            }
        }
        if let Some(tcp) = &health.tcp {
            self.port("health.tcp.port", tcp.port);
        }
        if let Some(exec) = &health.exec {
            self.command("health.exec.command", &exec.command);
        }
        if health.every < EVERY_MIN {
            self.add("health.every", format!("{} is too often: at least {EVERY_MIN}", health.every));
        }
        if health.timeout < EVERY_MIN {
            self.add("health.timeout", format!("{} is too short: at least {EVERY_MIN}", health.timeout));
        }
        if health.start < EVERY_MIN {
            self.add("health.start", format!("{} is too short for any start: at least {EVERY_MIN}, better seconds", health.start));
        }
        if health.failures == 0 {
            self.add("health.failures", "0 failures would make every server unhealthy: give 1 or more");
        }
    }

    pub(super) fn port(&mut self, path: &str, port: u16) {
        if port == 0 {
            self.add(path, "0 is not a port: expected 1 to 65535");
        }
    }

    fn import(&mut self, partition: &PartitionName, spec: &ImportSpec) {
        if spec.partition == *partition {
            self.add("partition", format!("{partition} is where the import is: name another partition, whose service it is"));
        }
    }
}

/// Whether a volume can be mounted at a path of any server.
fn mount_path(path: &str) -> Result<(), String> {
    let plain = path.starts_with('/') && !path.contains('\0') && path.split('/').skip(1).all(|part| !["", ".", ".."].contains(&part));
    if !plain {
        return Err(format!("{path:?} is not a folder to mount at: expected an absolute path without '..', '.' or empty parts, like /srv"));
    }
    if path.len() > PATH_MAX || path.split('/').any(|part| part.len() > NAME_MAX) {
        return Err(format!("the path is too long: at most {PATH_MAX} bytes, and {NAME_MAX} between two slashes"));
    }
    let first = path[1..].find('/').map_or(path, |at| &path[..=at]);
    if KERNELS_OWN.contains(&first) {
        return Err(format!("{path} cannot be a volume: {first} belongs to the kernel"));
    }
    Ok(())
}

/// Whether a file can be placed at a path of any server.
fn file_path(path: &str) -> Result<(), String> {
    let parts = || path.split('/').skip(1);
    let plain = path.starts_with('/') && !path.contains('\0') && parts().all(|part| !["", ".", ".."].contains(&part));
    if !plain {
        return Err(format!(
            "{path:?} is not a file's path: expected an absolute one without '..', '.' or empty parts, like /etc/app.conf"
        ));
    }
    if path.len() > PATH_MAX || parts().any(|part| part.len() > NAME_MAX) {
        return Err(format!("the path is too long: at most {PATH_MAX} bytes, and {NAME_MAX} between two slashes"));
    }
    let first = path[1..].find('/').map_or(path, |at| &path[..=at]);
    if KERNELS_OWN.contains(&first) {
        return Err(format!("{path} cannot be a file of a server: {first} belongs to the kernel; put it elsewhere, like in /etc"));
    }
    if MOUNTED.contains(&path) {
        return Err(format!("{path} is a folder in every server: give a file in it, like {path}/app.conf"));
    }
    Ok(())
}
