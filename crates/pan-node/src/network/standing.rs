//! Hears which directors answer for others at present ([`pan_member::standin`]), from those directors themselves. A thread of its own: who
//! sends to a gateway is to follow within a millisecond or two, whatever the agent is busy with.

use std::io;
use std::net::SocketAddr;
use std::sync::Weak;
use std::time::Duration;

use pan_api::keys::LiveKeys;
use pan_linux::datagram::{BeatSocket, Waker, wait};
use pan_member::wire::{MESSAGE_BYTES_MAX, decode_stand_in};
use pan_member::{KeyRing, StandIns};
use pan_model::host_config::{HostConfig, STAND_IN_PORT};

use super::keeper::Network;
use crate::clock;
use crate::error::chain;

/// How often is looked for new keys, for addresses that could not be had, and whether anybody wants to know yet.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Datagrams taken of one socket at a time.
const ROUND_MAX: usize = 1024;

/// Listens until the last handle on the network is gone. A host without a key, or without the addresses, follows the
/// controllers' map alone.
pub(super) fn start(config: &HostConfig, network: Weak<Network>) -> io::Result<()> {
    let (live, keys) = match LiveKeys::open(&config.run_dir, &config.beat_key) {
        Ok((live, keys)) => (live, KeyRing::of(&keys)),
        Err(error) => {
            tracing::warn!(error = chain(&error), "directors that stand in for others are not heard");
            return Ok(());
        }
    };
    let Some(keys) = keys else { return Ok(()) };
    let fabrics = [&config.fabrics.a, &config.fabrics.b];
    let addresses = fabrics.map(|fabric| SocketAddr::new(fabric.address.addr(), STAND_IN_PORT));
    let ear = Ear { live, keys, addresses, sockets: Vec::new(), complained: false, known: StandIns::default() };
    std::thread::Builder::new().name("stand-ins".into()).spawn(move || ear.run(&network)).map(drop)
}

struct Ear {
    live: LiveKeys,
    keys: KeyRing,
    addresses: [SocketAddr; 2],
    sockets: Vec<BeatSocket>,
    complained: bool,
    known: StandIns,
}

impl Ear {
    fn run(mut self, network: &Weak<Network>) {
        let Ok(waker) = Waker::new() else { return };
        let mut look_at = clock::now();
        loop {
            if clock::now() >= look_at {
                look_at = clock::now().plus(LOOK_EVERY);
                self.keys = self.live.news().and_then(|keys| KeyRing::of(&keys)).unwrap_or(self.keys);
                self.bind();
            }
            let now = clock::now();
            let until = self.known.deadline().map_or(look_at, |deadline| deadline.min(look_at));
            // What goes wrong with waiting goes wrong with reading too, a second from now at the latest.
            if wait(&self.sockets, &waker, until.since(now)).is_err() {
                std::thread::sleep(LOOK_EVERY);
            }
            let news = self.hear() | self.known.tick(clock::now());
            let Some(network) = network.upgrade() else { return };
            if news {
                network.standing(self.known.standing());
            }
        }
    }

    /// Both addresses, or the one that is to be had.
    fn bind(&mut self) {
        if self.sockets.len() == self.addresses.len() {
            return;
        }
        self.sockets.clear();
        for address in self.addresses {
            match BeatSocket::bind(address) {
                Ok(socket) => self.sockets.push(socket),
                Err(error) if !self.complained => {
                    self.complained = true;
                    tracing::warn!(%error, "directors that stand in for others are not heard there");
                }
                Err(_) => {}
            }
        }
    }

    fn hear(&mut self) -> bool {
        let mut buffer = [0; MESSAGE_BYTES_MAX + 1];
        let mut news = false;
        for socket in &self.sockets {
            for _ in 0..ROUND_MAX {
                let Ok(Some(arrived)) = socket.receive(&mut buffer) else { break };
                // A forged or broken one is as good as none.
                if let Ok(said) = decode_stand_in(&buffer[..arrived.bytes], &self.keys) {
                    news |= self.known.hear(&said, clock::now());
                }
            }
        }
        news
    }
}
