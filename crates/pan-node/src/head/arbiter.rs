//! The way to the arbiter: whichever controller leads.

use super::message::HeadOrder;
use pan_api::hostlink::{Controllers, LinkError};
use pan_api::volume::{AskVolume, Claim, VolumeAsk};
use pan_api::{ApiError, WIRE_VERSION};
use pan_model::host_config::HostConfig;
use std::sync::Arc;

/// A cheap handle.
#[derive(Clone)]
pub(super) struct Arbiter {
    controllers: Arc<Controllers>,
}

impl Arbiter {
    pub fn open(config: &HostConfig) -> Result<Self, LinkError> {
        Ok(Self { controllers: Arc::new(Controllers::open(config)?) })
    }

    /// Asks the one that leads. An error but `Denied` says nothing about whether it was done.
    pub async fn ask(&self, order: &HeadOrder, ask: VolumeAsk) -> Result<Claim, ApiError> {
        let ask = AskVolume {
            version: WIRE_VERSION,
            host: order.host.name.clone(),
            volume: order.volume.volume,
            server: order.server.clone(),
            binding: order.binding,
            ask,
        };
        self.controllers.ask("/internal/v1/volumes", &ask).await
    }
}
