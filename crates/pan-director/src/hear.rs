//! The director's own ear: heartbeats of all hosts, and from them who is silent at present. It waits for nobody's
//! word, least of all for a controller's.

use crate::metrics::Counts;
use crate::suspicion::Suspicions;
use pan_api::keys::LiveKeys;
use pan_linux::datagram::{self, BeatSocket, Waker};
use pan_member::frame::{FRAME_BYTES_MAX, KeyRing, host_key};
use pan_member::{Beat, Change, Detector, Frame, Settings, Tick, Timing};
use pan_model::HostName;
use pan_model::host_config::DIRECTOR_PORT;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Longest sleep: a bound on what a mistaken deadline can cost.
const SLEEP_MAX: Duration = Duration::from_millis(20);
/// How often is looked for new keys, which are handed out seconds before anybody uses them.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Datagrams read of one socket before hosts are judged: far more than a round of a large PAN.
const ROUND_MAX: usize = 20_000;

/// What the ear needs.
pub(crate) struct Setup {
    pub fabrics: [IpAddr; 2],
    /// The keys from which every host's are derived, and where newer ones come from.
    pub pan: KeyRing,
    pub live: LiveKeys,
    pub timing: Timing,
    pub suspicions: Suspicions,
    pub counts: Arc<Counts>,
}

/// Hears for ever.
///
/// # Errors
/// A fabric's address cannot be bound, or the kernel refuses to wait.
pub(crate) fn run(mut setup: Setup) -> io::Result<()> {
    let bind = |address: &IpAddr| BeatSocket::bind(SocketAddr::new(*address, DIRECTOR_PORT));
    let sockets = setup.fabrics.iter().map(bind).collect::<io::Result<Vec<_>>>()?;
    let waker = Waker::new()?;
    let mut ear = Ear::new(setup.pan, setup.timing, setup.counts.clone(), now());
    let mut look_at = now();
    loop {
        if now() >= look_at {
            look_at = now().plus(LOOK_EVERY);
            if let Some(pan) = setup.live.news().and_then(|keys| KeyRing::of(&keys)) {
                ear.rekey(pan);
            }
        }
        datagram::wait(&sockets, &waker, ear.detector.next_deadline().since(now()).min(SLEEP_MAX))?;
        for socket in &sockets {
            let mut buffer = [0; FRAME_BYTES_MAX + 1];
            for _ in 0..ROUND_MAX {
                match socket.receive(&mut buffer) {
                    Ok(Some(arrived)) => ear.hear(&buffer[..arrived.bytes], Tick(arrived.at)),
                    Ok(None) => break,
                    // Of memory, say: whoever ended here would be deaf for good.
                    Err(error) => {
                        tracing::warn!(%error, "a heartbeat could not be received");
                        break;
                    }
                }
            }
        }
        if ear.judge(now()) {
            setup.suspicions.set(ear.silent.clone());
        }
    }
}

fn now() -> Tick {
    Tick(datagram::boot_clock())
}

/// Who is silent, by heartbeats alone.
struct Ear {
    pan: KeyRing,
    /// Keys of hosts that proved theirs: whoever was never heard is not missed either.
    keys: BTreeMap<HostName, KeyRing>,
    detector: Detector,
    silent: BTreeSet<HostName>,
    changed: bool,
    counts: Arc<Counts>,
}

impl Ear {
    fn new(pan: KeyRing, timing: Timing, counts: Arc<Counts>, now: Tick) -> Self {
        // Deaths are the controller's to say, so nothing is to be braked here.
        let settings = Settings { timing, grace: Duration::ZERO, protected_failures: usize::MAX };
        Self { pan, keys: BTreeMap::new(), detector: Detector::new(settings, now), silent: BTreeSet::new(), changed: false, counts }
    }

    fn rekey(&mut self, pan: KeyRing) {
        self.pan = pan;
        for (host, keys) in &mut self.keys {
            *keys = pan.derive(|key| host_key(key, host));
        }
    }

    /// A datagram; what is no heartbeat of this PAN is as good as none.
    fn hear(&mut self, bytes: &[u8], received: Tick) {
        let key_of = |name: &str| {
            let name = HostName::new(name).ok()?;
            Some(self.keys.get(&name).copied().unwrap_or_else(|| self.pan.derive(|key| host_key(key, &name))))
        };
        let frame = match Frame::decode(bytes, key_of) {
            Ok(frame) => frame,
            Err(error) => return self.counts.unreadable(&error),
        };
        if !self.keys.contains_key(&frame.host) {
            self.keys.insert(frame.host.clone(), self.pan.derive(|key| host_key(key, &frame.host)));
            self.detector.add_host(frame.host.clone(), received);
        }
        let before = self.detector.counters();
        let changes = self.detector.on_beat(&Beat::of(&frame, received));
        self.counts.heard(frame.fabric, before, self.detector.counters());
        self.note(changes);
    }

    /// Whether others are silent than when it was asked last.
    fn judge(&mut self, now: Tick) -> bool {
        // Every heartbeat of the PAN comes by here; its hosts are gone through when it is time.
        if self.detector.is_due(now) {
            let changes = self.detector.tick(now);
            self.note(changes);
        }
        std::mem::take(&mut self.changed)
    }

    fn note(&mut self, changes: Vec<Change>) {
        for change in changes {
            if matches!(change, Change::Suspect { .. }) {
                self.counts.suspicions.one();
            }
            self.changed |= match change {
                Change::Suspect { host, .. } | Change::Dead { host, .. } => self.silent.insert(host),
                Change::Alive { host, .. } => self.silent.remove(&host),
                Change::Rebooted { .. }
                | Change::FabricUp { .. }
                | Change::FabricDown { .. }
                | Change::AgentDown { .. }
                | Change::AgentUp { .. }
                | Change::Brake { .. }
                | Change::BrakeReleased { .. } => false,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pan_member::{Admission, BootId, GateState, LeaseState, Load, Permille, Profile, Roles, Term};
    use pan_model::ByteSize;
    use pan_model::host::{Fabric, Role};

    type Key = pan_member::frame::Key;

    const KEY: Key = [7; 32];

    fn at(ms: u64) -> Tick {
        Tick(ms * 1_000_000)
    }

    fn beat(host: &str, sequence: u64, pan_key: &Key) -> Vec<u8> {
        let host: HostName = host.parse().unwrap();
        let key = host_key(pan_key, &host);
        let frame = Frame {
            host,
            roles: Roles::from_iter([Role::Node]),
            fabric: Fabric::A,
            boot: BootId(1),
            sequence,
            admission: Admission(1),
            term: Term::default(),
            agent_age: Duration::ZERO,
            acknowledged: [None; 2],
            lag: Duration::ZERO,
            load: Load { cpu: Permille(0), memory: ByteSize(0), pressure: None },
            lease: LeaseState::Held,
            gate: GateState::None,
            lease_length: None,
            period: None,
        };
        let mut bytes = [0; FRAME_BYTES_MAX];
        let length = frame.encode(&key, &mut bytes);
        bytes[..length].to_vec()
    }

    #[test]
    fn who_was_heard_and_falls_silent_is_suspected_until_it_is_heard_again() {
        let timing = Profile::Lan.timing(2);
        let mut ear = Ear::new(KEY.into(), timing, Arc::default(), at(0));
        let hosts = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect::<BTreeSet<HostName>>();
        for period in 1..=100 {
            let now = at(period * 20);
            ear.hear(&beat("n1", period, &KEY), now);
            if !(20..60).contains(&period) {
                ear.hear(&beat("n2", period, &KEY), now);
            }
            ear.hear(&beat("n3", period, &[8; 32]), now);
            let news = ear.judge(now);
            let silent = (22..60).contains(&period);
            assert_eq!(ear.silent, hosts(if silent { &["n2"] } else { &[] }), "period {period}");
            assert_eq!(news, period == 22 || period == 60, "period {period}");
        }
    }
}
