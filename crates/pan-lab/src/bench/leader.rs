//! Who leads: every candidate is asked for itself, by the page it shows to collectors. The public API of a PAN does not
//! tell, and what was written to a log may be true no more.

use std::net::SocketAddr;

use pan_model::HostName;
use pan_model::host_config::{CONTROLLER_PORT, ETCD_CLIENT_PORT};

use super::page::{self, Place};
use crate::address::Net;
use crate::lab::Lab;
use crate::name::{HostKind, LabHost};

/// What has a leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leader {
    /// The controllers.
    Controller,
    /// etcd's members.
    Etcd,
}

impl Leader {
    const fn kind(self) -> HostKind {
        match self {
            Self::Controller => HostKind::Controller,
            Self::Etcd => HostKind::Etcd,
        }
    }

    /// 1 on the page of the one that leads, 0 on all others'.
    const fn family(self) -> &'static str {
        match self {
            Self::Controller => "pan_controller_leads",
            Self::Etcd => "etcd_server_is_leader",
        }
    }

    fn place(self, host: LabHost) -> Option<Place> {
        match self {
            Self::Controller => {
                let peer = HostName::new(host.to_string()).expect("a lab's host has a valid name");
                Some(Place { address: SocketAddr::new(host.address()?, CONTROLLER_PORT), peer: Some(peer) })
            }
            // It listens on the fabrics only, to whoever has a certificate of the store's, as each member has.
            Self::Etcd => {
                let address = host.addresses_on(Net::FabricA).first()?.addr();
                Some(Place { address: SocketAddr::new(address, ETCD_CLIENT_PORT), peer: None })
            }
        }
    }
}

/// The one that leads, if all answer and agree: one that has not come back yet may be about to lead.
///
/// # Errors
/// How things are instead, in words.
pub(super) fn find(lab: &Lab, of: Leader, hosts: impl IntoIterator<Item = LabHost>) -> Result<LabHost, String> {
    let mut said = Vec::new();
    for host in hosts.into_iter().filter(|host| host.kind() == of.kind()) {
        let place = of.place(host).ok_or_else(|| format!("{host} has no address"))?;
        let page = page::read(lab, host, &place).map_err(|problem| format!("{host} does not answer: {problem}"))?;
        let leads = page::sum(&page, of.family()).ok_or_else(|| format!("{host} does not say whether it leads"))?;
        said.push((host, leads > 0.0));
    }
    only(&said)
}

fn only(said: &[(LabHost, bool)]) -> Result<LabHost, String> {
    let leading: Vec<LabHost> = said.iter().filter(|(_, leads)| *leads).map(|(host, _)| *host).collect();
    match leading[..] {
        [one] => Ok(one),
        [] => Err(format!("none of {} leads", said.len())),
        _ => Err(format!("{} of {} lead", leading.len(), said.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_that_leads_alone_is_the_leader() {
        let host = |text: &str| text.parse::<LabHost>().unwrap();
        let said = |leads: [bool; 3]| ["e1", "e2", "e3"].map(host).into_iter().zip(leads).collect::<Vec<_>>();
        assert_eq!(only(&said([false, true, false])), Ok(host("e2")));
        assert_eq!(only(&said([false; 3])), Err("none of 3 leads".to_owned()));
        assert_eq!(only(&said([true, false, true])), Err("2 of 3 lead".to_owned()));
    }

    #[test]
    fn everybody_is_asked_where_it_listens() {
        let place = |of: Leader, host: &str| of.place(host.parse().unwrap()).unwrap();
        assert_eq!(place(Leader::Etcd, "e2").address.to_string(), "10.201.0.222:2379");
        assert_eq!(place(Leader::Controller, "c3").address.to_string(), "10.200.0.3:7443");
        assert!(Leader::Etcd.place(LabHost::OUTSIDE).is_none());
    }
}
