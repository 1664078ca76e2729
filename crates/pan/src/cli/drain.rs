//! `pan drain`: empty a whole failure domain, for work on power, cooling or a switch.

use super::failure::Failure;
use super::output::{Cell, Table, Tone};
use super::ready::timed_out;
use super::rows::read;
use super::session::Session;
use clap::Args;
use pan_api::insight::{DomainDrain, DrainPlan, DrainState};
use pan_api::requests::DrainRequest;
use pan_model::{Code, HostName, Span};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How often is looked at a domain that is being emptied.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Empty all nodes with a label, as far at a time as every protection promise allows; returns when they are empty.
#[derive(Debug, Clone, Args)]
pub struct DrainArgs {
    /// The label that names the domain, such as rack=r1.
    #[arg(long, value_name = "NAME=VALUE", value_parser = domain)]
    pub domain: String,
    /// Say what would happen, batch by batch; nothing is changed.
    #[arg(long, conflicts_with = "undo")]
    pub whatif: bool,
    /// End the drain: the nodes are used as before.
    #[arg(long)]
    pub undo: bool,
    /// How long to wait; the draining goes on after it.
    #[arg(long, value_name = "TIME", default_value = "30m")]
    pub timeout: Span,
}

fn domain(text: &str) -> Result<String, String> {
    let (key, value) = text.split_once('=').filter(|(_, value)| !value.is_empty()).ok_or("expected NAME=VALUE, such as rack=r1")?;
    pan_model::node::label(key, value).map(|()| text.to_owned())
}

/// `pan drain`; the exit code.
pub async fn run(args: DrainArgs, session: &Session) -> Result<u8, Failure> {
    let (client, request) = (session.client()?, DrainRequest { domain: args.domain.clone() });
    if args.whatif {
        return whatif(client.post("/v1/drains/whatif", &request).await?, session);
    }
    if args.undo {
        let (): () = client.post("/v1/drains/undo", &request).await?;
        return told(&args.domain, "undone", "is used as before", session);
    }
    let (): () = client.post("/v1/drains", &request).await?;
    let deadline = Instant::now() + args.timeout.0;
    let mut last = None;
    loop {
        // A controller that does not answer for a while does not stop a drain.
        let now = match client.get::<Vec<DomainDrain>>("/v1/drains").await {
            Ok(all) => all.into_iter().find(|one| one.domain == args.domain),
            Err(error) if error.code == Code::Unreachable => last.clone(),
            Err(error) => return Err(error.into()),
        };
        let Some(now) = now else {
            return Err(Failure::new(Code::State, format!("the drain of {} was ended by somebody", args.domain)));
        };
        if now.state == DrainState::Done {
            return told(&args.domain, "drained", "is empty", session);
        }
        if last.as_ref() != Some(&now) {
            session.out.progress(&line(&now));
        }
        if Instant::now() >= deadline {
            return Err(timed_out(args.timeout, &missing(&now)));
        }
        last = Some(now);
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn told(domain: &str, result: &str, words: &str, session: &Session) -> Result<u8, Failure> {
    match session.out.is_data() {
        true => session.out.data(&json!({"kind": "domain", "name": domain, "result": result}))?,
        false => session.out.say(&format!("{domain} {words}"))?,
    }
    Ok(0)
}

/// How far it is, in a line.
fn line(drain: &DomainDrain) -> String {
    let left: u64 = drain.nodes.iter().map(|node| node.servers).sum();
    let begun: Vec<&str> = drain.nodes.iter().filter(|node| node.begun && node.servers > 0).map(|node| node.name.as_str()).collect();
    let now = if begun.is_empty() { "no node at present".to_owned() } else { begun.join(", ") };
    let why = drain.reason.as_ref().map(|reason| format!("; held: {reason}")).unwrap_or_default();
    format!("{}: {left} servers left, draining {now}{why}", drain.domain)
}

fn missing(drain: &DomainDrain) -> Vec<String> {
    let busy = drain.nodes.iter().filter(|node| node.servers > 0 || !node.begun);
    let busy = busy.map(|node| format!("node {} has {} servers", node.name, node.servers));
    busy.chain(drain.reason.iter().cloned()).collect()
}

fn whatif(answer: Value, session: &Session) -> Result<u8, Failure> {
    let plan: DrainPlan = read(&answer)?;
    let exit = u8::from(!plan.ok);
    if session.out.is_data() {
        session.out.data(&answer)?;
        return Ok(exit);
    }
    if let Some(reason) = &plan.reason {
        session.out.line(&format!("cannot be done: {reason}"))?;
        return Ok(exit);
    }
    if plan.batches.is_empty() {
        session.out.say("every node is empty already")?;
        return Ok(exit);
    }
    let mut table = Table::new(vec!["BATCH", "SERVER", "FROM", "TO", "REASON"]);
    for (at, batch) in plan.batches.into_iter().enumerate() {
        let number = (at + 1).to_string();
        if batch.moves.is_empty() {
            let nodes: Vec<&str> = batch.nodes.iter().map(HostName::as_str).collect();
            table.push(vec![number.clone().into(), Cell::toned("empty already", Tone::Good), nodes.join(",").into(), "".into(), "".into()]);
        }
        for one in batch.moves {
            let from = one.from.map_or_else(|| "-".to_owned(), |host| host.to_string());
            table.push(vec![number.clone().into(), one.server.into(), from.into(), one.to.to_string().into(), one.reason.into()]);
        }
    }
    session.out.table(&table)?;
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pan_api::insight::DrainNode;

    #[test]
    fn a_domain_is_a_label_with_a_value() {
        assert_eq!(domain("rack=r1"), Ok("rack=r1".to_owned()));
        for bad in ["rack", "rack=", "=r1", "ra ck=r1"] {
            assert!(domain(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn progress_names_the_nodes_and_what_holds_it() {
        let node = |name: &str, begun, servers| DrainNode { name: name.parse().unwrap(), begun, servers };
        let nodes = vec![node("n1", true, 2), node("n2", false, 1), node("n3", true, 0)];
        let drain = DomainDrain { domain: "rack=r1".into(), state: DrainState::Held, nodes, reason: Some("no room".into()) };
        assert_eq!(line(&drain), "rack=r1: 3 servers left, draining n1; held: no room");
        assert_eq!(missing(&drain), ["node n1 has 2 servers", "node n2 has 1 servers", "no room"]);
    }
}
