//! Traffic-control filters that run a BPF program on every packet of an interface (tc-bpf(8)).
//!
//! The filters hang on the `clsact` queueing discipline, which queues nothing: it only offers a place on
//! the way in and one on the way out, before the real one.

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcHeader, TcMessage};

use super::batch::ABSENT;
use super::{Batch, Result, Rtnl, RtnlError};
use crate::netlink::find;

/// `ETH_P_ALL`: frames of every kind, ARP too.
const EVERY_PROTOCOL: u16 = 0x0003;
/// First of all filters of a direction.
const PREFERENCE: u16 = 1;
/// `pan`: replacing addresses the filter by it, so other programs' filters of the same place stay.
const HANDLE: u32 = 0x0070_616e;

const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_ID: u16 = 11;
/// `TCA_BPF_FLAG_ACT_DIRECT`: what the program returns is the verdict.
const ACT_DIRECT: u32 = 1;

/// Seen from the host, not from what is behind the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Packets the interface hands to the host.
    In,
    /// Packets the host hands to the interface.
    Out,
}

impl Direction {
    fn parent(self) -> TcHandle {
        let minor = match self {
            Direction::In => TcHandle::MIN_INGRESS,
            Direction::Out => TcHandle::MIN_EGRESS,
        };
        TcHandle { minor, ..TcHandle::CLSACT }
    }
}

/// A loaded classifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BpfFilter<'a> {
    /// Its descriptor in this process.
    pub descriptor: i32,
    /// What bpftool and tc show.
    pub name: &'a str,
}

impl Batch<'_> {
    /// Runs the program on all packets of one direction, instead of the one set so before, if any, without
    /// a packet in between that met neither.
    ///
    /// # Errors
    /// The interface is not there.
    pub fn set_bpf_filter(&mut self, device: &str, direction: Direction, filter: BpfFilter<'_>) -> Result<&mut Self> {
        let what = || format!("filter packets of {device} with {}", filter.name);
        let index = self.index(device, what)?;
        let mut place = message(index, TcHandle::CLSACT, TcHandle::from(u32::from(u16::MAX) << 16), 0);
        place.attributes.push(TcAttribute::Kind("clsact".to_owned()));
        // Without NLM_F_EXCL one that is there stays as it is, with its filters; but another kind in its
        // place is refused.
        self.push(RouteNetlinkMessage::NewQueueDiscipline(place), NLM_F_CREATE, &[], format!("{}: add clsact", what()));

        let mut options = Vec::new();
        attribute(&mut options, TCA_BPF_FD, &filter.descriptor.to_ne_bytes());
        attribute(&mut options, TCA_BPF_NAME, format!("{}\0", filter.name).as_bytes());
        attribute(&mut options, TCA_BPF_FLAGS, &ACT_DIRECT.to_ne_bytes());
        let mut message = message(index, direction.parent(), TcHandle::from(HANDLE), info());
        message.attributes.push(TcAttribute::Kind("bpf".to_owned()));
        message.attributes.push(TcAttribute::Other(DefaultNla::new(TCA_OPTIONS, options)));
        let request = RouteNetlinkMessage::NewTrafficFilter(message);
        Ok(self.push(request, NLM_F_CREATE | NLM_F_REPLACE, &[], what()))
    }

    /// Takes away what [`Batch::set_bpf_filter`] set. Nothing there is fine.
    ///
    /// # Errors
    /// The kernel cannot be asked for the interface.
    pub fn del_bpf_filter(&mut self, device: &str, direction: Direction) -> Result<&mut Self> {
        // Without clsact there is no place to have a filter in: EINVAL.
        const GONE: &[i32] = &[ABSENT[0], ABSENT[1], ABSENT[2], ABSENT[3], libc::EINVAL];
        let Some(index) = self.index_if_any(device)? else {
            return Ok(self);
        };
        let mut message = message(index, direction.parent(), TcHandle::from(HANDLE), info());
        message.attributes.push(TcAttribute::Kind("bpf".to_owned()));
        let request = RouteNetlinkMessage::DelTrafficFilter(message);
        Ok(self.push(request, 0, GONE, format!("stop filtering packets of {device}")))
    }
}

impl Rtnl {
    /// See [`Batch::set_bpf_filter`].
    ///
    /// # Errors
    /// The interface is not there, or the kernel refuses.
    pub fn set_bpf_filter(&self, device: &str, direction: Direction, filter: BpfFilter<'_>) -> Result<()> {
        self.once(|batch| batch.set_bpf_filter(device, direction, filter))
    }

    /// See [`Batch::del_bpf_filter`].
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn del_bpf_filter(&self, device: &str, direction: Direction) -> Result<()> {
        self.once(|batch| batch.del_bpf_filter(device, direction))
    }

    /// The number of the program that [`Batch::set_bpf_filter`] set; none if there is no such filter.
    ///
    /// # Errors
    /// The interface is not there, or the kernel cannot be asked.
    pub fn bpf_filter(&self, device: &str, direction: Direction) -> Result<Option<u32>> {
        let what = format!("list filters of {device}");
        let index = self.link_index(device)?.ok_or_else(|| RtnlError::NoDevice { what: what.clone(), device: device.to_owned() })?;
        let request = RouteNetlinkMessage::GetTrafficFilter(message(index, direction.parent(), TcHandle::UNSPEC, 0));
        let found = self.dump_raw(&what, request, |answer| Ok(program_of(answer.payload())));
        match found {
            // A place that does not exist has no filters.
            Err(error) if error.errno() == Some(libc::EINVAL) => Ok(None),
            other => Ok(other?.pop()),
        }
    }
}

pub(super) fn message(index: u32, parent: TcHandle, handle: TcHandle, info: u32) -> TcMessage {
    // Indices are positive numbers of an int, which the kernel's message has here.
    let header = TcHeader { index: index.cast_signed(), parent, handle, info, ..TcHeader::default() };
    TcMessage::from_parts(header, Vec::new())
}

/// Preference, and the protocol in network byte order.
fn info() -> u32 {
    u32::from(PREFERENCE) << 16 | u32::from(EVERY_PROTOCOL.to_be())
}

pub(super) fn attribute(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).expect("an attribute of a filter is short");
    to.extend(length.to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(value);
    to.resize(to.len().next_multiple_of(4), 0);
}

/// Reads `struct tcmsg` (family, padding, index, handle, parent, info) and its attributes.
fn program_of(payload: &[u8]) -> Option<u32> {
    let number = |bytes: &[u8]| bytes.try_into().ok().map(u32::from_ne_bytes);
    if number(payload.get(8..12)?)? != HANDLE {
        return None;
    }
    let attributes = payload.get(20..)?;
    if find(attributes, TCA_KIND)? != b"bpf\0" {
        return None;
    }
    number(find(find(attributes, TCA_OPTIONS)?, TCA_BPF_ID)?)
}
