//! What is observed from outside: answers of servers, and what became of writes. Pure words.

use std::collections::BTreeMap;
use std::fmt;

/// Whom a request is meant for, which says who may answer it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asked {
    /// A service by its address: any server of its cluster.
    Service {
        /// What it is called.
        name: String,
        /// The cluster behind it.
        cluster: String,
    },
    /// A server by its own address: nobody else.
    Server(String),
}

impl Asked {
    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Service { name, .. } | Self::Server(name) => name,
        }
    }

    /// Whether a server is one that this address leads to.
    #[must_use]
    pub fn leads_to(&self, server: &str) -> bool {
        match self {
            Self::Service { cluster, .. } => {
                server.rsplit_once('-').is_some_and(|(of, number)| of == cluster && number.parse::<u32>().is_ok())
            }
            Self::Server(own) => own == server,
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service { name, .. } => write!(f, "service {name}"),
            Self::Server(name) => write!(f, "the address of server {name}"),
        }
    }
}

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
    /// Whom.
    pub target: Asked,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_leads_to_its_own() {
        let service = Asked::Service { name: "www".into(), cluster: "web".into() };
        assert!(service.leads_to("web-1") && service.leads_to("web-12"));
        assert!(["solo-1", "web", "web-x", "web-2-1", "we-1"].iter().all(|other| !service.leads_to(other)));
        // A cluster whose name ends like it is another one.
        assert!(!service.leads_to("my-web-1"));
        let server = Asked::Server("web-1".into());
        assert!(server.leads_to("web-1") && !server.leads_to("web-12") && !server.leads_to("web-2"));
    }
}
