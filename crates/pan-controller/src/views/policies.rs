//! Policies as the API shows them.

use crate::core::record::{OpenWindow, PolicyRecord};
use crate::core::world::{PolicyKey, wall_text};
use pan_api::policy::{ActiveWindow, Policy, PolicyState};

pub(super) fn policy(key: &PolicyKey, record: &PolicyRecord) -> Policy {
    let window = |open: &OpenWindow| {
        let effect = record.spec.schedules.get(open.schedule)?.effect().ok()?;
        Some(ActiveWindow { schedule: open.schedule, effect, from: wall_text(open.from), until: wall_text(open.until) })
    };
    let active: Vec<ActiveWindow> = record.open.iter().filter_map(window).collect();
    Policy {
        partition: key.0.clone(),
        name: key.1.clone(),
        cluster: record.spec.target.cluster.clone(),
        state: if active.is_empty() { PolicyState::Idle } else { PolicyState::Active },
        active,
        next: record.next.map(wall_text),
        spec: record.spec.clone(),
    }
}
