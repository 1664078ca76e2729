//! `pan usage`: what partitions used, for those who pay for it and those who are paid.

use super::failure::Failure;
use super::get::since;
use super::output::{Cell, Format, Table};
use super::session::Session;
use clap::Args;
use pan_api::client::escape;
use pan_api::usage::Usage;
use std::collections::BTreeMap;

/// Show what partitions used: one with -p, else all that you may see. Sums of the time asked for; hour by hour with --hours, json and csv.
#[derive(Debug, Clone, Args)]
pub struct UsageArgs {
    /// From this hour on: a duration ago like 5h, or a time. A day ago if it is not given.
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub from: Option<String>,
    /// Only hours that began before then.
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub to: Option<String>,
    /// Hour by hour.
    #[arg(long)]
    pub hours: bool,
    /// All partitions, whatever partition the context names.
    #[arg(short = 'A', long, conflicts_with = "partition")]
    pub all: bool,
}

/// `pan usage`.
pub async fn run(args: UsageArgs, session: &Session) -> Result<(), Failure> {
    let within = if args.all { None } else { session.partition_if_any()? };
    let path = within.map_or_else(|| "/v1/usage".to_owned(), |partition| format!("/v1/partitions/{partition}/usage"));
    let query: Vec<String> = [("from", &args.from), ("to", &args.to)]
        .into_iter()
        .filter_map(|(name, time)| Some(format!("{name}={}", escape(time.as_ref()?))))
        .collect();
    let path = if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) };
    let rows: Vec<Usage> = session.client()?.get(&path).await?;
    match session.out.format {
        Format::Json | Format::Jsonl | Format::Yaml => session.out.data(&rows),
        Format::Csv => session.out.raw(csv(&rows).as_bytes()),
        Format::Prometheus => session.out.raw(prometheus(&sums(rows)).as_bytes()),
        Format::Table | Format::Wide if rows.is_empty() => session.out.say("nothing was used in that time"),
        Format::Table | Format::Wide => session.out.table(&table(&if args.hours { rows } else { sums(rows) }, args.hours)),
    }
}

/// One for each cluster, of its first hour on.
fn sums(rows: Vec<Usage>) -> Vec<Usage> {
    let mut all: BTreeMap<_, Usage> = BTreeMap::new();
    for row in rows {
        let key = (row.partition.clone(), row.cluster.clone());
        let Some(sum) = all.get_mut(&key) else {
            all.insert(key, row);
            continue;
        };
        sum.cpu_seconds += row.cpu_seconds;
        sum.memory_gib_hours += row.memory_gib_hours;
        sum.storage_gib_hours += row.storage_gib_hours;
        sum.received_bytes = sum.received_bytes.saturating_add(row.received_bytes);
        sum.sent_bytes = sum.sent_bytes.saturating_add(row.sent_bytes);
    }
    all.into_values().collect()
}

fn cluster(row: &Usage) -> &str {
    row.cluster.as_ref().map_or("", |cluster| cluster.as_str())
}

fn table(rows: &[Usage], hours: bool) -> Table {
    let mut head = vec!["PARTITION", "CLUSTER", "CPU S", "MEMORY GIB H", "STORAGE GIB H", "RECEIVED BYTES", "SENT BYTES"];
    if hours {
        head.insert(0, "HOUR");
    }
    let mut table = Table::new(head);
    for row in rows {
        let mut cells: Vec<Cell> = vec![
            row.partition.as_str().into(),
            match cluster(row) {
                "" => "(volumes)".into(),
                name => name.into(),
            },
            format!("{:.1}", row.cpu_seconds).into(),
            format!("{:.3}", row.memory_gib_hours).into(),
            format!("{:.3}", row.storage_gib_hours).into(),
            row.received_bytes.to_string().into(),
            row.sent_bytes.to_string().into(),
        ];
        if hours {
            cells.insert(0, row.hour.as_str().into());
        }
        table.push(cells);
    }
    table
}

/// RFC 4180, but with lines that end as they do here. Names and numbers need no quotes.
fn csv(rows: &[Usage]) -> String {
    let mut text = "hour,partition,cluster,cpu_seconds,memory_gib_hours,storage_gib_hours,received_bytes,sent_bytes\n".to_owned();
    for row in rows {
        let Usage { partition, hour, cpu_seconds, memory_gib_hours, storage_gib_hours, received_bytes, sent_bytes, .. } = row;
        let name = cluster(row);
        text.push_str(&format!(
            "{hour},{partition},{name},{cpu_seconds:.6},{memory_gib_hours:.9},{storage_gib_hours:.9},{received_bytes},{sent_bytes}\n"
        ));
    }
    text
}

/// What a family is called, what it means, and its number.
type Family = (&'static str, &'static str, fn(&Usage) -> String);

/// Gauges: sums of a time that moves on do not only grow.
const FAMILIES: [Family; 5] = [
    ("pan_usage_cpu_seconds", "Processor time in the time asked for", |row| row.cpu_seconds.to_string()),
    ("pan_usage_memory_gib_hours", "Memory times hours in the time asked for", |row| row.memory_gib_hours.to_string()),
    ("pan_usage_storage_gib_hours", "Storage times hours in the time asked for", |row| row.storage_gib_hours.to_string()),
    ("pan_usage_received_bytes", "Bytes received in the time asked for", |row| row.received_bytes.to_string()),
    ("pan_usage_sent_bytes", "Bytes sent in the time asked for", |row| row.sent_bytes.to_string()),
];

fn prometheus(sums: &[Usage]) -> String {
    let mut text = String::new();
    for (name, help, number) in FAMILIES {
        text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} gauge\n"));
        for row in sums {
            text.push_str(&format!("{name}{{partition=\"{}\",cluster=\"{}\"}} {}\n", row.partition, cluster(row), number(row)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Usage> {
        let row = |hour: &str, cluster: Option<&str>| Usage {
            partition: "acme".parse().unwrap(),
            cluster: cluster.map(|name| name.parse().unwrap()),
            hour: hour.into(),
            cpu_seconds: 1.5,
            memory_gib_hours: 0.25,
            storage_gib_hours: 0.0,
            received_bytes: 7,
            sent_bytes: 9,
        };
        vec![row("2026-01-01T00:00:00Z", Some("web")), row("2026-01-01T01:00:00Z", Some("web")), row("2026-01-01T01:00:00Z", None)]
    }

    #[test]
    fn every_format_has_every_number() {
        let text = csv(&rows());
        assert_eq!(text.lines().nth(1), Some("2026-01-01T00:00:00Z,acme,web,1.500000,0.250000000,0.000000000,7,9"));
        assert_eq!(text.lines().nth(3), Some("2026-01-01T01:00:00Z,acme,,1.500000,0.250000000,0.000000000,7,9"));
        let text = prometheus(&sums(rows()));
        let samples = pan_api::metrics::read(&text).unwrap();
        assert_eq!(samples.len(), 10);
        assert!(text.contains("pan_usage_cpu_seconds{partition=\"acme\",cluster=\"web\"} 3\n"), "{text}");
        let table = table(&rows(), true);
        assert_eq!((table.columns(), table.cells()), (8, 8));
    }
}
