//! Replies to one option, as bytes.

use crate::numbers::{OPTION_REPLY_MAGIC, rep};

/// The replies to an option, in order.
#[derive(Debug)]
pub(super) struct Answer {
    option: u32,
    bytes: Vec<u8>,
}

impl Answer {
    pub fn to(option: u32) -> Self {
        Self { option, bytes: Vec::new() }
    }

    pub fn add(mut self, kind: u32, parts: &[&[u8]]) -> Self {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let length = u32::try_from(length).expect("made of a few texts of at most 4,096 bytes");
        self.bytes.extend(OPTION_REPLY_MAGIC.to_be_bytes());
        self.bytes.extend(self.option.to_be_bytes());
        self.bytes.extend(kind.to_be_bytes());
        self.bytes.extend(length.to_be_bytes());
        parts.iter().for_each(|part| self.bytes.extend(*part));
        self
    }

    /// Ends it well.
    pub fn ack(self) -> Vec<u8> {
        self.add(rep::ACK, &[]).bytes
    }

    /// Ends it with an error; `message` is for people.
    pub fn error(self, kind: u32, message: &str) -> Vec<u8> {
        self.add(kind, &[message.as_bytes()]).bytes
    }
}
