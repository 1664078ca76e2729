//! The API's listening socket. It is made in the machine's network namespace and handed to the
//! controller's host, so that the API answers on the machine's loopback although the host has a
//! network of its own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use crate::error::LabError;

/// The API's well-known port on the machine.
const WELL_KNOWN: u16 = 7070;
/// So many labs side by side find a port near the well-known one.
const TRIED: u16 = 200;

/// Which port a new lab's API gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Port {
    /// 7070 or the next free one.
    NearWellKnown,
    /// Whatever the kernel picks.
    Any,
}

/// Listens on a port nobody else has.
pub(crate) fn listen(port: Port) -> Result<TcpListener, LabError> {
    let tried = match port {
        Port::NearWellKnown => WELL_KNOWN..WELL_KNOWN + TRIED,
        Port::Any => 0..1,
    };
    let first = tried.start;
    let mut last = None;
    for port in tried {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => last = Some(error),
            Err(source) => return Err(LabError::Listen { port, source }),
        }
    }
    Err(LabError::Listen { port: first, source: last.expect("at least one port was tried") })
}

/// Listens again where a lab's API was before.
pub(crate) fn listen_again(address: SocketAddr) -> Result<TcpListener, LabError> {
    let port = address.port();
    TcpListener::bind(address).map_err(|source| LabError::Listen { port, source })
}
