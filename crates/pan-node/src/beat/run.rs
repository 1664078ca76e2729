//! The loop of the beat process.

use std::net::SocketAddr;
use std::time::Duration;

use pan_api::keyfile::read_key;
use pan_linux::realtime::{lock_memory, schedule_fifo, since_boot, sleep_until};
use pan_member::frame::{FRAME_BYTES_MAX, Key};
use pan_member::{Frame, Profile, Tick};
use pan_model::host::{Fabric, Role};
use pan_model::host_config::{BEAT_PORT, HostConfig};

use super::load;
use super::sender::Sender;
use crate::boot::{AliveSeen, boot_id};
use crate::clock;
use crate::error::Error;

/// Before every ordinary process, after the kernel's own real-time threads (50).
const PRIORITY: i32 = 20;
/// How often the load is read: it is an average over a minute.
const LOAD_EVERY: Duration = Duration::from_secs(1);

/// Sends heartbeats for ever. Blocks; call it in a process of its own.
///
/// # Errors
/// The configuration, the key or the boot identifier cannot be used. A fabric that does not work is none.
pub fn run(config: HostConfig) -> Result<(), Error> {
    let mut beat = Beat::new(&config, BEAT_PORT)?;
    // Without these a heartbeat may be late on a loaded machine, and detection allows for some of that.
    if let Err(error) = schedule_fifo(PRIORITY) {
        tracing::warn!(%error, "no real-time scheduling: heartbeats may be late under load");
    }
    if let Err(error) = lock_memory() {
        tracing::warn!(%error, "memory cannot be locked: heartbeats may be late under memory pressure");
    }
    let mut next = since_boot();
    loop {
        beat.once(clock::now());
        // On the grid of periods: beats that were missed are not made up for.
        next = after(next, beat.period, since_boot());
        sleep_until(next).map_err(|source| Error::Clock { source })?;
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
    key: Key,
    frame: Frame,
    senders: [Sender; 2],
    agent: AliveSeen,
    started: Tick,
    load_at: Tick,
    datagram: [u8; FRAME_BYTES_MAX],
}

impl Beat {
    fn new(config: &HostConfig, port: u16) -> Result<Self, Error> {
        let profile: Profile = config.profile.parse()?;
        let now = clock::now();
        let frame = Frame {
            host: config.name.clone(),
            roles: config.roles.iter().copied().collect(),
            fabric: Fabric::A,
            boot: boot_id(&config.run_dir)?,
            // The boot clock, so that a beat process that was started again goes on counting upwards: its
            // numbers must not look like replays. It grows faster than any period counts.
            sequence: now.0,
            agent_age: Duration::ZERO,
            load: load::read(),
        };
        Ok(Self {
            // No host knows how many there are; the smallest PAN has the shortest period.
            period: profile.timing(0).period,
            key: read_key(&config.beat_key)?,
            frame,
            senders: Fabric::BOTH.map(|fabric| sender(config, fabric, port)),
            agent: AliveSeen::default(),
            started: now,
            load_at: now.plus(LOAD_EVERY),
            datagram: [0; FRAME_BYTES_MAX],
            config: config.clone(),
        })
    }

    fn once(&mut self, now: Tick) {
        self.frame.sequence += 1;
        self.frame.agent_age = self.agent_age(now);
        if now >= self.load_at {
            self.frame.load = load::read();
            self.load_at = now.plus(LOAD_EVERY);
        }
        for sender in &mut self.senders {
            self.frame.fabric = sender.fabric;
            let length = self.frame.encode(&self.key, &mut self.datagram);
            sender.send(&self.datagram[..length], now);
        }
    }

    /// Only nodes have an agent to wait for.
    fn agent_age(&mut self, now: Tick) -> Duration {
        if !self.config.roles.contains(&Role::Node) {
            return Duration::ZERO;
        }
        now.since(self.agent.get(&self.config.run_dir).unwrap_or(self.started))
    }
}

fn sender(config: &HostConfig, fabric: Fabric, port: u16) -> Sender {
    let own = match fabric {
        Fabric::A => &config.fabrics.a,
        Fabric::B => &config.fabrics.b,
    };
    let address = |controller: &pan_model::host_config::ControllerAddress| match fabric {
        Fabric::A => controller.a,
        Fabric::B => controller.b,
    };
    let targets = config.controllers.iter().map(|controller| SocketAddr::new(address(controller), port));
    Sender::new(fabric, own.interface.clone(), own.address.addr(), targets.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::AliveMark;
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
        let mut beat = Beat::new(&config, controller.local_addr().unwrap().port()).unwrap();
        let mark = AliveMark::open(dir.path()).unwrap();
        mark.set(Tick(1_000_000_000)).unwrap();

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
