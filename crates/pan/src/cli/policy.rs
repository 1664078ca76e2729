//! `pan policy`: what holds, what will, and what would at a moment.

use super::failure::Failure;
use super::get::{self, GetArgs};
use super::kind::Kind;
use super::output::{Cell, Table, Tone};
use super::rows::{moment, read, said};
use super::session::Session;
use clap::Subcommand;
use pan_api::client::escape;
use pan_api::policy::{Because, Outlook, Policy};
use serde_json::{Value, json};

/// `pan policy …`.
#[derive(Debug, Clone, Subcommand)]
pub enum PolicyCommand {
    /// Show the policies of a partition, and what of them holds.
    List {
        /// Those of all partitions.
        #[arg(short = 'A', long)]
        all: bool,
    },
    /// Say what of a policy holds, what it makes of its cluster, and what comes next.
    Explain {
        /// Which one.
        name: String,
    },
    /// Show each time that policies change the number of servers of a cluster.
    Forecast {
        /// How many days to look ahead.
        #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=366))]
        days: u32,
    },
    /// Say what policies would make of clusters at a moment, and whether that could be had as the PAN is now; nothing is changed.
    Simulate {
        /// When, such as 2026-12-08T02:10:00+01:00.
        #[arg(long, value_name = "TIME", value_parser = instant)]
        at: jiff::Timestamp,
    },
}

fn instant(text: &str) -> Result<jiff::Timestamp, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is no moment: expected one with its offset, like 2026-12-08T02:10:00+01:00 or 2026-12-08T01:10:00Z"))
}

/// `pan policy`.
pub async fn run(command: PolicyCommand, session: &Session) -> Result<(), Failure> {
    match command {
        PolicyCommand::List { all } => get::run(GetArgs { kind: Kind::Policy, name: None, all, watch: false }, session).await,
        PolicyCommand::Explain { name } => explain(&name, session).await,
        PolicyCommand::Forecast { days } => {
            let partition = session.partition()?;
            let answer: Value = session.client()?.get(&format!("/v1/partitions/{partition}/outlook?days={days}")).await?;
            if session.out.is_data() {
                return session.out.data(&answer);
            }
            let rows: Vec<Outlook> = read(&answer)?;
            if rows.is_empty() {
                return session.out.say("no policy is about any cluster");
            }
            let mut table = Table::new(vec!["FROM", "CLUSTER", "SERVERS", "BECAUSE"]);
            rows.iter().for_each(|row| table.push(vec![moment(&row.at).into(), row.cluster.as_str().into(), servers(row), because(row)]));
            session.out.table(&table)
        }
        PolicyCommand::Simulate { at } => {
            let partition = session.partition()?;
            let path = format!("/v1/partitions/{partition}/outlook?at={}", escape(&at.to_string()));
            let answer: Value = session.client()?.get(&path).await?;
            if session.out.is_data() {
                return session.out.data(&answer);
            }
            let rows: Vec<Outlook> = read(&answer)?;
            if rows.is_empty() {
                return session.out.say("no policy is about any cluster");
            }
            let mut table = Table::new(vec!["CLUSTER", "SERVERS", "UNTIL", "CAN BE HAD", "BECAUSE"]);
            for row in &rows {
                let can = row
                    .short
                    .as_ref()
                    .map_or_else(|| Cell::toned("yes", Tone::Good), |short| Cell::toned(format!("no: {short}"), Tone::Bad));
                table.push(vec![row.cluster.as_str().into(), servers(row), until(row).into(), can, because(row)]);
            }
            session.out.table(&table)
        }
    }
}

async fn explain(name: &str, session: &Session) -> Result<(), Failure> {
    let client = session.client()?;
    let (partition, name) = session.place(Kind::Policy, name)?;
    let policy: Value = client.get(&Kind::Policy.path(partition.as_ref(), name)).await?;
    let it: Policy = read(&policy)?;
    let rows: Vec<Outlook> = client.get(&format!("/v1/partitions/{}/outlook", it.partition)).await?;
    let rows: Vec<Outlook> = rows.into_iter().filter(|row| row.cluster == it.cluster).collect();
    if session.out.is_data() {
        return session.out.data(&json!({"policy": policy, "outlook": rows}));
    }
    session.out.line(&format!("policy {}/{} is about cluster {}", it.partition, it.name, it.cluster))?;
    for (number, schedule) in it.spec.schedules.iter().enumerate() {
        let open = it.active.iter().find(|window| window.schedule == number);
        let open = open
            .map_or_else(|| "not now".to_owned(), |window| format!("holds from {} until {}", moment(&window.from), moment(&window.until)));
        session.out.line(&format!("  schedules[{number}] {}: {open}", said(schedule)))?;
    }
    if let Some(now) = rows.first() {
        session.out.line(&format!("cluster {} is to have {} servers now: {}", now.cluster, now.servers, because(now).text))?;
    }
    match rows.get(1) {
        Some(next) => session.out.line(&format!("then {} from {} on: {}", next.servers, moment(&next.at), because(next).text)),
        None => session.out.line("nothing changes that within seven days"),
    }
}

fn servers(row: &Outlook) -> Cell {
    if row.servers == row.own { row.servers.to_string().into() } else { format!("{} (manifest: {})", row.servers, row.own).into() }
}

fn until(row: &Outlook) -> String {
    row.until.as_deref().map_or_else(|| "always".to_owned(), moment)
}

fn because(row: &Outlook) -> Cell {
    let one = |because: &Because| {
        let window = &because.window;
        format!("{} of {}, schedules[{}], until {}", window.effect, because.policy, window.schedule, moment(&window.until))
    };
    let all: Vec<String> = row.because.iter().map(one).collect();
    match &row.clash {
        Some(clash) => Cell::toned(clash.as_str(), Tone::Bad),
        None if all.is_empty() => "its manifest".into(),
        None => all.join("; ").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_have_an_offset() {
        for fine in ["2026-12-08T02:10:00+01:00", "2026-12-08T01:10Z"] {
            assert_eq!(instant(fine).unwrap().to_string(), "2026-12-08T01:10:00Z");
        }
        for wrong in ["now", "2026-12-08", "2026-12-08T02:10:00"] {
            assert!(instant(wrong).unwrap_err().contains("with its offset"), "{wrong}");
        }
    }
}
