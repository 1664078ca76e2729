//! `pan node …`: take a node out of use and back, and label it.

use super::failure::Failure;
use super::kind::Kind;
use super::output::note;
use super::ready::timed_out;
use super::session::Session;
use clap::{Args, Subcommand};
use pan_api::ApiError;
use pan_api::client::{Client, escape};
use pan_api::insight::{NodeDrainPlan, Timeline};
use pan_api::node::Node;
use pan_api::requests::Labels;
use pan_api::server::Server;
use pan_model::node::NodeState;
use pan_model::server::ServerState;
use pan_model::{Code, HostName, Span};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How often is looked at a node that is being emptied.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How long an empty node is waited at for its servers to run elsewhere, only to tell of it.
const RUNNING_AGAIN_MAX: Duration = Duration::from_secs(10);

/// Take a node out of use and back, and label it; with --config run the node role on this host.
#[derive(Debug, Clone, Args)]
pub struct NodeArgs {
    /// The host's configuration: run the role.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Option<NodeCommand>,
}

/// What can be done to a node.
#[derive(Debug, Clone, Subcommand)]
pub enum NodeCommand {
    /// Move all servers away and take no new ones; returns when the node is empty.
    Drain {
        /// Which node.
        node: HostName,
        /// Say what would happen, and what would be missing; nothing is changed.
        #[arg(long, conflicts_with = "force")]
        whatif: bool,
        /// Also when servers would have no place, or guarantees of partitions no room.
        #[arg(long)]
        force: bool,
        /// How long that may take; the draining goes on after it.
        #[arg(long, value_name = "TIME", default_value = "10m")]
        timeout: Span,
    },
    /// Keep the servers, take no new ones.
    Cordon {
        /// Which node.
        node: HostName,
    },
    /// Take servers again, after drain or cordon.
    Uncordon {
        /// Which node.
        node: HostName,
    },
    /// Trust a quarantined node again.
    Clear {
        /// Which node.
        node: HostName,
    },
    /// Set and remove labels.
    Label {
        /// Which node.
        node: HostName,
        /// KEY=VALUE sets a label, KEY- removes it.
        #[arg(required = true, value_name = "KEY=VALUE|KEY-", value_parser = change)]
        changes: Vec<(String, Option<String>)>,
    },
}

fn change(text: &str) -> Result<(String, Option<String>), String> {
    let change = match text.split_once('=') {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (text.strip_suffix('-').ok_or("expected KEY=VALUE to set or KEY- to remove a label")?.to_owned(), None),
    };
    pan_model::node::label(&change.0, change.1.as_deref().unwrap_or_default())?;
    Ok(change)
}

/// `pan node …`; the exit code.
pub async fn run(command: NodeCommand, session: &Session) -> Result<u8, Failure> {
    let client = session.client()?;
    let path = |node: &HostName, verb: &str| format!("/v1/nodes/{node}/{verb}");
    let act = async |node: &HostName, verb: &str, result: &str| -> Result<u8, Failure> {
        let (): () = client.post(&path(node, verb), &json!({})).await?;
        report(session, node, result).map(|()| 0)
    };
    match command {
        NodeCommand::Drain { node, whatif: true, .. } => whatif(&node, session).await,
        NodeCommand::Drain { node, whatif: false, force, timeout } => drain(&node, force, timeout, session).await.map(|()| 0),
        NodeCommand::Cordon { node } => act(&node, "cordon", "cordoned").await,
        NodeCommand::Uncordon { node } => act(&node, "uncordon", "uncordoned").await,
        NodeCommand::Clear { node } => act(&node, "clear", "cleared").await,
        NodeCommand::Label { node, changes } => {
            let labels: BTreeMap<String, Option<String>> = changes.into_iter().collect();
            let (): () = client.post(&path(&node, "label"), &Labels { labels }).await?;
            report(session, &node, "labelled").map(|()| 0)
        }
    }
}

fn report(session: &Session, node: &HostName, result: &str) -> Result<(), Failure> {
    if session.out.is_data() {
        return session.out.data(&json!({"kind": "node", "name": node, "result": result}));
    }
    session.out.say(&format!("node {node} {result}"))
}

/// A server that a drain moved.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Moved {
    server: String,
    to: Option<String>,
    /// From its last moment there to its first here; absent when no timeline tells.
    gap_ms: Option<u64>,
}

/// What a drain would do.
async fn forecast(client: &Client, node: &HostName) -> Result<NodeDrainPlan, ApiError> {
    client.post(&format!("/v1/nodes/{node}/drain/whatif"), &json!({})).await
}

async fn whatif(node: &HostName, session: &Session) -> Result<u8, Failure> {
    let plan = forecast(session.client()?, node).await?;
    let exit = u8::from(!plan.ok);
    if session.out.is_data() {
        return session.out.data(&plan).map(|()| exit);
    }
    for one in &plan.moves {
        session.out.line(&format!("server {} goes to {}: {}", one.server, one.to, one.reason))?;
    }
    for text in &plan.missing {
        session.out.line(&format!("missing then: {text}"))?;
    }
    if plan.moves.is_empty() && plan.missing.is_empty() {
        session.out.say(&format!("node {node} is empty, and nothing relies on it"))?;
    }
    Ok(exit)
}

/// Whether a node is drained still. What is read may be older than the drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drained {
    NotSeen,
    Seen,
    Undone,
}

impl Drained {
    fn after(self, state: Option<NodeState>) -> Self {
        match (self, state) {
            (_, Some(NodeState::Draining)) => Self::Seen,
            (Self::Seen, Some(NodeState::Alive | NodeState::Cordoned | NodeState::Quarantined)) => Self::Undone,
            // One that died meanwhile is emptied otherwise.
            (known, Some(_) | None) => known,
        }
    }
}

async fn drain(node: &HostName, force: bool, limit: Span, session: &Session) -> Result<(), Failure> {
    let client = session.client()?;
    // Before anything is done. What keeps it from being told is said of the drain itself.
    let plan = forecast(client, node).await.ok().filter(|plan| plan.ok || force);
    for text in plan.iter().flat_map(|plan| &plan.missing) {
        note(&format!("with node {node} drained, {text}"));
    }
    let mut drain =
        Drain { node, begin: jiff::Timestamp::now(), staying: servers_on(client, node).await?, moving: Vec::new(), moved: Vec::new() };
    let deadline = Instant::now() + limit.0;
    let (): () = client.post(&format!("/v1/nodes/{node}/drain{}", if force { "?force=true" } else { "" }), &json!({})).await?;
    let total = drain.staying.len();
    session.out.progress(&format!("node {node} has {total} servers to move"));
    let mut empty_since = None;
    let mut drained = Drained::NotSeen;
    loop {
        // A controller that does not answer for a while does not stop a drain.
        let is_empty = match servers(client).await {
            Ok(now) => drain.look(&now, session).await?,
            Err(error) if error.code == Code::Unreachable => false,
            Err(error) => return Err(error.into()),
        };
        if is_empty {
            let since = *empty_since.get_or_insert_with(Instant::now);
            if drain.moving.is_empty() || since.elapsed() >= RUNNING_AGAIN_MAX {
                break;
            }
        }
        drained = drained.after(client.get::<Node>(&format!("/v1/nodes/{node}")).await.ok().map(|node| node.state));
        if drained == Drained::Undone && !is_empty {
            let (moved, left) = (drain.moved.len(), drain.staying.len());
            let text =
                format!("node {node} is not drained any more: somebody undid it; {moved} servers were moved, {left} are still there");
            return Err(Failure::new(Code::State, text));
        }
        if Instant::now() >= deadline {
            if is_empty {
                break;
            }
            let missing: Vec<String> = drain.staying.iter().map(|server| format!("server {} is still on {node}", label(server))).collect();
            return Err(timed_out(limit, &missing));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    drain.give_up_on_moving(session)?;
    if session.out.is_data() {
        return session.out.data(&json!({"kind": "node", "name": node, "result": "drained", "moved": drain.moved}));
    }
    session.out.say(&format!("node {node} is empty; {total} servers were moved"))
}

/// A drain as seen from outside.
struct Drain<'a> {
    node: &'a HostName,
    begin: jiff::Timestamp,
    /// Still on the node.
    staying: Vec<Server>,
    /// Off the node, not yet running elsewhere.
    moving: Vec<Server>,
    moved: Vec<Moved>,
}

impl Drain<'_> {
    /// Takes note of where servers are, and tells of those that run again. Whether the node is empty.
    async fn look(&mut self, now: &[Server], session: &Session) -> Result<bool, Failure> {
        let node = self.node;
        let left = self.staying.extract_if(.., |server| !now.iter().any(|other| is_same(server, other) && is_on(other, node)));
        self.moving.extend(left);
        let mut still = Vec::new();
        for server in std::mem::take(&mut self.moving) {
            let after = now.iter().find(|other| is_same(&server, other));
            match after {
                Some(after) if after.state != ServerState::Running && after.state != ServerState::Stopped => still.push(server),
                Some(_) | None => {
                    let gap_ms = gap(session.client()?, &server, self.begin).await;
                    self.tell(session, Moved { to: after.and_then(|server| server.node.clone()), gap_ms, server: label(&server) })?;
                }
            }
        }
        self.moving = still;
        Ok(self.staying.is_empty() && !now.iter().any(|server| is_on(server, node)))
    }

    /// The node is empty; what does not run elsewhere by now has its own reasons (`pan why server`).
    fn give_up_on_moving(&mut self, session: &Session) -> Result<(), Failure> {
        for server in std::mem::take(&mut self.moving) {
            self.tell(session, Moved { server: label(&server), to: None, gap_ms: None })?;
        }
        Ok(())
    }

    fn tell(&mut self, session: &Session, moved: Moved) -> Result<(), Failure> {
        let whither = moved.to.as_deref().map_or_else(|| "left, and does not run yet".to_owned(), |node| format!("moved to {node}"));
        let gap = moved.gap_ms.map(|gap| format!(", gap {gap} ms")).unwrap_or_default();
        session.out.say(&format!("server {} {whither}{gap}", moved.server))?;
        self.moved.push(moved);
        Ok(())
    }
}

async fn servers(client: &Client) -> Result<Vec<Server>, pan_api::ApiError> {
    client.get(&Kind::Server.list_path(None)).await
}

async fn servers_on(client: &Client, node: &HostName) -> Result<Vec<Server>, Failure> {
    let all = servers(client).await?;
    Ok(all.into_iter().filter(|server| is_on(server, node)).collect())
}

fn is_on(server: &Server, node: &HostName) -> bool {
    server.node.as_deref() == Some(node.as_str())
}

fn is_same(one: &Server, other: &Server) -> bool {
    one.partition == other.partition && one.name == other.name
}

fn label(server: &Server) -> String {
    format!("{}/{}", server.partition, server.name)
}

/// How long the server answered nobody: from when its old instance was stopped to when the new one ran.
async fn gap(client: &Client, server: &Server, begin: jiff::Timestamp) -> Option<u64> {
    let path = format!("/v1/timelines/{}?partition={}", escape(server.name.as_str()), server.partition);
    // That there is no timeline yet is no failure of the drain.
    let timelines: Vec<Timeline> = client.get(&path).await.ok()?;
    gap_of(timelines.first()?, begin)
}

fn gap_of(timeline: &Timeline, begin: jiff::Timestamp) -> Option<u64> {
    let at = |name: &str| {
        let step = timeline.steps.iter().rfind(|step| step.step == name)?;
        step.at.parse::<jiff::Timestamp>().ok()
    };
    let (stopped, running) = (at("drained")?, at("running")?);
    let gap = u64::try_from(running.duration_since(stopped).as_micros()).ok()?;
    (stopped >= begin).then_some(gap.saturating_add(500) / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pan_api::insight::Step;

    #[test]
    fn labels_are_set_and_removed() {
        assert_eq!(change("rack=r1"), Ok(("rack".into(), Some("r1".into()))));
        assert_eq!(change("rack="), Ok(("rack".into(), Some(String::new()))));
        assert_eq!(change("rack-"), Ok(("rack".into(), None)));
        for bad in ["rack", "=r1", "-"] {
            assert!(change(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_gap_begins_when_the_old_instance_is_drained() {
        let step = |at: &str, step: &str| Step { at: at.into(), step: step.into(), took_ms: 0, reason: String::new() };
        let timeline = Timeline {
            object: "acme/db-1".into(),
            epoch: None,
            finished: true,
            steps: vec![
                step("2026-01-01T00:00:00Z", "move-begins"),
                step("2026-01-01T00:00:01Z", "drained"),
                step("2026-01-01T00:00:01.2Z", "stopped"),
                step("2026-01-01T00:00:01.75Z", "running"),
            ],
            total_ms: 1750,
        };
        let at = |text: &str| text.parse().unwrap();
        assert_eq!(gap_of(&timeline, at("2026-01-01T00:00:00Z")), Some(750));
        assert_eq!(gap_of(&timeline, at("2026-01-01T00:01:00Z")), None, "of an earlier move");
    }

    #[test]
    fn a_drain_that_somebody_undid_is_noticed_and_one_that_is_not_shown_yet_is_not() {
        use NodeState::{Alive, Cordoned, Dead, Draining, Suspect};
        let after = |states: &[Option<NodeState>]| states.iter().fold(Drained::NotSeen, |drained, state| drained.after(*state));
        assert_eq!(after(&[Some(Alive), None, Some(Alive)]), Drained::NotSeen, "an older state, or nobody answers");
        assert_eq!(after(&[Some(Alive), Some(Draining), None, Some(Suspect), Some(Dead)]), Drained::Seen);
        assert_eq!(after(&[Some(Draining), Some(Alive)]), Drained::Undone);
        assert_eq!(after(&[Some(Draining), Some(Cordoned)]), Drained::Undone);
        assert_eq!(after(&[Some(Draining), Some(Alive), Some(Draining)]), Drained::Seen, "and begun again");
    }
}
