//! Who is connected: so many of one host and no more, with so much in flight, and which connections end when another head is obeyed.

use super::limits::{CONNECTIONS_PEER, IN_FLIGHT_PEER};
use pan_model::{HostName, VolumeId};
use pan_replica::Conn;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, Semaphore};

/// All connections.
#[derive(Debug, Clone, Default)]
pub(super) struct Crowd(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    of_host: BTreeMap<HostName, Peer>,
    sessions: BTreeMap<VolumeId, BTreeMap<Conn, Arc<Notify>>>,
    last: u64,
}

/// A host.
#[derive(Debug)]
struct Peer {
    connections: usize,
    in_flight: Arc<Semaphore>,
}

impl Crowd {
    /// A place for a connection of a host, unless it has too many.
    pub(super) fn place(&self, host: &HostName) -> Option<Place> {
        let mut inner = self.lock();
        let new = || Peer { connections: 0, in_flight: Arc::new(Semaphore::new(IN_FLIGHT_PEER)) };
        let peer = inner.of_host.entry(host.clone()).or_insert_with(new);
        (peer.connections < CONNECTIONS_PEER).then(|| peer.connections += 1)?;
        Some(Place { crowd: self.clone(), host: host.clone(), in_flight: peer.in_flight.clone() })
    }

    /// A connection to the replica of a volume, and what tells it to end.
    pub(super) fn join(&self, volume: VolumeId) -> Session {
        let mut inner = self.lock();
        inner.last += 1;
        let (conn, end) = (Conn(inner.last), Arc::new(Notify::new()));
        inner.sessions.entry(volume).or_default().insert(conn, end.clone());
        Session { crowd: self.clone(), volume, conn, end }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place of a host, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    crowd: Crowd,
    host: HostName,
    /// What all connections of the host have in flight.
    pub(super) in_flight: Arc<Semaphore>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self.crowd.lock();
        if let Some(peer) = inner.of_host.get_mut(&self.host) {
            peer.connections -= 1;
        }
        inner.of_host.retain(|_, peer| peer.connections > 0);
    }
}

/// A connection to a replica, until it is dropped.
#[derive(Debug)]
pub(super) struct Session {
    crowd: Crowd,
    volume: VolumeId,
    pub(super) conn: Conn,
    /// It is to end.
    pub(super) end: Arc<Notify>,
}

impl Session {
    /// Ends all others of the same volume.
    pub(super) fn end_others(&self) {
        let inner = self.crowd.lock();
        let others = inner.sessions.get(&self.volume).into_iter().flatten().filter(|(conn, _)| **conn != self.conn);
        others.for_each(|(_, end)| end.notify_one());
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut inner = self.crowd.lock();
        if let Some(sessions) = inner.sessions.get_mut(&self.volume) {
            sessions.remove(&self.conn);
        }
        inner.sessions.retain(|_, sessions| !sessions.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_so_many_places_and_others_have_theirs() {
        let crowd = Crowd::default();
        let (n1, n2): (HostName, HostName) = ("n1".parse().unwrap(), "n2".parse().unwrap());
        let mut places: Vec<_> = (0..CONNECTIONS_PEER).map(|_| crowd.place(&n1).unwrap()).collect();
        let other = crowd.place(&n2).unwrap();
        assert!(crowd.place(&n1).is_none());
        let all = places[0].in_flight.clone().try_acquire_many_owned(u32::try_from(IN_FLIGHT_PEER).unwrap()).unwrap();
        assert!(places[1].in_flight.try_acquire().is_err() && other.in_flight.try_acquire().is_ok(), "one host's part, and no other's");
        drop(all);
        places.pop();
        assert!(crowd.place(&n1).is_some());
    }
}
