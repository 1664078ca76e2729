//! Many requests in one system call.

use std::collections::HashMap;

use netlink_packet_core::NLM_F_ACK;
use netlink_packet_route::RouteNetlinkMessage;

use super::socket::{refused, serialize, transport};
use super::{Result, Rtnl, RtnlError};

/// Requests collected in order. Nothing happens before [`Batch::commit`]. Interfaces are looked up by
/// name when a request is added, so a link made by this batch cannot be named in it.
pub struct Batch<'a> {
    rtnl: &'a Rtnl,
    requests: Vec<Request>,
    indices: HashMap<String, Option<u32>>,
}

struct Request {
    bytes: Vec<u8>,
    what: String,
    tolerated: &'static [i32],
}

/// Error numbers the kernel gives for removing a link, address, route or neighbour that is not there.
pub(super) const ABSENT: &[i32] = &[libc::ENOENT, libc::ESRCH, libc::ENODEV, libc::EADDRNOTAVAIL];

impl<'a> Batch<'a> {
    pub(super) fn new(rtnl: &'a Rtnl) -> Batch<'a> {
        Batch { rtnl, requests: Vec::new(), indices: HashMap::new() }
    }

    /// How many requests are collected.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// True if nothing would be sent.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Sends everything, in order. Each request is tried, also after one was refused.
    ///
    /// # Errors
    /// The first refusal, saying which request it was.
    pub fn commit(self) -> Result<()> {
        if self.requests.is_empty() {
            return Ok(());
        }
        let (mut bytes, about): (Vec<_>, Vec<_>) =
            self.requests.into_iter().map(|request| (request.bytes, (request.what, request.tolerated))).unzip();
        let outcomes = self.rtnl.channel().transact(&mut bytes).map_err(|source| transport(format!("{} requests", about.len()), source))?;
        for (outcome, (what, tolerated)) in outcomes.into_iter().zip(about) {
            match outcome {
                Err(refusal) if !tolerated.contains(&refusal.errno) => {
                    return Err(refused(what, &refusal));
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn push(&mut self, message: RouteNetlinkMessage, flags: u16, tolerated: &'static [i32], what: String) -> &mut Self {
        self.requests.push(Request { bytes: serialize(message, flags | NLM_F_ACK), what, tolerated });
        self
    }

    /// The index of an interface that has to be there.
    pub(super) fn index(&mut self, device: &str, what: impl FnOnce() -> String) -> Result<u32> {
        self.index_if_any(device)?.ok_or_else(|| RtnlError::NoDevice { what: what(), device: device.to_owned() })
    }

    pub(super) fn index_if_any(&mut self, device: &str) -> Result<Option<u32>> {
        if let Some(index) = self.indices.get(device) {
            return Ok(*index);
        }
        let index = self.rtnl.link_index(device)?;
        self.indices.insert(device.to_owned(), index);
        Ok(index)
    }
}
