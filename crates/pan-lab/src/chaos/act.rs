//! Faults as they are done to a laboratory.

use super::fault::{Fault, FaultKind};
use crate::disk::Disk;
use crate::error::LabError;
use crate::lab::Lab;
use crate::view::Power;

/// Lets a fault begin. A role that is just being started again is dead enough.
pub(super) fn strike(lab: &Lab, fault: &Fault) -> Result<(), LabError> {
    let host = fault.host;
    match fault.kind {
        FaultKind::Power => lab.kill(host),
        FaultKind::Freeze => lab.freeze(host),
        FaultKind::Cut { fabric, direction } => lab.cut(host, fabric, direction),
        FaultKind::Role(role) => match lab.kill_role(host, role) {
            Ok(_) | Err(LabError::NoSuchRole { .. }) => Ok(()),
            Err(error) => Err(error),
        },
        FaultKind::DiskFull => lab.disk(host, Disk::Full),
    }
}

/// Lets it end.
pub(super) fn repair(lab: &Lab, fault: &Fault) -> Result<(), LabError> {
    let host = fault.host;
    match fault.kind {
        FaultKind::Power => lab.start(host),
        FaultKind::Freeze => lab.thaw(host),
        FaultKind::Cut { .. } => lab.heal(host),
        FaultKind::Role(_) => Ok(()),
        FaultKind::DiskFull => lab.disk(host, Disk::Ok),
    }
}

/// Ends whatever is left of any fault.
pub(super) fn repair_all(lab: &Lab) -> Result<(), LabError> {
    for host in lab.hosts()? {
        if host.disk != Disk::Ok {
            lab.disk(host.name, Disk::Ok)?;
        }
        if host.power == Power::Off {
            lab.start(host.name)?;
        }
        lab.heal(host.name)?;
    }
    Ok(())
}
