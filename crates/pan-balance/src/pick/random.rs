//! Random servers: nothing to remember, and no two directors or workers step in time.

use crate::draws::Draws;
use crate::view::{Pick, View, Why};

/// So many draws may hit servers that may not have the request before all are looked at. If half of them may
/// not, one pick in 256 looks at all.
const DRAWS_MAX: u32 = 8;

/// Any server, each as likely. O(1) expected.
pub fn uniform(view: &View<'_>, draws: &mut Draws) -> Option<Pick> {
    let live = &view.roster.live;
    for _ in 0..DRAWS_MAX {
        let at = *live.get(place(draws, live.len()))? as usize;
        if view.open(at) {
            return Some(Pick { at, why: Why::Chance });
        }
    }
    let open = view.candidates().count();
    let at = view.candidates().nth(place(draws, open))?;
    Some(Pick { at, why: Why::Chance })
}

/// Any server, each as likely as its weight says. O(log servers) expected, by the sums of weights; a draw that
/// may not be had is drawn again, which leaves the proportions among the others as they are.
pub fn weighted(view: &View<'_>, draws: &mut Draws) -> Option<Pick> {
    for _ in 0..DRAWS_MAX {
        let at = view.roster.drawn(draws.below(view.roster.total()))?;
        if view.open(at) {
            return Some(Pick { at, why: Why::Chance });
        }
    }
    let total = view.candidates().map(|at| view.weight(at)).sum();
    let mut left = draws.below(total);
    for at in view.candidates() {
        match left.checked_sub(view.weight(at)) {
            Some(rest) => left = rest,
            None => return Some(Pick { at, why: Why::Chance }),
        }
    }
    None
}

fn place(draws: &mut Draws, count: usize) -> usize {
    usize::try_from(draws.below(count as u64)).expect("below a count of servers")
}
