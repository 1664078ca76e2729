//! Reading what the kernel counts.

use std::collections::BTreeMap;
use std::path::Path;

use pan_linux::cgroup::{CGROUP_ROOT, CgroupTree, Layout};
use pan_model::ServerKey;

use crate::names;

/// Counts of interfaces of this process' network, see proc_pid_net(5).
const INTERFACES: &str = "/proc/self/net/dev";

/// Where control groups are.
#[derive(Debug)]
pub(super) struct Groups(Option<Layout>);

impl Groups {
    /// Without any, no container starts, and whoever starts one says so.
    pub(super) fn find() -> Self {
        Self(Layout::detect(Path::new(CGROUP_ROOT)).ok())
    }

    /// Processor time in microseconds and bytes of memory; none when there is no such group.
    pub(super) fn usage(&self, key: &ServerKey) -> Option<(u64, u64)> {
        let usage = CgroupTree::new(self.0.clone()?, names::cgroup(key)).usage().ok()?;
        Some((usage.cpu_usec, usage.memory_bytes))
    }
}

/// Bytes that each interface here received and sent.
pub(super) fn ports() -> BTreeMap<String, (u64, u64)> {
    parse(&std::fs::read_to_string(INTERFACES).unwrap_or_default())
}

fn parse(text: &str) -> BTreeMap<String, (u64, u64)> {
    let line = |line: &str| {
        let (name, counts) = line.split_once(':')?;
        let mut counts = counts.split_whitespace().map(str::parse::<u64>);
        let (received, sent) = (counts.next()?.ok()?, counts.nth(7)?.ok()?);
        Some((name.trim().to_owned(), (received, sent)))
    };
    text.lines().filter_map(line).collect()
}

/// Bytes that a server received and sent: what came in through the host's end of its cable is what it sent.
pub(super) fn port_of(key: &ServerKey, ports: &BTreeMap<String, (u64, u64)>) -> Option<(u64, u64)> {
    ports.get(&names::port(key)).map(|(from, to)| (*to, *from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_receives_the_server_sent() {
        let key = ServerKey { partition: "p".parse().unwrap(), name: "web-1".parse().unwrap() };
        let text = format!(
            "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    lo:  10 1 0 0 0 0 0 0 10 1 0 0 0 0 0 0\n{}: 700 9 0 0 0 0 0 0 400 8 0 0 0 0 0 0\n",
            names::port(&key)
        );
        let ports = parse(&text);
        assert_eq!(ports["lo"], (10, 10));
        assert_eq!(port_of(&key, &ports), Some((400, 700)));
        assert_eq!(port_of(&key, &parse("")), None);
    }
}
