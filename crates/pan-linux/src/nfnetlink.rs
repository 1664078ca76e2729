//! Messages of the netfilter subsystems: `struct nlmsghdr`, `struct nfgenmsg`, attributes; and of generic netlink, whose
//! `struct genlmsghdr` has the same length.
//!
//! Layout: linux/netfilter/nfnetlink.h, linux/genetlink.h. What the attributes mean is the business of the callers.

use netlink_packet_core::{NLA_F_NESTED, NLM_F_REQUEST};

use crate::netlink::HEADER_LEN;

/// Length of `struct nfgenmsg`: family, version, resource.
pub(crate) const NFGENMSG_LEN: usize = 4;

/// A request while it is written.
pub(crate) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// Begins a request; `kind` is the subsystem in its upper and the operation in its lower byte.
    pub(crate) fn new(kind: u16, flags: u16, family: u8) -> Message {
        Message::about(kind, flags, family, 0)
    }

    /// The same with a resource number: the subsystem that a batch is for.
    pub(crate) fn about(kind: u16, flags: u16, family: u8, resource: u16) -> Message {
        let mut bytes = vec![0; HEADER_LEN];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
        bytes.extend([family, 0]);
        bytes.extend(resource.to_be_bytes());
        Message { bytes }
    }

    /// Begins a request of generic netlink.
    pub(crate) fn generic(family: u16, flags: u16, command: u8, version: u8) -> Message {
        let mut message = Message::new(family, flags, command);
        message.bytes[HEADER_LEN + 1] = version;
        message
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds an attribute. A value has at most 64 kB.
    pub(crate) fn push(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let at = self.begin(kind);
        self.bytes.extend(value);
        self.end(at);
        self
    }

    /// Adds a text attribute, ended by a zero.
    pub(crate) fn push_text(&mut self, kind: u16, text: &str) -> &mut Self {
        let at = self.begin(kind);
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
        self.end(at);
        self
    }

    /// Adds an attribute made of attributes.
    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let at = self.begin(kind | NLA_F_NESTED);
        fill(self);
        self.end(at);
        self
    }

    fn begin(&mut self, kind: u16) -> usize {
        let at = self.bytes.len();
        self.bytes.extend([0, 0]);
        self.bytes.extend(kind.to_ne_bytes());
        at
    }

    fn end(&mut self, at: usize) {
        let length = u16::try_from(self.bytes.len() - at).expect("callers keep attributes below 64 kB");
        self.bytes[at..at + 2].copy_from_slice(&length.to_ne_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// The finished request; its sequence number is set when it is sent.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).expect("a request is short");
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes
    }
}
