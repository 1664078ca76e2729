//! The keeper of a volume's head, as this host's agent deals with it.

use pan_api::volume::VolumeReport;

use super::error::VolumeError;
use super::place::Place;
use super::task::Whose;
use crate::host::Host;

/// How a keeper is.
#[derive(Debug)]
pub(super) enum Look {
    None,
    Opening(VolumeReport),
    Open(VolumeReport),
    Lost(String),
}

pub(super) fn look(_at: &Place) -> Look {
    Look::None
}

pub(super) fn begin(_host: &Host, _at: &Place, _whose: &Whose) -> Result<(), VolumeError> {
    Ok(())
}

pub(super) fn tell(_host: &Host, _at: &Place, _whose: &Whose) -> Result<(), VolumeError> {
    Ok(())
}

pub(super) fn end(_at: &Place) -> Result<(), VolumeError> {
    Ok(())
}
