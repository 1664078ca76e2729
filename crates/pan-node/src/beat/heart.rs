//! What beats: the frame, the ways out, the lease and the lessor of one host, in this process or the next.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use pan_api::beatcount::{BeatCount, BeatCountFile, BeatCounts};
use pan_api::hostlink::{Kept, keep_boot_id};
use pan_api::pansize::PanSize;
use pan_linux::datagram::{BeatSocket, Waker};
use pan_member::frame::FRAME_BYTES_MAX;
use pan_member::{Frame, Profile, Tick, Timing};
use pan_model::host::{Fabric, Role};
use pan_model::host_config::{HostConfig, PeerAddress};

use super::handover::{Descriptor, Identity, Memory, Taking};
use super::keys::Keys;
use super::lease::Lease;
use super::lessor::LessorPart;
use super::load;
use super::sender::Sender;
use crate::boot::{MarkSeen, boot_id};
use crate::clock;
use crate::error::Error;
use crate::paths::alive_file;

/// How often the load is read: it is an average over a minute.
const LOAD_EVERY: Duration = Duration::from_secs(1);

const BEATS: [Descriptor; 2] = [Descriptor::BeatA, Descriptor::BeatB];

/// Everything but the office.
pub(super) struct Heart {
    config: HostConfig,
    profile: Profile,
    /// How often a director beats, which other directors are told.
    brisk: Option<Duration>,
    pub timing: Timing,
    size: PanSize,
    keys: Keys,
    pub frame: Frame,
    pub senders: [Sender; 2],
    agent: MarkSeen,
    started: Tick,
    load_at: Tick,
    /// When it is looked again whether all is where it was.
    stands_at: Tick,
    datagram: [u8; FRAME_BYTES_MAX],
    pub lease: Option<Lease>,
    pub lessor: Option<LessorPart>,
    pub waker: Waker,
    /// How late the loop woke up, at worst within this second.
    lag: Duration,
    counts: BeatCountFile,
}

impl Heart {
    /// Does everything slow; sends and acknowledges nothing. It goes on with [`Heart::first`] or [`Heart::resume`].
    pub fn prepare(config: &HostConfig, ports: [u16; 3]) -> Result<Self, Error> {
        let profile: Profile = config.profile.parse()?;
        let now = clock::now();
        // Until it is known how many hosts there are: the smallest PAN has the shortest period.
        let mut timing = profile.timing(0);
        let brisk = config.roles.contains(&Role::Director).then(|| profile.director_period());
        let (keys, pan) = Keys::open(config)?;
        let boot = boot_id(&config.run_dir)?;
        let waker = Waker::new().map_err(|source| Error::Clock { source })?;
        let lease = config.roles.contains(&Role::Node).then(|| Lease::new(config, boot, &timing, keys.own)).transpose()?;
        let lessor = match pan {
            Some(pan) => LessorPart::new(config, timing, pan, waker.clone())?,
            None => None,
        };
        let frame = Frame {
            host: config.name.clone(),
            roles: config.roles.iter().copied().collect(),
            fabric: Fabric::A,
            boot,
            sequence: 0,
            admission: pan_member::Admission::NONE,
            term: pan_member::Term::default(),
            agent_age: Duration::ZERO,
            acknowledged: [None; 2],
            lag: Duration::ZERO,
            load: load::read(),
            lease: pan_member::LeaseState::None,
            gate: pan_member::GateState::None,
            period: None,
            // A node that is stretched to a larger PAN holds its leases as before.
            lease_length: lease.is_some().then_some(timing.lease),
        };
        timing.period = brisk.unwrap_or(timing.period);
        let mut heart = Self {
            profile,
            brisk,
            size: PanSize::of(&config.run_dir),
            timing,
            keys,
            frame,
            senders: Fabric::BOTH.map(|fabric| sender(config, fabric, ports)),
            agent: MarkSeen::new(alive_file(&config.run_dir)),
            started: now,
            load_at: now.plus(LOAD_EVERY),
            stands_at: now.plus(LOAD_EVERY),
            datagram: [0; FRAME_BYTES_MAX],
            lease,
            lessor,
            waker,
            lag: Duration::ZERO,
            counts: BeatCountFile::open(&config.run_dir).map_err(|source| Error::Boot { path: config.run_dir.clone(), source })?,
            config: config.clone(),
        };
        heart.resize();
        Ok(heart)
    }

    /// Of whom this is the heart.
    pub fn identity(&self) -> Identity {
        let fabrics = [&self.config.fabrics.a, &self.config.fabrics.b];
        Identity {
            host: self.config.name.clone(),
            boot: self.frame.boot.0,
            profile: self.config.profile.clone(),
            fabrics: fabrics.map(|fabric| format!("{} {}", fabric.interface, fabric.address)),
            lessors: self.config.lessors.iter().map(|lessor| lessor.name.clone()).collect(),
            node: self.lease.is_some(),
            lessor: self.lessor.is_some(),
        }
    }

    /// Nobody beats for this host, or not any more.
    pub fn first(&mut self) -> Result<(), Error> {
        self.started = clock::now();
        // The boot clock, so that a beat process that was started again goes on counting upwards: its
        // numbers must not look like replays. It grows faster than any period counts.
        self.frame.sequence = self.started.0;
        match &mut self.lessor {
            Some(lessor) => lessor.first(clock::now),
            None => Ok(()),
        }
    }

    /// Goes on where the former process stopped.
    ///
    /// # Errors
    /// What it remembers does not fit; it goes on itself, once `taking` is dropped.
    pub fn resume(&mut self, taking: &mut Taking) -> Result<(), Error> {
        let refused = |what: &str| Err(Error::NotSucceeded { why: format!("its {what} did not come along as expected") });
        let Memory { sequence, started, admission, holder, lessor, .. } = taking.memory.clone();
        (self.frame.sequence, self.started) = (sequence, Tick(started));
        if let Some(own) = &mut self.lease
            && !own.resume(admission, holder.as_ref())
        {
            return refused("lease");
        }
        let resumed = match (&mut self.lessor, lessor) {
            (Some(own), Some(memory)) => own.resume(&memory, taking),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if !resumed {
            return refused("lessor");
        }
        for (sender, which) in self.senders.iter_mut().zip(BEATS) {
            sender.socket = taking.take(which).map(BeatSocket::adopt);
        }
        Ok(())
    }

    /// For the process that follows, whose first heartbeat is due at `next`; `None` while the lessor's disk is at work.
    pub fn memory(&self, next: Duration) -> Option<Memory> {
        let (admission, holder) = self.lease.as_ref().map_or((pan_member::Admission::NONE, None), Lease::memory);
        let lessor = match &self.lessor {
            Some(lessor) => Some(lessor.memory()?),
            None => None,
        };
        Some(Memory { sequence: self.frame.sequence, next: clock::nanos(next), started: self.started.0, admission, holder, lessor })
    }

    /// Likewise.
    pub fn descriptors(&self) -> Vec<(Descriptor, BorrowedFd<'_>)> {
        let beats = self.senders.iter().zip(BEATS).filter_map(|(sender, name)| Some((name, sender.socket.as_ref()?.as_fd())));
        beats.chain(self.lessor.iter().flat_map(LessorPart::descriptors)).collect()
    }

    /// One heartbeat over each fabric.
    pub fn beat(&mut self, now: Tick) {
        self.frame.sequence += 1;
        self.frame.agent_age = self.agent_age(now);
        if now >= self.load_at {
            self.frame.load = load::read();
            self.load_at = now.plus(LOAD_EVERY);
            self.rekey();
            self.resize();
            self.lag = Duration::ZERO;
            self.counts.write(&self.counted());
        }
        if let Some(lease) = &mut self.lease {
            lease.beat(&mut self.frame, now);
        }
        for sender in &mut self.senders {
            self.frame.fabric = sender.fabric;
            let length = self.frame.encode(self.keys.own.current(), &mut self.datagram);
            let datagram = &self.datagram[..length];
            let Some(period) = self.brisk else {
                sender.send(datagram, datagram, now);
                continue;
            };
            let mut other = [0; FRAME_BYTES_MAX];
            let length = Frame { period: Some(period), ..self.frame.clone() }.encode(self.keys.own.current(), &mut other);
            sender.send(datagram, &other[..length], now);
        }
    }

    /// Whether what this process knows of the host is what others read and write. A boot identifier that is gone or damaged is put back.
    ///
    /// # Errors
    /// [`Error::Anew`]: it is to end.
    pub fn stands(&mut self, now: Tick) -> Result<(), Error> {
        if now < self.stands_at {
            return Ok(());
        }
        self.stands_at = now.plus(LOAD_EVERY);
        let run_dir = &self.config.run_dir;
        let kept = match keep_boot_id(run_dir, self.frame.boot.0) {
            Ok(kept) => kept,
            Err(error) => {
                tracing::warn!(%error, path = %run_dir.display(), "cannot see to the boot identifier there");
                Kept::There
            }
        };
        if kept == Kept::PutBack {
            tracing::warn!(path = %run_dir.display(), "the boot identifier there was gone or damaged, and is put back");
        }
        if kept == Kept::Other || self.agent.is_replaced() {
            return Err(Error::Anew { path: run_dir.clone() });
        }
        Ok(())
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

    /// Beats as often as suits a PAN of the size that was told last. The next heartbeat says so, and after that one the
    /// next is due: whoever hears it never expects one sooner. A director beats at its own pace whatever the size, and says that to the others
    /// alone, who stand in for it: anybody else would only suspect it sooner.
    fn resize(&mut self) {
        let Some(hosts) = self.size.news() else { return };
        let (timing, shortest) = (self.profile.timing(hosts), self.profile.timing(0).period);
        self.timing.period = self.brisk.unwrap_or(timing.period);
        self.frame.period = (timing.period != shortest).then_some(timing.period);
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
    pub fn late(&mut self, by: Duration) {
        self.lag = self.lag.max(by);
        self.frame.lag = self.lag;
    }

    /// Where something may come in.
    pub fn sources(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        // Only a node is acknowledged; what nobody reads must not be waited for.
        let acknowledged = self.senders.iter().filter(|_| self.lease.is_some()).filter_map(|sender| sender.socket.as_ref());
        acknowledged.chain(self.lessor.iter().flat_map(LessorPart::sockets)).map(AsFd::as_fd)
    }

    /// Takes what has come in.
    pub fn hear(&mut self) {
        for sender in &self.senders {
            if let (Some(lease), Some(socket)) = (&mut self.lease, &sender.socket) {
                lease.hear(socket, clock::now);
            }
        }
        if let Some(lessor) = &mut self.lessor {
            lessor.hear(clock::now);
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
    Sender::new(fabric, own.interface.clone(), own.address.addr(), [of(&config.directors, directors), targets])
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::boot::Mark;
    use pan_member::frame::Key;
    use pan_member::host_key;
    use std::fs;
    use std::net::UdpSocket;
    use std::path::Path;

    /// A node on the loopback interface, with its key in a file.
    pub fn config(dir: &Path) -> (HostConfig, Key) {
        let fabric = |address: &str| serde_json::json!({"interface": "lo", "address": address});
        let config = serde_json::json!({
            "version": 1, "name": "n1", "roles": ["node"], "address": "127.0.0.1",
            "fabrics": {"a": fabric("127.0.0.2/8"), "b": fabric("127.0.0.3/8")},
            "controllers": [{"name": "c1", "address": "127.0.0.1", "a": "127.0.0.1", "b": "127.0.0.1"}],
            "tls": {"ca": "/x", "cert": "/x", "key": "/x"},
            "beatKey": dir.join("beat.key"), "profile": "lan", "stateDir": dir, "runDir": dir,
        });
        let config: HostConfig = serde_json::from_value(config).unwrap();
        let key = host_key(&[7; 32], &config.name);
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        fs::write(&config.beat_key, format!("{hex}\n")).unwrap();
        (config, key)
    }

    #[test]
    fn the_period_follows_the_size_of_the_pan_and_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let (config, _) = config(dir.path());
        let heart = |config| Heart::prepare(config, [9; 3]).unwrap();
        let mut small = heart(&config);
        assert_eq!((small.timing.period, small.frame.period), (Duration::from_millis(20), None));
        for (hosts, wanted) in [(7, None), (2000, Some(50)), (1100, Some(35)), (12, None)] {
            pan_api::pansize::note(dir.path(), hosts).unwrap();
            small.beat(small.load_at);
            let wanted = wanted.map(Duration::from_millis);
            assert_eq!((small.frame.period, small.timing.period), (wanted, wanted.unwrap_or(Duration::from_millis(20))), "{hosts} hosts");
        }
        pan_api::pansize::note(dir.path(), 2000).unwrap();
        assert_eq!(heart(&config).frame.period, Some(Duration::from_millis(50)), "known from the start");
    }

    #[test]
    fn a_director_beats_twice_as_often_and_tells_other_directors_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (mut config, key) = config(dir.path());
        config.roles.push(Role::Director);
        config.directors = config.controllers.clone();
        let sockets = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        for socket in &sockets {
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        }
        let [controller, director] = sockets.each_ref().map(|socket| socket.local_addr().unwrap().port());
        let mut heart = Heart::prepare(&config, [controller, 9, director]).unwrap();
        heart.first().unwrap();
        assert_eq!(heart.timing.period, Duration::from_millis(10));
        heart.beat(Tick(1_000_000_000));
        let periods = sockets.each_ref().map(|socket| {
            let mut datagram = [0; FRAME_BYTES_MAX];
            let length = socket.recv(&mut datagram).unwrap();
            Frame::decode(&datagram[..length], |_| Some(key)).unwrap().period
        });
        assert_eq!(periods, [None, Some(Duration::from_millis(10))]);
        pan_api::pansize::note(dir.path(), 2000).unwrap();
        heart.beat(heart.load_at);
        assert_eq!(heart.timing.period, Duration::from_millis(10), "however large the PAN is");
    }

    #[test]
    fn what_others_go_by_is_what_this_one_goes_by() {
        let dir = tempfile::tempdir().unwrap();
        let (config, _) = config(dir.path());
        let mut heart = Heart::prepare(&config, [9; 3]).unwrap();
        let boot = dir.path().join("boot");
        let noted = fs::read(&boot).unwrap();
        let agent = || Mark::open(&alive_file(dir.path())).unwrap().set(5).unwrap();
        agent();
        heart.beat(Tick(7));
        heart.stands(heart.stands_at).unwrap();
        for damage in [Some(""), Some("nonsense"), None] {
            match damage {
                Some(text) => fs::write(&boot, text).unwrap(),
                None => fs::remove_file(&boot).unwrap(),
            }
            heart.stands(heart.stands_at).unwrap();
            assert_eq!(fs::read(&boot).unwrap(), noted, "{damage:?}");
        }
        // Nobody has begun anew yet; then the agent does.
        fs::remove_file(alive_file(dir.path())).unwrap();
        heart.stands(heart.stands_at).unwrap();
        agent();
        assert!(matches!(heart.stands(heart.stands_at), Err(Error::Anew { .. })));
        let mut heart = Heart::prepare(&config, [9; 3]).unwrap();
        heart.stands(heart.stands_at).unwrap();
        fs::write(&boot, "00000000000000ab\n").unwrap();
        assert!(heart.stands(heart.stands_at).unwrap_err().to_string().contains("begun anew"));
    }

    #[test]
    fn heartbeats_arrive_on_both_fabrics_and_are_authentic() {
        let dir = tempfile::tempdir().unwrap();
        let (config, key) = config(dir.path());
        let controller = UdpSocket::bind("127.0.0.1:0").unwrap();
        controller.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut heart = Heart::prepare(&config, [controller.local_addr().unwrap().port(); 3]).unwrap();
        heart.first().unwrap();
        let mark = Mark::open(&alive_file(dir.path())).unwrap();
        mark.set(1_000_000_000).unwrap();

        let mut heard = Vec::new();
        for now in [1_250_000_000, 1_270_000_000] {
            heart.beat(Tick(now));
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
