//! Whether what was asked for has come about, and what is missing if not: the heart of every wait.

use super::failure::Failure;
use super::kind::Kind;
use super::rows::read;
use pan_api::ApiError;
use pan_api::client::Client;
use pan_api::cluster::{Cluster, ClusterState};
use pan_api::server::Server;
use pan_api::service::{Service, ServiceState};
use pan_api::volume::Volume;
use pan_model::server::ServerState;
use pan_model::service::BackendState;
use pan_model::{Code, PartitionName, ServerName, Span, VolumeName};
use serde_json::Value;
use std::future::Future;
use std::time::{Duration, Instant};

/// How often is looked: seldom enough for the controller, often enough for people.
pub const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// An object that is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Awaited {
    pub kind: Kind,
    pub partition: Option<PartitionName>,
    pub name: String,
}

impl Awaited {
    fn path(&self) -> String {
        self.kind.path(self.partition.as_ref(), &self.name)
    }

    /// How messages call it.
    pub fn label(&self) -> String {
        match &self.partition {
            Some(partition) => format!("{} {partition}/{}", self.kind, self.name),
            None => format!("{} {}", self.kind, self.name),
        }
    }

    /// The object as it is; `None` when there is none.
    pub async fn look(&self, client: &Client) -> Result<Option<Value>, ApiError> {
        match client.get(&self.path()).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.code == Code::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What is missing for the object to be ready; nothing when it is.
    pub async fn missing(&self, client: &Client) -> Result<Vec<String>, Failure> {
        let Some(object) = self.look(client).await? else {
            return Ok(vec![format!("{} does not exist", self.label())]);
        };
        match self.kind {
            Kind::Cluster => self.missing_of_cluster(client, &read(&object)?).await,
            Kind::Service => self.missing_of_service(client, &read(&object)?).await,
            Kind::Server => Ok(missing_of_server(&read(&object)?).into_iter().collect()),
            Kind::Node | Kind::Host => Ok(self.missing_state(&object, "alive")),
            Kind::Import => Ok(self.missing_state(&object, "active")),
            // It is there, whether any of its windows is open or not.
            Kind::Policy => Ok(Vec::new()),
            Kind::Partition | Kind::Volume | Kind::Event | Kind::Token => Ok(self.missing_state(&object, "ready")),
        }
    }

    /// What is missing for the object to be in a state.
    pub fn missing_state(&self, object: &Value, wanted: &str) -> Vec<String> {
        let state = object["state"].as_str().unwrap_or("in no state");
        if state == wanted {
            Vec::new()
        } else {
            vec![format!("{} is {state}, not {wanted}{}", self.label(), because(object["message"].as_str()))]
        }
    }

    async fn servers(&self, client: &Client) -> Result<Vec<Server>, ApiError> {
        client.get(&Kind::Server.list_path(self.partition.as_ref())).await
    }

    async fn missing_of_cluster(&self, client: &Client, cluster: &Cluster) -> Result<Vec<String>, Failure> {
        let is_ready = match cluster.state {
            ClusterState::Ready => cluster.running == cluster.desired,
            ClusterState::Progressing | ClusterState::Degraded | ClusterState::Stopped | ClusterState::Deleting => false,
        };
        if is_ready {
            return self.missing_of_volumes(client, cluster).await;
        }
        let servers = self.servers(client).await?;
        let mut missing: Vec<String> =
            servers.iter().filter(|server| server.cluster == cluster.name).filter_map(missing_of_server).collect();
        if missing.is_empty() {
            missing.push(format!("{}: {} of {} servers run", self.label(), cluster.running, cluster.desired));
        }
        Ok(missing)
    }

    /// A cluster is ready when its volumes have all their copies.
    async fn missing_of_volumes(&self, client: &Client, cluster: &Cluster) -> Result<Vec<String>, Failure> {
        if cluster.spec.volumes.is_empty() {
            return Ok(Vec::new());
        }
        let all: Vec<Volume> = client.get(&Kind::Volume.list_path(self.partition.as_ref())).await?;
        let servers: Vec<ServerName> = (1..=cluster.desired).map(|ordinal| ServerName::of(&cluster.name, ordinal)).collect();
        let names = servers.iter().flat_map(|server| cluster.spec.volumes.iter().filter_map(|volume| volume.of(server)));
        let lacks = |name: VolumeName| match all.iter().find(|volume| volume.name == name) {
            Some(volume) if volume.in_sync == u64::from(volume.copies) => None,
            Some(volume) => Some(format!("volume {name} has {} of {} copies in sync", volume.in_sync, volume.copies)),
            None => Some(format!("volume {name} does not exist")),
        };
        Ok(names.filter_map(lacks).collect())
    }

    async fn missing_of_service(&self, client: &Client, service: &Service) -> Result<Vec<String>, Failure> {
        let mut missing = Vec::new();
        for server in self.servers(client).await?.iter().filter(|server| service.spec.is_answered_by(&server.cluster)) {
            let backend = service.backends.iter().find(|backend| backend.server == server.name);
            if server.state == ServerState::Running && backend.is_none_or(|backend| backend.state != BackendState::Up) {
                missing.push(format!("{} does not yet send to server {}", self.label(), server.name));
            }
        }
        match service.state {
            ServiceState::Ready => {}
            ServiceState::Progressing => missing.push(format!("the directors' tables lag behind for {}", self.label())),
            ServiceState::Down => missing.push(format!("{} has no server that is up", self.label())),
        }
        Ok(missing)
    }
}

fn missing_of_server(server: &Server) -> Option<String> {
    (server.state != ServerState::Running)
        .then(|| format!("server {}/{} is {}{}", server.partition, server.name, server.state, because(server.message.as_deref())))
}

fn because(message: Option<&str>) -> String {
    message.map(|text| format!(": {text}")).unwrap_or_default()
}

/// Looks until nothing is missing.
///
/// # Errors
/// `Code::TimedOut` with what is missing. A controller that does not answer for a while is only that.
pub async fn wait<F, Fut>(limit: Span, look: F) -> Result<(), Failure>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Vec<String>, Failure>>,
{
    wait_within(limit, limit.0, look).await
}

/// As [`wait`], where of the time asked for only some is left.
pub async fn wait_within<F, Fut>(limit: Span, left: Duration, mut look: F) -> Result<(), Failure>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Vec<String>, Failure>>,
{
    let deadline = Instant::now() + left;
    loop {
        let missing = match look().await {
            Ok(missing) if missing.is_empty() => return Ok(()),
            Ok(missing) => missing,
            Err(Failure::Api(error)) if matches!(error.code, Code::Unreachable | Code::NotLeading) => vec![error.message],
            Err(error) => return Err(error),
        };
        if Instant::now() >= deadline {
            return Err(timed_out(limit, &missing));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The end of a wait, with what is missing.
pub fn timed_out(limit: Span, missing: &[String]) -> Failure {
    /// More lines than this say nothing new.
    const SHOWN_MAX: usize = 20;
    let mut text = format!("not there after {limit}:");
    for line in missing.iter().take(SHOWN_MAX) {
        text.push_str(&format!("\n  {line}"));
    }
    if missing.len() > SHOWN_MAX {
        text.push_str(&format!("\n  and {} more", missing.len() - SHOWN_MAX));
    }
    Failure::new(Code::TimedOut, text)
}
