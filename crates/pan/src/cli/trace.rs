//! `pan trace request`: where a request would go, stage by stage.

use super::failure::Failure;
use super::kind::Kind;
use super::output::Table;
use super::rows::read;
use super::session::Session;
use clap::{Args, Subcommand};
use pan_api::traffic::{Trace, TraceRequest};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Say where something would go, and why.
#[derive(Debug, Clone, Subcommand)]
pub enum TraceCommand {
    /// Show where a request of a service of layer 7 would go; nothing is sent.
    Request(TraceArgs),
}

/// The request.
#[derive(Debug, Clone, Args)]
pub struct TraceArgs {
    /// Which service.
    #[arg(long, value_name = "NAME")]
    pub service: String,
    /// The path, with a query or without.
    #[arg(long, default_value = "/")]
    pub path: String,
    /// The method.
    #[arg(long, default_value = "GET")]
    pub method: String,
    /// The host that is asked for.
    #[arg(long)]
    pub host: Option<String>,
    /// A header; repeat it for more.
    #[arg(long, value_name = "NAME=VALUE", value_parser = header)]
    pub header: Vec<(String, String)>,
    /// The client's address; nobody's if not given.
    #[arg(long, value_name = "ADDRESS")]
    pub client: Option<IpAddr>,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or("expected NAME=VALUE, such as x-user=anna")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// `pan trace`.
pub async fn run(command: TraceCommand, session: &Session) -> Result<(), Failure> {
    let TraceCommand::Request(args) = command;
    let path = format!("{}/trace", session.path(Kind::Service, &args.service)?);
    let mut headers = BTreeMap::new();
    for (name, value) in args.header {
        // A host that is given as a header is one all the same.
        if headers.insert(name.to_ascii_lowercase(), value).is_some() {
            return Err(Failure::Usage(format!("--header {name} is given twice: expected each header once")));
        }
    }
    let host = args.host.or_else(|| headers.remove("host"));
    let request = TraceRequest { path: args.path, method: Some(args.method), host, headers, client: args.client };
    let answer: Value = session.client()?.post(&path, &request).await?;
    if session.out.is_data() {
        return session.out.data(&answer);
    }
    show(&read(&answer)?, session)
}

fn show(trace: &Trace, session: &Session) -> Result<(), Failure> {
    for rule in &trace.rules {
        session.out.line(&format!("rule of routes[{}]: {}", rule.route, rule.said))?;
    }
    let Some(route) = &trace.route else { return session.out.line("route: none matches, so the answer is 404") };
    if let Some(redirect) = &trace.redirect {
        return session.out.line(&format!("route: {route}, which sends the client to {redirect}"));
    }
    session.out.line(&format!("route: {route}, which leads to cluster {}", trace.cluster.as_deref().unwrap_or("-")))?;
    if trace.panics {
        session.out.line("so many servers are suspected or ejected that neither is heeded")?;
    }
    for out in &trace.out {
        session.out.line(&format!("{}: {} is out, because {}", out.stage, out.server, out.why))?;
    }
    if !trace.scores.is_empty() {
        let mut table = Table::new(vec!["SERVER", "WEIGHT", "REQUESTS", "LATENCY", "SCORE"]);
        for one in &trace.scores {
            let latency = if one.latency_us == 0 { "-".to_owned() } else { format!("{}us", one.latency_us) };
            let score = one.score.map_or_else(|| "-".to_owned(), |(load, weight)| format!("{load}/{weight}"));
            table.push(vec![
                one.server.clone().into(),
                one.weight.to_string().into(),
                one.in_flight.to_string().into(),
                latency.into(),
                score.into(),
            ]);
        }
        session.out.table(&table)?;
    }
    match &trace.pick {
        Some(pick) => session.out.line(&format!("pick: {}, because {}", pick.server, pick.why)),
        None => session.out.line("pick: nobody can have it, so it waits as long as the service says, and then the answer is 503"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_pairs() {
        assert_eq!(header("a=b=c").unwrap(), ("a".to_owned(), "b=c".to_owned()));
        assert_eq!(header("a=").unwrap(), ("a".to_owned(), String::new()));
        assert!(header("a").is_err() && header("=b").is_err());
    }
}
