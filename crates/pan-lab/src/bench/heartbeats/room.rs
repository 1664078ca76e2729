//! A laboratory with one controller and nobody else, and this process's own way onto its fabrics.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use ipnet::{IpNet, Ipv4Net};
use pan_linux::netns::Netns;
use pan_linux::rtnl::Rtnl;
use pan_model::HostName;
use pan_model::host_config::{BEAT_PORT, CONTROLLER_PORT};

use super::super::control::Pan;
use super::super::demo::{DATA, READY_MAX};
use super::super::error::BenchError;
use super::HeartbeatsOptions;
use super::crowd::{Door, Simulated, register};
use super::watched::Watched;
use crate::address::Net;
use crate::error::LabError;
use crate::name::{HostKind, LabHost};
use crate::pki::Secrets;
use crate::room::{Afterwards, Room, RoomSpec};

/// Where this process is on the fabrics: no host of a laboratory has these, nor a simulated one. A controller asks nobody
/// where a heartbeat came from, only who made it.
const OWN: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 201, 99, 1), Ipv4Addr::new(10, 202, 99, 1)];

/// The laboratory.
pub(super) struct Alone<'a> {
    room: Room,
    net: Netns,
    controller: LabHost,
    /// Its addresses on the fabrics.
    addresses: [IpAddr; 2],
    pub(super) pan: Pan<'a>,
}

impl<'a> Alone<'a> {
    pub(super) fn up(options: &HeartbeatsOptions, stop: &'a AtomicBool, progress: &mut dyn FnMut(&str)) -> Result<Self, BenchError> {
        let wanted = RoomSpec {
            prefix: "bench",
            data: DATA,
            nodes: 0,
            storage: 0,
            directors: 0,
            controllers: 1,
            profile: options.profile.clone(),
            labels: BTreeMap::new(),
            in_the_clear: BTreeSet::new(),
            gate: None,
            exe: options.exe.clone(),
            afterwards: if options.keep { Afterwards::Keep } else { Afterwards::Remove },
        };
        let room = Room::up(wanted, progress)?;
        let step = "join the laboratory's fabrics";
        let net = Netns::open(&room.name().netns()).map_err(LabError::kernel(step))?;
        let rtnl = Rtnl::open_in(&net).map_err(LabError::kernel(step))?;
        for (fabric, own) in Net::FABRICS.into_iter().zip(OWN) {
            let address: IpNet = Ipv4Net::new_assert(own, 16).into();
            rtnl.replace_addr(fabric.name(), address).map_err(LabError::kernel(step))?;
        }
        let controller = LabHost::new(HostKind::Controller, 1).expect("there is a first controller");
        let addresses = Net::FABRICS.map(|fabric| controller.addresses_on(fabric)[0].addr());
        let pan = Pan::new(&room.credentials()?, stop)?;
        progress("waiting for the controller");
        pan.wait_for_api(READY_MAX)?;
        Ok(Self { room, net, controller, addresses, pan })
    }

    /// What heartbeats are sent from, connected to the controller on each fabric.
    pub(super) fn sockets(&self) -> Result<[UdpSocket; 2], BenchError> {
        let failed = |source| BenchError::System { action: "open a socket for heartbeats", source };
        let open = |at: usize| {
            let socket = UdpSocket::bind(SocketAddr::from((OWN[at], 0)))?;
            socket.connect(SocketAddr::new(self.addresses[at], BEAT_PORT))?;
            std::io::Result::Ok(socket)
        };
        let sockets = self.net.run(|| open(0).and_then(|a| Ok([a, open(1)?])));
        sockets.map_err(LabError::kernel("enter the laboratory's network"))?.map_err(failed)
    }

    /// A look at the controller's process.
    pub(super) fn watched(&self) -> Result<Watched, BenchError> {
        Watched::of(&self.room, self.controller, self.addresses[0], &self.net)
    }

    /// What [`Admitting::run`] needs.
    pub(super) fn admitting(&self) -> Result<Admitting, BenchError> {
        let name = HostName::new(self.controller.to_string()).map_err(|error| BenchError::Surprise(error.to_string()))?;
        let controller = (name, SocketAddr::new(self.addresses[0], CONTROLLER_PORT));
        let net = self.net.try_clone().map_err(LabError::kernel("enter the laboratory's network"))?;
        Ok(Admitting { net, door: Door { controller, authority: Secrets::ensure(self.room.data())?.authority } })
    }
}

/// Makes the simulated hosts known from inside the laboratory's network.
pub(super) struct Admitting {
    net: Netns,
    door: Door,
}

impl Admitting {
    pub(super) fn run(self, crowd: &Arc<[Simulated]>, told: &AtomicUsize, stop: &AtomicBool) -> Result<(), BenchError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|source| BenchError::System { action: "start a runtime", source })?;
        let Self { net, door } = self;
        let registered = net.run(|| runtime.block_on(register(crowd, door, told, stop)));
        let registered = registered.map_err(LabError::kernel("enter the laboratory's network"))?;
        registered.map_err(|source| BenchError::Api { action: "make simulated hosts known".to_owned(), source })
    }
}
