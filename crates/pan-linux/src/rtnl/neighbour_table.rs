//! How many neighbours the kernel keeps.

use std::io;
use std::net::IpAddr;

use netlink_packet_core::NlasIterator;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour_table::NeighbourTableMessage;

use super::{Result, Rtnl};

/// `struct ndtmsg` of rtnetlink: a family and padding.
const HEADER_LEN: usize = 4;
/// Attributes of a table (linux/neighbour.h).
const NDTA_THRESH2: u16 = 3;
const NDTA_THRESH3: u16 = 4;

/// How many neighbours the kernel keeps of a family of addresses, in all network namespaces together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NeighbourLimits {
    /// `gc_thresh2`: of more it forgets some.
    pub soft: u32,
    /// `gc_thresh3`: more it does not keep.
    pub hard: u32,
}

impl Rtnl {
    /// The limits for addresses of the family of `like`. Under `/proc/sys` only the first network namespace has them; this is answered in
    /// any. None if the kernel has no such table.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn neighbour_limits(&self, like: IpAddr) -> Result<Option<NeighbourLimits>> {
        let family = if like.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        let request = RouteNetlinkMessage::GetNeighbourTable(NeighbourTableMessage::default());
        let found = self.dump_raw("list neighbour tables", request, |answer| read(answer.payload(), family))?;
        Ok(found.first().copied())
    }
}

/// A table also comes once for each interface, without limits, which are none of an interface's.
fn read(payload: &[u8], family: i32) -> io::Result<Option<NeighbourLimits>> {
    if payload.first().is_none_or(|of| i32::from(*of) != family) {
        return Ok(None);
    }
    let (mut soft, mut hard) = (None, None);
    for attribute in NlasIterator::new(payload.get(HEADER_LEN..).unwrap_or_default()) {
        let attribute = attribute.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let number = || attribute.value().try_into().ok().map(u32::from_ne_bytes);
        match attribute.kind() {
            NDTA_THRESH2 => soft = number(),
            NDTA_THRESH3 => hard = number(),
            _ => {}
        }
    }
    Ok(soft.zip(hard).map(|(soft, hard)| NeighbourLimits { soft, hard }))
}
