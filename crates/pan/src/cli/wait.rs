//! `pan wait`: until an object is ready, in a state, or gone.

use super::failure::Failure;
use super::kind::Kind;
use super::ready::{Awaited, wait};
use super::session::Session;
use clap::Args;
use pan_model::Span;
use std::str::FromStr;

/// Wait until an object is ready, in a state, or gone.
#[derive(Debug, Clone, Args)]
pub struct WaitArgs {
    /// What kind.
    #[arg(value_enum)]
    pub kind: Kind,
    /// Which one.
    pub name: String,
    /// What to wait for.
    #[arg(long = "for", value_name = "state=X|ready|deleted", default_value = "ready")]
    pub condition: Condition,
    /// How long.
    #[arg(long, value_name = "TIME", default_value = "60s")]
    pub timeout: Span,
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// That it is as it should be.
    Ready,
    /// That it is in this state.
    State(String),
    /// That it is gone.
    Deleted,
}

impl FromStr for Condition {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("state=")) {
            ("ready", _) => Ok(Self::Ready),
            ("deleted", _) => Ok(Self::Deleted),
            (_, Some(state)) if !state.is_empty() => Ok(Self::State(state.to_owned())),
            (_, _) => Err("expected ready, deleted or state=STATE, like state=running".into()),
        }
    }
}

const SERVER_STATES: &[&str] = &["unknown", "pending", "starting", "running", "suspect", "failing-over", "stopping", "stopped", "failed"];
const NODE_STATES: &[&str] = &["unknown", "joining", "alive", "suspect", "dead", "draining", "cordoned", "quarantined"];

/// The states that objects of a kind have.
const fn states(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Server => SERVER_STATES,
        Kind::Node | Kind::Host => NODE_STATES,
        Kind::Cluster => &["ready", "progressing", "degraded", "stopped", "deleting"],
        Kind::Service => &["ready", "progressing", "down"],
        Kind::Import => &["waiting", "active"],
        Kind::Partition => &["ready", "deleting"],
        Kind::Volume => &["making", "ready", "degraded", "deleting"],
        Kind::Policy => &["active", "idle"],
        Kind::Event | Kind::Token => &[],
    }
}

/// `pan wait`.
pub async fn run(args: WaitArgs, session: &Session) -> Result<(), Failure> {
    let kind = args.kind;
    if states(kind).is_empty() {
        return Err(Failure::Usage(format!("a {kind} has no state to wait for")));
    }
    if let Condition::State(state) = &args.condition
        && !states(kind).contains(&state.as_str())
    {
        return Err(Failure::Usage(format!("a {kind} is never {state:?}: expected one of {}", states(kind).join(", "))));
    }
    let (partition, name) = session.place(kind, &args.name)?;
    kind.require_name(name)?;
    let awaited = Awaited { kind, partition, name: name.to_owned() };
    let client = session.client()?;
    let (one, condition) = (&awaited, &args.condition);
    wait(args.timeout, || async move {
        match condition {
            Condition::Ready => one.missing(client).await,
            Condition::Deleted => Ok(one.look(client).await?.map(|_| format!("{} is still there", one.label())).into_iter().collect()),
            Condition::State(state) => match one.look(client).await? {
                None => Ok(vec![format!("{} does not exist", one.label())]),
                Some(object) => Ok(one.missing_state(&object, state)),
            },
        }
    })
    .await?;
    if session.out.is_data() {
        return match awaited.look(client).await? {
            Some(object) => session.out.data(&object),
            None => session.out.data(&serde_json::Value::Null),
        };
    }
    let what = match &args.condition {
        Condition::Ready => "ready",
        Condition::Deleted => "gone",
        Condition::State(state) => state,
    };
    session.out.say(&format!("{} is {what}", awaited.label()))
}
