//! `pan scale`, and `pan restart`, `stop`, `start`, `migrate`, `failover` of a server.

use super::failure::Failure;
use super::kind::Kind;
use super::session::Session;
use clap::Args;
use pan_api::requests::{MoveTo, Scale};
use pan_model::HostName;
use pan_model::manifest::SERVERS_MAX;
use serde_json::json;

/// Change the number of servers of a cluster.
#[derive(Debug, Clone, Args)]
pub struct ScaleArgs {
    /// What kind: cluster.
    #[arg(value_enum)]
    pub kind: Kind,
    /// Which one.
    pub name: String,
    /// How many servers it is to have; fewer removes the highest.
    #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(..=i64::from(SERVERS_MAX)))]
    pub servers: u32,
}

/// A server.
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
    /// Which server.
    pub server: String,
}

/// A server and where to.
#[derive(Debug, Clone, Args)]
pub struct MoveArgs {
    /// Which server.
    pub server: String,
    /// The node to move to; chosen by the planner when absent.
    #[arg(long, value_name = "NODE")]
    pub to: Option<HostName>,
}

/// `pan scale`.
pub async fn scale(args: ScaleArgs, session: &Session) -> Result<(), Failure> {
    if args.kind != Kind::Cluster {
        return Err(Failure::Usage(format!("a {} cannot be scaled: expected `pan scale cluster NAME N`", args.kind)));
    }
    let path = format!("{}/scale", session.path(Kind::Cluster, &args.name)?);
    let (): () = session.client()?.post(&path, &Scale { servers: args.servers }).await?;
    report(session, "cluster", &args.name, &format!("has {} servers to run", args.servers))
}

/// `pan restart`, `pan stop` and `pan start`.
pub async fn act(verb: &str, args: ServerArgs, session: &Session) -> Result<(), Failure> {
    let path = format!("{}/{verb}", session.path(Kind::Server, &args.server)?);
    let (): () = session.client()?.post(&path, &json!({})).await?;
    report(session, "server", &args.server, &format!("is asked to {verb}"))
}

/// `pan migrate` and `pan failover`.
pub async fn go(verb: &str, args: MoveArgs, session: &Session) -> Result<(), Failure> {
    let path = format!("{}/{verb}", session.path(Kind::Server, &args.server)?);
    let whither = args.to.as_ref().map_or_else(|| "to a node of the planner's choice".to_owned(), |node| format!("to {node}"));
    let (): () = session.client()?.post(&path, &MoveTo { to: args.to }).await?;
    report(session, "server", &args.server, &format!("moves {whither}; `pan timeline {}` shows how", args.server))
}

fn report(session: &Session, kind: &str, name: &str, what: &str) -> Result<(), Failure> {
    if session.out.is_data() {
        return session.out.data(&json!({"kind": kind, "name": name, "result": "done"}));
    }
    session.out.say(&format!("{kind} {name} {what}"))
}
