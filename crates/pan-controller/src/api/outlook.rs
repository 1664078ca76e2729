//! What policies make of clusters: now, at another moment, in the days to come.

use crate::core::validate;
use crate::handle::View;
use jiff::{SignedDuration, Timestamp};
use pan_api::policy::{ActiveWindow, Because, Outlook as Row};
use pan_model::{ClusterName, PartitionName, ServerName};
use pan_policy::{Active, Changes, Policy, Resolved, resolve};
use std::collections::{BTreeMap, BTreeSet};

/// Rows of an answer: nobody reads more.
pub const ROWS_MAX: usize = 10_000;
/// Schedules that are asked, each at each change, before it is said that days are too many: others wait for the same turn.
const WORK_MAX: usize = 50_000;

/// The policies of clusters, as the newest committed state has them.
pub struct Outlook<'a> {
    view: &'a View,
    /// The only partition that whoever asks sees.
    only: Option<&'a PartitionName>,
    by_cluster: BTreeMap<(PartitionName, ClusterName), Vec<Policy>>,
}

/// RFC 3339 in UTC with microseconds, as all times of the interface.
fn text(at: Timestamp) -> String {
    format!("{at:.6}")
}

impl<'a> Outlook<'a> {
    /// Out of everything, for whoever sees this partition alone, or all.
    pub fn of(view: &'a View, only: Option<&'a PartitionName>) -> Self {
        let mut by_cluster: BTreeMap<(PartitionName, ClusterName), Vec<Policy>> = BTreeMap::new();
        for ((partition, name), policy) in &view.policies {
            let of_cluster = by_cluster.entry((partition.clone(), policy.cluster.clone())).or_default();
            // What was accepted can be used.
            of_cluster.extend(Policy::of(name, &policy.spec).ok());
        }
        Self { view, only, by_cluster }
    }

    fn own(&self, key: &(PartitionName, ClusterName)) -> u32 {
        self.view.clusters.get(key).map_or(0, |cluster| cluster.spec.servers)
    }

    /// What policies make of a cluster; none if none names it.
    pub fn cluster(&self, key: &(PartitionName, ClusterName), at: Timestamp) -> Option<Resolved> {
        self.by_cluster.get(key).map(|policies| resolve(policies, self.own(key), at))
    }

    /// An instant as the clocks of a schedule's zone show it.
    pub fn local(&self, partition: &PartitionName, active: &Active, at: Timestamp) -> String {
        let policy = self.view.policies.get(&(partition.clone(), active.policy.clone()));
        let schedule = policy.and_then(|policy| policy.spec.schedules.get(active.schedule));
        schedule.map_or_else(|| at.to_string(), |schedule| at.to_zoned(schedule.zone.rules().clone()).to_string())
    }

    /// `floor 8 of policy day, schedules[0], until …`.
    pub fn reason(&self, partition: &PartitionName, active: &Active) -> String {
        let until = self.local(partition, active, active.window.until);
        format!("{} of policy {}, schedules[{}], until {until}", active.effect, active.policy, active.schedule)
    }

    fn row(&self, key: &(PartitionName, ClusterName), at: Timestamp, resolved: &Resolved) -> Row {
        let because = |active: &Active| Because {
            policy: active.policy.clone(),
            window: ActiveWindow {
                schedule: active.schedule,
                effect: active.effect,
                from: text(active.window.from),
                until: text(active.window.until),
            },
        };
        let clash =
            resolved.clash.as_ref().map(|(one, other)| format!("{} contradicts {}", self.reason(&key.0, one), self.reason(&key.0, other)));
        Row {
            cluster: key.1.clone(),
            at: text(at),
            own: self.own(key),
            servers: resolved.servers,
            because: resolved.because.iter().map(because).collect(),
            until: resolved.until.map(text),
            clash,
            short: None,
        }
    }

    /// The clusters of a partition that have policies, and each time their numbers change, in the order of time; none if those are too many.
    pub fn forecast(&self, partition: &PartitionName, from: Timestamp, days: u32) -> Option<Vec<Row>> {
        let end = from.checked_add(SignedDuration::from_hours(24 * i64::from(days))).ok()?;
        let (mut rows, mut work) = (Vec::new(), 0);
        for (key, policies) in self.by_cluster.iter().filter(|(key, _)| key.0 == *partition) {
            let mut last = None;
            // Each instant asks every schedule.
            let schedules: usize = policies.iter().map(|policy| policy.schedules.len()).sum();
            for at in Changes::of(policies, from, end) {
                work += schedules;
                let resolved = resolve(policies, self.own(key), at);
                let said = (resolved.servers, resolved.because.iter().map(|one| (one.policy.clone(), one.schedule)).collect::<Vec<_>>());
                if last.as_ref() != Some(&said) {
                    rows.push((at, self.row(key, at, &resolved)));
                }
                last = Some(said);
                if rows.len() > ROWS_MAX || work > WORK_MAX {
                    return None;
                }
            }
        }
        rows.sort_by(|(one, first), (other, second)| (one, &first.cluster).cmp(&(other, &second.cluster)));
        Some(rows.into_iter().map(|(_, row)| row).collect())
    }

    /// The clusters of a partition that have policies, at one moment, and whether what they are to have then could be had as the PAN is now.
    pub fn simulate(&self, partition: &PartitionName, at: Timestamp) -> Vec<Row> {
        // When others have how much is nobody's business.
        let seen = self.by_cluster.iter().filter(|(key, _)| self.only.is_none_or(|only| key.0 == *only));
        let all: Vec<_> = seen.map(|(key, policies)| (key, resolve(policies, self.own(key), at))).collect();
        let before = &*self.view.snapshot;
        let mut after = before.clone();
        for (key, resolved) in &all {
            let Some(cluster) = after.clusters.get_mut(*key) else { continue };
            let names: BTreeSet<ServerName> = (1..=resolved.servers).map(|ordinal| ServerName::of(&key.1, ordinal)).collect();
            cluster.servers.retain(|name, _| names.contains(name));
            for name in names {
                cluster.servers.entry(name).or_insert(None);
            }
        }
        let refusal = pan_plan::admit(before, &after).err();
        let short = refusal.map(|refusal| (refusal.cluster.clone(), validate::refused(&refusal, self.only).message));
        let own = all.iter().filter(|(key, _)| key.0 == *partition);
        let mut rows: Vec<Row> = own.map(|(key, resolved)| self.row(key, at, resolved)).collect();
        if let Some((whose, text)) = short {
            // What another partition's cluster could not have is said at all of this one's.
            rows.iter_mut().filter(|row| whose.0 != *partition || row.cluster == whose.1).for_each(|row| row.short = Some(text.clone()));
        }
        rows
    }
}
