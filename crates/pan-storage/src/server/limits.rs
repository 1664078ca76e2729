//! Bounds of the server, with their reasons.

use std::time::Duration;

/// Connections at the same time, over all peers: a hundred nodes with ten volumes each, twice while heads are replaced.
pub(super) const CONNECTIONS_MAX: usize = 2048;
/// Connections of one host: what a node has room for, twice while heads are replaced.
pub(super) const CONNECTIONS_PEER: usize = 256;
/// For the TLS handshake, and again for the capability.
pub(super) const GREETING_MAX: Duration = Duration::from_secs(3);
/// Bytes of a capability; those that exist have less than half of it.
pub(super) const CAPABILITY_MAX: usize = 512;
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
/// Whoever has nothing to send for so long says so.
pub(super) const KEEP_ALIVE_EVERY: Duration = Duration::from_millis(50);
/// With these bytes, between frames.
pub(super) const KEEP_ALIVE: [u8; 2] = *b"ka";

/// What a request of so many bytes takes of the above.
pub(super) fn weight(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(WEIGHT).clamp(1, IN_FLIGHT)).expect("bounded by what may be in flight")
}

/// How long nothing may be heard of a peer that sends keep-alives.
#[derive(Debug, Clone, Copy)]
pub(super) struct Silence(pub Duration);

impl Silence {
    /// By the profile of the PAN: five keep-alives in a quiet room, more where processors are shared or hosts far away.
    pub(super) fn of(profile: &str) -> Self {
        Self(Duration::from_millis(match profile {
            "lan" => 250,
            "wan" => 1000,
            _ => 500,
        }))
    }
}
