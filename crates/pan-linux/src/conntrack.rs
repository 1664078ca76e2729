//! The connection-tracking table of a network namespace over ctnetlink: counting and deleting the
//! flows that destination NAT sent to a given server.
//!
//! Message layout: linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NLA_F_NESTED, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST};
use netlink_sys::protocols::NETLINK_NETFILTER;

use crate::netlink::{Channel, HEADER_LEN, Received, attributes, find};
use crate::netns::{Netns, NetnsError};

/// `NFNL_SUBSYS_CTNETLINK << 8`, the upper byte of every message type here.
const CTNETLINK: u16 = 1 << 8;
const CT_GET: u16 = CTNETLINK | 1;
const CT_DELETE: u16 = CTNETLINK | 2;
/// Length of `struct nfgenmsg`: family, version, resource.
const NFGENMSG_LEN: usize = 4;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_PROTOINFO: u16 = 4;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTOINFO_TCP: u16 = 1;
const CTA_PROTOINFO_TCP_STATE: u16 = 1;
const IPS_DST_NAT: u32 = 1 << 5;

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
    #[error("delete the tracked connections to {address}")]
    Delete {
        /// The server's address.
        address: IpAddr,
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

/// Deletes every flow answered by `addr`, whatever its protocol and state, and says how many. None
/// matching is fine. The next packet of such a flow is then a new flow to the rule set.
///
/// # Errors
/// The table cannot be read or a flow not be deleted.
pub fn delete_by_reply_src(ns: &Netns, addr: IpAddr) -> Result<u64> {
    let mut channel = open(ns)?;
    let flows = list(&mut channel, |flow| (flow.reply_src == addr).then(|| flow.delete_request()))?;
    let failed = |source| ConntrackError::Delete { address: addr, source };
    let mut requests = flows;
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
    let servers = list(&mut channel, |flow| {
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

fn list<T>(channel: &mut Channel, pick: impl Fn(Flow<'_>) -> Option<T>) -> Result<Vec<T>> {
    let mut request = message(CT_GET, NLM_F_DUMP, libc::AF_UNSPEC as u8);
    finish(&mut request);
    channel
        .dump(&mut request, |answer| Ok(read(answer).and_then(&pick)))
        .and_then(|outcome| outcome.map_err(|refusal| refusal.to_io()))
        .map_err(|source| ConntrackError::List { source })
}

/// What is needed of one tracked connection.
struct Flow<'a> {
    family: u8,
    /// Source of the reply direction: after destination NAT, the server.
    reply_src: IpAddr,
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
        let mut request = message(CT_DELETE, NLM_F_ACK, self.family);
        push(&mut request, CTA_TUPLE_ORIG | NLA_F_NESTED, self.orig);
        if let Some(zone) = self.zone {
            push(&mut request, CTA_ZONE, zone);
        }
        // With the number, a new flow with the same addresses is not taken for the old one.
        if let Some(id) = self.id {
            push(&mut request, CTA_ID, id);
        }
        finish(&mut request);
        request
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
    let is_tcp =
        find(reply, CTA_TUPLE_PROTO).and_then(|proto| find(proto, CTA_PROTO_NUM)).is_some_and(|number| number == [libc::IPPROTO_TCP as u8]);
    Some(Flow { family, reply_src: source_of(reply)?, status, tcp_state: tcp_state.filter(|_| is_tcp), orig: orig?, zone, id })
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

fn message(kind: u16, flags: u16, family: u8) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_LEN];
    bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
    bytes[6..8].copy_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
    bytes.extend([family, 0, 0, 0]);
    bytes
}

fn push(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).expect("an attribute of one flow is short");
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

fn finish(message: &mut [u8]) {
    let length = u32::try_from(message.len()).expect("a request is short");
    message[..4].copy_from_slice(&length.to_ne_bytes());
}
