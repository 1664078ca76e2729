//! Connections to servers that are kept for the next request. Each thread of a proxy has its own.

use super::gate::Backend;
use super::link::{Link, Trunk};
use crate::attempt::Failure;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

/// So many wait for requests to one server; of more the oldest ends.
const KEPT_MAX: usize = 256;

/// For so long at most: servers close them after some time, nginx after 60 or 75 s, and one that closes as a request comes
/// makes it a retry, or a failure.
const KEPT_FOR: Duration = Duration::from_secs(30);

/// The connections of a thread.
#[derive(Debug, Default)]
pub struct Pool(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    links: HashMap<SocketAddr, Vec<Link>>,
    trunks: HashMap<SocketAddr, Trunk>,
}

impl Pool {
    /// A connection that was kept: the one used last, so that those that are not needed grow old.
    pub fn kept(&self, backend: &Backend) -> Option<Link> {
        let mut kept = self.lock();
        let links = kept.links.get_mut(&backend.address)?;
        while let Some(link) = links.pop() {
            if link.usable(backend) && link.idle_since.elapsed() < KEPT_FOR {
                return Some(link);
            }
        }
        None
    }

    /// Keeps one whose request is over.
    pub fn keep(&self, backend: &Backend, mut link: Link) {
        if link.closed() {
            return;
        }
        link.idle_since = tokio::time::Instant::now();
        let mut kept = self.lock();
        let links = kept.links.entry(backend.address).or_default();
        if links.len() >= KEPT_MAX {
            links.remove(0);
        }
        links.push(link);
    }

    /// The HTTP/2 connection to a server, made if there is none.
    ///
    /// # Errors
    /// As [`Trunk::open`].
    pub async fn trunk(&self, backend: &Backend, limit: Duration) -> Result<Trunk, Failure> {
        let known = self.lock().trunks.get(&backend.address).filter(|trunk| trunk.usable(backend)).cloned();
        if let Some(trunk) = known {
            return Ok(trunk);
        }
        let trunk = Trunk::open(backend, limit).await?;
        self.lock().trunks.insert(backend.address, trunk.clone());
        Ok(trunk)
    }

    /// Ends what is old or over.
    pub fn tidy(&self) {
        let mut kept = self.lock();
        kept.links.retain(|_, links| {
            links.retain(|link| !link.closed() && link.idle_since.elapsed() < KEPT_FOR);
            !links.is_empty()
        });
        kept.trunks.retain(|_, trunk| !trunk.closed());
    }

    /// Ends all.
    pub fn clear(&self) {
        *self.lock() = Kept::default();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().expect("nobody panics who holds it")
    }
}
