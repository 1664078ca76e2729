//! `pan why`, `certify`, `whatif` and `timeline`: reasons, proofs, forecasts and what happened.

use super::failure::Failure;
use super::kind::Kind;
use super::output::{Cell, Table, Tone};
use super::rows::read;
use super::session::Session;
use clap::Args;
use pan_api::client::escape;
use pan_api::insight::{Certificate, Timeline, WhatIf, Why};
use pan_api::requests::WhatIfRequest;
use pan_model::node::PaperNode;
use pan_model::{Code, HostName};
use serde_json::Value;

/// Say why an object is as it is.
#[derive(Debug, Clone, Args)]
pub struct WhyArgs {
    /// What kind.
    #[arg(value_enum)]
    pub kind: Kind,
    /// Which one.
    pub name: String,
}

/// Prove every protection promise by losing every node in turn.
#[derive(Debug, Clone, Args)]
pub struct CertifyArgs {
    /// Lose this many at once instead of as many as each cluster was promised.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    pub failures: Option<u32>,
}

/// Say what a failure or a new node would do; nothing is changed.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = true)]
pub struct WhatIfArgs {
    /// Hosts that fail together.
    #[arg(long, value_name = "HOST[,HOST]", value_delimiter = ',')]
    pub fail: Vec<HostName>,
    /// A node that joins, such as name=n9,cpu=4,memory=8GiB,rack=r2.
    #[arg(long, value_name = "SPEC")]
    pub add_node: Option<PaperNodeText>,
}

/// The text of a node on paper that can be read as one; the API takes the text.
#[derive(Debug, Clone)]
pub struct PaperNodeText(String);

impl std::str::FromStr for PaperNodeText {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<PaperNode>().map(|_| Self(text.to_owned()))
    }
}

/// Show a failover or a move, step by step.
#[derive(Debug, Clone, Args)]
pub struct TimelineArgs {
    /// A server, PARTITION/SERVER, or a host.
    #[arg(value_name = "SERVER|HOST")]
    pub object: String,
    /// All that are kept, newest first.
    #[arg(long)]
    pub all: bool,
}

/// `pan why`.
pub async fn why(args: WhyArgs, session: &Session) -> Result<(), Failure> {
    let kind = args.kind;
    if !matches!(kind, Kind::Server | Kind::Cluster | Kind::Service | Kind::Import | Kind::Policy | Kind::Node | Kind::Volume) {
        return Err(Failure::Usage(format!(
            "nothing explains a {kind}: expected server, cluster, service, import, policy, node or volume"
        )));
    }
    let (partition, name) = session.place(kind, &args.name)?;
    let query = partition.map(|partition| format!("?partition={partition}")).unwrap_or_default();
    let answer: Value = session.client()?.get(&format!("/v1/why/{kind}/{}{query}", escape(name))).await?;
    if session.out.is_data() {
        return session.out.data(&answer);
    }
    let why: Why = read(&answer)?;
    session.out.line(&format!("{}: {}", why.object, why.decision))?;
    why.reasons.iter().try_for_each(|reason| session.out.line(&format!("  because {reason}")))?;
    if !why.alternatives.is_empty() {
        session.out.line("alternatives:")?;
    }
    why.alternatives.iter().try_for_each(|other| session.out.line(&format!("  {other}")))
}

/// `pan certify`; the exit code.
pub async fn certify(args: CertifyArgs, session: &Session) -> Result<u8, Failure> {
    let query = args.failures.map(|failures| format!("?failures={failures}")).unwrap_or_default();
    let answer: Value = session.client()?.get(&format!("/v1/certify{query}")).await?;
    let proof: Certificate = read(&answer)?;
    let exit = u8::from(!proof.ok);
    if session.out.is_data() {
        session.out.data(&answer)?;
        return Ok(exit);
    }
    let failures = proof
        .failures
        .map(|failures| format!(" for {failures} {}", if failures == 1 { "failure" } else { "failures" }))
        .unwrap_or_default();
    if proof.ok && proof.checked == 0 {
        session.out.line("no server is promised anything (`protect` in its cluster), so no promise can break")?;
    } else if proof.ok {
        session.out.line(&format!("every promise holds{failures}: {} cases were tried", proof.checked))?;
    } else if let Some(case) = proof.counterexample {
        let hosts: Vec<&str> = case.hosts.iter().map(HostName::as_str).collect();
        let without = if hosts.is_empty() { String::new() } else { format!("without {}, ", hosts.join(" and ")) };
        session.out.line(&format!("a promise is broken{failures}: {without}{} has no place: {}", case.object, case.short))?;
    } else {
        session.out.line(&format!("not proved{failures}: {}", proof.unproved.as_deref().unwrap_or("no reason was given")))?;
    }
    Ok(exit)
}

/// `pan whatif`.
pub async fn whatif(args: WhatIfArgs, session: &Session) -> Result<(), Failure> {
    let request = WhatIfRequest { fail: args.fail, add_node: args.add_node.map(|text| text.0) };
    let answer: Value = session.client()?.post("/v1/whatif", &request).await?;
    if session.out.is_data() {
        return session.out.data(&answer);
    }
    let forecast: WhatIf = read(&answer)?;
    if forecast.moves.is_empty() && forecast.lost.is_empty() {
        return session.out.say("nothing would move");
    }
    let mut table = Table::new(vec!["SERVER", "FROM", "TO", "REASON"]);
    for one in forecast.moves {
        table.push(vec![
            one.server.into(),
            one.from.map_or_else(|| "-".to_owned(), |host| host.to_string()).into(),
            one.to.to_string().into(),
            one.reason.into(),
        ]);
    }
    for one in forecast.lost {
        table.push(vec![one.server.into(), "".into(), Cell::toned("no place", Tone::Bad), one.reason.into()]);
    }
    session.out.table(&table)
}

/// `pan timeline`.
pub async fn timeline(args: TimelineArgs, session: &Session) -> Result<(), Failure> {
    let found = timelines(&args.object, session).await?;
    if args.all && session.out.is_data() {
        return session.out.data(&found.all);
    }
    let Some(newest) = found.all.first() else {
        return Err(Failure::new(Code::NotFound, nothing_yet(&args.object, found.state(session).await.as_deref())));
    };
    if session.out.is_data() {
        return session.out.data(newest);
    }
    let shown = if args.all { found.all.as_slice() } else { std::slice::from_ref(newest) };
    shown.iter().try_for_each(|one| print(&read(one)?, session))?;
    if read::<Timeline>(newest)?.finished
        && let Some(state) = found.state(session).await.filter(|state| is_between(state))
    {
        session.out.say(&format!("{} is {state} now: what goes on at present is not in it yet, ask again in a second", args.object))?;
    }
    Ok(())
}

/// Timelines, and where the object is that they are of.
struct Found {
    all: Vec<Value>,
    object: String,
}

impl Found {
    /// The object's state, if it has one that can be read.
    async fn state(&self, session: &Session) -> Option<String> {
        let object: Value = session.client().ok()?.get(&self.object).await.ok()?;
        object["state"].as_str().map(str::to_owned)
    }
}

/// Whether something goes on with an object of this state.
fn is_between(state: &str) -> bool {
    ["suspect", "failing-over", "stopping", "starting", "dead", "unknown"].contains(&state)
}

/// What to say of an object without a timeline.
fn nothing_yet(object: &str, state: Option<&str>) -> String {
    match state.filter(|state| is_between(state)) {
        Some(state) => format!("{object} is {state}: what goes on is not in a timeline yet; ask again in a second"),
        None => format!(
            "nothing is known to have happened to {object}: there is no timeline. A failure is known within a second or two: if it was just \
             now, ask again"
        ),
    }
}

/// A name alone may be a server of the partition or a host: the server comes first.
async fn timelines(object: &str, session: &Session) -> Result<Found, Failure> {
    let client = session.client()?;
    let of_host = format!("/v1/timelines/{}", escape(object));
    let host = |all: Vec<Value>| Found { all, object: Kind::Host.path(None, object) };
    let partition = match object.split_once('/') {
        Some(_) => Some(session.place(Kind::Server, object)?),
        None => session.partition_if_any()?.map(|partition| (Some(partition), object)),
    };
    let Some((Some(partition), name)) = partition else {
        let found = client.get(&of_host).await;
        return found.map(host).map_err(|error| match error.code {
            Code::NotFound => Failure::Usage(format!("there is no host {object}; if it is a server, give -p PARTITION")),
            _ => error.into(),
        });
    };
    match client.get(&format!("/v1/timelines/{}?partition={partition}", escape(name))).await {
        Err(error) if error.code == Code::NotFound && !object.contains('/') => {
            let found = client.get(&of_host).await;
            let neither = format!("there is neither a server {partition}/{name} nor a host {name}");
            found.map(host).map_err(|error| if error.code == Code::NotFound { Failure::new(Code::NotFound, neither) } else { error.into() })
        }
        found => Ok(Found { all: found?, object: Kind::Server.path(Some(&partition), name) }),
    }
}

fn print(timeline: &Timeline, session: &Session) -> Result<(), Failure> {
    let epoch = timeline.epoch.map(|epoch| format!(", epoch {epoch}")).unwrap_or_default();
    let state = if timeline.finished { "" } else { ", still going on" };
    session.out.line(&format!("{}{epoch}: {} ms{state}", timeline.object, timeline.total_ms))?;
    let mut table = Table::new(vec!["AT", "AFTER MS", "STEP", "REASON"]);
    for step in &timeline.steps {
        table.push(vec![
            step.at.as_str().into(),
            format!("{:8}", step.took_ms).into(),
            step.step.as_str().into(),
            step.reason.as_str().into(),
        ]);
    }
    session.out.table(&table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_timeline_it_is_said_what_is_known() {
        for (state, part) in [
            (Some("suspect"), "p/web-1 is suspect: what goes on is not in a timeline yet"),
            (Some("failing-over"), "ask again in a second"),
            (Some("running"), "nothing is known to have happened to p/web-1"),
            (None, "if it was just now, ask again"),
        ] {
            let said = nothing_yet("p/web-1", state);
            assert!(said.contains(part), "{said}");
        }
    }
}
