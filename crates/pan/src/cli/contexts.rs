//! `pan context …`: which PANs there are to speak to, and with which one.

use super::failure::Failure;
use super::output::{Cell, Table, Tone};
use super::session::Session;
use crate::context::{Context, Contexts};
use clap::{Args, Subcommand};
use pan_model::PartitionName;
use serde_json::{Value, json};

/// Choose the PAN that commands speak to.
#[derive(Debug, Clone, Args)]
pub struct ContextArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ContextCommand,
}

/// What can be done with contexts.
#[derive(Debug, Clone, Subcommand)]
pub enum ContextCommand {
    /// Show all contexts.
    List,
    /// Make a context the current one; with -p also its partition.
    Use {
        /// Which one.
        name: String,
    },
    /// Show a context.
    Show {
        /// Which one; the current when absent.
        name: Option<String>,
        /// Show the token, too.
        #[arg(long)]
        token: bool,
    },
}

/// `pan context …`.
pub fn run(args: ContextArgs, session: &Session) -> Result<(), Failure> {
    match args.command {
        ContextCommand::List => list(session),
        ContextCommand::Use { name } => choose(&name, session),
        ContextCommand::Show { name, token } => show(name, token, session),
    }
}

fn data(context: &Context, contexts: &Contexts) -> Value {
    let is_current = contexts.current.as_deref() == Some(context.name.as_str());
    json!({"name": context.name, "url": context.url, "partition": context.partition, "current": is_current})
}

fn list(session: &Session) -> Result<(), Failure> {
    let contexts = Contexts::load()?;
    if session.out.is_data() {
        return session.out.data(&contexts.contexts.iter().map(|context| data(context, &contexts)).collect::<Vec<_>>());
    }
    if contexts.contexts.is_empty() {
        return session.out.say("no context: `pan up` makes one");
    }
    let mut table = Table::new(vec!["NAME", "URL", "PARTITION", "CURRENT"]);
    for context in &contexts.contexts {
        let is_current = contexts.current.as_deref() == Some(context.name.as_str());
        let mark = if is_current { Cell::toned("current", Tone::Good) } else { "".into() };
        table.push(vec![
            context.name.as_str().into(),
            context.url.as_str().into(),
            context.partition.as_deref().unwrap_or("-").into(),
            mark,
        ]);
    }
    session.out.table(&table)
}

fn choose(name: &str, session: &Session) -> Result<(), Failure> {
    let (contexts, shown) = Contexts::change(|contexts| {
        let mut context = contexts.named(name)?.clone();
        if let Some(partition) = &session.globals.partition {
            PartitionName::new(partition.as_str()).map_err(|error| Failure::Usage(format!("partition {error}")))?;
            context.partition = Some(partition.clone());
        }
        let shown = context.partition.as_ref().map(|partition| format!(", partition {partition}")).unwrap_or_default();
        contexts.put(context);
        contexts.current = Some(name.to_owned());
        Ok::<_, Failure>((contexts.clone(), shown))
    })?;
    if session.out.is_data() {
        return session.out.data(&data(contexts.named(name)?, &contexts));
    }
    session.out.say(&format!("context {name} is the current one{shown}"))
}

fn show(name: Option<String>, token: bool, session: &Session) -> Result<(), Failure> {
    let contexts = Contexts::load()?;
    let context = match name.or_else(|| session.globals.context.clone()) {
        Some(name) => contexts.named(&name)?,
        None => contexts
            .current()
            .ok_or_else(|| Failure::Usage("no context is current: `pan context use NAME` chooses one, `pan up` makes one".into()))?,
    };
    let mut shown = data(context, &contexts);
    shown["ca"] = json!(context.ca);
    if token {
        shown["token"] = json!(context.token);
    }
    if session.out.is_data() {
        return session.out.data(&shown);
    }
    session.out.line(&format!("name       {}", context.name))?;
    session.out.line(&format!("url        {}", context.url))?;
    session.out.line(&format!("partition  {}", context.partition.as_deref().unwrap_or("-")))?;
    session.out.line(&format!("token      {}", if token { context.token.as_str() } else { "(given; --token shows it)" }))
}
