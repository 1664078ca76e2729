//! Listening on a host's own address and on its addresses on both fabrics, for whatever a role serves there.

use pan_model::host_config::HostConfig;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Pause before an address that is not there yet is tried again.
const BIND_AGAIN: Duration = Duration::from_secs(1);
/// Pause after a failure to accept, most likely for want of descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Where is listened, and how many may come.
#[derive(Debug, Clone, Copy)]
pub struct Places {
    /// The port.
    pub port: u16,
    /// Connections at the same time; more are closed at once.
    pub connections_max: usize,
}

/// Serves for ever: `connection` has each one that is accepted.
pub async fn serve<C, F>(config: &HostConfig, places: Places, connection: C)
where
    C: Fn(TcpStream) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let free = Arc::new(Semaphore::new(places.connections_max));
    let mut addresses = vec![config.address, config.fabrics.a.address.addr(), config.fabrics.b.address.addr()];
    addresses.sort_unstable();
    addresses.dedup();
    let mut listeners = JoinSet::new();
    for address in addresses {
        listeners.spawn(listen(address, places.port, free.clone(), connection.clone()));
    }
    while listeners.join_next().await.is_some() {}
}

async fn listen<C, F>(address: IpAddr, port: u16, free: Arc<Semaphore>, connection: C)
where
    C: Fn(TcpStream) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let address = SocketAddr::new(address, port);
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            // The address may come with the first desired state, or with the interface.
            Err(error) => {
                tracing::debug!(%error, %address, "cannot listen yet");
                tokio::time::sleep(BIND_AGAIN).await;
            }
        }
    };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    if let Ok(place) = free.clone().try_acquire_owned() {
                        let served = connection(stream);
                        connections.spawn(async move {
                            served.await;
                            drop(place);
                        });
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, %address, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            },
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection's task failed");
                }
            }
        }
    }
}
