//! The process that a passing laboratory belongs to, as a part of its name: what a killed benchmark or round of chaos left
//! is told from what a running one uses.

use pan_linux::process;

/// A process, by number and start, which together are unique until the machine is booted again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pid: i32,
    start: u64,
}

impl Owner {
    /// This process.
    pub(crate) fn this() -> Self {
        let pid = i32::try_from(std::process::id()).expect("process ids are positive 32-bit numbers");
        Self { pid, start: process::start_time(pid).expect("this process runs") }
    }

    /// Its number.
    pub(crate) fn pid(self) -> i32 {
        self.pid
    }

    /// It as a part of a name.
    pub(crate) fn tag(self) -> String {
        format!("{}x{}", self.pid, self.start)
    }

    /// Reads a tag back.
    pub(crate) fn parse(tag: &str) -> Option<Self> {
        let (pid, start) = tag.split_once('x')?;
        Some(Self { pid: pid.parse().ok()?, start: start.parse().ok()? })
    }

    /// Whether that very process still runs.
    pub(crate) fn is_running(self) -> bool {
        process::is_running(self.pid) && process::start_time(self.pid) == Some(self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_names_one_process() {
        let owner = Owner::this();
        assert_eq!(Owner::parse(&owner.tag()), Some(owner));
        assert!(owner.is_running());
        assert!(!Owner { start: owner.start + 1, ..owner }.is_running());
        for other in ["", "7", "x1", "1xy", "1x2x3"] {
            assert_eq!(Owner::parse(other), None, "{other}");
        }
    }
}
