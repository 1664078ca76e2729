//! When suspicion is worth heeding: not when it would take most of a service away.

/// What a director does with suspicions about the servers of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspicion {
    /// No new connections for suspect servers.
    Heed,
    /// As if nobody were suspect: sending somewhere beats sending nowhere, and so many at once are rather a
    /// fault of our own network (Envoy's panic threshold).
    Ignore,
}

impl Suspicion {
    /// Of `servers` that a service could use, `suspects` are on suspect nodes: more than half are too many.
    #[must_use]
    pub const fn of(suspects: usize, servers: usize) -> Self {
        if suspects * 2 > servers { Self::Ignore } else { Self::Heed }
    }
}

#[cfg(test)]
mod tests {
    use super::Suspicion::{self, Heed, Ignore};

    #[test]
    fn more_than_half_is_panic() {
        let found = [(0, 0), (0, 3), (1, 3), (2, 3), (3, 3), (1, 2), (2, 2), (1, 1), (2, 4)].map(|(bad, all)| Suspicion::of(bad, all));
        assert_eq!(found, [Heed, Heed, Heed, Ignore, Ignore, Heed, Ignore, Ignore, Heed]);
    }
}
