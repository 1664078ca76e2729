//! The storage role's metrics: so far whether it follows, and what its host's beat process counted.

use pan_api::beatcount::BeatCounts;
use pan_api::metrics::{Count, Family, Page};
use std::sync::atomic::{AtomicU64, Ordering};

const ROUNDS: Family =
    Family::counter("pan_storage_rounds_total", "Times this storage host made its routes those of its desired state", &[]);
const PROBLEMS: Family = Family::gauge("pan_storage_problems", "Things that are wrong on this storage host and tried again", &[]);

/// The role's own families.
pub const FAMILIES: [Family; 2] = [ROUNDS, PROBLEMS];

/// What the role counts.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub rounds: Count,
    pub problems: AtomicU64,
}

/// The page.
pub(crate) fn render(counts: &Counts, beat: Option<&BeatCounts>) -> String {
    let mut page = Page::default();
    page.number(&ROUNDS, counts.rounds.get());
    page.number(&PROBLEMS, counts.problems.load(Ordering::Relaxed));
    BeatCounts::show(beat, &mut page);
    page.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_every_family_and_can_be_read() {
        let counts = Counts::default();
        counts.rounds.one();
        let text = render(&counts, Some(&BeatCounts::default()));
        let samples = pan_api::metrics::read(&text).unwrap();
        for family in FAMILIES.iter().chain(&pan_api::beatcount::FAMILIES) {
            assert!(samples.iter().any(|sample| sample.family == family.name), "{} in\n{text}", family.name);
        }
    }
}
