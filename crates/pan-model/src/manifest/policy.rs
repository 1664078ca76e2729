//! What of a policy is wrong by itself.

use super::SERVERS_MAX;
use super::check::Findings;
use crate::PolicySpec;
use crate::policy::{DATES_MAX, SCHEDULES_MAX, ScheduleSpec, Wrong};

impl Findings {
    pub(super) fn policy(&mut self, spec: &PolicySpec) {
        if spec.schedules.is_empty() {
            self.add("schedules", "when does it hold? give at least one schedule");
        }
        if spec.schedules.len() > SCHEDULES_MAX {
            self.add("schedules", format!("{} schedules: at most {SCHEDULES_MAX} are possible", spec.schedules.len()));
        }
        self.dates("holidays", spec.holidays.len());
        for (index, schedule) in spec.schedules.iter().enumerate() {
            self.schedule(&format!("schedules[{index}]"), schedule);
        }
    }

    fn dates(&mut self, path: &str, count: usize) {
        if count > DATES_MAX {
            self.add(path, format!("{count} dates: at most {DATES_MAX} are possible"));
        }
    }

    fn schedule(&mut self, at: &str, schedule: &ScheduleSpec) {
        let mut wrong = |(field, message): Wrong| self.add(if field.is_empty() { at.to_owned() } else { format!("{at}.{field}") }, message);
        if let Err(found) = schedule.occurs() {
            wrong(found);
        }
        match schedule.effect() {
            Err(found) => wrong(found),
            Ok(effect) if effect.servers() > SERVERS_MAX => {
                let field = effect.to_string();
                let field = field.split(' ').next().unwrap_or_default();
                self.add(format!("{at}.{field}"), format!("{} servers: at most {SERVERS_MAX} are possible", effect.servers()));
            }
            Ok(_) => {}
        }
        self.dates(&format!("{at}.except"), schedule.except.len());
    }
}
