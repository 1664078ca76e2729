//! Reading the counters of a set's elements. Layout: linux/netfilter/nf_tables.h, `enum nft_set_elem_attributes`,
//! `nft_expr_attributes` and `nft_counter_attributes`.

use netlink_packet_core::NLM_F_DUMP;

use super::batch::{Family, NFTABLES};
use super::elements_error::ElementsError;
use super::socket::{Nft, refused};
use crate::netlink::{attributes, find};
use crate::nfnetlink::{Message, NFGENMSG_LEN};

const GET_ELEMENTS: u16 = NFTABLES << 8 | 13;
const LIST_TABLE: u16 = 1;
const LIST_SET: u16 = 2;
const LIST_ELEMENTS: u16 = 3;
const LIST_ELEM: u16 = 1;
const ELEM_KEY: u16 = 1;
const ELEM_EXPRESSION: u16 = 7;
const DATA_VALUE: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const COUNTER_PACKETS: u16 = 2;

impl Nft {
    /// The keys of a set, as the kernel compares them, with how many packets each has counted. Reads the whole set: for
    /// small ones, and not on any packet's way.
    ///
    /// # Errors
    /// The set is not there, or the kernel cannot be asked.
    pub fn counted(&mut self, family: Family, table: &str, set: &str) -> Result<Vec<(Vec<u8>, u64)>, ElementsError> {
        let what = format!("read set {set} of table {table}");
        let mut request = Message::new(GET_ELEMENTS, NLM_F_DUMP, family.number());
        request.push_text(LIST_TABLE, table).push_text(LIST_SET, set);
        let found = self.channel().dump(&mut request.finish(), |answer| {
            let list = answer.payload().get(NFGENMSG_LEN..).and_then(|body| find(body, LIST_ELEMENTS)).unwrap_or(&[]);
            let elements = attributes(list).filter(|(kind, _)| *kind == LIST_ELEM);
            Ok(Some(elements.filter_map(|(_, element)| read(element)).collect::<Vec<_>>()))
        });
        let found = found.map_err(|source| ElementsError::Talk { what: what.clone(), source })?;
        Ok(found.map_err(|refusal| refused(what, &refusal))?.into_iter().flatten().collect())
    }
}

fn read(element: &[u8]) -> Option<(Vec<u8>, u64)> {
    let key = find(find(element, ELEM_KEY)?, DATA_VALUE)?.to_vec();
    let counter = find(find(element, ELEM_EXPRESSION)?, EXPRESSION_DATA)?;
    let packets = find(counter, COUNTER_PACKETS)?.try_into().ok()?;
    Some((key, u64::from_be_bytes(packets)))
}
