//! Rule 5: operations on the same place one after the other, in the order in which they came; reads together.

use crate::geometry::Span;

/// How a place is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Use {
    /// Others may read as well.
    Shared,
    /// Nobody else.
    Alone,
}

/// Who asked for a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(pub u64);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Claim {
    ticket: Ticket,
    span: Span,
    how: Use,
    granted: bool,
}

/// Places in use and waited for, in the order in which they were asked for. As many as there are operations in flight, which
/// is bounded and small: looking at all is quicker than an interval tree.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Locks {
    claims: Vec<Claim>,
}

impl Locks {
    /// Asks for a place; it is given by [`Locks::granted`], now or later.
    pub fn ask(&mut self, ticket: Ticket, span: Span, how: Use) {
        self.claims.push(Claim { ticket, span, how, granted: false });
    }

    /// Gives a place back, or stops waiting for it.
    pub fn release(&mut self, ticket: Ticket) {
        self.claims.retain(|claim| claim.ticket != ticket);
    }

    /// Who may begin now and could not before.
    pub fn granted(&mut self) -> Vec<Ticket> {
        let mut news = Vec::new();
        for at in 0..self.claims.len() {
            let (earlier, rest) = self.claims.split_at_mut(at);
            let claim = &mut rest[0];
            let meets = |other: &Claim| other.span.meets(claim.span) && (other.how, claim.how) != (Use::Shared, Use::Shared);
            if !claim.granted && !earlier.iter().any(meets) {
                claim.granted = true;
                news.push(claim.ticket);
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_came_first_goes_first_and_readers_go_together() {
        let mut locks = Locks::default();
        let span = |at| Span { at, length: 2 };
        for (ticket, at, how) in [(1, 0, Use::Shared), (2, 1, Use::Shared), (3, 1, Use::Alone), (4, 0, Use::Shared), (5, 4, Use::Alone)] {
            locks.ask(Ticket(ticket), span(at), how);
        }
        let mut granted = || locks.granted().into_iter().map(|ticket| ticket.0).collect::<Vec<_>>();
        assert_eq!(granted(), [1, 2, 5], "4 waits behind 3, which came before");
        assert!(granted().is_empty());
        locks.release(Ticket(1));
        assert!(locks.granted().is_empty());
        locks.release(Ticket(2));
        assert_eq!(locks.granted(), [Ticket(3)]);
        locks.release(Ticket(3));
        assert_eq!(locks.granted(), [Ticket(4)]);
    }
}
