//! `pan describe`: an object with everything that belongs to it.

use super::failure::Failure;
use super::kind::Kind;
use super::output::Format;
use super::rows::Shape;
use super::session::Session;
use clap::Args;
use serde_json::{Value, json};

/// Events shown: the newest.
const EVENTS_SHOWN: usize = 10;

/// Show an object with everything that belongs to it.
#[derive(Debug, Clone, Args)]
pub struct DescribeArgs {
    /// What kind.
    #[arg(value_enum)]
    pub kind: Kind,
    /// Which one.
    pub name: String,
}

/// `pan describe`.
pub async fn run(args: DescribeArgs, session: &Session) -> Result<(), Failure> {
    let kind = args.kind;
    if kind == Kind::Event {
        return Err(Failure::Usage("events are shown by `pan events`".into()));
    }
    let client = session.client()?;
    let (partition, name) = session.place(kind, &args.name)?;
    let object: Value = client.get(&kind.path(partition.as_ref(), name)).await?;
    let within = match kind {
        Kind::Partition => name.parse().ok(),
        _ => partition,
    };
    let servers: Vec<Value> = match kind {
        Kind::Service | Kind::Import | Kind::Policy | Kind::Server => Vec::new(),
        _ => client.get(&Kind::Server.list_path(within.as_ref())).await?,
    };
    let servers: Vec<Value> = servers.into_iter().filter(|server| belongs(server, kind, name)).collect();
    let events: Vec<Value> = client.get(&Kind::Event.list_path(within.as_ref())).await?;
    let mut events: Vec<Value> = events.into_iter().filter(|event| concerns(event, kind, name)).collect();
    events.drain(..events.len().saturating_sub(EVENTS_SHOWN));
    if session.out.is_data() {
        return session.out.data(&json!({"object": object, "servers": servers, "events": events}));
    }
    print(session, &object, &servers, &events)
}

fn belongs(server: &Value, kind: Kind, name: &str) -> bool {
    match kind {
        Kind::Cluster => server["cluster"] == name,
        Kind::Node | Kind::Host => server["node"] == name,
        Kind::Partition => server["partition"] == name,
        Kind::Volume => name.strip_prefix(server["name"].as_str().unwrap_or("-")).is_some_and(|rest| rest.starts_with('.')),
        Kind::Server | Kind::Service | Kind::Import | Kind::Policy | Kind::Event | Kind::Token => false,
    }
}

fn concerns(event: &Value, kind: Kind, name: &str) -> bool {
    // A partition's events are all those in it; a node's also those of it as a host.
    let of_kind = event["kind"] == kind.to_string().as_str()
        || (matches!(kind, Kind::Node | Kind::Host) && (event["kind"] == "host" || event["kind"] == "node"));
    kind == Kind::Partition || (of_kind && event["object"] == name)
}

fn print(session: &Session, object: &Value, servers: &[Value], events: &[Value]) -> Result<(), Failure> {
    let yaml = serde_saphyr::to_string(object)
        .map_err(|error| Failure::new(pan_model::Code::Internal, format!("cannot print the answer: {error}")))?;
    session.out.raw(yaml.as_bytes())?;
    for (title, kind, rows) in [("servers:", Kind::Server, servers), ("latest events:", Kind::Event, events)] {
        if rows.is_empty() {
            continue;
        }
        let shape = Shape { kind, partition: false, wide: session.globals.output == Format::Wide };
        let mut table = shape.table();
        for row in rows {
            table.push(shape.row(row)?);
        }
        session.out.line(&format!("\n{title}"))?;
        session.out.table(&table)?;
    }
    Ok(())
}
