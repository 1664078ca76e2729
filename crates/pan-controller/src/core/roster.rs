//! All hosts as each is told of them. Which fabrics lead to another host depends on which ones a host itself is heard on,
//! and on nothing else of it: so there are at most four lists, which all desired states share.

use super::record::HostRecord;
use super::seen::Life;
use super::world::World;
use pan_api::desired::Peer;
use pan_api::peers::Peers;
use pan_model::HostName;
use pan_model::host::Link;
use std::net::IpAddr;
use std::sync::Arc;

/// The lists, by whether fabric A and fabric B reach the host that is told.
#[derive(Debug, Clone, Default)]
pub struct Rosters([Arc<Vec<Peer>>; 4]);

impl Rosters {
    /// Those of the world now. A list that is what it was is kept itself, so that who compares two desired states need not
    /// go through thousands of hosts to find that nothing has changed.
    #[must_use]
    pub fn of(world: &World, former: &Self) -> Self {
        let mut lists = former.0.clone();
        let numbers: Vec<usize> = world.hosts.keys().map(|host| number_of(world, host)).collect();
        for (number, list) in lists.iter_mut().enumerate() {
            if !numbers.contains(&number) {
                *list = Arc::default();
                continue;
            }
            let now = || world.hosts.iter().zip(&numbers).map(|((host, record), other)| told(host, record, number & other));
            if list.len() != numbers.len()
                || !now().zip(list.iter()).all(|(now, then)| now == Told { host: &then.host, address: then.address, a: then.a, b: then.b })
            {
                *list = Arc::new(now().map(Told::into_peer).collect());
            }
        }
        Self(lists)
    }

    /// What one host is told.
    #[must_use]
    pub fn peers(&self, world: &World, host: &HostName) -> Peers {
        Peers::shared(self.0[number_of(world, host)].clone(), host.clone())
    }
}

/// Fabric A counts one, fabric B two.
fn number_of(world: &World, host: &HostName) -> usize {
    let Some(seen) = world.seen.hosts.get(host) else { return 3 };
    // Of a host that is not heard at all nothing is known: both ways stay open.
    let unknown = matches!(seen.life, Life::Joining | Life::Dead);
    let reaches = |link: Link| usize::from(unknown || link == Link::Up);
    reaches(seen.fabrics.a) | reaches(seen.fabrics.b) << 1
}

/// What is said of a host to one that is reached on the fabrics of `both`, as far as it is reached on them itself.
fn told<'a>(host: &'a HostName, record: &HostRecord, both: usize) -> Told<'a> {
    let (a, b) = ((both & 1 != 0).then_some(record.a), (both & 2 != 0).then_some(record.b));
    Told { host, address: record.address, a, b }
}

/// A peer that is looked at only.
#[derive(PartialEq)]
struct Told<'a> {
    host: &'a HostName,
    address: IpAddr,
    a: Option<IpAddr>,
    b: Option<IpAddr>,
}

impl Told<'_> {
    fn into_peer(self) -> Peer {
        Peer { host: self.host.clone(), address: self.address, a: self.a, b: self.b }
    }
}
