//! One fabric's socket: made when the interface is there, made again when it came back, never a reason to stop.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use pan_linux::datagram::BeatSocket;
use pan_member::Tick;
use pan_model::host::Fabric;

/// Pause before a socket is made again.
const OPEN_AGAIN: Duration = Duration::from_millis(100);

/// The way out on one fabric.
#[derive(Debug)]
pub(super) struct Sender {
    pub fabric: Fabric,
    device: String,
    local: IpAddr,
    targets: Vec<SocketAddr>,
    directors: Vec<SocketAddr>,
    pub socket: Option<BeatSocket>,
    open_at: Tick,
    failing: bool,
    /// Rounds that went out to everybody, and those that did not.
    pub rounds: (u64, u64),
}

impl Sender {
    /// `targets` are directors, and all others.
    pub(super) fn new(fabric: Fabric, device: String, local: IpAddr, [directors, targets]: [Vec<SocketAddr>; 2]) -> Self {
        Self { fabric, device, local, targets, directors, socket: None, open_at: Tick(0), failing: false, rounds: (0, 0) }
    }

    /// Sends to everybody who listens, to directors what is for them. Whoever cannot be reached now is not reached: the next beat comes soon.
    pub(super) fn send(&mut self, datagram: &[u8], for_directors: &[u8], now: Tick) {
        if self.socket.is_none() && now >= self.open_at {
            self.open_at = now.plus(OPEN_AGAIN);
            match BeatSocket::on_device(&self.device, SocketAddr::new(self.local, 0)) {
                Ok(socket) => self.socket = Some(socket),
                Err(error) => self.complain("make a socket on", &error),
            }
        }
        let Some(socket) = &self.socket else {
            self.rounds.1 += 1;
            return;
        };
        let (mut failure, mut all) = (None, true);
        let directors = self.directors.iter().map(|target| (target, for_directors));
        for (target, datagram) in self.targets.iter().map(|target| (target, datagram)).chain(directors) {
            match socket.send(datagram, *target) {
                Ok(sent) => all &= sent,
                Err(error) => failure = Some(error),
            }
        }
        match failure.is_none() && all {
            true => self.rounds.0 += 1,
            false => self.rounds.1 += 1,
        }
        match failure {
            Some(error) => {
                // An interface that was removed and made anew has another number than the socket is tied to.
                self.socket = None;
                self.complain("send on", &error);
            }
            None if self.failing => {
                self.failing = false;
                tracing::info!(fabric = %self.fabric, device = self.device, "heartbeats go out again");
            }
            None => {}
        }
    }

    fn complain(&mut self, action: &str, error: &std::io::Error) {
        if !self.failing {
            self.failing = true;
            tracing::warn!(fabric = %self.fabric, device = self.device, %error, "cannot {action} the fabric; trying on");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn a_missing_interface_is_tried_again_and_stops_nothing() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let targets = [Vec::new(), vec![receiver.local_addr().unwrap()]];
        let local = "127.0.0.1".parse().unwrap();
        let mut sender = Sender::new(Fabric::A, "no-such-dev".into(), local, targets);
        sender.send(b"lost", b"", Tick(0));
        assert!(sender.socket.is_none());
        sender.device = "lo".into();
        sender.send(b"too soon", b"", Tick(1));
        assert!(sender.socket.is_none());
        sender.send(b"heard", b"", Tick(100_000_000));
        let mut buffer = [0; 16];
        let length = receiver.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"heard");
    }
}
