//! A server's container: its description, its start through a shim, and its removal once it has ended.

use std::os::unix::fs::fchown;
use std::path::Path;
use std::time::Instant;

use pan_api::desired::ServerOrder;
use pan_image::config::environment;
use pan_linux::netns::NETNS_DIR;
use pan_linux::oci::{Bind, ContainerSpec, ExitRecord, Identity, OciError, ShimArgs, Until, spawn_shim};
use pan_linux::process::{is_running, open_log, start_time};
use pan_model::ServerKey;

use super::rootfs::{self, Rootfs};
use super::{ApplyError, group};
use crate::error::{FileError, chain};
use crate::host::Host;
use crate::names;
use crate::paths::ServerPaths;
use crate::server::exit::{RECORD_POLL, RECORD_WAIT};
use crate::server::record::Container;

/// Processes and threads of one server.
const PIDS_MAX: u64 = 4096;
/// Shares of one processor, by convention of the OCI runtime specification.
const SHARES_PER_CPU: u64 = 1024;
/// The least the kernel takes.
const SHARES_MIN: u64 = 2;

/// Makes the container on a mounted root file system, and starts its program if that is asked for.
pub(super) fn make(host: &Host, order: &ServerOrder, root: Rootfs, instance: &str, until: Until) -> Result<(), ApplyError> {
    let id = names::id(&order.key);
    let at = host.paths.server(&id);
    // Two of one server must not run, whatever became of an earlier one.
    group::end(&id)?;
    own_log(&at.log, root.users.ids.outside(root.user.uid))?;
    if order.command.is_empty() && root.defaults.command.is_empty() {
        return Err(ApplyError::NoCommand);
    }
    let made = rootfs::show_volumes(&at, &root).and_then(|volumes| {
        describe(host, order, root, volumes, instance).write_bundle(&at.bundle())?;
        Ok(spawn_shim(&host.exe, &ShimArgs { until, ..shim_arguments(host, &id, &at) })?)
    });
    // The container has its own by now.
    rootfs::hide_volumes(&at)?;
    made
}

/// Lets whoever runs the program open its standard output by name, as with /dev/stdout.
fn own_log(log: &Path, root: u32) -> Result<(), FileError> {
    let owned = open_log(log).and_then(|file| fchown(&file, Some(root), Some(root)));
    owned.map_err(FileError::of("make", log))
}

/// Lets the program of a container that was only made begin.
pub(super) fn begin(host: &Host, order: &ServerOrder) -> Result<(), ApplyError> {
    Ok(host.runtime.start(&names::id(&order.key))?)
}

/// The container that was started a moment ago.
pub(super) fn started(host: &Host, order: &ServerOrder, instance: &str) -> Result<Container, ApplyError> {
    let at = host.paths.server(&names::id(&order.key));
    running(&at, instance)?.ok_or_else(|| {
        let record = exit_record(&at.exit());
        ApplyError::EndedAtOnce(match record.map(|record| (record.code, record.signal)) {
            Some((Some(code), _)) => format!("exited with status {code}"),
            Some((None, Some(signal))) => format!("killed by signal {signal}"),
            Some((None, None)) | None => "its status is not known".into(),
        })
    })
}

/// How it ended, as its shim writes down right after the end; `None` when there is no word of it in time.
fn exit_record(file: &Path) -> Option<ExitRecord> {
    let deadline = Instant::now() + RECORD_WAIT;
    loop {
        match ExitRecord::read(file) {
            Ok(None) if Instant::now() < deadline => std::thread::sleep(RECORD_POLL),
            Ok(record) => return record,
            Err(_) => return None,
        }
    }
}

/// The container whose pid file lies at `at`, if its first process lives.
pub(super) fn running(at: &ServerPaths, instance: &str) -> Result<Option<Container>, ApplyError> {
    let path = at.pid();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => Err(FileError::of("read", &path)(error))?,
    };
    let Ok(pid) = text.trim().parse() else { return Ok(None) };
    let start = start_time(pid).filter(|_| is_running(pid) && !at.exit().exists());
    Ok(start.map(|start| Container { instance: instance.to_owned(), pid, start }))
}

/// Lets a server that runs take as much processor time as an order says that came since; whether it may now.
pub(crate) fn limit(order: &ServerOrder) -> bool {
    let done = group::limit(&names::id(&order.key), order.cpu_max.map(|cpu| cpu.0));
    done.inspect_err(|error| tracing::warn!(server = %order.key, error = chain(error), "its processor time cannot be limited as asked"))
        .is_ok()
}

/// Kills what may still run of a server and makes the runtime forget it. Nothing there is fine.
pub(crate) fn end(host: &Host, key: &ServerKey) -> Result<(), ApplyError> {
    host.meter.last(key);
    end_whatever(host, &names::id(key))
}

/// The same by the identifier alone. The runtime goes by a file, which may be damaged or gone; the kernel knows what runs.
pub(super) fn end_whatever(host: &Host, id: &str) -> Result<(), ApplyError> {
    match host.runtime.delete(id) {
        // What the runtime could not read must not keep the server here.
        Err(error @ OciError::Refused { .. }) => {
            tracing::warn!(id, error = chain(&error), "the runtime cannot end it: its control group is killed");
            group::end(id)?;
            host.runtime.forget(id)?;
        }
        ended => {
            ended?;
            group::end(id)?;
        }
    }
    Ok(())
}

/// The shim of a container that is made and started in one.
pub(super) fn shim_arguments(host: &Host, id: &str, at: &ServerPaths) -> ShimArgs {
    ShimArgs {
        bundle: at.bundle(),
        id: id.to_owned(),
        root: host.runtime.root.clone(),
        log: at.log.clone(),
        exit_file: at.exit(),
        pid_file: at.pid(),
        until: Until::Running,
    }
}

fn describe(host: &Host, order: &ServerOrder, root: Rootfs, volumes: Vec<Bind>, instance: &str) -> ContainerSpec {
    let key = &order.key;
    let id = names::id(key);
    let own = [
        ("PAN_PARTITION", key.partition.as_str()),
        ("PAN_CLUSTER", order.cluster.as_str()),
        ("PAN_SERVER", key.name.as_str()),
        ("PAN_INSTANCE", instance),
    ];
    let given = order.env.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let env = environment(&root.defaults.env, given.chain(own));
    let command = if order.command.is_empty() { &root.defaults.command } else { &order.command };
    let cwd = if root.defaults.folder.is_empty() { "/" } else { &root.defaults.folder };
    let memory = order.resources.memory.0;
    ContainerSpec {
        rootfs: host.paths.server(&id).rootfs(),
        hostname: key.name.to_string(),
        command: command.clone(),
        env,
        cwd: cwd.into(),
        user: Identity { uid: root.user.uid, gid: root.user.gid, groups: root.user.groups },
        netns: format!("{NETNS_DIR}/{}", names::netns(key)).into(),
        cgroups_path: names::cgroup(key),
        cpu_shares: (order.resources.cpu.0.saturating_mul(SHARES_PER_CPU) / 1000).max(SHARES_MIN),
        cpu_max: order.cpu_max.map(|cpu| cpu.0),
        memory_max: (memory > 0).then_some(memory),
        swap: host.swap,
        pids_max: Some(PIDS_MAX),
        masked: root.masked,
        tmpfs: Vec::new(),
        binds: volumes.into_iter().chain(root.files).collect(),
        users: Some(root.users),
        terminal: false,
        id,
    }
}
