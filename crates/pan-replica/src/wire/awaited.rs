//! What a connection has asked for and was not answered: an answer that nobody waits for, or of another kind or length than was asked for, ends it
//! before its payload is read.

use super::{Behind, In, REPLY_HEAD, WireError, at, kind, reply_behind};
use crate::message::{Ask, Request, Sequence};
use std::collections::BTreeMap;

/// What answers a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Fenced,
    Bytes(u64),
    List,
    Done,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Awaited(BTreeMap<Sequence, Wanted>);

impl Awaited {
    /// A request is sent.
    pub fn asked<D>(&mut self, request: &Request<D>) {
        let wanted = match &request.ask {
            Ask::Fence { .. } => Wanted::Fenced,
            Ask::Read { span, .. } => Wanted::Bytes(span.length),
            Ask::Missed { .. } => Wanted::List,
            Ask::Write { .. } | Ask::Flush { .. } | Ask::Snapshot { .. } | Ask::Miss { .. } | Ask::Forget { .. } => Wanted::Done,
        };
        self.0.insert(request.sequence, wanted);
    }

    /// What is behind the head of a reply, which is waited for no more.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn answered(&mut self, head: &[u8; REPLY_HEAD]) -> Result<Behind, WireError> {
        let behind = reply_behind(head)?;
        let input = In(head);
        let (kind, sequence) = (input.byte(at::KIND), Sequence(input.long(at::SEQUENCE)));
        // Said unasked; a list is bounded by the volume's extents once it is read.
        if kind == kind::ROTTEN && sequence == Sequence(0) {
            return Ok(behind);
        }
        let wanted = self.0.remove(&sequence).ok_or(WireError::Meaning("an answer to what was not asked"))?;
        let fits = match (kind, wanted) {
            (kind::REFUSED | kind::STRANGE | kind::FAILED, _) => behind.length == 0,
            (kind::FENCED, Wanted::Fenced) | (kind::LIST, Wanted::List) => true,
            (kind::DATA, Wanted::Bytes(bytes)) => behind.length as u64 == bytes,
            (kind::HOLE, Wanted::Bytes(_)) | (kind::DONE, Wanted::Done) => behind.length == 0,
            _ => false,
        };
        fits.then_some(behind).ok_or(WireError::Meaning("an answer to something else"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::reply;
    use super::*;
    use crate::geometry::Span;
    use crate::message::{Answer, Fault, Fenced, Reply};
    use pan_model::mirror::Writer;
    use pan_model::{Lineage, Session, VolumeEpoch};

    const READ: Ask<Vec<u8>> = Ask::Read { span: Span { at: 0, length: 8 }, copy: false };

    fn request(sequence: u64, ask: Ask<Vec<u8>>) -> Request<Vec<u8>> {
        let writer = Writer { epoch: VolumeEpoch(1), session: Session(1) };
        Request { writer, lineage: Lineage(1), sequence: Sequence(sequence), settled: Sequence(0), reconciled: false, ask }
    }

    fn head(sequence: u64, answer: Answer<Vec<u8>>) -> [u8; REPLY_HEAD] {
        reply(Reply { sequence: Sequence(sequence), answer }).unwrap().0
    }

    #[test]
    fn only_what_was_asked_is_answered_once_and_in_kind() {
        let fenced = || Answer::Fenced(Fenced { flushed: (VolumeEpoch(0), Sequence(0)), dirty: vec![], lossy: false, blank: false });
        for (ask, answer, fits) in [
            (READ, Answer::Read(vec![0; 8]), true),
            (READ, Answer::Read(vec![0; 7]), false),
            (READ, Answer::Hole, true),
            (READ, Answer::Failed(Fault::Rotten), true),
            (READ, Answer::Done, false),
            (Ask::Flush { whole: false }, Answer::Done, true),
            (Ask::Flush { whole: false }, Answer::Read(vec![]), false),
            (Ask::Flush { whole: false }, fenced(), false),
            (Ask::Flush { whole: false }, Answer::Refused { epoch: VolumeEpoch(2) }, true),
            (Ask::Flush { whole: false }, Answer::Missed(None), false),
        ] {
            let mut awaited = Awaited::default();
            awaited.asked(&request(3, ask.clone()));
            let told = format!("{ask:?}: {answer:?}");
            let head = head(3, answer);
            assert_eq!(awaited.answered(&head).is_ok(), fits, "{told}");
            assert!(awaited.answered(&head).is_err(), "once: {told}");
        }
        let mut awaited = Awaited::default();
        assert!(awaited.answered(&head(0, Answer::Rotten(vec![]))).is_ok());
        assert!(awaited.answered(&head(1, Answer::Rotten(vec![]))).is_err());
        assert!(awaited.answered(&head(1, Answer::Done)).is_err());
    }
}
