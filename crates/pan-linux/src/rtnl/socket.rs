//! The handle [`Rtnl`]: opening, dumping and sending batches.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, MutexGuard};

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;

use super::{Batch, Result, RtnlError};
use crate::netlink::{Channel, Received, Refusal};
use crate::netns::Netns;

/// A route-netlink socket in one network namespace. Threads may share it; requests take turns.
#[derive(Debug)]
pub struct Rtnl {
    channel: Mutex<Channel>,
    netns: Netns,
}

impl Rtnl {
    /// Opens a socket in the calling thread's network namespace and stays bound to that.
    ///
    /// # Errors
    /// The kernel gives no socket.
    pub fn open() -> Result<Rtnl> {
        let netns = Netns::current()?;
        let channel = open_channel().map_err(|source| RtnlError::Open { source })?;
        Ok(Rtnl { channel: Mutex::new(channel), netns })
    }

    /// Opens a socket in the given network namespace.
    ///
    /// # Errors
    /// The namespace cannot be entered, or the kernel gives no socket.
    pub fn open_in(netns: &Netns) -> Result<Rtnl> {
        let netns = netns.try_clone()?;
        let channel = netns.run(open_channel)?.map_err(|source| RtnlError::Open { source })?;
        Ok(Rtnl { channel: Mutex::new(channel), netns })
    }

    /// The namespace this socket is bound to.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Starts a batch: requests collected in order and sent together by [`Batch::commit`].
    pub fn batch(&self) -> Batch<'_> {
        Batch::new(self)
    }

    /// Runs a batch built by `fill`.
    ///
    /// # Errors
    /// A device is missing, or the kernel refused a request.
    pub(super) fn once<'a>(&'a self, fill: impl for<'b> FnOnce(&'b mut Batch<'a>) -> Result<&'b mut Batch<'a>>) -> Result<()> {
        let mut batch = self.batch();
        fill(&mut batch)?;
        batch.commit()
    }

    /// The index of an interface, or none if there is no such interface.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn link_index(&self, name: &str) -> Result<Option<u32>> {
        let what = || format!("look up interface {name}");
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let mut request = serialize(RouteNetlinkMessage::GetLink(message), NLM_F_ACK);
        let mut index = None;
        let ack = self
            .channel()
            .exchange(&mut request, |answer| {
                // ifinfomsg: family, padding, type, then the index at offset 4 (rtnetlink(7)).
                index = answer.payload().get(4..8).and_then(|bytes| bytes.try_into().ok()).map(u32::from_ne_bytes);
                Ok(())
            })
            .map_err(|source| transport(what(), source))?;
        match ack {
            Ok(()) => Ok(index),
            Err(refusal) if refusal.errno == libc::ENODEV => Ok(None),
            Err(refusal) => Err(refused(what(), &refusal)),
        }
    }

    /// The names of all interfaces by index.
    pub(super) fn link_names(&self) -> Result<HashMap<u32, String>> {
        let links = self.links()?;
        Ok(links.into_iter().map(|link| (link.index, link.name)).collect())
    }

    /// Sends a dump request and keeps what `pick` makes of each answer.
    pub(super) fn dump<T>(
        &self,
        what: &str,
        message: RouteNetlinkMessage,
        mut pick: impl FnMut(RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Vec<T>> {
        self.dump_raw(what, message, |answer| Ok(parse(answer.whole)?.and_then(&mut pick)))
    }

    /// The same with the bytes of each answer.
    pub(super) fn dump_raw<T>(
        &self,
        what: &str,
        message: RouteNetlinkMessage,
        pick: impl FnMut(&Received<'_>) -> io::Result<Option<T>>,
    ) -> Result<Vec<T>> {
        let mut request = serialize(message, NLM_F_DUMP);
        self.channel()
            .dump(&mut request, pick)
            .map_err(|source| transport(what.to_owned(), source))?
            .map_err(|refusal| refused(what.to_owned(), &refusal))
    }

    pub(super) fn channel(&self) -> MutexGuard<'_, Channel> {
        // A panic while the lock was held can leave unread answers behind; they carry old sequence
        // numbers and are skipped, so the socket stays usable.
        self.channel.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn open_channel() -> io::Result<Channel> {
    let channel = Channel::open(NETLINK_ROUTE)?;
    channel.set_strict_dumps()?;
    Ok(channel)
}

/// The bytes of a request; the sequence number is set when it is sent.
pub(super) fn serialize(message: RouteNetlinkMessage, flags: u16) -> Vec<u8> {
    let mut message = NetlinkMessage::from(message);
    message.header.flags = NLM_F_REQUEST | flags;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

fn parse(whole: &[u8]) -> io::Result<Option<RouteNetlinkMessage>> {
    let message =
        NetlinkMessage::<RouteNetlinkMessage>::deserialize(whole).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(match message.payload {
        NetlinkPayload::InnerMessage(inner) => Some(inner),
        _ => None,
    })
}

pub(super) fn transport(what: String, source: io::Error) -> RtnlError {
    RtnlError::Transport { what, source }
}

pub(super) fn refused(what: String, refusal: &Refusal) -> RtnlError {
    RtnlError::Refused { what, detail: refusal.detail.clone(), source: refusal.to_io() }
}
