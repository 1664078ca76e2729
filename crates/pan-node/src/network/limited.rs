//! How much the servers that are here send at most.

use std::collections::BTreeMap;

use pan_api::desired::Desired;
use pan_linux::netns::{Netns, NetnsError};
use pan_linux::overlay::NetworkSpec;
use pan_linux::rtnl::{Rtnl, RtnlError};
use pan_model::BitRate;

use super::spec::{Port, keep_if};
use crate::error::chain;
use crate::names;

/// Why a server's rate is not as asked.
#[derive(Debug, thiserror::Error)]
enum LimitError {
    #[error(transparent)]
    Netns(#[from] NetnsError),
    #[error(transparent)]
    Rate(#[from] RtnlError),
}

/// The rates of all servers, by port, as they are in force.
#[derive(Debug, Default)]
pub(super) struct Limited {
    rates: BTreeMap<String, Option<BitRate>>,
}

impl Limited {
    /// Brings the rates of all servers that are about to be reached to what is wanted. A new port that cannot have its rate is taken off
    /// the list and returned; one that was open goes on with the rate it has.
    pub(super) fn ports(
        &mut self,
        desired: &Desired,
        ports: &BTreeMap<String, Port>,
        networks: &mut [NetworkSpec],
        problems: &mut Vec<String>,
    ) -> Vec<String> {
        self.rates.retain(|name, _| ports.contains_key(name));
        keep_if(networks, ports, |port| {
            let Some(order) = desired.servers.iter().find(|order| order.key == port.key) else { return true };
            let in_force = self.rates.get(&port.name).copied();
            if in_force == Some(order.egress) {
                return true;
            }
            match set(port, order.egress) {
                Ok(()) => {
                    self.rates.insert(port.name.clone(), order.egress);
                    true
                }
                Err(error) => {
                    problems.push(format!("server {}: {}", port.key, chain(&error)));
                    in_force.is_some()
                }
            }
        })
    }

    /// Another namespace may be behind a port of that name from now on.
    pub(super) fn forget(&mut self, port: &str) {
        self.rates.remove(port);
    }
}

/// At the server's own end of its cable, where what is too much can wait; a server has no right to change it.
fn set(port: &Port, rate: Option<BitRate>) -> Result<(), LimitError> {
    let rtnl = Rtnl::open_in(&Netns::open(&names::netns(&port.key))?)?;
    Ok(rtnl.set_send_rate(names::DEVICE, rate.map(|rate| rate.0))?)
}
