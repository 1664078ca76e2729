//! `pan volume …`.

use super::arguments::VolumeCommand;
use super::failure::Failure;
use super::get::{self, GetArgs};
use super::kind::Kind;
use super::session::Session;

/// `pan volume`.
pub async fn run(command: VolumeCommand, session: &Session) -> Result<(), Failure> {
    match command {
        VolumeCommand::List { all } => get::run(GetArgs { kind: Kind::Volume, name: None, all, watch: false }, session).await,
        VolumeCommand::Snapshot(_) => Err(Failure::not_yet("pan volume snapshot")),
        VolumeCommand::Clone(_) => Err(Failure::not_yet("pan volume clone")),
        VolumeCommand::Resize(_) => Err(Failure::not_yet("pan volume resize (change the size in the manifest of its cluster)")),
        VolumeCommand::Export(_) => Err(Failure::not_yet("pan volume export")),
        VolumeCommand::Recover(_) => Err(Failure::not_yet("pan volume recover")),
    }
}
