//! What is observed from outside: answers of servers, and what became of writes. Pure words.

use std::collections::BTreeMap;

/// Who answered: the server, and which start of it. Every start has an instance that no other has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Answer {
    /// PAN_SERVER.
    pub server: String,
    /// PAN_INSTANCE.
    pub instance: String,
}

impl Answer {
    /// Reads `SERVER INSTANCE`.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let (server, instance) = line.split_once(' ')?;
        let plain = |word: &str| !word.is_empty() && !word.contains(char::is_whitespace);
        (plain(server) && plain(instance)).then(|| Self { server: server.to_owned(), instance: instance.to_owned() })
    }
}

/// One request and its answer. Times are microseconds of the boot clock, which all observers share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// Who asked.
    pub observer: String,
    /// Whom: a service, or a server by its own address.
    pub target: String,
    /// When the request was sent, or later it was not.
    pub sent_us: u64,
    /// When the answer was whole, or when the observer gave up.
    pub received_us: u64,
    /// The answer; none if there was no good one.
    pub answer: Option<Answer>,
}

/// What the writer was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// It is done.
    Acknowledged,
    /// It is not done, and will not be.
    Refused,
    /// Nothing certain.
    Unknown,
}

/// One write: a key is to have a value, or none. A writer makes one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) key: String,
    pub(super) wanted: Option<String>,
    pub(super) told: Told,
    /// The words of the answer, for people.
    pub(super) words: String,
    /// When it was told.
    pub(super) told_us: u64,
}

/// What there is, by the same keys.
pub(super) type Values = BTreeMap<String, String>;
