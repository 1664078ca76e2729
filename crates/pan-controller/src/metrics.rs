//! Metrics of the controller in Prometheus' text exposition format (version 0.0.4).

use crate::handle::View;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counters that the loop keeps.
#[derive(Debug, Default)]
pub struct Metrics {
    commits: AtomicU64,
    commit_micros: AtomicU64,
    rounds: AtomicU64,
    settle_micros: AtomicU64,
}

impl Metrics {
    /// A transaction was committed.
    pub fn committed(&self, took: Duration) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.commit_micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The world was settled.
    pub fn settled(&self, took: Duration) {
        self.rounds.fetch_add(1, Ordering::Relaxed);
        self.settle_micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The text.
    #[must_use]
    pub fn render(&self, view: &View) -> String {
        let mut out = String::new();
        for (name, help, value) in [
            ("pan_store_commits_total", "Transactions committed", &self.commits),
            ("pan_store_commit_microseconds_total", "Time spent in commits", &self.commit_micros),
            ("pan_controller_rounds_total", "Rounds of the controller's loop", &self.rounds),
            ("pan_controller_settle_microseconds_total", "Time spent deciding", &self.settle_micros),
        ] {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {}", value.load(Ordering::Relaxed));
        }
        gauge(&mut out, "pan_hosts", "Hosts by state", view.hosts.values().map(|host| host.state.to_string()));
        gauge(&mut out, "pan_servers", "Servers by state", view.servers.values().map(|server| server.state.to_string()));
        out
    }
}

fn gauge(out: &mut String, name: &str, help: &str, states: impl Iterator<Item = String>) {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for state in states {
        *counts.entry(state).or_default() += 1;
    }
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge");
    for (state, count) in counts {
        let _ = writeln!(out, "{name}{{state=\"{state}\"}} {count}");
    }
}
