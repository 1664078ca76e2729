//! Reading what a lease in an nftables set has left, and how much was dropped for want of it.
//! Layout: linux/netfilter/nf_tables.h.

use std::io;
use std::time::Duration;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP};
use netlink_sys::protocols::NETLINK_NETFILTER;

use crate::netlink::{Channel, attributes, find};
use crate::netns::Netns;
use crate::nfnetlink::{Message, NFGENMSG_LEN};
use crate::nft::ElementsError;

/// `NFNL_SUBSYS_NFTABLES << 8`, the upper byte of every message type here.
const NFTABLES: u16 = 10 << 8;
const GET_ELEMENTS: u16 = NFTABLES | 13;
const GET_OBJECT: u16 = NFTABLES | 19;
const FAMILY_NETDEV: u8 = 5;

/// The first attribute of either request.
const TABLE: u16 = 1;
const ELEMENTS_SET: u16 = 2;
const ELEMENTS: u16 = 3;
const ELEMENT: u16 = 1;
const EXPIRATION: u16 = 5;
const OBJECT_NAME: u16 = 2;
const OBJECT_TYPE: u16 = 3;
const OBJECT_DATA: u16 = 4;
/// `NFT_OBJECT_COUNTER`.
const COUNTER: u32 = 1;
const COUNTER_PACKETS: u16 = 2;

/// A socket for questions.
#[derive(Debug)]
pub(super) struct Reader {
    channel: Channel,
    table: &'static str,
}

impl Reader {
    pub(super) fn open_in(netns: &Netns, table: &'static str) -> Result<Reader, ElementsError> {
        let channel = netns.run(|| Channel::open(NETLINK_NETFILTER))?.map_err(|source| ElementsError::Open { source })?;
        Ok(Reader { channel, table })
    }

    /// The longest time an element of the set has left; none if it has no elements.
    pub(super) fn left(&mut self, set: &str) -> Result<Option<Duration>, ElementsError> {
        let mut request = Message::new(GET_ELEMENTS, NLM_F_DUMP, FAMILY_NETDEV);
        request.push_text(TABLE, self.table).push_text(ELEMENTS_SET, set);
        let found = self.channel.dump(&mut request.finish(), |answer| {
            let list = answer.payload().get(NFGENMSG_LEN..).and_then(|body| find(body, ELEMENTS)).unwrap_or(&[]);
            let elements = attributes(list).filter(|(kind, _)| *kind == ELEMENT);
            Ok(elements.filter_map(|(_, element)| big_endian(find(element, EXPIRATION)?)).max())
        });
        let found = found.and_then(|found| found.map_err(|refusal| refusal.to_io()));
        let millis = found.map_err(self.talk(set))?.into_iter().max();
        Ok(millis.filter(|millis| *millis > 0).map(Duration::from_millis))
    }

    /// Packets that a named counter has counted.
    pub(super) fn packets(&mut self, counter: &str) -> Result<u64, ElementsError> {
        let mut request = Message::new(GET_OBJECT, NLM_F_ACK, FAMILY_NETDEV);
        request.push_text(TABLE, self.table).push_text(OBJECT_NAME, counter).push(OBJECT_TYPE, &COUNTER.to_be_bytes());
        let mut packets = None;
        let ack = self.channel.exchange(&mut request.finish(), |answer| {
            let data = answer.payload().get(NFGENMSG_LEN..).and_then(|body| find(body, OBJECT_DATA));
            packets = data.and_then(|data| find(data, COUNTER_PACKETS)).and_then(big_endian);
            Ok(())
        });
        let read = ack.and_then(|ack| ack.map_err(|refusal| refusal.to_io()));
        let missing = || io::Error::new(io::ErrorKind::InvalidData, "the answer has no number where one was expected");
        read.and_then(|()| packets.ok_or_else(missing)).map_err(self.talk(counter))
    }

    fn talk(&self, name: &str) -> impl FnOnce(io::Error) -> ElementsError {
        let what = format!("read {name} of table netdev {}", self.table);
        move |source| ElementsError::Talk { what, source }
    }
}

fn big_endian(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}
