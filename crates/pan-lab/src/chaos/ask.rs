//! The PAN under chaos as its administrator sees it: calls of the public API, one at a time.

use std::time::Duration;

use pan_api::ApiError;
use pan_api::client::{Client, Timeouts};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::{Builder, Runtime};

use super::error::ChaosError;
use crate::pki::Credentials;

/// A controller that stands still takes connections and says nothing; the next one is asked after so long.
const TIMEOUTS: Timeouts = Timeouts { connect: Duration::from_millis(1_000), request: Duration::from_secs(4) };

/// A client.
pub(super) struct Api {
    runtime: Runtime,
    client: Client,
}

impl Api {
    /// Of all controllers.
    pub(super) fn new(given: &Credentials) -> Result<Self, ChaosError> {
        Self::at(&given.url, given)
    }

    /// One of each controller.
    pub(super) fn each(given: &Credentials) -> Result<Vec<Self>, ChaosError> {
        given.url.split(',').map(|url| Self::at(url, given)).collect()
    }

    fn at(url: &str, given: &Credentials) -> Result<Self, ChaosError> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|source| ChaosError::System { action: "start a runtime", source })?;
        let client = Client::with_timeouts(url, Some(&given.token), &given.ca_pem, TIMEOUTS);
        let client = client.map_err(|source| ChaosError::Api { action: "use the API".to_owned(), source })?;
        Ok(Self { runtime, client })
    }

    /// Where it asks.
    pub(super) fn url(&self) -> &str {
        self.client.url()
    }

    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        self.runtime.block_on(self.client.get(path))
    }

    pub(super) fn post<B: Serialize + Sync, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T, ApiError> {
        self.runtime.block_on(self.client.post(path, body))
    }

    pub(super) fn delete(&self, path: &str) -> Result<(), ApiError> {
        self.runtime.block_on(self.client.delete(path))
    }
}
