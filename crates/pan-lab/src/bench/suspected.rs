//! Suspicions while a benchmark goes on: the controllers', which lead to failovers, and the directors' own.

use std::collections::BTreeMap;

use super::control::Suspicions;
use super::counter;
use super::demo::Demo;
use super::error::BenchError;

/// Times that a node became suspect.
pub(super) const SUSPICIONS: &str = "suspicions";
/// Times that a director sent new connections past a host which it suspected by itself.
pub(super) const DIRECTORS_SUSPICIONS: &str = "suspicions of directors";

/// A count that goes on.
pub(super) struct Suspected {
    watch: Suspicions,
    directors_before: u64,
}

impl Suspected {
    /// Begins.
    pub(super) fn count(demo: &Demo<'_>) -> Result<Self, BenchError> {
        Ok(Self { watch: demo.pan.count_suspicions()?, directors_before: demo.count(counter::DIRECTORS_SUSPICIONS, None)? })
    }

    /// Ends it. The counts by their units, and by node.
    pub(super) fn end(self, demo: &Demo<'_>) -> Result<BTreeMap<String, u64>, BenchError> {
        let nodes = self.watch.end()?;
        let directors = demo.count(counter::DIRECTORS_SUSPICIONS, None)?.saturating_sub(self.directors_before);
        let mut counts = BTreeMap::from([(SUSPICIONS.to_owned(), nodes.values().sum()), (DIRECTORS_SUSPICIONS.to_owned(), directors)]);
        // Whose: those of nodes that nothing was done to are the machine's doing.
        counts.extend(nodes.into_iter().map(|(host, count)| (format!("{SUSPICIONS} of {host}"), count)));
        Ok(counts)
    }
}
