//! Heads of nodes at a storage host: TLS, a capability, and then the mirror protocol.
//!
//! A connection shows its capability in one line (two bytes of length, the bytes) and is answered with one byte: go on, or no.
//! Why not is never told, and takes the same work whatever it is. After that come frames of `pan_replica::wire`, both ways, with
//! signs of life between them (`pan_replica::wire::line`).

mod crowd;
mod frames;
mod limits;
mod session;
#[cfg(test)]
mod tests;

use crate::files::Files;
use crate::keep::Open;
use crate::metrics::{Counts, Why};
use crate::vault::{Kept, Vault};
use crowd::Crowd;
use limits::{GREETING_MAX, IN_FLIGHT_ALL, SEATS};
use pan_api::capability::{Capability, CapabilityKeys, Mode};
use pan_api::door::{Arrival, Door};
use pan_api::hostlisten;
use pan_api::tls::{ClientCerts, LiveTls, PeerIdentity, TlsError, peer_identity};
use pan_linux::congestion;
use pan_model::host::Role;
use pan_model::host_config::{HostConfig, REPLICA_PORT};
use pan_replica::wire::line::{Cover, Welcome, greeted, silence};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// What is read from the kernel at once: four full records of TLS, which by itself reads 4 KiB at a time. All connections that are served together
/// have 128 MiB of it at most, and those that still shake hands as much as the door lets in.
const READ_AHEAD: usize = 64 << 10;

/// A connection.
type Line = TlsStream<BufReader<TcpStream>>;

/// Serves replicas to heads.
pub(crate) struct Server {
    tls: TlsAcceptor,
    open: watch::Receiver<Open>,
    run_dir: PathBuf,
    /// How long a head may say nothing.
    silence: Duration,
    /// Whether heads are far away.
    far: bool,
    /// Whether heads that ask for it are spoken to in the clear: in laboratories.
    clear: bool,
    counts: Arc<Counts>,
    crowd: Crowd,
    in_flight: Arc<Semaphore>,
    door: Door,
}

/// A head that showed a good capability.
struct Guest {
    capability: Capability,
    vault: Arc<Vault<Files>>,
    kept: Arc<Kept>,
    /// In what it wants to go on.
    cover: Cover,
}

impl Server {
    /// A server of whatever pool is open. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The host's certificate cannot be used.
    pub(crate) fn new(config: &HostConfig, open: watch::Receiver<Open>, counts: Arc<Counts>) -> Result<Arc<Self>, TlsError> {
        let tls = TlsAcceptor::from(LiveTls::open(&config.tls)?.server_config(ClientCerts::Required)?);
        Ok(Arc::new(Self {
            tls,
            open,
            run_dir: config.run_dir.clone(),
            silence: silence(&config.profile),
            far: config.profile == "wan",
            clear: config.volumes_in_the_clear(),
            door: Door::new(config, SEATS, counts.connections_refused.clone()),
            counts,
            crowd: Crowd::default(),
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT_ALL)),
        }))
    }

    /// Serves for ever on the host's own address and on its addresses on both fabrics.
    pub(crate) async fn serve(self: Arc<Self>, config: &HostConfig) {
        let door = self.door.clone();
        hostlisten::serve(config, REPLICA_PORT, &door, move |stream, arrival| self.clone().connection(stream, arrival)).await;
    }

    /// Serves one connection to its end.
    pub(crate) async fn connection(self: Arc<Self>, stream: TcpStream, arrival: Arrival) {
        self.counts.connections.one();
        // A write and the flush after it are two small packets.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection was gone at once");
            return;
        }
        if !self.far
            && let Err(error) = congestion::by_loss(&stream)
        {
            tracing::debug!(%error, "a connection keeps the machine's congestion control");
        }
        let (peer, mut stream) = match tokio::time::timeout(GREETING_MAX, self.handshake(stream)).await {
            Ok(Some(known)) => known,
            Ok(None) | Err(_) => return tracing::debug!("a TLS handshake failed or took too long"),
        };
        let Some(_seat) = arrival.host() else { return };
        let Some(place) = self.crowd.place(&peer.host) else {
            return tracing::warn!(peer = %peer.host, "has too many connections to replicas");
        };
        match tokio::time::timeout(GREETING_MAX, self.greet(&peer, &mut stream)).await {
            Ok(Ok(Some(guest))) => {
                let volume = guest.capability.volume;
                let guest = (guest, place.in_flight.clone());
                let ended = match guest.0.cover {
                    Cover::Clear => self.clear(guest, stream).await,
                    Cover::Tls => session::run(&self, guest, stream).await,
                };
                tracing::debug!(peer = %peer.host, %volume, %ended, "a connection to a replica ended");
            }
            Ok(Ok(None)) => {
                tracing::debug!(peer = %peer.host, "showed no capability for a volume that is here");
            }
            Ok(Err(_)) | Err(_) => tracing::debug!(peer = %peer.host, "ended before it showed a capability"),
        }
    }

    /// The same without TLS. Nothing is said before something was heard in the clear, so that the head takes nothing of it for TLS.
    async fn clear(&self, guest: (Guest, Arc<Semaphore>), stream: Line) -> session::Gone {
        let (mut stream, _) = stream.into_inner();
        match tokio::time::timeout(GREETING_MAX, stream.fill_buf()).await {
            Ok(Ok(_)) => session::run(self, guest, stream).await,
            Ok(Err(error)) => error.into(),
            Err(_) => session::Gone::Silent,
        }
    }

    async fn handshake(&self, stream: TcpStream) -> Option<(PeerIdentity, Line)> {
        let accepted = self.tls.accept(BufReader::with_capacity(READ_AHEAD, stream)).await.inspect_err(|error| {
            // Of the connection itself are other errors: whoever only went away showed nothing.
            if error.kind() == std::io::ErrorKind::InvalidData {
                self.counts.turned_away.one(Why::Certificate);
            }
        });
        let stream = accepted.ok()?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let Some(peer) = shown.and_then(|certificate| peer_identity(certificate).ok()) else {
            self.counts.turned_away.one(Why::Certificate);
            return None;
        };
        Some((peer, stream))
    }

    /// Reads the capability and answers it.
    async fn greet(&self, peer: &PeerIdentity, stream: &mut Line) -> std::io::Result<Option<Guest>> {
        let mut first = [0; 2];
        stream.read_exact(&mut first).await?;
        let (length, cover) = greeted(first);
        let mut shown = vec![0; length];
        stream.read_exact(&mut shown).await?;
        let may = if self.clear || cover == Cover::Tls { Ok(()) } else { Err(Why::Capability) };
        let guest = self.admit(peer, &shown).await.and_then(|guest| may.map(|()| Guest { cover, ..guest }));
        let guest = guest.inspect_err(|why| self.counts.turned_away.one(*why)).ok();
        let welcome = if guest.is_some() { Welcome::Yes } else { Welcome::No };
        stream.write_all(&[welcome.byte()]).await?;
        stream.flush().await?;
        if guest.is_none() {
            stream.shutdown().await?;
        }
        Ok(guest)
    }

    /// The same is done for each: the signature is checked, and then a replica is looked for.
    async fn admit(&self, peer: &PeerIdentity, shown: &[u8]) -> Result<Guest, Why> {
        let run_dir = self.run_dir.clone();
        // Read anew each time: a small file on tmpfs, and a key that is not good any more ends at once.
        let keys = tokio::task::spawn_blocking(move || CapabilityKeys::read(&run_dir)).await.map_err(|_| Why::Volume)?;
        let keys = keys.inspect_err(|error| tracing::debug!(%error, "no keys to check capabilities with"));
        // Heads come back before the first keys after a boot do: what they show may well be good.
        let bad = if keys.is_ok() { Why::Capability } else { Why::Keyless };
        let keys = keys.unwrap_or_default();
        let opened = keys.open(shown, &peer.host).ok().filter(|capability| capability.mode == Mode::Write);
        // Heads are on nodes. A host of another role with a node's name would not have its key.
        let role = if peer.has(Role::Node) { Ok(()) } else { Err(Why::Role) };
        let vault = self.open.borrow().clone();
        let kept = opened.as_ref().and_then(|capability| vault.as_ref()?.replica(capability.volume));
        role?;
        let capability = opened.ok_or(bad)?;
        let (vault, kept) = vault.zip(kept).ok_or(Why::Volume)?;
        Ok(Guest { capability, vault, kept, cover: Cover::Tls })
    }
}
