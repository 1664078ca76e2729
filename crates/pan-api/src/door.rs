//! Who may come in at a listening socket: so many connections of one address that have not said yet who they are, and no more, so that
//! whoever opens idle ones uses up their own share and nobody else's. Hosts have room that strangers cannot take.
//!
//! A connection is an [`Arrival`] until its TLS handshake is done, and then has a [`Seat`], as a host or as somebody else. It knows
//! addresses and certificates, and not what is served.

use crate::metrics::Count;
use pan_model::host_config::HostConfig;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Connections of one address whose handshake is under way. One takes milliseconds, of a peer that goes on with it: a hundred programs
/// that start at once on one machine, or behind one translated address, all come in.
const HANDSHAKES_EACH: usize = 128;
/// The same of all whom nothing is known of.
const HANDSHAKES_STRANGERS: usize = 1024;
/// The same of all addresses of the fabrics' networks; and of those that hosts have come from. A thousand hosts come back within a second
/// when a controller does, with a few connections each.
const HANDSHAKES_HOSTS: usize = 4096;
/// Addresses of hosts that are remembered: a thousand hosts with three each.
const PROVEN_MAX: usize = 4096;
/// How often it is said that somebody was turned away.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// How many may be served at the same time.
#[derive(Debug, Clone, Copy)]
pub struct Seats {
    /// Hosts' connections.
    pub hosts: usize,
    /// Those of all who show no host's certificate; none where one is required.
    pub others: usize,
    /// Those of one address, of either kind.
    pub each: usize,
}

/// What a connection is counted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    /// Its handshake is under way, and nothing is known of its address.
    Stranger,
    /// The same, from a fabric's network.
    Near,
    /// The same, from where a host has come before.
    Proven,
    /// Served, with a host's certificate.
    Host,
    /// Served, without.
    Other,
}

const ROOMS: usize = 5;

/// Connections of one room.
#[derive(Debug, Default)]
struct Tally {
    all: usize,
    of: BTreeMap<IpAddr, usize>,
}

#[derive(Debug, Default)]
struct State {
    tallies: [Tally; ROOMS],
    proven: BTreeSet<IpAddr>,
    /// When it was said last that somebody was turned away, and how many were since.
    said: Option<Instant>,
    unsaid: u64,
}

#[derive(Debug)]
struct Inner {
    near: [ipnet::IpNet; 2],
    seats: Seats,
    refused: Arc<Count>,
    state: Mutex<State>,
}

/// The door of one or more listening sockets. Clones are the same door.
#[derive(Debug, Clone)]
pub struct Door(Arc<Inner>);

impl Door {
    /// The door of a host's sockets. `refused` counts connections that are closed because there are too many.
    #[must_use]
    pub fn new(config: &HostConfig, seats: Seats, refused: Arc<Count>) -> Self {
        let near = [config.fabrics.a.address, config.fabrics.b.address];
        Self(Arc::new(Inner { near, seats, refused, state: Mutex::default() }))
    }

    /// Lets in who was just accepted; `None`: it is to be closed.
    #[must_use]
    pub fn arrival(&self, from: IpAddr) -> Option<Arrival> {
        let from = from.to_canonical();
        let near = self.0.near.iter().any(|network| network.contains(&from));
        let mut state = self.lock();
        let room = if state.proven.contains(&from) {
            Room::Proven
        } else if near {
            Room::Near
        } else {
            Room::Stranger
        };
        let place = self.take(&mut state, room, counted_as(from, room))?;
        Some(Arrival { from, place })
    }

    fn bounds(&self, room: Room) -> (usize, usize) {
        match room {
            Room::Stranger => (HANDSHAKES_STRANGERS, HANDSHAKES_EACH),
            Room::Near | Room::Proven => (HANDSHAKES_HOSTS, HANDSHAKES_EACH),
            Room::Host => (self.0.seats.hosts, self.0.seats.each),
            Room::Other => (self.0.seats.others, self.0.seats.each),
        }
    }

    fn take(&self, state: &mut State, room: Room, from: IpAddr) -> Option<Place> {
        let (all, each) = self.bounds(room);
        let tally = &mut state.tallies[room as usize];
        let own = tally.of.get(&from).copied().unwrap_or(0);
        if own >= each || tally.all >= all {
            self.refuse(state, room, from);
            return None;
        }
        tally.all += 1;
        tally.of.insert(from, own + 1);
        Some(Place { door: self.clone(), room, from })
    }

    fn refuse(&self, state: &mut State, room: Room, from: IpAddr) {
        self.0.refused.one();
        state.unsaid += 1;
        if state.said.is_some_and(|said| said.elapsed() < SAY_EVERY) {
            return;
        }
        let (all, each) = self.bounds(room);
        let of = match room {
            Room::Stranger | Room::Near | Room::Proven => "have not said yet who they are",
            Room::Host | Room::Other => "are served already",
        };
        let (closed, own) = (std::mem::take(&mut state.unsaid), state.tallies[room as usize].of.get(&from).copied().unwrap_or(0));
        tracing::warn!(%from, own, each, all, closed, "connections are closed: too many of that address, or of all like it, {of}");
        state.said = Some(Instant::now());
    }

    fn leave(&self, room: Room, from: IpAddr) {
        let mut state = self.lock();
        let tally = &mut state.tallies[room as usize];
        tally.all = tally.all.saturating_sub(1);
        match tally.of.get_mut(&from) {
            Some(own) if *own > 1 => *own -= 1,
            Some(_) | None => {
                tally.of.remove(&from);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whose share it takes. Who has one address of IPv6 has its whole network of 64 bits, unless it is one that hosts have.
fn counted_as(from: IpAddr, room: Room) -> IpAddr {
    match (from, room) {
        (IpAddr::V6(address), Room::Stranger | Room::Other) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        (from, _) => from,
    }
}

/// A place, until it is dropped.
#[derive(Debug)]
struct Place {
    door: Door,
    room: Room,
    from: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.door.leave(self.room, self.from);
    }
}

/// A connection whose TLS handshake is under way.
#[derive(Debug)]
pub struct Arrival {
    from: IpAddr,
    place: Place,
}

impl Arrival {
    /// It showed a host's certificate. `None`: too many hosts are served, or too many connections of that one.
    #[must_use]
    pub fn host(self) -> Option<Seat> {
        let door = self.place.door.clone();
        let mut state = door.lock();
        if state.proven.len() < PROVEN_MAX {
            state.proven.insert(self.from);
        }
        let seat = door.take(&mut state, Room::Host, self.from);
        drop(state);
        seat.map(Seat)
    }

    /// It showed none. `None` as above.
    #[must_use]
    pub fn other(self) -> Option<Seat> {
        let door = self.place.door.clone();
        let seat = door.take(&mut door.lock(), Room::Other, counted_as(self.from, Room::Other));
        seat.map(Seat)
    }
}

/// A connection that is served, until it is dropped.
#[derive(Debug)]
pub struct Seat(#[expect(dead_code, reason = "it is there to be dropped")] Place);

#[cfg(test)]
mod tests {
    use super::*;

    fn door(seats: Seats) -> Door {
        let near = ["10.201.0.11/16", "10.202.0.11/16"].map(|network| network.parse().unwrap());
        Door(Arc::new(Inner { near, seats, refused: Arc::default(), state: Mutex::default() }))
    }

    const SEATS: Seats = Seats { hosts: 8, others: 4, each: 3 };

    fn all(door: &Door, from: &str) -> Vec<Arrival> {
        let from = from.parse().unwrap();
        std::iter::from_fn(|| door.arrival(from)).collect()
    }

    #[test]
    fn who_says_nothing_uses_up_their_own_share() {
        let door = door(SEATS);
        let idle = all(&door, "192.0.2.1");
        assert_eq!((idle.len(), door.0.refused.get()), (HANDSHAKES_EACH, 1));
        assert!(door.arrival("192.0.2.2".parse().unwrap()).is_some(), "another one comes in");
        drop(idle);
        assert_eq!(all(&door, "192.0.2.1").len(), HANDSHAKES_EACH);
        // However many strangers there are, hosts come in: from where they have been, and from where only hosts are.
        door.arrival("10.200.0.12".parse().unwrap()).unwrap().host().unwrap();
        let strangers: Vec<Arrival> = (0..=255).flat_map(|last| all(&door, &format!("192.0.2.{last}"))).collect();
        assert_eq!(strangers.len(), HANDSHAKES_STRANGERS);
        assert!(door.arrival("198.51.100.1".parse().unwrap()).is_none());
        for host in ["10.200.0.12", "10.201.0.12", "10.202.0.12", "::ffff:10.202.0.13"] {
            assert!(door.arrival(host.parse().unwrap()).is_some(), "{host}");
        }
    }

    #[test]
    fn one_network_of_ipv6_is_one_stranger_and_each_proven_address_a_host() {
        let door = door(SEATS);
        let idle = all(&door, "2001:db8::1");
        assert_eq!(idle.len(), HANDSHAKES_EACH);
        assert!(door.arrival("2001:db8::2".parse().unwrap()).is_none());
        let other = door.arrival("2001:db8:0:1::2".parse().unwrap()).unwrap();
        drop(other.host().unwrap());
        let many = all(&door, "2001:db8:0:1::3");
        assert_eq!(many.len(), HANDSHAKES_EACH);
        assert!(door.arrival("2001:db8:0:1::2".parse().unwrap()).is_some());
    }

    #[test]
    fn people_take_no_hosts_seat() {
        let door = door(SEATS);
        let come = |from: &str| door.arrival(from.parse().unwrap()).unwrap();
        let people: Vec<Seat> = (1..=9).filter_map(|last| come(&format!("192.0.2.{last}")).other()).collect();
        assert_eq!(people.len(), 4);
        let hosts: Vec<Seat> = (1..=9).filter_map(|_| come("10.201.0.12").host()).collect();
        assert_eq!(hosts.len(), 3, "and one host not all of them");
        assert!(come("10.201.0.13").host().is_some());
        drop((people, hosts));
        assert!(door.lock().tallies.iter().all(|tally| tally.all == 0 && tally.of.is_empty()));
    }
}
