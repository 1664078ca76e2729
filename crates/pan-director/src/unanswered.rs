//! Forgetting connections that a silent server has not answered. Each walk through the kernel's table of
//! connections takes some 10 ms, so that is done beside everything else: the next suspicion must not wait for it.

use crate::error::{Trouble, line};
use crate::metrics::Counts;
use pan_linux::conntrack;
use pan_linux::netns::Netns;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// What to forget in one partition.
#[derive(Debug)]
pub(crate) struct Unanswered {
    pub vni: u32,
    pub netns: Netns,
    /// Addresses and ports of servers.
    pub ends: BTreeSet<(IpAddr, u16)>,
}

/// The threads that forget. Each ends by itself.
#[derive(Debug, Default)]
pub(crate) struct Forgetting {
    latest: Option<JoinHandle<()>>,
}

impl Forgetting {
    /// Whether one is still at it.
    pub(crate) fn is_busy(&self) -> bool {
        self.latest.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Begins to forget.
    pub(crate) fn start(&mut self, all: Vec<Unanswered>, counts: &Arc<Counts>) {
        if all.is_empty() {
            return;
        }
        let counts = counts.clone();
        let work = move || {
            for one in &all {
                match conntrack::delete_unreplied(&one.netns, &one.ends) {
                    Ok(0) => {}
                    Ok(forgotten) => {
                        counts.forgotten_unanswered.add(forgotten);
                        tracing::debug!(vni = one.vni, forgotten, "unanswered connections may go elsewhere");
                    }
                    Err(source) => tracing::warn!("{}", line(&Trouble::Forget { vni: one.vni, source })),
                }
            }
        };
        match thread::Builder::new().name("unanswered".into()).spawn(work) {
            Ok(thread) => self.latest = Some(thread),
            Err(error) => tracing::warn!("unanswered connections stay where they are: no thread: {error}"),
        }
    }
}
