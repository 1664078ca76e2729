//! Volumes: the numbers that their parts (arbiter, head, replicas) are fenced and told apart by.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $type(pub u64);

        impl $type {
            /// The one after this.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

number!(/// A volume within the PAN; never given twice, and never shown to a partition's users.
    VolumeId);
number!(/// The fencing token of a volume: grows with every claim, and a replica obeys no smaller one than it has seen.
    VolumeEpoch);
number!(/// What a volume's replicas have in common. Accepting a loss begins another one, so that copies of the old one can never
    /// come back as if they were current.
    Lineage);
number!(/// One life of a head, as writer of one volume; never given twice.
    Session);
