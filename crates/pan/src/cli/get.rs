//! `pan get`, `pan host list` and `pan events`: objects as tables or data, once or as they change.

use super::failure::Failure;
use super::kind::Kind;
use super::output::Format;
use super::rows::Shape;
use super::session::Session;
use clap::Args;
use pan_api::client::escape;
use pan_model::{PartitionName, Span};
use serde_json::Value;

/// Show objects.
#[derive(Debug, Clone, Args)]
pub struct GetArgs {
    /// What kind.
    #[arg(value_enum)]
    pub kind: Kind,
    /// Which one; all when absent. Of events: those about this object.
    pub name: Option<String>,
    /// Those of all partitions.
    #[arg(short = 'A', long)]
    pub all: bool,
    /// Go on, and show each change.
    #[arg(short, long)]
    pub watch: bool,
}

/// Show what happened.
#[derive(Debug, Clone, Args)]
pub struct EventsArgs {
    /// Go on, and show each event as it happens.
    #[arg(short, long)]
    pub follow: bool,
    /// Only from then on: a duration ago like 5m, or a time.
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub since: Option<String>,
    /// Those of all partitions and of the PAN itself.
    #[arg(short = 'A', long)]
    pub all: bool,
}

/// The text of a moment, as the API takes it.
pub fn since(text: &str) -> Result<String, String> {
    let is_moment = text.parse::<Span>().is_ok() || text.parse::<jiff::Timestamp>().is_ok();
    let expected = || format!("{text:?} is no moment: expected a duration ago like 5m, or a time like 2026-01-31T08:00:00Z");
    is_moment.then(|| text.to_owned()).ok_or_else(expected)
}

/// `pan get`.
pub async fn run(args: GetArgs, session: &Session) -> Result<(), Failure> {
    let kind = args.kind;
    if args.all && args.name.is_some() && kind != Kind::Event {
        return Err(Failure::Usage(format!(
            "-A shows all: leave out {:?}, or give -p PARTITION instead of -A",
            args.name.unwrap_or_default()
        )));
    }
    if kind == Kind::Event {
        return events(session, args.all, args.watch, None, args.name.as_deref()).await;
    }
    match &args.name {
        Some(name) => {
            let shape = Shape { kind, partition: false, wide: session.globals.output == Format::Wide };
            let path = session.path(kind, name)?;
            if args.watch { watch(session, shape, &with(&path, &["watch=true"]), None).await } else { one(session, shape, &path).await }
        }
        None => {
            let partition = scope(session, kind, args.all)?;
            let shape =
                Shape { kind, partition: kind.is_in_partition() && partition.is_none(), wide: session.globals.output == Format::Wide };
            let path = kind.list_path(partition.as_ref());
            if args.watch {
                watch(session, shape, &with(&path, &["watch=true"]), None).await
            } else {
                list(session, shape, &path, None).await
            }
        }
    }
}

/// `pan events`.
pub async fn run_events(args: EventsArgs, session: &Session) -> Result<(), Failure> {
    events(session, args.all, args.follow, args.since.as_deref(), None).await
}

async fn events(session: &Session, all: bool, follow: bool, since: Option<&str>, object: Option<&str>) -> Result<(), Failure> {
    let kind = Kind::Event;
    let partition = scope(session, kind, all)?;
    let shape = Shape { kind, partition: partition.is_none(), wide: session.globals.output == Format::Wide };
    let since = since.map(|since| format!("since={}", escape(since)));
    let mut query: Vec<&str> = since.iter().map(String::as_str).collect();
    if follow {
        query.push("watch=true");
    }
    let path = with(&kind.list_path(partition.as_ref()), &query);
    if follow { watch(session, shape, &path, object).await } else { list(session, shape, &path, object).await }
}

/// The partition that a list is of; `None` for everything.
fn scope(session: &Session, kind: Kind, all: bool) -> Result<Option<PartitionName>, Failure> {
    if all || !kind.is_in_partition() {
        return Ok(None);
    }
    let found = session.partition_if_any()?;
    found
        .map(Some)
        .ok_or_else(|| Failure::Usage("which partition? give -p PARTITION (or set PAN_PARTITION or the context's); -A is all".into()))
}

fn with(path: &str, query: &[&str]) -> String {
    if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) }
}

async fn one(session: &Session, shape: Shape, path: &str) -> Result<(), Failure> {
    let object: Value = session.client()?.get(path).await?;
    if session.out.is_data() {
        return session.out.data(&object);
    }
    let mut table = shape.table();
    table.push(shape.row(&object)?);
    session.out.table(&table)
}

async fn list(session: &Session, shape: Shape, path: &str, about: Option<&str>) -> Result<(), Failure> {
    let mut objects: Vec<Value> = session.client()?.get(path).await?;
    objects.retain(|object| is_about(object, about));
    if session.out.is_data() {
        return session.out.data(&objects);
    }
    if objects.is_empty() {
        return session.out.say(&format!("no {}", shape.kind));
    }
    let mut table = shape.table();
    for object in &objects {
        table.push(shape.row(object)?);
    }
    session.out.table(&table)
}

/// Only events can be asked for by what they are about.
fn is_about(object: &Value, about: Option<&str>) -> bool {
    about.is_none_or(|about| object["object"] == about)
}

async fn watch(session: &Session, shape: Shape, path: &str, about: Option<&str>) -> Result<(), Failure> {
    let mut changes = session.client()?.stream::<Value>(path).await?;
    let mut table = shape.table();
    while let Some(change) = changes.next().await {
        let change = change?;
        if !is_about(&change["object"], about) {
            continue;
        }
        if session.out.is_data() {
            session.out.data_line(&change)?;
            continue;
        }
        let mut row = shape.row(&change["object"])?;
        if change["type"] == "deleted" {
            row.push("(deleted)".into());
        }
        table.push(row);
        session.out.table(&table)?;
        table.go_on();
    }
    Ok(())
}
