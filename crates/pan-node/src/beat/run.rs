//! The loop of the beat process.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use pan_api::beatcount::{BeatCount, BeatCountFile, BeatCounts};
use pan_linux::datagram::{self, Waker};
use pan_linux::realtime::{lock_memory, schedule_fifo, since_boot};
use pan_member::frame::FRAME_BYTES_MAX;
use pan_member::{Frame, Profile, Tick};
use pan_model::host::{Fabric, Role};
use pan_model::host_config::{BEAT_PORT, DIRECTOR_PORT, HostConfig, LESSOR_PORT, PeerAddress};

use super::keys::Keys;
use super::lease::Lease;
use super::lessor::LessorPart;
use super::load;
use super::sender::Sender;
use crate::boot::{MarkSeen, boot_id};
use crate::clock;
use crate::error::Error;
use crate::paths::alive_file;

/// Before every ordinary process, after the kernel's own real-time threads (50).
const PRIORITY: i32 = 20;
/// How often the load is read: it is an average over a minute.
const LOAD_EVERY: Duration = Duration::from_secs(1);

/// Sends heartbeats and, on a lessor, acknowledges those of others, for ever. Blocks; call it in a process of its own.
///
/// # Errors
/// The configuration, a key or the boot identifier cannot be used, or a lessor's memory cannot be read. A fabric that
/// does not work is none.
pub fn run(config: HostConfig) -> Result<(), Error> {
    let mut beat = Beat::new(&config, [BEAT_PORT, LESSOR_PORT, DIRECTOR_PORT])?;
    // Without these a heartbeat may be late on a loaded machine, and detection allows for some of that.
    if let Err(error) = schedule_fifo(PRIORITY) {
        tracing::warn!(%error, "no real-time scheduling: heartbeats may be late under load");
    }
    if let Err(error) = lock_memory() {
        tracing::warn!(%error, "memory cannot be locked: heartbeats may be late under memory pressure");
    }
    let mut next = since_boot();
    loop {
        beat.late(since_boot().saturating_sub(next));
        beat.once(clock::now());
        // On the grid of periods: beats that were missed are not made up for.
        next = after(next, beat.period, since_boot());
        beat.listen(next).map_err(|source| Error::Clock { source })?;
    }
}

/// The first point after `now` on the grid of `period` through `last`.
fn after(last: Duration, period: Duration, now: Duration) -> Duration {
    let behind = now.saturating_sub(last).as_nanos() / period.as_nanos();
    let steps = u32::try_from(behind).unwrap_or(u32::MAX - 1) + 1;
    last + period * steps
}

struct Beat {
    config: HostConfig,
    period: Duration,
    keys: Keys,
    frame: Frame,
    senders: [Sender; 2],
    agent: MarkSeen,
    started: Tick,
    load_at: Tick,
    datagram: [u8; FRAME_BYTES_MAX],
    lease: Option<Lease>,
    lessor: Option<LessorPart>,
    waker: Waker,
    /// How late the loop woke up, at worst within this second.
    lag: Duration,
    counts: BeatCountFile,
}

impl Beat {
    fn new(config: &HostConfig, ports: [u16; 3]) -> Result<Self, Error> {
        let profile: Profile = config.profile.parse()?;
        let now = clock::now();
        let timing = profile.timing(0);
        let (keys, pan) = Keys::open(config)?;
        let boot = boot_id(&config.run_dir)?;
        let waker = Waker::new().map_err(|source| Error::Clock { source })?;
        let lease = config.roles.contains(&Role::Node).then(|| Lease::new(config, boot, &timing, keys.own)).transpose()?;
        let lessor = match pan {
            Some(pan) => LessorPart::new(config, pan, waker.clone(), clock::now)?,
            None => None,
        };
        let frame = Frame {
            host: config.name.clone(),
            roles: config.roles.iter().copied().collect(),
            fabric: Fabric::A,
            boot,
            // The boot clock, so that a beat process that was started again goes on counting upwards: its
            // numbers must not look like replays. It grows faster than any period counts.
            sequence: now.0,
            admission: pan_member::Admission::NONE,
            term: pan_member::Term::default(),
            agent_age: Duration::ZERO,
            acknowledged: [None; 2],
            lag: Duration::ZERO,
            load: load::read(),
            lease: pan_member::LeaseState::None,
            gate: pan_member::GateState::None,
        };
        Ok(Self {
            // No host knows how many there are; the smallest PAN has the shortest period.
            period: timing.period,
            keys,
            frame,
            senders: Fabric::BOTH.map(|fabric| sender(config, fabric, ports)),
            agent: MarkSeen::new(alive_file(&config.run_dir)),
            started: now,
            load_at: now.plus(LOAD_EVERY),
            datagram: [0; FRAME_BYTES_MAX],
            lease,
            lessor,
            waker,
            lag: Duration::ZERO,
            counts: BeatCountFile::open(&config.run_dir).map_err(|source| Error::Boot { path: config.run_dir.clone(), source })?,
            config: config.clone(),
        })
    }

    fn once(&mut self, now: Tick) {
        self.frame.sequence += 1;
        self.frame.agent_age = self.agent_age(now);
        if now >= self.load_at {
            self.frame.load = load::read();
            self.rekey();
            self.load_at = now.plus(LOAD_EVERY);
            self.lag = Duration::ZERO;
            self.counts.write(&self.counted());
        }
        if let Some(lease) = &mut self.lease {
            lease.beat(&mut self.frame, now);
        }
        for sender in &mut self.senders {
            self.frame.fabric = sender.fabric;
            let length = self.frame.encode(self.keys.own.current(), &mut self.datagram);
            sender.send(&self.datagram[..length], now);
        }
    }

    /// Takes up keys that were handed out.
    fn rekey(&mut self) {
        if self.keys.news()
            && let Some(lease) = &mut self.lease
        {
            lease.keys = self.keys.own;
        }
        if let (Some(pan), Some(lessor)) = (self.keys.pan_news(), &mut self.lessor) {
            lessor.rekey(pan);
        }
    }

    /// What was counted since this process started.
    fn counted(&self) -> BeatCounts {
        let mut counts = BeatCounts::default();
        let [a, b] = self.senders.each_ref().map(|sender| sender.rounds);
        counts.add(BeatCount::SentA, a.0);
        counts.add(BeatCount::UnsentA, a.1);
        counts.add(BeatCount::SentB, b.0);
        counts.add(BeatCount::UnsentB, b.1);
        let counts = self.lease.iter().fold(counts, |sum, lease| sum.plus(&lease.counts));
        self.lessor.iter().fold(counts, |sum, lessor| sum.plus(&lessor.counts))
    }

    /// The loop woke up this much later than it should have.
    fn late(&mut self, by: Duration) {
        self.lag = self.lag.max(by);
        self.frame.lag = self.lag;
    }

    /// Takes what comes in until the next beat is due.
    fn listen(&mut self, until: Duration) -> io::Result<()> {
        loop {
            if let Some(lessor) = &mut self.lessor {
                lessor.open(clock::now());
            }
            let now = since_boot();
            if now >= until {
                return Ok(());
            }
            // Only a node is acknowledged; what nobody reads must not be waited for.
            let acknowledged = self.senders.iter().filter(|_| self.lease.is_some()).filter_map(|sender| sender.socket.as_ref());
            let asked = self.lessor.iter().flat_map(LessorPart::sockets);
            datagram::wait(acknowledged.chain(asked), &self.waker, until - now)?;
            for sender in &self.senders {
                if let (Some(lease), Some(socket)) = (&mut self.lease, &sender.socket) {
                    lease.hear(socket, clock::now);
                }
            }
            if let Some(lessor) = &mut self.lessor {
                lessor.hear(clock::now);
            }
        }
    }

    /// Only nodes have an agent to wait for.
    fn agent_age(&mut self, now: Tick) -> Duration {
        if !self.config.roles.contains(&Role::Node) {
            return Duration::ZERO;
        }
        now.since(self.agent.get().map_or(self.started, Tick))
    }
}

fn sender(config: &HostConfig, fabric: Fabric, [controllers, lessors, directors]: [u16; 3]) -> Sender {
    let own = match fabric {
        Fabric::A => &config.fabrics.a,
        Fabric::B => &config.fabrics.b,
    };
    let address = |peer: &PeerAddress| match fabric {
        Fabric::A => peer.a,
        Fabric::B => peer.b,
    };
    let of = |peers: &[PeerAddress], port| peers.iter().map(|peer| SocketAddr::new(address(peer), port)).collect::<Vec<_>>();
    let mut targets = of(&config.controllers, controllers);
    targets.extend(of(&config.lessors, lessors));
    targets.extend(of(&config.directors, directors));
    Sender::new(fabric, own.interface.clone(), own.address.addr(), targets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::Mark;
    use pan_member::host_key;
    use std::fs;
    use std::net::UdpSocket;
    use std::path::Path;

    #[test]
    fn the_grid_holds_and_missed_beats_are_skipped() {
        let ms = Duration::from_millis;
        assert_eq!(after(ms(100), ms(20), ms(101)), ms(120));
        assert_eq!(after(ms(100), ms(20), ms(120)), ms(140));
        assert_eq!(after(ms(100), ms(20), ms(175)), ms(180));
        assert_eq!(after(ms(100), ms(20), ms(90)), ms(120));
    }

    fn config(dir: &Path) -> HostConfig {
        let fabric = |address: &str| serde_json::json!({"interface": "lo", "address": address});
        let config = serde_json::json!({
            "version": 1, "name": "n1", "roles": ["node"], "address": "127.0.0.1",
            "fabrics": {"a": fabric("127.0.0.2/8"), "b": fabric("127.0.0.3/8")},
            "controllers": [{"name": "c1", "address": "127.0.0.1", "a": "127.0.0.1", "b": "127.0.0.1"}],
            "tls": {"ca": "/x", "cert": "/x", "key": "/x"},
            "beatKey": dir.join("beat.key"), "profile": "lan", "stateDir": dir, "runDir": dir,
        });
        serde_json::from_value(config).unwrap()
    }

    #[test]
    fn heartbeats_arrive_on_both_fabrics_and_are_authentic() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let key = host_key(&[7; 32], &config.name);
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        fs::write(&config.beat_key, format!("{hex}\n")).unwrap();
        let controller = UdpSocket::bind("127.0.0.1:0").unwrap();
        controller.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut beat = Beat::new(&config, [controller.local_addr().unwrap().port(); 3]).unwrap();
        let mark = Mark::open(&alive_file(dir.path())).unwrap();
        mark.set(1_000_000_000).unwrap();

        let mut heard = Vec::new();
        for now in [1_250_000_000, 1_270_000_000] {
            beat.once(Tick(now));
            for _ in Fabric::BOTH {
                let mut datagram = [0; FRAME_BYTES_MAX];
                let (length, from) = controller.recv_from(&mut datagram).unwrap();
                let frame = Frame::decode(&datagram[..length], |name| (name == "n1").then_some(key)).unwrap();
                heard.push((from.ip().to_string(), frame));
            }
        }
        let fabrics: Vec<_> = heard.iter().map(|(from, frame)| (from.as_str(), frame.fabric)).collect();
        assert_eq!(fabrics[..2], [("127.0.0.2", Fabric::A), ("127.0.0.3", Fabric::B)]);
        assert_eq!(heard[0].1.sequence, heard[1].1.sequence);
        assert_eq!(heard[0].1.sequence + 1, heard[2].1.sequence);
        assert_eq!(heard[0].1.boot, boot_id(dir.path()).unwrap());
        assert_eq!(heard[0].1.agent_age, Duration::from_millis(250));
        assert_eq!(heard[2].1.agent_age, Duration::from_millis(270));
        assert!(heard[0].1.roles.has(Role::Node));
    }
}
