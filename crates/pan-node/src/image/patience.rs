//! How long a job may work, and how long it may wait for its turns: neither takes of the other. Pure but for [`Patience::within`].

use std::time::{Duration, Instant};

use super::error::ImageError;

/// Waiting may take as many times longer than working: whoever is before it may take all of their time, and two are unpacked side by side.
const WAITING: u32 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    Waiting,
    Working,
}

/// What is left of a job's time: two clocks of which one runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    whole: Duration,
    doing: Doing,
    /// When what it does at present has taken too long.
    until: Instant,
    /// What is left of the other.
    left: Duration,
}

impl Patience {
    /// Of a job that may work that long, and begins by waiting.
    pub(super) fn waiting(whole: Duration, now: Instant) -> Self {
        Self { whole, doing: Doing::Waiting, until: now + whole.saturating_mul(WAITING), left: whole }
    }

    /// It begins to work, or to wait.
    fn turn(self, doing: Doing, now: Instant) -> Self {
        if doing == self.doing {
            return self;
        }
        Self { doing, until: now + self.left, left: self.until.saturating_duration_since(now), ..self }
    }

    /// It has what it waited for.
    pub(super) fn works(&mut self, now: Instant) {
        *self = self.turn(Doing::Working, now);
    }

    /// It needs another turn.
    pub(super) fn waits(&mut self, now: Instant) {
        *self = self.turn(Doing::Waiting, now);
    }

    /// When what it does at present has taken too long.
    pub(super) const fn until(&self) -> Instant {
        self.until
    }

    /// Does something as long as the clock that runs allows it.
    pub(super) async fn within<T>(&self, what: impl Future<Output = Result<T, ImageError>>) -> Result<T, ImageError> {
        match tokio::time::timeout_at(self.until.into(), what).await {
            Ok(done) => done,
            Err(_) => Err(match self.doing {
                Doing::Waiting => ImageError::NoTurn(self.whole.saturating_mul(WAITING)),
                Doing::Working => ImageError::TooLong(self.whole),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_takes_nothing_of_the_time_for_work() {
        let begun = Instant::now();
        let at = |seconds: u64| begun + Duration::from_secs(seconds);
        let mut patience = Patience::waiting(Duration::from_secs(10), begun);
        assert_eq!(patience.until(), at(20));
        patience.works(at(15));
        assert_eq!(patience.until(), at(25), "all ten are left");
        patience.waits(at(19));
        assert_eq!(patience.until(), at(24), "five of twenty");
        patience.waits(at(20));
        assert_eq!(patience.until(), at(24), "it waits already");
        patience.works(at(23));
        assert_eq!(patience.until(), at(29), "six of ten");
        // What is used up is no debt.
        patience.waits(at(40));
        patience.works(at(41));
        assert_eq!(patience.until(), at(41));
    }
}
