//! What is counted: rate, errors and duration by service and by server, and what is going on now.

use pan_model::proxy::BOUNDS;
pub use pan_model::proxy::{ServerCounts, ServiceCounts};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A number that only grows, or goes up and down.
#[derive(Debug, Default)]
pub struct Number(AtomicU64);

impl Number {
    /// More by so many.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// One less.
    pub fn less(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Durations by [`BOUNDS`].
#[derive(Debug, Default)]
pub struct Durations {
    buckets: [Number; BOUNDS.len() + 1],
    micros: Number,
}

impl Durations {
    /// One more.
    pub fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.buckets[BOUNDS.partition_point(|bound| *bound < micros)].add(1);
        self.micros.add(micros);
    }

    /// Counts by bucket, and the sum in microseconds.
    #[must_use]
    pub fn counts(&self) -> (Vec<u64>, u64) {
        (self.buckets.iter().map(Number::get).collect(), self.micros.get())
    }
}

/// Of a service.
#[derive(Debug, Default)]
pub struct ServiceTally {
    /// Answers by the first digit of their status; 0 is a client that went away before.
    pub statuses: [Number; 6],
    /// Requests refused for what they look like or how much they are.
    pub refused: Number,
    /// Attempts beyond the first.
    pub retries: Number,
    /// Answers that said `Pan-Outcome: unknown`.
    pub unknown: Number,
    /// Answers that broke off.
    pub cut: Number,
    /// Requests now.
    pub in_flight: Number,
    /// Clients' connections now.
    pub connections: Number,
    /// Bytes of bodies from clients.
    pub received: Number,
    /// Bytes of bodies to clients.
    pub sent: Number,
    /// How long requests took.
    pub durations: Durations,
}

/// Of a server.
#[derive(Debug, Default)]
pub struct ServerTally {
    /// Requests sent.
    pub attempts: Number,
    /// Those that it did not answer, or answered with 502, 503 or 504.
    pub failures: Number,
    /// Requests now.
    pub in_flight: Number,
    /// How long it took to the first byte of an answer.
    pub durations: Durations,
}

impl ServiceTally {
    /// As it is now.
    #[must_use]
    pub fn counts(&self, service: &str, waiting: u64, servers: Vec<ServerCounts>) -> ServiceCounts {
        let (durations, micros) = self.durations.counts();
        ServiceCounts {
            service: service.to_owned(),
            statuses: std::array::from_fn(|at| self.statuses[at].get()),
            refused: self.refused.get(),
            retries: self.retries.get(),
            unknown: self.unknown.get(),
            cut: self.cut.get(),
            in_flight: self.in_flight.get(),
            connections: self.connections.get(),
            received: self.received.get(),
            sent: self.sent.get(),
            waiting,
            durations,
            micros,
            servers,
        }
    }
}

impl ServerTally {
    /// As it is now.
    #[must_use]
    pub fn counts(&self, cluster: &str, server: &str) -> ServerCounts {
        let (durations, micros) = self.durations.counts();
        ServerCounts {
            cluster: cluster.to_owned(),
            server: server.to_owned(),
            attempts: self.attempts.get(),
            failures: self.failures.get(),
            in_flight: self.in_flight.get(),
            durations,
            micros,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_where_it_belongs() {
        let durations = Durations::default();
        for micros in [0, 500, 501, 5_000_000, 5_000_001] {
            durations.observe(Duration::from_micros(micros));
        }
        let (counts, sum) = durations.counts();
        assert_eq!(counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(sum, 10_001_002);
    }
}
