//! Rule 10 of docs/volumes.md: whether what was read may be handed out at this moment.

use super::error::HeadError;
use pan_linux::gate::Gate;
use pan_linux::netns::Netns;
use pan_model::host_config::HostConfig;
use std::time::Duration;

/// This node's lease, as its gate shows it to packets: the deadline that the beat process keeps in the kernel.
pub(super) struct Lease(Option<Gate>);

impl Lease {
    /// Where there are no lessors there are no leases, and nothing ends.
    pub fn open(config: &HostConfig) -> Result<Self, HeadError> {
        if config.lessors.is_empty() {
            return Ok(Self(None));
        }
        let netns = Netns::current().map_err(|error| HeadError::Message(error.to_string()))?;
        crate::gate::open(config, &netns).map(|gate| Self(Some(gate))).map_err(HeadError::Gate)
    }

    /// `now`: of the boot clock, read after the answer came. One that cannot be read is none.
    pub fn is_good(&self, now: Duration) -> bool {
        self.0.as_ref().is_none_or(|gate| gate.deadline().is_ok_and(|until| until > now))
    }
}
