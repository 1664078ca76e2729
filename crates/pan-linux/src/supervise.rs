//! What a program and whoever keeps it running tell each other, as sd_notify(3) and sd_watchdog_enabled(3) have it.
//!
//! The program says again and again that it gets on; who keeps it running ends one that says nothing, and starts it again. Both sides are
//! here: [`Watched`] is the program's, under systemd as under an init of a laboratory, [`Watch`] is such an init's.
#![allow(unsafe_code)]

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;
use std::time::Duration;

const SOCKET: &str = "NOTIFY_SOCKET";
const SILENCE: &str = "WATCHDOG_USEC";
const WHO: &str = "WATCHDOG_PID";
/// How often it is said in the time in which it may not be said.
const SAID_IN_SILENCE: u32 = 4;
const GETS_ON: &[u8] = b"WATCHDOG=1";

/// Of a process that is watched: its way to say that it gets on.
#[derive(Debug)]
pub struct Watched {
    socket: UnixDatagram,
    every: Duration,
}

impl Watched {
    /// Whether this process is watched. What says so is taken out of the environment, for it would be a child's too: runc(8) hands such a socket
    /// on into the container.
    ///
    /// To be called before anything starts a thread.
    ///
    /// # Errors
    /// It is, and nothing can be said: the environment is wrong, or there is no such socket.
    pub fn take() -> io::Result<Option<Self>> {
        let [socket, silence, who] = [SOCKET, SILENCE, WHO].map(|name| {
            let value = std::env::var_os(name);
            // SAFETY: no other thread is there yet that could read the environment meanwhile.
            unsafe { std::env::remove_var(name) };
            value
        });
        let own = std::process::id().to_string();
        let (Some(socket), Some(silence), true) = (socket, silence, who.is_none_or(|who| *who == *own)) else { return Ok(None) };
        Self::of(&socket, &silence).map(Some)
    }

    fn of(socket: &OsStr, silence: &OsStr) -> io::Result<Self> {
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what);
        let micros: u64 = silence.to_str().and_then(|text| text.parse().ok()).ok_or_else(|| wrong("WATCHDOG_USEC is no number"))?;
        let every = Duration::from_micros(micros) / SAID_IN_SILENCE;
        if every < Duration::from_millis(1) {
            return Err(wrong("WATCHDOG_USEC is less than 4 ms"));
        }
        let to = match socket.as_bytes().split_first() {
            Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
            Some((b'/', _)) => SocketAddr::from_pathname(socket)?,
            Some(_) | None => return Err(wrong("NOTIFY_SOCKET is neither a path nor an abstract name")),
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&to)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, every })
    }

    /// How long nothing may be said.
    #[must_use]
    pub fn silence(&self) -> Duration {
        self.every * SAID_IN_SILENCE
    }

    /// How often to say it: well before it is missed.
    #[must_use]
    pub const fn every(&self) -> Duration {
        self.every
    }

    /// Says that this process gets on.
    ///
    /// # Errors
    /// Nobody is there to hear it, or they have not taken what was said before.
    pub fn gets_on(&self) -> io::Result<()> {
        self.socket.send(GETS_ON).map(drop)
    }
}

/// One who hears whether a child gets on.
#[derive(Debug)]
pub struct Watch {
    socket: UnixDatagram,
    name: String,
}

impl Watch {
    /// `name` is this watch's alone in the network namespace.
    ///
    /// # Errors
    /// It is taken, or the system call failed.
    pub fn new(name: &str) -> io::Result<Self> {
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name)?)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, name: name.to_owned() })
    }

    /// Tells a child that it is watched, and that saying nothing for `silence` is too long.
    pub fn tell<'command>(&self, command: &'command mut Command, silence: Duration) -> &'command mut Command {
        command.env(SOCKET, format!("@{}", self.name)).env(SILENCE, silence.as_micros().to_string()).env_remove(WHO)
    }

    /// Whether it was said since the last look that the child gets on. What was said is taken by it.
    pub fn heard(&self) -> bool {
        let mut heard = false;
        let mut line = [0; 256];
        // It ends: nothing is waited for, and a socket keeps few.
        while let Ok(length) = self.socket.recv(&mut line) {
            heard |= line[..length].split(|byte| *byte == b'\n').any(|part| part == GETS_ON);
        }
        heard
    }
}

/// Tells a child that nobody watches it, whatever is told to this process.
pub fn not_watched(command: &mut Command) -> &mut Command {
    command.env_remove(SOCKET).env_remove(SILENCE).env_remove(WHO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn name(of: &str) -> String {
        format!("panloom-test/{}/{of}", std::process::id())
    }

    #[test]
    fn one_hears_that_the_other_gets_on() {
        let watch = Watch::new(&name("both")).unwrap();
        let mut command = Command::new("true");
        watch.tell(&mut command, Duration::from_secs(10));
        let told: BTreeMap<_, _> = command.get_envs().collect();
        let of = |name: &str| told[OsStr::new(name)];
        let watched = Watched::of(of(SOCKET).unwrap(), of(SILENCE).unwrap()).unwrap();
        assert_eq!((watched.every(), of(WHO)), (Duration::from_millis(2500), None));
        assert!(!watch.heard());
        watched.gets_on().unwrap();
        watched.gets_on().unwrap();
        assert!(watch.heard() && !watch.heard());
        drop(watch);
        assert!(watched.gets_on().is_err());
    }

    #[test]
    fn what_else_is_said_is_not_taken_for_it() {
        let watch = Watch::new(&name("else")).unwrap();
        let other = UnixDatagram::unbound().unwrap();
        other.connect_addr(&SocketAddr::from_abstract_name(name("else")).unwrap()).unwrap();
        for (line, is_it) in [("READY=1", false), ("STATUS=WATCHDOG=1 is said later", false), ("READY=1\nWATCHDOG=1\n", true)] {
            other.send(line.as_bytes()).unwrap();
            assert_eq!(watch.heard(), is_it, "{line}");
        }
    }

    #[test]
    fn a_wrong_environment_is_told() {
        let of = |socket: &str, silence: &str| Watched::of(OsStr::new(socket), OsStr::new(silence)).unwrap_err().to_string();
        assert!(of("@x", "3").contains("WATCHDOG_USEC"));
        assert!(of("@x", "soon").contains("WATCHDOG_USEC"));
        assert!(of("vsock:2:1234", "1000000").contains("NOTIFY_SOCKET"));
        assert!(Watched::of(OsStr::new("/nowhere/at/all"), OsStr::new("1000000")).is_err());
        let mut command = Command::new("true");
        assert!(not_watched(&mut command).get_envs().all(|(_, value)| value.is_none()));
    }
}
