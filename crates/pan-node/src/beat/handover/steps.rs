//! The points between two steps of a handover, at which tests end a process.

/// A point that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Step {
    /// The next one has applied.
    Applied,
    /// The former one has stopped, and nothing is on its way yet.
    Stopped,
    /// Everything is on its way.
    Handed,
    /// The next one has everything.
    Received,
    /// It has said so, and not sent yet.
    Said,
    /// It has sent its first heartbeat.
    Sent,
    /// The former one knows.
    Relieved,
}

/// Does nothing but in tests.
#[cfg(not(test))]
pub(in super::super) const fn reached(_step: Step) {}

/// Ends this process here if it was told to, as a SIGKILL would; or stops it.
#[cfg(test)]
pub(in super::super) fn reached(step: Step) {
    let is = |variable: &str| std::env::var(variable).is_ok_and(|wanted| wanted == format!("{step:?}"));
    if is("PAN_TEST_DIE_AT") {
        let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
    }
    if is("PAN_TEST_STOP_AT") {
        let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP);
    }
}
