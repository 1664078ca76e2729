//! Who may begin to speak to the servers that are here, and what was refused.

use std::collections::BTreeMap;

use pan_api::desired::Desired;
use pan_api::report::counted_since;
use pan_linux::allow::{Allow, AllowError};
use pan_linux::netns::Netns;
use pan_linux::overlay::NetworkSpec;
use pan_linux::rtnl::Mac;

use super::spec::{Port, callers, keep_if};
use crate::error::chain;
use crate::names;

/// The rules of one server.
#[derive(Debug)]
enum Door {
    /// It has none, and everybody may speak to it.
    Open,
    Kept(Allow, Counted),
}

/// What was refused, by caller as the kernel has it now, and ever.
#[derive(Debug, Default)]
struct Counted {
    now: BTreeMap<Mac, u64>,
    ever: u64,
}

impl Counted {
    fn add(&mut self, read: BTreeMap<Mac, u64>) {
        // A caller that was forgotten by the kernel begins anew.
        self.ever += read.iter().map(|(mac, packets)| counted_since(self.now.get(mac), *packets)).sum::<u64>();
        self.now = read;
    }
}

/// Those of all servers, by port.
#[derive(Debug, Default)]
pub(super) struct Allowed {
    doors: BTreeMap<String, Door>,
}

impl Allowed {
    /// Brings the rules of all servers that are about to be reached to what is wanted. A new port that cannot have its rules is taken
    /// off the list and returned: no server may be reached before them. One that was open stays so with what rules it has.
    pub(super) fn ports(
        &mut self,
        desired: &Desired,
        ports: &BTreeMap<String, Port>,
        networks: &mut [NetworkSpec],
        problems: &mut Vec<String>,
    ) -> Vec<String> {
        self.doors.retain(|name, _| ports.contains_key(name));
        keep_if(networks, ports, |port| {
            let known = self.doors.contains_key(&port.name);
            match callers(desired, port) {
                // Whoever removed the order has yet to remove the server.
                None => known,
                Some(wanted) => match self.bring(port, wanted.as_deref()) {
                    Ok(()) => true,
                    Err(error) => {
                        problems.push(format!("server {}: {}", port.key, chain(&error)));
                        known || self.has_rules(port)
                    }
                },
            }
        })
    }

    /// Another namespace may be behind a port of that name from now on.
    pub(super) fn forget(&mut self, port: &str) {
        self.doors.remove(port);
    }

    /// How many packets were refused at each port, since it came.
    pub(super) fn refused(&mut self) -> Vec<(String, u64)> {
        let mut all = Vec::new();
        for (port, door) in &mut self.doors {
            let Door::Kept(allow, counted) = door else { continue };
            match allow.refused() {
                Ok(read) => counted.add(read),
                Err(error) => tracing::debug!(error = chain(&error), port, "what a server's rules refused cannot be read"),
            }
            all.push((port.clone(), counted.ever));
        }
        all
    }

    fn bring(&mut self, port: &Port, wanted: Option<&[pan_linux::allow::Callers]>) -> Result<(), AllowError> {
        match self.doors.get_mut(&port.name) {
            Some(Door::Open) if wanted.is_none() => {}
            Some(Door::Kept(allow, _)) => {
                allow.apply(wanted)?;
                if wanted.is_none() {
                    self.doors.insert(port.name.clone(), Door::Open);
                }
            }
            Some(Door::Open) | None => {
                let mut allow = open(port)?;
                allow.apply(wanted)?;
                let door = wanted.map_or(Door::Open, |_| Door::Kept(allow, Counted::default()));
                self.doors.insert(port.name.clone(), door);
            }
        }
        Ok(())
    }

    /// Whether there are rules from an earlier agent.
    fn has_rules(&self, port: &Port) -> bool {
        open(port).and_then(|mut allow| allow.is_in_force()).unwrap_or(false)
    }
}

fn open(port: &Port) -> Result<Allow, AllowError> {
    Allow::open(Netns::open(&names::netns(&port.key)).map_err(AllowError::from)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_counted_once_and_outlive_the_kernels_count() {
        let mut counted = Counted::default();
        let mut check = |read: &[(u8, u64)], ever: u64| {
            counted.add(read.iter().map(|(last, packets)| ([2, 0, 0, 0, 0, *last], *packets)).collect());
            assert_eq!(counted.ever, ever);
        };
        check(&[(1, 5)], 5);
        check(&[(1, 5)], 5);
        check(&[(1, 6), (2, 1)], 7);
        check(&[(2, 3)], 9);
        check(&[(1, 2), (2, 3)], 11);
        check(&[(1, 1), (2, 3)], 12);
    }
}
