//! One leader at a time, without leases or locks of the store.
//!
//! There is one *leader record* in the store: who leads, in which term. Whoever replaces it by compare-and-swap
//! leads, until somebody else does. Every transaction of a leader compares the record's revision, so one that was
//! replaced can commit nothing, whatever it believes: what follows here is about being led soon and
//! quietly, not about safety.
//!
//! A leader sends beats to the other controllers. One that hears none for `T_c` and a random while asks the others
//! (*pre-vote*): only if a majority, itself included, has heard none for that long does it take the record. So a
//! controller that alone hears no beats, or comes back from a pause, unseats nobody.
//!
//! # A new leader keeps at least two seconds: what is meant
//!
//! Leadership that changes hands at each hiccup costs more than it saves. But a leader that dies in its first
//! second must be replaced within one as well. So youth protects from doubt and not from death: within two
//! seconds of a change of the record the silence that counts is twice `T_c` (300 ms in `lan`, a second in `shared`), and
//! after three changes within ten seconds it is the whole two seconds. A leader that is heard is never unseated.
//! The price: when one leader after another dies, the fourth change takes two seconds; and beats that reach a
//! majority only now and then move the leadership at most every two seconds.
//!
//! A leader steps down when it learns of a later term, when a commit is refused because the record changed, and
//! when it has not reached the store for [`crate::Timing::store_silence`] while others might. After a pause longer than `T_c` it reads
//! the record before it acts again.

mod campaign;
mod leading;
mod patience;
mod words;

#[cfg(test)]
mod tests;

pub use self::campaign::Campaign;
pub use self::words::{Candidate, Effect, LeaderRecord, Reason, Revision, Taken};
