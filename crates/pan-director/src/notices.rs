//! Tells nodes for which units this director stands in, so that their servers' answers come here: each with the key of its own, over
//! both fabrics, at once, some more times right after, because a datagram can be lost and nobody says so, and then as often as it has to be
//! repeated to be believed ([`pan_member::standin`]).

use crate::standin::Standing;
use pan_api::desired::{Desired, Peer};
use pan_api::keys::LiveKeys;
use pan_linux::datagram::{BeatSocket, boot_clock};
use pan_member::standin::REPEATED;
use pan_member::wire::{MESSAGE_BYTES_MAX, STOOD_MAX, StandIn, Stood, encode_stand_in};
use pan_member::{BootId, KeyRing, host_key};
use pan_model::host_config::STAND_IN_PORT;
use pan_model::{Epoch, HostName};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// Between the first times it is said.
const PAUSES: [Duration; 5] =
    [Duration::from_millis(3), Duration::from_millis(7), Duration::from_millis(20), Duration::from_millis(70), Duration::from_millis(200)];

/// What the thread that tells needs.
pub(crate) struct Setup {
    pub host: HostName,
    pub fabrics: [IpAddr; 2],
    /// The keys from which every host's are derived, and where newer ones come from.
    pub pan: KeyRing,
    pub live: LiveKeys,
}

/// For so long after it was made their owner it still says that it stands in: whoever does not have that map yet is not to go back to the
/// one that is silent.
const OWNED_FOR: Duration = Duration::from_secs(60);

/// For which units, and who is to know.
struct News {
    standing: Standing,
    /// Units that are its own now.
    owned: BTreeSet<u32>,
    peers: Vec<Peer>,
}

/// A handle on the thread, which ends with it.
#[derive(Debug)]
pub(crate) struct Notices {
    news: Sender<News>,
    said: Standing,
}

impl Notices {
    /// Starts the thread, which says nothing as yet.
    ///
    /// # Errors
    /// A fabric's address cannot be bound, or there is no thread to be had.
    pub fn start(setup: Setup) -> io::Result<Self> {
        let bind = |address: &IpAddr| BeatSocket::bind(SocketAddr::new(*address, 0));
        let sockets = setup.fabrics.iter().map(bind).collect::<io::Result<Vec<_>>>()?;
        let (news, inbox) = channel();
        // A later life says higher numbers, and another one.
        let boot = BootId(boot_clock());
        let teller = Teller {
            setup,
            sockets,
            boot,
            sequence: boot.0,
            standing: Standing::new(),
            ended: Standing::new(),
            owned: BTreeMap::new(),
            peers: Vec::new(),
        };
        std::thread::Builder::new().name("notices".into()).spawn(move || teller.run(&inbox))?;
        Ok(Self { news, said: Standing::new() })
    }

    /// Says from now on for which units it stands in, if that is news.
    pub fn say(&mut self, standing: &Standing, wanted: &Desired) {
        if *standing == self.said {
            return;
        }
        self.said.clone_from(standing);
        let owned = wanted.units.iter().filter(|unit| unit.owner).map(|unit| unit.vni).collect();
        if self.news.send(News { standing: standing.clone(), owned, peers: wanted.peers.iter().cloned().collect() }).is_err() {
            tracing::error!("nodes are not told for which directors this one stands in: the thread that does so has ended");
        }
    }
}

struct Teller {
    setup: Setup,
    sockets: Vec<BeatSocket>,
    boot: BootId,
    sequence: u64,
    standing: Standing,
    /// Units that it stands in for no longer, to be said until the next news.
    ended: Standing,
    /// Units that became its own, and when that was.
    owned: BTreeMap<u32, (Epoch, Instant)>,
    peers: Vec<Peer>,
}

impl Teller {
    fn run(mut self, inbox: &Receiver<News>) {
        let mut times = PAUSES.len();
        loop {
            let pause = match PAUSES.get(times) {
                Some(pause) => Some(*pause),
                None => (!self.standing.is_empty() || !self.owned.is_empty()).then_some(REPEATED),
            };
            let next = match pause {
                Some(pause) => inbox.recv_timeout(pause),
                None => inbox.recv().map_err(RecvTimeoutError::from),
            };
            match next {
                Ok(news) => {
                    self.take(news);
                    times = 0;
                }
                Err(RecvTimeoutError::Timeout) => times += 1,
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.tell();
        }
    }

    fn take(&mut self, news: News) {
        let before = std::mem::replace(&mut self.standing, news.standing);
        let (owned, ended) =
            before.into_iter().filter(|(vni, _)| !self.standing.contains_key(vni)).partition(|(vni, _)| news.owned.contains(vni));
        self.ended = ended;
        let owned: Standing = owned;
        self.owned.retain(|vni, _| news.owned.contains(vni) && !self.standing.contains_key(vni));
        self.owned.extend(owned.into_iter().map(|(vni, epoch)| (vni, (epoch, Instant::now()))));
        self.peers = news.peers;
        self.setup.pan = self.setup.live.news().and_then(|keys| KeyRing::of(&keys)).unwrap_or(self.setup.pan);
    }

    fn tell(&mut self) {
        let said = |(vni, epoch, here): (&u32, &_, bool)| Stood { vni: *vni, epoch: *epoch, here };
        self.owned.retain(|_, (_, since)| since.elapsed() < OWNED_FOR);
        let owned = self.owned.iter().map(|(vni, (epoch, _))| (vni, epoch));
        let standing = self.standing.iter().chain(owned).map(|(vni, epoch)| said((vni, epoch, true)));
        let all: Vec<Stood> = standing.chain(self.ended.iter().map(|(vni, epoch)| said((vni, epoch, false)))).collect();
        for units in all.chunks(STOOD_MAX) {
            self.sequence += 1;
            let said = StandIn { director: self.setup.host.clone(), boot: self.boot, sequence: self.sequence, units: units.to_vec() };
            self.send(&said);
        }
    }

    fn send(&self, said: &StandIn) {
        let mut buffer = [0; MESSAGE_BYTES_MAX];
        for peer in &self.peers {
            let length = encode_stand_in(said, &host_key(self.setup.pan.current(), &peer.host), &mut buffer);
            for (socket, address) in self.sockets.iter().zip([peer.a, peer.b]) {
                let Some(address) = address else { continue };
                // It is said again; and a host that is gone is none to be told.
                if let Err(error) = socket.send(&buffer[..length], SocketAddr::new(address, STAND_IN_PORT)) {
                    tracing::debug!(%error, host = %peer.host, "a notice was not sent");
                }
            }
        }
    }
}
