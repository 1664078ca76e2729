//! What can go wrong with elements.

use std::io;

use super::Generation;
use crate::netns::NetnsError;

/// Why elements were not changed. Maps and sets are then as they were, except after [`ElementsError::Talk`].
#[derive(Debug, thiserror::Error)]
pub enum ElementsError {
    /// The kernel gave no socket.
    #[error("open an nftables netlink socket")]
    Open {
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The namespace could not be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// Sending or receiving failed; what the kernel did is not known.
    #[error("{what}: talk to the kernel")]
    Talk {
        /// The operation.
        what: String,
        /// What failed.
        #[source]
        source: io::Error,
    },
    /// The kernel refused an element, a set or a table, and with it the whole batch.
    #[error("{what}{}{detail}", if detail.is_empty() { "" } else { ": " })]
    Refused {
        /// The operation, with table, set and element.
        what: String,
        /// The kernel's extended explanation, often empty.
        detail: String,
        /// Its error number.
        #[source]
        source: io::Error,
    },
    /// Somebody else changed the namespace's rules in between.
    #[error("the nftables rules around table {table} were changed by somebody else: expected generation {}", expected.0)]
    Changed {
        /// The table meant.
        table: String,
        /// What the caller knew.
        expected: Generation,
    },
    /// One transaction cannot take so much.
    #[error("a batch of {bytes} bytes for table {table}: expected at most {max}")]
    TooLarge {
        /// The table meant.
        table: String,
        /// What it came to.
        bytes: usize,
        /// What is sent at most.
        max: usize,
    },
}
