//! The handle [`Nft`]: sending batches of elements and asking what is there.

use std::io;

use netlink_packet_core::NLM_F_ACK;
use netlink_sys::protocols::NETLINK_NETFILTER;

use super::batch::{Batch, Family, NFTABLES};
use super::elements_error::ElementsError;
use crate::netlink::{Channel, Refusal, find};
use crate::netns::Netns;
use crate::nfnetlink::{Message, NFGENMSG_LEN};

/// `NFNL_MSG_BATCH_BEGIN` and `NFNL_MSG_BATCH_END`.
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
/// `NFNL_BATCH_GENID`.
const BATCH_GENERATION: u16 = 1;
const GET_CHAIN: u16 = NFTABLES << 8 | 4;
const GET_GENERATION: u16 = NFTABLES << 8 | 16;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const GENERATION_ID: u16 = 1;

/// One transaction is one datagram, which the kernel copies whole. A million and a half slots that change
/// are 64 MiB; the largest table has 65,537.
const BATCH_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Number of a namespace's nftables state: grows by one with each transaction of anybody, of whatever table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation(pub u32);

impl Generation {
    /// The number after one more transaction; 0 is left out.
    #[must_use]
    pub fn next(self) -> Generation {
        Generation(self.0.checked_add(1).unwrap_or(1))
    }
}

/// An nftables netlink socket in one network namespace.
#[derive(Debug)]
pub struct Nft {
    channel: Channel,
}

impl Nft {
    /// Opens a socket in the given network namespace.
    ///
    /// # Errors
    /// The namespace cannot be entered, or the kernel gives no socket.
    pub fn open_in(netns: &Netns) -> Result<Nft, ElementsError> {
        let channel = netns.run(|| Channel::open(NETLINK_NETFILTER))?;
        Ok(Nft { channel: channel.map_err(|source| ElementsError::Open { source })? })
    }

    /// Puts a batch in force: all of it, or nothing. With `expected` the kernel refuses it unless nobody has
    /// changed any rule or element of the namespace since that generation; it is then the next one.
    ///
    /// # Errors
    /// See [`ElementsError`].
    pub fn commit(&mut self, batch: &Batch, expected: Option<Generation>) -> Result<(), ElementsError> {
        if batch.is_empty() {
            return Ok(());
        }
        let table = batch.table();
        let mut prepared = batch.messages();
        let bytes: usize = prepared.iter().map(|message| message.bytes.len()).sum();
        if bytes > BATCH_BYTES_MAX {
            return Err(ElementsError::TooLarge { table, bytes, max: BATCH_BYTES_MAX });
        }
        let mut begin = Message::about(BATCH_BEGIN, 0, libc::AF_UNSPEC as u8, NFTABLES);
        if let Some(Generation(number)) = expected {
            begin.push(BATCH_GENERATION, &number.to_be_bytes());
        }
        let mut messages = vec![begin.finish()];
        messages.extend(prepared.iter_mut().map(|message| std::mem::take(&mut message.bytes)));
        messages.push(Message::about(BATCH_END, 0, libc::AF_UNSPEC as u8, NFTABLES).finish());
        let talk = |source| ElementsError::Talk { what: format!("change elements of table {table}"), source };
        let Some((at, refusal)) = self.channel.transact_whole(&mut messages).map_err(talk)? else {
            return Ok(());
        };
        Err(match (at.checked_sub(1).and_then(|at| prepared.get(at)), expected) {
            (None, Some(expected)) if refusal.errno == libc::ERESTART => ElementsError::Changed { table, expected },
            (None, _) => refused(format!("change elements of table {table}"), &refusal),
            (Some(message), _) => refused(message.describe(&table, refusal.offset), &refusal),
        })
    }

    /// The present generation.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn generation(&mut self) -> Result<Generation, ElementsError> {
        let what = "read the nftables generation";
        let request = Message::new(GET_GENERATION, NLM_F_ACK, libc::AF_UNSPEC as u8).finish();
        let answer = self.ask(what, request)?.map_err(|refusal| refused(what.to_owned(), &refusal))?;
        let number = answer.and_then(|payload| {
            let bytes = find(payload.get(NFGENMSG_LEN..)?, GENERATION_ID)?;
            Some(u32::from_be_bytes(bytes.try_into().ok()?))
        });
        let source = || io::Error::new(io::ErrorKind::InvalidData, "the answer has no generation");
        number.map(Generation).ok_or_else(|| ElementsError::Talk { what: what.to_owned(), source: source() })
    }

    /// Whether a chain is there.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn has_chain(&mut self, family: Family, table: &str, chain: &str) -> Result<bool, ElementsError> {
        let what = format!("look for chain {chain} of table {table}");
        let mut request = Message::new(GET_CHAIN, NLM_F_ACK, family.number());
        request.push_text(CHAIN_TABLE, table).push_text(CHAIN_NAME, chain);
        match self.ask(&what, request.finish())? {
            Ok(_) => Ok(true),
            Err(refusal) if refusal.errno == libc::ENOENT => Ok(false),
            Err(refusal) => Err(refused(what, &refusal)),
        }
    }

    pub(super) fn channel(&mut self) -> &mut Channel {
        &mut self.channel
    }

    /// The payload of the answer, if there is one besides the acknowledgement.
    fn ask(&mut self, what: &str, mut request: Vec<u8>) -> Result<Result<Option<Vec<u8>>, Refusal>, ElementsError> {
        let mut payload = None;
        let ack = self.channel.exchange(&mut request, |answer| {
            payload = Some(answer.payload().to_vec());
            Ok(())
        });
        let ack = ack.map_err(|source| ElementsError::Talk { what: what.to_owned(), source })?;
        Ok(ack.map(|()| payload))
    }
}

pub(super) fn refused(what: String, refusal: &Refusal) -> ElementsError {
    ElementsError::Refused { what, detail: refusal.detail.clone(), source: refusal.to_io() }
}
