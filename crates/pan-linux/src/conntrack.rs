//! The connection-tracking table of a network namespace over ctnetlink: counting and deleting the
//! flows that destination NAT sent to a given server.
//!
//! Message layout: linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NLA_F_NESTED, NLM_F_ACK, NLM_F_DUMP};
use netlink_sys::protocols::NETLINK_NETFILTER;

use crate::netlink::{Channel, Received, attributes, find};
use crate::netns::{Netns, NetnsError};
use crate::nfnetlink::{Message, NFGENMSG_LEN};

/// `NFNL_SUBSYS_CTNETLINK << 8`, the upper byte of every message type here.
const CTNETLINK: u16 = 1 << 8;
const CT_GET: u16 = CTNETLINK | 1;
const CT_DELETE: u16 = CTNETLINK | 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_PROTOINFO: u16 = 4;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_FILTER: u16 = 25;
const CTA_STATUS_MASK: u16 = 26;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
const CTA_FILTER_REPLY_FLAGS: u16 = 2;
/// Bit of `CTA_FILTER_REPLY_FLAGS`: the source in `CTA_TUPLE_REPLY` must match. It is in no header; see
/// `CTA_FILTER_F_CTA_IP_SRC` in the kernel's nf_internals.h.
const FILTER_IP_SRC: u32 = 1 << 0;
const CTA_PROTOINFO_TCP: u16 = 1;
const CTA_PROTOINFO_TCP_STATE: u16 = 1;
const IPS_SEEN_REPLY: u32 = 1 << 1;
const IPS_DST_NAT: u32 = 1 << 5;
/// Flows that one call deletes at most: what a flood leaves in the table must not hold its caller for longer
/// than some 0.1 s.
const UNREPLIED_MAX: usize = 16_384;

/// `enum tcp_conntrack` states in which a request can still be sent: SYN_SENT, SYN_RECV, ESTABLISHED
/// and SYN_SENT2. Once either side has closed, no further request can follow.
const TCP_OPEN: [u8; 4] = [1, 2, 3, 9];

/// Why the table could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum ConntrackError {
    /// The kernel gave no socket.
    #[error("open a conntrack netlink socket")]
    Open {
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The table could not be listed.
    #[error("list tracked connections")]
    List {
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Flows could not be deleted.
    #[error("delete tracked connections")]
    Delete {
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The namespace could not be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
}

/// Result of this module.
pub type Result<T> = std::result::Result<T, ConntrackError>;

/// Deletes every flow answered by one of `servers`, whatever its protocol and state, and says how many. None
/// matching is fine. The next packet of such a flow is then a new flow to the rule set. One walk through the
/// kernel's table, which all namespaces share and which takes some 10 ms, serves all of them.
///
/// # Errors
/// The table cannot be read or a flow not be deleted.
pub fn delete_by_reply_src(ns: &Netns, servers: &BTreeSet<IpAddr>) -> Result<u64> {
    if servers.is_empty() {
        return Ok(0);
    }
    let mut channel = open(ns)?;
    let mut request = Message::new(CT_GET, NLM_F_DUMP, family_of(servers.iter()));
    // The kernel (6.18 among others) leaves out IPv6 addresses that are equal, not those that differ.
    if let (1, Some(IpAddr::V4(server))) = (servers.len(), servers.first()) {
        request.nest(CTA_TUPLE_REPLY, |request| {
            request.nest(CTA_TUPLE_IP, |request| {
                request.push(CTA_IP_V4_SRC, &server.octets());
            });
        });
        request.nest(CTA_FILTER, |request| {
            request.push(CTA_FILTER_ORIG_FLAGS, &0_u32.to_ne_bytes()).push(CTA_FILTER_REPLY_FLAGS, &FILTER_IP_SRC.to_ne_bytes());
        });
    }
    let flows = list(&mut channel, request, |flow| servers.contains(&flow.reply_src).then(|| flow.delete_request()))?;
    delete(&mut channel, flows)
}

/// Deletes the TCP flows to one of `ends`, addresses and ports of servers, that nothing has answered yet, and says
/// how many; at most 16,384, so a caller who gets that many calls again. A client's next try is then a new
/// flow to the rule set, and may go elsewhere.
///
/// # Errors
/// The table cannot be read or a flow not be deleted.
pub fn delete_unreplied(ns: &Netns, ends: &BTreeSet<(IpAddr, u16)>) -> Result<u64> {
    if ends.is_empty() {
        return Ok(0);
    }
    let mut channel = open(ns)?;
    let mut request = Message::new(CT_GET, NLM_F_DUMP, family_of(ends.iter().map(|(address, _)| address)));
    request.push(CTA_STATUS, &0_u32.to_be_bytes()).push(CTA_STATUS_MASK, &IPS_SEEN_REPLY.to_be_bytes());
    let mut room = UNREPLIED_MAX;
    // A kernel that cannot filter by status (before 5.15) sends more than was asked for.
    let pick = |flow: Flow<'_>| {
        let unreplied = flow.status & IPS_SEEN_REPLY == 0;
        let meant = unreplied && flow.reply_tcp_port.is_some_and(|port| ends.contains(&(flow.reply_src, port)));
        let taken = meant && room > 0;
        room -= usize::from(taken);
        taken.then(|| flow.delete_request())
    };
    let flows = list(&mut channel, request, pick)?;
    delete(&mut channel, flows)
}

/// The family that all addresses are of, or any.
fn family_of<'a>(mut addresses: impl Iterator<Item = &'a IpAddr>) -> u8 {
    let family = |address: &IpAddr| if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let first = addresses.next().map_or(libc::AF_UNSPEC, family);
    let all = if addresses.all(|address| family(address) == first) { first } else { libc::AF_UNSPEC };
    all as u8
}

fn delete(channel: &mut Channel, mut requests: Vec<Vec<u8>>) -> Result<u64> {
    let failed = |source| ConntrackError::Delete { source };
    let mut deleted = 0;
    for ack in channel.transact(&mut requests).map_err(failed)? {
        match ack {
            Ok(()) => deleted += 1,
            // It ended by itself in between.
            Err(refusal) if refusal.errno == libc::ENOENT => {}
            Err(refusal) => return Err(failed(refusal.to_io())),
        }
    }
    Ok(deleted)
}

/// Counts, by server address, the TCP flows sent there by destination NAT that can still carry
/// requests. Servers without one are absent.
///
/// # Errors
/// The table cannot be read.
pub fn count_by_reply_src(ns: &Netns) -> Result<HashMap<IpAddr, u64>> {
    let mut channel = open(ns)?;
    let everything = Message::new(CT_GET, NLM_F_DUMP, libc::AF_UNSPEC as u8);
    let servers = list(&mut channel, everything, |flow| {
        let open = flow.tcp_state.is_some_and(|state| TCP_OPEN.contains(&state));
        (open && flow.status & IPS_DST_NAT != 0).then_some(flow.reply_src)
    })?;
    let mut counts = HashMap::new();
    for server in servers {
        *counts.entry(server).or_insert(0) += 1;
    }
    Ok(counts)
}

fn open(ns: &Netns) -> Result<Channel> {
    ns.run(|| Channel::open(NETLINK_NETFILTER))?.map_err(|source| ConntrackError::Open { source })
}

fn list<T>(channel: &mut Channel, request: Message, mut pick: impl FnMut(Flow<'_>) -> Option<T>) -> Result<Vec<T>> {
    channel
        .dump(&mut request.finish(), |answer| Ok(read(answer).and_then(&mut pick)))
        .and_then(|outcome| outcome.map_err(|refusal| refusal.to_io()))
        .map_err(|source| ConntrackError::List { source })
}

/// What is needed of one tracked connection.
struct Flow<'a> {
    family: u8,
    /// Source of the reply direction: after destination NAT, the server.
    reply_src: IpAddr,
    /// Source port of the reply direction; none for protocols other than TCP.
    reply_tcp_port: Option<u16>,
    status: u32,
    /// `enum tcp_conntrack`; none for other protocols.
    tcp_state: Option<u8>,
    /// The attributes that name this flow in a request, as received.
    orig: &'a [u8],
    zone: Option<&'a [u8]>,
    id: Option<&'a [u8]>,
}

impl Flow<'_> {
    fn delete_request(&self) -> Vec<u8> {
        let mut request = Message::new(CT_DELETE, NLM_F_ACK, self.family);
        request.push(CTA_TUPLE_ORIG | NLA_F_NESTED, self.orig);
        if let Some(zone) = self.zone {
            request.push(CTA_ZONE, zone);
        }
        // With the number, a new flow with the same addresses is not taken for the old one.
        if let Some(id) = self.id {
            request.push(CTA_ID, id);
        }
        request.finish()
    }
}

fn read<'a>(answer: &'a Received<'_>) -> Option<Flow<'a>> {
    let payload = answer.payload();
    let family = *payload.first()?;
    let (mut orig, mut reply, mut zone, mut id) = (None, None, None, None);
    let (mut status, mut tcp_state) = (0, None);
    for (kind, value) in attributes(payload.get(NFGENMSG_LEN..)?) {
        match kind {
            CTA_TUPLE_ORIG => orig = Some(value),
            CTA_TUPLE_REPLY => reply = Some(value),
            CTA_ZONE => zone = Some(value),
            CTA_ID => id = Some(value),
            CTA_STATUS => status = u32::from_be_bytes(value.try_into().ok()?),
            CTA_PROTOINFO => tcp_state = tcp_state_of(value),
            _ => {}
        }
    }
    let reply = reply?;
    let proto = find(reply, CTA_TUPLE_PROTO);
    let is_tcp = proto.and_then(|proto| find(proto, CTA_PROTO_NUM)).is_some_and(|number| number == [libc::IPPROTO_TCP as u8]);
    let port = || Some(u16::from_be_bytes(find(proto?, CTA_PROTO_SRC_PORT)?.try_into().ok()?));
    Some(Flow {
        family,
        reply_src: source_of(reply)?,
        reply_tcp_port: port().filter(|_| is_tcp),
        status,
        tcp_state: tcp_state.filter(|_| is_tcp),
        orig: orig?,
        zone,
        id,
    })
}

fn source_of(tuple: &[u8]) -> Option<IpAddr> {
    let ip = find(tuple, CTA_TUPLE_IP)?;
    if let Some(bytes) = find(ip, CTA_IP_V4_SRC) {
        return Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into());
    }
    let bytes = find(ip, CTA_IP_V6_SRC)?;
    Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into())
}

fn tcp_state_of(protoinfo: &[u8]) -> Option<u8> {
    let tcp = find(protoinfo, CTA_PROTOINFO_TCP)?;
    find(tcp, CTA_PROTOINFO_TCP_STATE)?.first().copied()
}
