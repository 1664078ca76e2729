//! The most processor time that a group may take, changed while its processes run.

use super::files::write;
use super::{CgroupError, CgroupTree};

/// Microseconds of processor time in so many microseconds, for thousandths of a processor. Short, so that who has used up its part waits no
/// longer than a few requests take; but no quota may be below a millisecond (`Documentation/scheduler/sched-bwc.rst`).
pub(crate) const fn processor_quota(millis: u64) -> (u64, u64) {
    const SHORT: u64 = 20_000;
    const LONG: u64 = 100_000;
    const QUOTA_MIN: u64 = 1_000;
    let quota = millis * SHORT / 1000;
    if quota >= QUOTA_MIN {
        return (quota, SHORT);
    }
    let quota = millis * LONG / 1000;
    (if quota < QUOTA_MIN { QUOTA_MIN } else { quota }, LONG)
}

impl CgroupTree {
    /// Lets the group's processes have so many thousandths of a processor at most, or, without, as much as nobody else wants: thousands of
    /// them that are to die under a small limit take minutes for it, during which their memory and their place are nobody's.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn limit_processor(&self, millis: Option<u64>) -> Result<(), CgroupError> {
        for hierarchy in self.layout.hierarchies() {
            let (dir, v1) = (hierarchy.dir.join(&self.path), hierarchy.v1_options.is_some());
            let settings: Vec<(&str, String)> = match (millis.map(processor_quota), v1) {
                (None, false) => vec![("cpu.max", "max".to_owned())],
                (Some((quota, period)), false) => vec![("cpu.max", format!("{quota} {period}"))],
                (None, true) => vec![("cpu.cfs_quota_us", "-1".to_owned())],
                // Without a quota first: no period may turn the one in force into more than what is above allows.
                (Some((quota, period)), true) => vec![
                    ("cpu.cfs_quota_us", "-1".to_owned()),
                    ("cpu.cfs_period_us", period.to_string()),
                    ("cpu.cfs_quota_us", quota.to_string()),
                ],
            };
            // Each file is where the controller is.
            for (file, value) in settings.into_iter().filter(|(file, _)| dir.join(file).exists()) {
                write(&dir.join(file), &value)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_of_a_short_time_where_the_kernel_takes_it() {
        for (millis, expected) in [(1000, (20_000, 20_000)), (50, (1_000, 20_000)), (49, (4_900, 100_000)), (1, (1_000, 100_000))] {
            assert_eq!(processor_quota(millis), expected, "{millis}");
        }
    }
}
