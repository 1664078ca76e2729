//! Where the node's gate is and what it is made of: whichever of its processes comes first makes it, and all others find it.

use crate::paths::gate_dir;
use pan_linux::gate::{Gate, GateError, GateKind};
use pan_linux::netns::Netns;
use pan_model::host_config::{GateChoice, HostConfig};

/// Opens the gate of this host.
///
/// # Errors
/// Those of [`Gate::open`].
pub(crate) fn open(config: &HostConfig, netns: &Netns) -> Result<Gate, GateError> {
    let choice = config.node.as_ref().and_then(|node| node.gate).map(|choice| match choice {
        GateChoice::Bpf => GateKind::Bpf,
        GateChoice::NftSet => GateKind::NftSet,
    });
    Gate::open_or_make(choice, &gate_dir(&config.run_dir), netns)
}
