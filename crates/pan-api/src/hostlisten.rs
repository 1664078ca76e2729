//! Listening on a host's own address and on its addresses on both fabrics, for whatever a role serves there.

use crate::door::{Arrival, Door};
use pan_model::host_config::HostConfig;
use std::future::Future;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Pause before an address that is not there yet is tried again.
const BIND_AGAIN: Duration = Duration::from_secs(1);
/// Pause after a failure to accept, most likely for want of descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Serves for ever on `port`: `connection` has each one that comes in at the door, with its place there.
pub async fn serve<C, F>(config: &HostConfig, port: u16, door: &Door, connection: C)
where
    C: Fn(TcpStream, Arrival) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let mut addresses = vec![config.address, config.fabrics.a.address.addr(), config.fabrics.b.address.addr()];
    addresses.sort_unstable();
    addresses.dedup();
    let mut listeners = JoinSet::new();
    for address in addresses {
        listeners.spawn(listen(address, port, door.clone(), connection.clone()));
    }
    while listeners.join_next().await.is_some() {}
}

async fn listen<C, F>(address: IpAddr, port: u16, door: Door, connection: C)
where
    C: Fn(TcpStream, Arrival) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let address = SocketAddr::new(address, port);
    let mut said = false;
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(error) if error.kind() == ErrorKind::AddrInUse && !std::mem::replace(&mut said, true) => {
                tracing::error!(%address, "cannot listen: another program has the port; `ss -ltnp 'sport = :{port}'` shows which, stop it");
                tokio::time::sleep(BIND_AGAIN).await;
            }
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
                Ok((stream, from)) => {
                    if let Some(arrival) = door.arrival(from.ip()) {
                        connections.spawn(connection(stream, arrival));
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
