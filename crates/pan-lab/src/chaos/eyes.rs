//! Observers between servers: servers that ask nothing themselves lend their networks. Where they are is found again whenever they
//! were moved, by what their processes say of themselves.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use pan_linux::netns::Netns;
use pan_linux::process;

use super::observation::Observation;
use super::watch::{Target, Watcher};
use crate::boot;
use crate::lab::Lab;
use crate::name::{HostKind, LabHost};

/// Between two looks: a server that was moved is back in the view soon enough, and looking reads all processes of the nodes.
const LOOK: Duration = Duration::from_millis(500);
/// Between two questions of one observer to one server.
const EVERY: Duration = Duration::from_millis(100);

/// The observers. They end when it is dropped.
pub(super) struct Eyes {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Eyes {
    /// Watches `targets` from every server of the cluster whose name is given.
    pub(super) fn open(lab: &Lab, cluster: &str, targets: Vec<Target>, log: Sender<Observation>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, lab, mark) = (Arc::clone(&stop), lab.clone(), format!("PAN_SERVER={cluster}-"));
        let thread = std::thread::spawn(move || {
            let mut watchers: BTreeMap<i32, Watcher> = BTreeMap::new();
            while !stopped.load(Ordering::Relaxed) {
                let there = find(&lab, &mark);
                watchers.retain(|pid, _| there.contains_key(pid));
                for (pid, observer) in there {
                    if let std::collections::btree_map::Entry::Vacant(place) = watchers.entry(pid)
                        && let Ok(netns) = Netns::open_path(&PathBuf::from(format!("/proc/{pid}/ns/net")))
                    {
                        place.insert(Watcher::start(&observer, netns, targets.clone(), EVERY, log.clone()));
                    }
                }
                sleep(LOOK);
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Eyes {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The processes of the servers that are looked for, with what each is called: its server and its node.
fn find(lab: &Lab, mark: &str) -> BTreeMap<i32, String> {
    let hosts = lab.state().map(|state| state.hosts).unwrap_or_default();
    let nodes = hosts.into_iter().map(|host| host.name).filter(|host| host.kind() == HostKind::Node);
    nodes.flat_map(|node| on_node(lab, mark, node)).collect()
}

fn on_node(lab: &Lab, mark: &str, node: LabHost) -> Vec<(i32, String)> {
    let Ok(group) = boot::host_group(lab.name(), node) else { return Vec::new() };
    let server = |pid: &i32| {
        // What prepares a container has its environment, too, but not yet its network: it is not the program itself.
        if process::command_line(*pid).first().is_none_or(|program| program != "sleep") {
            return None;
        }
        let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
        let entry = environment.split(|byte| *byte == 0).find(|entry| entry.starts_with(mark.as_bytes()))?;
        let name = String::from_utf8_lossy(entry).replace("PAN_SERVER=", "");
        Some((*pid, format!("{name} on {node}")))
    };
    group.procs().iter().filter_map(server).collect()
}
