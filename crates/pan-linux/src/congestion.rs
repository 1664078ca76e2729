//! How TCP finds out how much of a connection may be on its way.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;

use nix::sys::socket::{setsockopt, sockopt};

/// What every kernel can be asked for, best first.
const BY_LOSS: [&str; 2] = ["cubic", "reno"];

/// Lets a connection send as much as gets through, whatever the machine's default is: for short ways with bandwidth to spare.
/// A default that models the way, such as BBR, paces what it sends with timers and now and then lets the pipe run empty to measure it
/// anew; where a round trip takes some ten microseconds, that is what most of the time goes into (docs/measurements.md).
///
/// # Errors
/// It is no TCP socket, or its owner may choose none of these.
pub fn by_loss(socket: &impl AsFd) -> io::Result<()> {
    let mut outcome = Ok(());
    for name in BY_LOSS {
        outcome = setsockopt(socket, sockopt::TcpCongestion, &OsString::from(name)).map_err(io::Error::from);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::getsockopt;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_connection_takes_another_way_than_the_default() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        by_loss(&stream).unwrap();
        let name = getsockopt(&stream, sockopt::TcpCongestion).unwrap();
        assert!(BY_LOSS.iter().any(|one| name.to_string_lossy().trim_end_matches('\0') == *one), "{name:?}");
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(by_loss(&one).is_err());
    }
}
