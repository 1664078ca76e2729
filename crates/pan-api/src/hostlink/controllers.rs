//! Questions of a host to whichever controller leads.

use super::LinkError;
use super::path::{self, Controller};
use crate::ApiError;
use crate::tls::LiveTls;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use pan_model::Code;
use pan_model::host_config::{CONTROLLER_PORT, HostConfig};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// All controllers, over both fabrics.
pub struct Controllers(Vec<Controller>);

impl Controllers {
    /// Those of a host's configuration. Connects when first asked.
    ///
    /// # Errors
    /// [`LinkError`]: the host's certificate cannot be used.
    pub fn open(config: &HostConfig) -> Result<Self, LinkError> {
        let tls = LiveTls::open(&config.tls)?.client_config()?;
        Ok(Self(path::all(config, &tls, CONTROLLER_PORT)))
    }

    /// Asks all at once, and gives the first good answer: only the one that leads has one. So nobody waits for one that is away.
    ///
    /// # Errors
    /// The refusal of the one that leads, if one does; otherwise whether it was done is not known.
    pub async fn ask<A: Serialize + Sync, T: DeserializeOwned>(&self, what: &str, ask: &A) -> Result<T, ApiError> {
        let mut asked: FuturesUnordered<_> = self.0.iter().map(|controller| controller.ask(what, ask)).collect();
        let mut failure = ApiError::new(Code::HostUnreachable, "no controller is known");
        while let Some(answer) = asked.next().await {
            match answer {
                Ok(answer) => return Ok(answer),
                Err(error) if matches!(error.code, Code::NotLeading | Code::HostUnreachable) => failure = error,
                Err(error) => return Err(error),
            }
        }
        Err(failure)
    }
}
