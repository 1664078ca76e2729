//! What nodes' heartbeats say of their leases, told when it is another than it was. Pure.

use crate::core::hosts::LifeChange;
use crate::core::seen::LeaseSeen;
use pan_member::{BootId, Frame};
use pan_model::HostName;
use pan_model::host::Role;
use std::collections::BTreeMap;
use std::time::Duration;

/// Of all nodes that were heard.
pub struct Leases {
    /// What each said last, and in which heartbeat of which boot.
    said: BTreeMap<HostName, ((BootId, u64), LeaseSeen)>,
    /// How long leases last by this controller's own profile.
    expected: Duration,
}

impl Leases {
    /// Of nobody yet.
    #[must_use]
    pub const fn new(expected: Duration) -> Self {
        Self { said: BTreeMap::new(), expected }
    }

    /// A heartbeat that did not come before. Of its two copies, and of two that overtook each other, the newest counts.
    pub fn heard(&mut self, frame: &Frame) -> Option<LifeChange> {
        if !frame.roles.has(Role::Node) {
            return None;
        }
        let said = (frame.boot, frame.sequence);
        let (length, expected) = (frame.lease_length, self.expected);
        let lease = LeaseSeen { state: frame.lease, admission: frame.admission, gate: frame.gate, length, expected };
        match self.said.get_mut(&frame.host) {
            Some((last, known)) if last.0 != said.0 || last.1 < said.1 => {
                *last = said;
                if std::mem::replace(known, lease) == lease {
                    return None;
                }
            }
            Some(_) => return None,
            None => drop(self.said.insert(frame.host.clone(), (said, lease))),
        }
        Some(LifeChange::Lease(frame.host.clone(), lease))
    }

    /// The host is none of this PAN any more.
    pub fn forget(&mut self, host: &HostName) {
        self.said.remove(host);
    }
}
