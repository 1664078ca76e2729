//! The ear's sockets, one a fabric, and whom it speaks to over them.

use pan_linux::datagram::BeatSocket;
use pan_member::Message;
use pan_member::frame::KeyRing;
use pan_member::wire::{MESSAGE_BYTES_MAX, encode};
use pan_model::HostName;
use pan_model::host_config::{BEAT_PORT, LESSOR_PORT, PeerAddress};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// Sends every message over both fabrics; whoever hears it twice answers twice, which does no harm.
pub(super) struct Speaker {
    /// On fabric A and on fabric B.
    pub sockets: Vec<BeatSocket>,
    /// Between controllers and lessors.
    pub keys: KeyRing,
    controllers: BTreeMap<HostName, [SocketAddr; 2]>,
    lessors: BTreeMap<HostName, [SocketAddr; 2]>,
}

impl Speaker {
    pub fn bind(
        me: HostName,
        fabrics: &[IpAddr; 2],
        keys: KeyRing,
        controllers: &[PeerAddress],
        lessors: &[PeerAddress],
    ) -> std::io::Result<Self> {
        let bind = |address: &IpAddr| BeatSocket::bind(SocketAddr::new(*address, BEAT_PORT));
        let sockets = fabrics.iter().map(bind).collect::<std::io::Result<Vec<_>>>()?;
        let book = |all: &[PeerAddress], port| {
            all.iter().map(|one| (one.name.clone(), [one.a, one.b].map(|at| SocketAddr::new(at, port)))).collect()
        };
        let mut controllers: BTreeMap<_, _> = book(controllers, BEAT_PORT);
        controllers.remove(&me);
        Ok(Self { sockets, keys, controllers, lessors: book(lessors, LESSOR_PORT) })
    }

    /// To all other controllers.
    pub fn to_controllers(&self, message: &Message) {
        self.send(message, self.controllers.values());
    }

    pub fn to_controller(&self, name: &HostName, message: &Message) {
        self.send(message, self.controllers.get(name).into_iter());
    }

    pub fn to_lessor(&self, name: &HostName, message: &Message) {
        self.send(message, self.lessors.get(name).into_iter());
    }

    fn send<'a>(&self, message: &Message, to: impl Iterator<Item = &'a [SocketAddr; 2]>) {
        let mut bytes = [0; MESSAGE_BYTES_MAX];
        let length = encode(message, self.keys.current(), &mut bytes);
        for addresses in to {
            for (socket, address) in self.sockets.iter().zip(addresses) {
                if let Err(error) = socket.send(&bytes[..length], *address) {
                    tracing::debug!(%address, %error, "a datagram was not sent");
                }
            }
        }
    }
}
