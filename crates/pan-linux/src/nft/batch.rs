//! Changes of elements, collected and put into messages.
//!
//! Layout: linux/netfilter/nf_tables.h, `enum nft_set_elem_list_attributes` and `nft_set_elem_attributes`.

use std::time::Duration;

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE};

use super::value::{Data, Value};
use crate::nfnetlink::Message;

/// `NFNL_SUBSYS_NFTABLES`.
pub(super) const NFTABLES: u16 = 10;
const NEW_ELEMENTS: u16 = NFTABLES << 8 | 12;
const DELETE_ELEMENTS: u16 = NFTABLES << 8 | 14;

const LIST_TABLE: u16 = 1;
const LIST_SET: u16 = 2;
const LIST_ELEMENTS: u16 = 3;
const LIST_ELEM: u16 = 1;
const ELEM_KEY: u16 = 1;
const ELEM_DATA: u16 = 2;
const ELEM_TIMEOUT: u16 = 4;

/// Bytes of the elements in one message. Their list is one attribute, which has a 16-bit length, and the
/// longest element is far below the rest.
const ELEMENTS_BYTES_MAX: usize = 32 * 1024;

/// The family of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4 and IPv6.
    Inet,
    /// Frames that a bridge forwards.
    Bridge,
    /// Frames as a device receives or sends them.
    Netdev,
}

impl Family {
    /// `NFPROTO_INET`, `NFPROTO_BRIDGE`, `NFPROTO_NETDEV` of linux/netfilter.h.
    pub(super) const fn number(self) -> u8 {
        match self {
            Family::Inet => 1,
            Family::Bridge => 7,
            Family::Netdev => 5,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Family::Inet => "inet",
            Family::Bridge => "bridge",
            Family::Netdev => "netdev",
        }
    }
}

/// An element of a set or a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// What it is found by.
    pub key: Value,
    /// What a map has for it; none in a set.
    pub data: Option<Data>,
    /// After which it goes by itself; only where the set has `flags timeout`. Whole milliseconds.
    pub timeout: Option<Duration>,
}

impl Element {
    /// An element of a set.
    pub fn of_set(key: Value) -> Element {
        Element { key, data: None, timeout: None }
    }

    /// An element of a map.
    pub fn of_map(key: Value, data: Data) -> Element {
        Element { key, data: Some(data), timeout: None }
    }

    fn write(&self, message: &mut Message) {
        message.nest(LIST_ELEM, |message| {
            self.key.write(message, ELEM_KEY);
            if let Some(data) = &self.data {
                data.write(message, ELEM_DATA);
            }
            if let Some(timeout) = self.timeout {
                let milliseconds = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
                message.push(ELEM_TIMEOUT, &milliseconds.to_be_bytes());
            }
        });
    }
}

impl std::fmt::Display for Element {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.data {
            Some(data) => write!(f, "{} : {data}", self.key),
            None => write!(f, "{}", self.key),
        }
    }
}

/// Changes of elements of one table, in order; all take effect at once, or none. Sets and maps must be there.
#[derive(Debug, Clone)]
pub struct Batch {
    family: Family,
    table: String,
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
enum Step {
    Add { set: String, elements: Vec<Element> },
    Delete { set: String, elements: Vec<Element> },
    Flush { set: String },
}

impl Batch {
    /// An empty batch for a table.
    pub fn new(family: Family, table: &str) -> Batch {
        Batch { family, table: table.to_owned(), steps: Vec::new() }
    }

    /// Adds elements. One that is there with the same data stays (its timeout is not renewed); one with other
    /// data must be deleted first, in the same batch if need be.
    pub fn add(&mut self, set: &str, elements: impl IntoIterator<Item = Element>) -> &mut Self {
        let elements: Vec<Element> = elements.into_iter().collect();
        if !elements.is_empty() {
            self.steps.push(Step::Add { set: set.to_owned(), elements });
        }
        self
    }

    /// Deletes elements, which must be there.
    pub fn delete(&mut self, set: &str, keys: impl IntoIterator<Item = Value>) -> &mut Self {
        let elements: Vec<Element> = keys.into_iter().map(Element::of_set).collect();
        if !elements.is_empty() {
            self.steps.push(Step::Delete { set: set.to_owned(), elements });
        }
        self
    }

    /// Deletes all elements.
    pub fn flush(&mut self, set: &str) -> &mut Self {
        self.steps.push(Step::Flush { set: set.to_owned() });
        self
    }

    /// How many elements it changes.
    pub fn steps(&self) -> usize {
        self.steps.len()
    }

    /// True if nothing would be sent.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The table as `nft` names it.
    pub(super) fn table(&self) -> String {
        format!("{} {}", self.family.word(), self.table)
    }

    /// The messages in order, the last one with a request for an acknowledgement.
    pub(super) fn messages(&self) -> Vec<Prepared<'_>> {
        let mut all = Vec::new();
        for (at, step) in self.steps.iter().enumerate() {
            let last = at + 1 == self.steps.len();
            match step {
                Step::Flush { .. } => all.push(self.prepare(step, &[], last).0),
                Step::Add { elements, .. } | Step::Delete { elements, .. } => {
                    let mut rest = elements.as_slice();
                    while !rest.is_empty() {
                        let (prepared, taken) = self.prepare(step, rest, last);
                        rest = &rest[taken..];
                        all.push(prepared);
                    }
                }
            }
        }
        all
    }

    /// One message with as many of the elements as it may have; the last of all asks for an acknowledgement.
    fn prepare<'a>(&'a self, step: &'a Step, elements: &'a [Element], last: bool) -> (Prepared<'a>, usize) {
        let (kind, flags, set) = match step {
            Step::Add { set, .. } => (NEW_ELEMENTS, NLM_F_CREATE, set),
            Step::Delete { set, .. } | Step::Flush { set } => (DELETE_ELEMENTS, 0, set),
        };
        // The room an element takes is known only once it is written; so the flags of the header are set last.
        let mut message = Message::new(kind, flags, self.family.number());
        message.push_text(LIST_TABLE, &self.table).push_text(LIST_SET, set);
        let mut starts = Vec::new();
        if !elements.is_empty() {
            let from = message.len();
            message.nest(LIST_ELEMENTS, |message| {
                for element in elements {
                    if message.len() - from > ELEMENTS_BYTES_MAX {
                        break;
                    }
                    starts.push(message.len());
                    element.write(message);
                }
            });
        }
        let taken = starts.len();
        let mut bytes = message.finish();
        if last && taken == elements.len() {
            let asked = u16::from_ne_bytes([bytes[6], bytes[7]]) | NLM_F_ACK;
            bytes[6..8].copy_from_slice(&asked.to_ne_bytes());
        }
        (Prepared { bytes, set, step, elements: &elements[..taken], starts }, taken)
    }
}

/// A message and what is where in it.
pub(super) struct Prepared<'a> {
    pub bytes: Vec<u8>,
    set: &'a str,
    step: &'a Step,
    elements: &'a [Element],
    starts: Vec<usize>,
}

impl Prepared<'_> {
    /// What was refused, the kernel having complained about what begins at `offset`.
    pub(super) fn describe(&self, table: &str, offset: Option<usize>) -> String {
        let place = format!("set {} of table {table}", self.set);
        let element = offset.and_then(|offset| {
            let at = self.starts.partition_point(|start| *start <= offset).checked_sub(1)?;
            self.elements.get(at)
        });
        match (self.step, element.or_else(|| self.elements.first().filter(|_| self.elements.len() == 1))) {
            (Step::Add { .. }, Some(element)) => format!("add element {element} to {place}"),
            (Step::Delete { .. }, Some(element)) => format!("delete element {element} from {place}"),
            (Step::Add { .. }, None) => format!("add {} elements to {place}", self.elements.len()),
            (Step::Delete { .. }, None) => format!("delete {} elements from {place}", self.elements.len()),
            (Step::Flush { .. }, _) => format!("empty {place}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_batches_are_cut_and_the_last_message_asks_for_an_answer() {
        let mut batch = Batch::new(Family::Inet, "pan");
        let element = |slot: u32| Element::of_map(Value::Mark(slot), Data::Value(Value::Mark(slot % 3)));
        batch.delete("cur", [Value::Mark(7)]).add("cur", (0..65_537).map(element));
        let messages = batch.messages();
        assert!(messages.len() > 40 && messages.iter().all(|message| message.bytes.len() < ELEMENTS_BYTES_MAX + 256));
        let asks = |message: &Prepared<'_>| u16::from_ne_bytes([message.bytes[6], message.bytes[7]]) & NLM_F_ACK != 0;
        assert!(asks(messages.last().unwrap()));
        assert_eq!(messages.iter().filter(|message| asks(message)).count(), 1);
        assert_eq!(messages.iter().map(|message| message.elements.len()).sum::<usize>(), 65_538);
        let second = &messages[1];
        assert_eq!(second.describe("inet pan", Some(second.starts[5] + 4)), "add element 5 : 2 to set cur of table inet pan");
    }
}
