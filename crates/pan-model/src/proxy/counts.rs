//! What a proxy counts: rate, errors and duration, by service and by server.

use serde::{Deserialize, Serialize};

/// Upper bounds of the durations that are counted apart, in microseconds; one more counts what is longer.
pub const BOUNDS: [u64; 12] = [500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 5_000_000];

/// What was counted of a service, for whoever shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceCounts {
    /// The service.
    pub service: String,
    /// By the first digit of the status.
    pub statuses: [u64; 6],
    /// Requests refused for what they look like or how much they are.
    pub refused: u64,
    /// Attempts beyond the first.
    pub retries: u64,
    /// Answers that said `Pan-Outcome: unknown`.
    pub unknown: u64,
    /// Answers that broke off.
    pub cut: u64,
    /// Requests now.
    pub in_flight: u64,
    /// Clients' connections now.
    pub connections: u64,
    /// Bytes of bodies from clients.
    pub received: u64,
    /// Bytes of bodies to clients.
    pub sent: u64,
    /// Requests that wait for a server with room.
    pub waiting: u64,
    /// By [`BOUNDS`].
    pub durations: Vec<u64>,
    /// Their sum in microseconds.
    pub micros: u64,
    /// Its servers.
    pub servers: Vec<ServerCounts>,
}

/// What was counted of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerCounts {
    /// The cluster.
    pub cluster: String,
    /// The server.
    pub server: String,
    /// Requests sent.
    pub attempts: u64,
    /// Those that it did not answer, or answered with 502, 503 or 504.
    pub failures: u64,
    /// Requests now.
    pub in_flight: u64,
    /// By [`BOUNDS`].
    pub durations: Vec<u64>,
    /// Their sum in microseconds.
    pub micros: u64,
}
