//! The PAN under test as its administrator sees it: calls of the public API, and waiting for states.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::thread::sleep;
use std::time::{Duration, Instant};

use pan_api::ApiError;
use pan_api::client::{Client, Timeouts};
use pan_api::event::Change;
use pan_api::node::Node;
use pan_api::requests::{Applied, Apply, File};
use pan_model::node::NodeState;
use pan_model::{Code, HostName};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::error::BenchError;
use crate::pki::Credentials;

/// Between two looks: often enough for seconds, too seldom to disturb what is measured.
const LOOK: Duration = Duration::from_millis(50);

/// A client, and whether somebody wants all this to end.
pub(super) struct Pan<'a> {
    runtime: Runtime,
    client: Client,
    stop: &'a AtomicBool,
}

impl<'a> Pan<'a> {
    pub(super) fn new(given: &Credentials, stop: &'a AtomicBool) -> Result<Self, BenchError> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|source| BenchError::System { action: "start a runtime", source })?;
        let timeouts = Timeouts { connect: Duration::from_secs(2), request: Duration::from_secs(20) };
        let client = Client::with_timeouts(&given.url, Some(&given.token), &given.ca_pem, timeouts).map_err(refused("use the API"))?;
        Ok(Self { runtime, client, stop })
    }

    pub(super) fn look<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        self.runtime.block_on(self.client.get(path))
    }

    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, BenchError> {
        self.look(path).map_err(refused(path))
    }

    pub(super) fn post<B: Serialize + Sync>(&self, path: &str, body: &B) -> Result<(), BenchError> {
        self.runtime.block_on(self.client.post(path, body)).map_err(refused(path))
    }

    pub(super) fn apply(&self, name: &str, text: &str) -> Result<Vec<Applied>, BenchError> {
        let body = Apply { files: vec![File { name: name.to_owned(), text: text.to_owned() }], dry_run: false };
        self.runtime.block_on(self.client.post("/v1/apply", &body)).map_err(refused("apply the documents"))
    }

    /// An error if somebody wants all this to end.
    pub(super) fn check_stop(&self) -> Result<(), BenchError> {
        if self.stop.load(Ordering::Relaxed) { Err(BenchError::Stopped) } else { Ok(()) }
    }

    /// Lets time go by, looking at something meanwhile.
    pub(super) fn pause(&self, length: Duration, mut look: impl FnMut() -> Result<(), BenchError>) -> Result<(), BenchError> {
        let end = Instant::now() + length;
        loop {
            self.check_stop()?;
            look()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            sleep(left.min(LOOK));
        }
    }

    /// Counts how often nodes become suspect from now on.
    pub(super) fn count_suspicions(&self) -> Result<Suspicions, BenchError> {
        let mut lines =
            self.runtime.block_on(self.client.stream::<Change<Node>>("/v1/nodes?watch=true")).map_err(refused("watch nodes"))?;
        let (stop, mut stopped) = oneshot::channel::<()>();
        let counting = self.runtime.spawn(async move {
            let (mut counts, mut suspects) = (BTreeMap::new(), BTreeSet::new());
            loop {
                let line = tokio::select! {
                    _ = &mut stopped => return Ok(counts),
                    line = lines.next() => line,
                };
                let change = line.unwrap_or_else(|| Err(ApiError::new(Code::Unreachable, "the stream has ended")))?;
                if change.object.state != NodeState::Suspect {
                    suspects.remove(&change.object.name);
                } else if suspects.insert(change.object.name.clone()) {
                    *counts.entry(change.object.name).or_default() += 1;
                }
            }
        });
        Ok(Suspicions { stop, counting, runtime: self.runtime.handle().clone() })
    }

    /// The objects of a watch as they come, until the stream breaks or nobody reads them.
    pub(super) fn follow<T: DeserializeOwned + Send + 'static>(&self, path: &str) -> Result<Receiver<Result<T, ApiError>>, BenchError> {
        let mut lines = self.runtime.block_on(self.client.stream::<Change<T>>(path)).map_err(refused(path))?;
        let (out, objects) = std::sync::mpsc::channel();
        self.runtime.spawn(async move {
            while let Some(line) = lines.next().await {
                if out.send(line.map(|change| change.object)).is_err() {
                    return;
                }
            }
        });
        Ok(objects)
    }

    /// Looks until `look` finds something. Its `Err` is what there is instead; it goes into the error.
    pub(super) fn wait<T>(&self, what: &str, limit: Duration, mut look: impl FnMut() -> Result<T, String>) -> Result<T, BenchError> {
        let deadline = Instant::now() + limit;
        loop {
            self.check_stop()?;
            let seen = match look() {
                Ok(found) => return Ok(found),
                Err(seen) => seen,
            };
            if Instant::now() >= deadline {
                return Err(BenchError::TimedOut { what: what.to_owned(), seconds: limit.as_secs(), seen });
            }
            sleep(LOOK);
        }
    }

    /// Waits for the API itself.
    pub(super) fn wait_for_api(&self, limit: Duration) -> Result<(), BenchError> {
        self.wait("the API answering", limit, || match self.look::<pan_api::requests::Version>("/v1/version") {
            Ok(_) => Ok(()),
            Err(error) if error.code == Code::Unreachable => Err(error.message),
            Err(error) => Err(error.to_string()),
        })
    }
}

/// A count of suspicions that goes on.
pub(super) struct Suspicions {
    stop: oneshot::Sender<()>,
    counting: JoinHandle<Result<BTreeMap<HostName, u64>, ApiError>>,
    runtime: Handle,
}

impl Suspicions {
    /// Ends it. How often each node that became suspect did.
    ///
    /// # Errors
    /// The watch broke, so that some may have been missed.
    pub(super) fn end(self) -> Result<BTreeMap<HostName, u64>, BenchError> {
        let _ = self.stop.send(());
        let counts = self.runtime.block_on(self.counting).map_err(|error| BenchError::Surprise(error.to_string()))?;
        counts.map_err(refused("watch nodes"))
    }
}

fn refused(action: &str) -> impl FnOnce(ApiError) -> BenchError {
    let action = action.to_owned();
    move |source| BenchError::Api { action, source }
}
