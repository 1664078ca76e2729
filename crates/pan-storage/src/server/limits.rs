//! Bounds of the server, with their reasons.

use pan_api::door::Seats;
use std::time::Duration;

/// Connections at the same time, over all peers: a hundred nodes with ten volumes each, twice while heads are replaced.
const CONNECTIONS_MAX: usize = 2048;
/// Of one address no fewer than of one host.
pub(super) const SEATS: Seats = Seats { hosts: CONNECTIONS_MAX, others: 0, each: CONNECTIONS_PEER };
/// Connections of one host: what a node has room for, twice while heads are replaced.
pub(super) const CONNECTIONS_PEER: usize = 256;
/// For the TLS handshake, and again for the capability.
pub(super) const GREETING_MAX: Duration = Duration::from_secs(3);
/// What bytes in flight are counted in: each request counts as one of these at least, so that they bound requests as well.
const WEIGHT: usize = 32 << 10;
/// In flight on one connection, 8 MiB: two of the largest requests, or 256 small ones.
pub(super) const IN_FLIGHT: usize = (8 << 20) / WEIGHT;
/// In flight on all connections, 256 MiB: what a storage host must have for it.
pub(super) const IN_FLIGHT_ALL: usize = (256 << 20) / WEIGHT;
/// In flight on all connections of one host, 64 MiB: eight volumes at full speed, and others go on whatever it does.
pub(super) const IN_FLIGHT_PEER: usize = IN_FLIGHT_ALL / 4;
/// In which a payload has to arrive whole: the longest over a line of 10 Mbit/s. Until then it takes a part of what may be in flight.
pub(super) const PAYLOAD_TIME: Duration = Duration::from_secs(5);
/// What a request of so many bytes takes of the above.
pub(super) fn weight(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(WEIGHT).clamp(1, IN_FLIGHT)).expect("bounded by what may be in flight")
}
