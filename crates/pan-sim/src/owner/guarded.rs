//! A transaction whose outcome is in doubt is sent again, as `pan_store::commit_guarded` does it: since it compares and writes the
//! leader's record, at most one copy is ever applied, and what the record is afterwards tells whether one was, unless
//! somebody else has written it since. Pure.

use crate::store::{Answer, Ask, Entry, GUARDED, Write};
use pan_member::Tick;
use std::time::Duration;

/// How long an answer that was lost is asked for again, as in `pan_controller::owner`.
const PATIENCE: Duration = Duration::from_secs(3);

/// One on its way.
pub(super) struct Guarded {
    guard: Option<Option<u64>>,
    writes: Vec<Write>,
    begun: Tick,
    doubted: bool,
}

/// What follows from an answer.
#[derive(Debug)]
pub(super) enum Next {
    /// The store is asked this.
    Ask(Ask),
    /// That is the outcome.
    Known(Answer),
}

impl Guarded {
    pub fn new(guard: Option<Option<u64>>, writes: Vec<Write>, now: Tick) -> Self {
        Self { guard, writes, begun: now, doubted: false }
    }

    /// The transaction.
    pub fn ask(&self) -> Ask {
        Ask::Commit { guard: self.guard, writes: self.writes.clone() }
    }

    /// The store has answered, to the transaction or to a look at the record.
    pub fn heard(&mut self, answer: Answer, now: Tick) -> Next {
        match answer {
            Answer::InDoubt => self.again(now),
            Answer::Unavailable if self.doubted => self.again(now),
            Answer::Conflict if self.doubted => Next::Ask(Ask::Read),
            Answer::Read { entry } => Next::Known(self.found(entry.as_ref())),
            known @ (Answer::Unavailable | Answer::Conflict | Answer::Committed { .. } | Answer::Listed { .. }) => Next::Known(known),
        }
    }

    fn again(&mut self, now: Tick) -> Next {
        self.doubted = true;
        if now.since(self.begun) >= PATIENCE { Next::Known(Answer::InDoubt) } else { Next::Ask(self.ask()) }
    }

    /// The record changed while the transaction was in doubt. Nobody else writes our name and term; who wrote another may have come
    /// before us or after.
    fn found(&self, entry: Option<&Entry>) -> Answer {
        let own = self.writes.iter().find(|(key, _)| key == GUARDED).and_then(|(_, value)| value.as_ref());
        let done = entry.filter(|entry| Some(&entry.value) == own && Some(entry.revision) != self.guard.flatten());
        done.map_or(Answer::InDoubt, |entry| Answer::Committed { revision: entry.revision })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use std::rc::Rc;

    /// What becomes of a copy of the transaction.
    #[derive(Debug, Clone, Copy)]
    enum Fault {
        AnswerLost,
        RequestLost,
        /// And somebody else takes the record meanwhile.
        Overtaken,
        /// It is applied, and somebody else takes the record after it.
        Followed,
        /// The store refuses.
        Away,
    }

    fn record(name: &str) -> Write {
        (GUARDED.to_owned(), Some(Rc::new(name.as_bytes().to_vec())))
    }

    /// The outcome of the second of two transactions of `me`, and how many were applied in all.
    fn check(faults: &[Fault], wanted: &str, applied: u64) {
        let mut store = Store::default();
        store.apply(&Ask::Commit { guard: Some(None), writes: vec![record("me")] });
        let mut sent = Guarded::new(Some(Some(1)), vec![("x".to_owned(), Some(Rc::default())), record("me")], Tick(0));
        let (mut ask, mut faults, mut now) = (sent.ask(), faults.iter(), Tick(0));
        let outcome = loop {
            let answer = match (&ask, faults.next()) {
                (_, Some(Fault::AnswerLost)) => {
                    store.apply(&ask);
                    Answer::InDoubt
                }
                (_, Some(Fault::RequestLost)) => Answer::InDoubt,
                (_, Some(fault @ (Fault::Overtaken | Fault::Followed))) => {
                    if matches!(fault, Fault::Followed) {
                        store.apply(&ask);
                    }
                    store.apply(&Ask::Commit { guard: None, writes: vec![record("other")] });
                    Answer::InDoubt
                }
                (_, Some(Fault::Away)) => Answer::Unavailable,
                (_, None) => store.apply(&ask),
            };
            now = Tick(now.0 + 1_000_000_000);
            match sent.heard(answer, now) {
                Next::Ask(next) => ask = next,
                Next::Known(outcome) => break outcome,
            }
        };
        assert_eq!(format!("{outcome:?}"), wanted);
        assert_eq!(store.revision, applied);
    }

    #[test]
    fn a_lost_answer_is_asked_for_again() {
        use Fault::{AnswerLost, Away, Followed, Overtaken, RequestLost};
        check(&[], "Committed { revision: 2 }", 2);
        check(&[RequestLost], "Committed { revision: 2 }", 2);
        check(&[AnswerLost], "Committed { revision: 2 }", 2);
        check(&[AnswerLost, Away], "Committed { revision: 2 }", 2);
        check(&[AnswerLost, RequestLost], "Committed { revision: 2 }", 2);
        check(&[Overtaken], "InDoubt", 2);
        check(&[Followed], "InDoubt", 3);
        // What was not in doubt before is what it is.
        check(&[Away], "Unavailable", 1);
        // The store stays away.
        check(&[RequestLost, Away, RequestLost], "InDoubt", 1);
        check(&[AnswerLost, RequestLost, RequestLost], "InDoubt", 2);
    }
}
