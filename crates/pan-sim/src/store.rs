//! The store: linearizable, with revisions and a watch, and all that can happen between it and a controller.
//!
//! A transaction arrives, is applied or refused at one moment, and is answered; each way may take long or lose it.
//! Who gets no answer is told after a while that the outcome is not known. Such a transaction may even be
//! applied after that.

use std::collections::BTreeMap;
use std::rc::Rc;

/// A value and when it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub value: Rc<Vec<u8>>,
    pub revision: u64,
}

/// A key's new value; `None`: it is deleted.
pub type Write = (String, Option<Rc<Vec<u8>>>);

/// What a controller asks of the store.
#[derive(Debug, Clone)]
pub enum Ask {
    /// Everything.
    List,
    /// The record of the leader.
    Read,
    /// The writes, if the record of the leader still has this revision; `None`: if there is none. Without a guard
    /// in any case.
    Commit { guard: Option<Option<u64>>, writes: Vec<Write> },
}

/// What the store says.
#[derive(Debug, Clone)]
pub enum Answer {
    Listed {
        entries: Rc<Vec<(String, Entry)>>,
        revision: u64,
    },
    Read {
        entry: Option<Entry>,
    },
    Committed {
        revision: u64,
    },
    /// The guard did not hold: nothing was written.
    Conflict,
    /// Nothing was done.
    Unavailable,
    /// It may have been done, or be done yet.
    InDoubt,
}

/// One applied transaction, for watches.
#[derive(Debug, Clone)]
pub struct Batch {
    pub revision: u64,
    pub writes: Vec<Write>,
}

/// The content.
#[derive(Debug, Default)]
pub struct Store {
    pub entries: BTreeMap<String, Entry>,
    pub revision: u64,
    /// All transactions, by revision from one on.
    pub log: Vec<Rc<Batch>>,
    /// No answer comes before so much longer.
    pub slow: u64,
    /// It refuses everything.
    pub down: bool,
    /// Of a hundred transactions so many are answered by nobody.
    pub doubtful: u64,
    /// Controllers that do not reach it.
    pub cut: Vec<usize>,
    /// Transactions applied so far that said nothing to whoever asked.
    pub silent: u64,
}

/// The key that every transaction compares.
pub const GUARDED: &str = pan_controller::core::persist::TERM_KEY;

impl Store {
    /// Applies what was asked at this moment.
    pub fn apply(&mut self, ask: &Ask) -> Answer {
        match ask {
            Ask::List => {
                let entries = self.entries.iter().map(|(key, entry)| (key.clone(), entry.clone())).collect();
                Answer::Listed { entries: Rc::new(entries), revision: self.revision }
            }
            Ask::Read => Answer::Read { entry: self.entries.get(GUARDED).cloned() },
            Ask::Commit { guard, writes } => {
                let found = self.entries.get(GUARDED).map(|entry| entry.revision);
                if guard.is_some_and(|expected| expected != found) {
                    return Answer::Conflict;
                }
                self.revision += 1;
                for (key, value) in writes {
                    match value {
                        Some(value) => {
                            let entry = Entry { value: value.clone(), revision: self.revision };
                            self.entries.insert(key.clone(), entry);
                        }
                        None => drop(self.entries.remove(key)),
                    }
                }
                self.log.push(Rc::new(Batch { revision: self.revision, writes: writes.clone() }));
                Answer::Committed { revision: self.revision }
            }
        }
    }

    /// The transactions after a revision.
    #[must_use]
    pub fn since(&self, revision: u64) -> &[Rc<Batch>] {
        &self.log[usize::try_from(revision).expect("a number of transactions")..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(guard: Option<Option<u64>>, key: &str) -> Ask {
        Ask::Commit { guard, writes: vec![(key.to_owned(), Some(Rc::default())), (GUARDED.to_owned(), Some(Rc::default()))] }
    }

    #[test]
    fn only_one_line_of_transactions_is_committed() {
        let mut store = Store::default();
        assert!(matches!(store.apply(&put(Some(None), "a")), Answer::Committed { revision: 1 }));
        assert!(matches!(store.apply(&put(Some(None), "b")), Answer::Conflict));
        assert!(matches!(store.apply(&put(Some(Some(1)), "c")), Answer::Committed { revision: 2 }));
        assert!(matches!(store.apply(&put(Some(Some(1)), "d")), Answer::Conflict));
        assert!(matches!(store.apply(&put(None, "e")), Answer::Committed { revision: 3 }));
        let keys: Vec<_> = store.entries.keys().map(String::as_str).collect();
        assert_eq!(keys, ["a", "c", "e", GUARDED]);
        assert_eq!(store.since(1).len(), 2);
    }
}
