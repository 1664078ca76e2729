//! Connections to servers that are kept for the next request. Each thread of a proxy has its own.

use super::gate::Backend;
use super::link::{Link, Trunk};
use super::proxy::TICK;
use crate::attempt::Failure;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

/// So many wait for requests to one server; of more the oldest ends.
const KEPT_MAX: usize = 256;

/// For so long at most: servers close them after some time, nginx after 60 or 75 s, and one that closes as a request comes
/// makes it a retry, or a failure. Counted in rounds of [`Pool::tidy`], so that no request has to ask for the time.
const KEPT_ROUNDS: u128 = Duration::from_secs(30).as_millis() / TICK.as_millis();

/// The connections of a thread.
#[derive(Debug, Default)]
pub struct Pool(Mutex<Kept>);

/// By server. Not by address: another server there, or the same in another cluster, has falls of its own, and what it is told
/// at a connection's beginning can differ.
type Kept = HashMap<usize, Server>;

/// The connections to one.
#[derive(Debug)]
struct Server {
    /// As long as this is here, nobody else is at its place in memory.
    backend: Weak<Backend>,
    links: Vec<Link>,
    trunk: Option<Trunk>,
}

impl Pool {
    /// A connection that was kept: the one used last, so that those that are not needed grow old.
    pub fn kept(&self, backend: &Arc<Backend>) -> Option<Link> {
        let mut kept = self.lock();
        let links = &mut kept.get_mut(&place(backend))?.links;
        while let Some(link) = links.pop() {
            if link.usable(backend) {
                return Some(link);
            }
        }
        None
    }

    /// Keeps one whose request is over.
    pub fn keep(&self, backend: &Arc<Backend>, mut link: Link) {
        if link.closed() {
            return;
        }
        link.rounds = 0;
        let mut kept = self.lock();
        let links = &mut server(&mut kept, backend).links;
        if links.len() >= KEPT_MAX {
            links.remove(0);
        }
        links.push(link);
    }

    /// The HTTP/2 connection to a server, if there is one that can be used.
    pub fn trunk(&self, backend: &Arc<Backend>) -> Option<Trunk> {
        let trunk = self.lock().get(&place(backend))?.trunk.clone();
        trunk.filter(|trunk| trunk.usable(backend))
    }

    /// Makes one, which has all further requests.
    ///
    /// # Errors
    /// As [`Trunk::open`].
    pub async fn open_trunk(&self, backend: &Arc<Backend>, limit: Duration) -> Result<Trunk, Failure> {
        let trunk = Trunk::open(backend, limit).await?;
        server(&mut self.lock(), backend).trunk = Some(trunk.clone());
        Ok(trunk)
    }

    /// Ends what is old or over, and what leads to servers that are not in the document any more. To be called every [`TICK`].
    pub fn tidy(&self) {
        self.lock().retain(|_, server| {
            server.links.retain_mut(|link| {
                link.rounds += 1;
                !link.closed() && link.rounds <= KEPT_ROUNDS
            });
            server.trunk.take_if(|trunk| trunk.closed());
            server.backend.strong_count() > 0 && (server.trunk.is_some() || !server.links.is_empty())
        });
    }

    /// Ends all.
    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().expect("nobody panics who holds it")
    }
}

fn server<'a>(kept: &'a mut Kept, backend: &Arc<Backend>) -> &'a mut Server {
    let new = || Server { backend: Arc::downgrade(backend), links: Vec::new(), trunk: None };
    kept.entry(place(backend)).or_insert_with(new)
}

fn place(backend: &Arc<Backend>) -> usize {
    Arc::as_ptr(backend).addr()
}
