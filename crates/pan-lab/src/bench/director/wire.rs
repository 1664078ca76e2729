//! The networks: a client, a server, and three ways between them, each over a namespace with an interface `out` towards the client and `in` towards
//! the server, as a partition's namespace at a director has them.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use pan_linux::netns::Netns;
use pan_linux::rtnl::{Hop, Route, Rtnl};
use pan_linux::{nft, sysctl};

use crate::error::LabError;

const PREFIX_LENGTH: u8 = 24;
const STEP: &str = "make the networks";

/// What stands between client and server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Middle {
    /// Programs that pass on what they are sent.
    Proxies,
    /// A director's rules.
    Rules,
    /// Nothing but forwarding.
    Plain,
}

impl Middle {
    const ALL: [Self; 3] = [Self::Proxies, Self::Rules, Self::Plain];

    /// Its namespace's name within the site's.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Proxies => "proxies",
            Self::Rules => "rules",
            Self::Plain => "plain",
        }
    }

    const fn nets(self) -> (u8, u8) {
        match self {
            Self::Proxies => (1, 2),
            Self::Rules => (3, 4),
            Self::Plain => (5, 6),
        }
    }

    /// Where the client finds it.
    pub const fn front(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 97, self.nets().0, 1)
    }

    /// Where the client is for it.
    const fn client(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 97, self.nets().0, 2)
    }

    /// Where it is for the server.
    const fn back(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 97, self.nets().1, 1)
    }

    /// Where the server is for it.
    pub const fn server(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 97, self.nets().1, 2)
    }
}

/// The namespace of a site.
pub(super) fn open(site: &str, which: &str) -> Result<Netns, LabError> {
    Netns::open(&format!("{site}-{which}")).map_err(LabError::kernel(format!("enter the network {which:?}")))
}

/// Makes all of it. `rules` are a director's.
pub(super) fn make(site: &str, rules: &str) -> Result<(), LabError> {
    for which in ["client", "server"].into_iter().chain(Middle::ALL.map(Middle::name)) {
        let ns = Netns::create(&format!("{site}-{which}")).map_err(LabError::kernel(STEP))?;
        // As many ports as there are: each connection needs one for a minute.
        for (key, value) in [("net/ipv4/ip_local_port_range", "1024 65535"), ("net/ipv4/tcp_tw_reuse", "1")] {
            sysctl::set(Some(&ns), key, value).map_err(LabError::kernel(STEP))?;
        }
        Rtnl::open_in(&ns).and_then(|rtnl| rtnl.set_up("lo")).map_err(LabError::kernel(STEP))?;
    }
    let (client, server) = (open(site, "client")?, open(site, "server")?);
    for middle in Middle::ALL {
        let ns = open(site, middle.name())?;
        connect(middle, &ns, &client, &server).map_err(LabError::kernel(STEP))?;
        match middle {
            Middle::Proxies => {}
            Middle::Plain => sysctl::set(Some(&ns), "net/ipv4/ip_forward", "1").map_err(LabError::kernel(STEP))?,
            Middle::Rules => {
                sysctl::set(Some(&ns), "net/ipv4/ip_forward", "1").map_err(LabError::kernel(STEP))?;
                nft::load(Some(&ns), rules).map_err(LabError::kernel("load a director's rules"))?;
            }
        }
    }
    Ok(())
}

fn connect(middle: Middle, ns: &Netns, client: &Netns, server: &Netns) -> pan_linux::rtnl::Result<()> {
    let (here, client_end, server_end) = (Rtnl::open_in(ns)?, Rtnl::open_in(client)?, Rtnl::open_in(server)?);
    here.add_veth_to("out", middle.name(), client)?;
    here.add_veth_to("in", middle.name(), server)?;
    let ends = [
        (&here, "out", middle.front()),
        (&here, "in", middle.back()),
        (&client_end, middle.name(), middle.client()),
        (&server_end, middle.name(), middle.server()),
    ];
    for (rtnl, device, address) in ends {
        rtnl.replace_addr(device, IpNet::V4(Ipv4Net::new_assert(address, PREFIX_LENGTH)))?;
        rtnl.set_up(device)?;
    }
    // Each finds the other over this middle alone.
    for (rtnl, to, over) in [(&client_end, middle.server(), middle.front()), (&server_end, middle.client(), middle.back())] {
        let dst = IpNet::V4(Ipv4Net::new_assert(to, PREFIX_LENGTH).trunc());
        let hop = Hop { via: Some(IpAddr::V4(over)), dev: middle.name().to_owned() };
        rtnl.replace_route(&Route { dst, src: None, hops: vec![hop], mtu: None, rto_min: None })?;
    }
    Ok(())
}
