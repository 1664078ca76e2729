//! `pan audit`: who changed what, and whether that is what was written.

use super::failure::Failure;
use super::get::since;
use super::output::{Cell, Format, Table, Tone, note};
use super::session::Session;
use clap::Args;
use pan_api::audit::{Checker, Line, Misfit, Page};
use pan_api::client::escape;
use pan_model::Code;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Show who changed what: in a partition with -p, else in the PAN, or in the partition that the token is for.
#[derive(Debug, Clone, Args)]
pub struct AuditArgs {
    /// Check here that no line was altered, taken out or put in.
    #[arg(long)]
    pub verify: bool,
    /// Only from then on: a duration ago like 5m, or a time.
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub since: Option<String>,
    /// The PAN's own log, whatever partition the context names.
    #[arg(long, conflicts_with = "partition")]
    pub pan: bool,
    /// Check lines that were exported earlier (`-o jsonl`), and that the PAN's log goes on from there.
    #[arg(long, value_name = "FILE", requires = "verify", conflicts_with = "since")]
    pub file: Option<PathBuf>,
    /// Check the file alone.
    #[arg(long, requires = "file")]
    pub offline: bool,
}

/// `pan audit`.
pub async fn run(args: AuditArgs, session: &Session) -> Result<(), Failure> {
    match (args.verify, &args.file) {
        (true, Some(file)) => verify_file(file, &args, session).await,
        (true, None) => verify(&args, session).await,
        (false, _) => show(&args, session).await,
    }
}

/// The pages of a log, one after the other.
struct Pages<'a> {
    session: &'a Session,
    path: String,
    query: Option<String>,
}

impl<'a> Pages<'a> {
    fn new(args: &AuditArgs, session: &'a Session, from: Option<u64>) -> Result<Self, Failure> {
        let within = if args.pan { None } else { session.partition_if_any()? };
        let path = within.map_or_else(|| "/v1/audit".to_owned(), |partition| format!("/v1/partitions/{partition}/audit"));
        let since = args.since.as_ref().map(|since| format!("since={}", escape(since)));
        Ok(Self { session, path, query: Some(from.map(|from| format!("from={from}")).or(since).unwrap_or_default()) })
    }

    /// The next one; `None` after the last.
    async fn next(&mut self) -> Result<Option<Page>, Failure> {
        let Some(query) = self.query.take() else { return Ok(None) };
        let path = if query.is_empty() { self.path.clone() } else { format!("{}?{query}", self.path) };
        let page: Page = self.session.client()?.get(&path).await?;
        self.query = page.next.map(|next| format!("from={next}"));
        Ok(Some(page))
    }
}

async fn show(args: &AuditArgs, session: &Session) -> Result<(), Failure> {
    let mut pages = Pages::new(args, session, None)?;
    let (mut all, mut any) = (Vec::new(), false);
    let wide = session.out.format == Format::Wide;
    let mut table = Table::new(head(wide));
    while let Some(page) = pages.next().await? {
        any |= !page.lines.is_empty();
        match session.out.format {
            // Word for word: the order of the fields is what the hashes are of.
            Format::Jsonl => page.lines.iter().try_for_each(|line| session.out.line(&text(line)?))?,
            Format::Json | Format::Yaml => all.extend(page.lines),
            Format::Table | Format::Wide | Format::Csv | Format::Prometheus if page.lines.is_empty() => {}
            Format::Table | Format::Wide | Format::Csv | Format::Prometheus => {
                page.lines.iter().for_each(|line| table.push(row(line, wide)));
                session.out.table(&table)?;
                table.go_on();
            }
        }
    }
    match session.out.format {
        Format::Json | Format::Yaml => session.out.data(&all),
        Format::Table | Format::Wide if !any => session.out.say("nothing was changed yet"),
        Format::Jsonl | Format::Table | Format::Wide | Format::Csv | Format::Prometheus => Ok(()),
    }
}

fn text(line: &Line) -> Result<String, Failure> {
    serde_json::to_string(line).map_err(|error| Failure::new(Code::Internal, format!("a line cannot be written: {error}")))
}

fn head(wide: bool) -> Vec<&'static str> {
    let mut head = vec!["NUMBER", "TIME", "PRINCIPAL", "ROLE", "VERB", "KIND", "NAME", "RESULT", "DETAIL"];
    if wide {
        head.extend(["TOKEN", "HASH"]);
    }
    head
}

fn row(line: &Line, wide: bool) -> Vec<Cell> {
    let tone = if line.result.starts_with("PAN-") { Tone::Doubtful } else { Tone::Plain };
    let times = line.times.map(|times| format!("{times} times"));
    let detail = if line.detail.is_empty() { times.unwrap_or_default() } else { line.detail.clone() };
    let words =
        [line.time.as_str(), line.principal.as_str(), line.role.as_str(), line.verb.as_str(), line.kind.as_str(), line.name.as_str()];
    let mut row = vec![Cell::from(line.number.to_string())];
    row.extend(words.map(Cell::from));
    row.extend([Cell::toned(line.result.as_str(), tone), Cell::from(detail)]);
    if wide {
        row.extend([Cell::from(line.token.as_deref().unwrap_or("-")), Cell::from(line.hash.as_str())]);
    }
    row
}

fn altered(misfit: &Misfit) -> Failure {
    Failure::new(Code::Altered, misfit.to_string())
}

async fn verify(args: &AuditArgs, session: &Session) -> Result<(), Failure> {
    let mut checker = Checker::default();
    let kept = go_on(&mut checker, Pages::new(args, session, None)?).await?;
    if let (Some(first), None) = (checker.first.filter(|first| *first > 1), &args.since)
        && !session.globals.quiet
    {
        note(&format!("lines before {first} are not kept any more: an earlier export has them (--file)"));
    }
    told(&checker, kept, session)
}

/// Checks pages to the end of the log, whose head must be what the last line says.
async fn go_on(checker: &mut Checker, mut pages: Pages<'_>) -> Result<u64, Failure> {
    let mut newest = 0;
    while let Some(page) = pages.next().await? {
        let known = checker.head().map_or(0, |(last, _)| last);
        for line in page.lines.iter().filter(|line| line.number > known) {
            checker.next(line).map_err(|misfit| altered(&misfit))?;
        }
        let end = checker.head().map(|(number, hash)| (number, hash.to_owned()));
        if let (None, Some((number, hash))) = (page.next, end)
            && (number, hash.as_str()) != (page.last, page.head.as_str())
        {
            let text = format!("the log ends with line {} as the PAN says, and with line {number} as it shows", page.last);
            return Err(Failure::new(Code::Altered, text));
        }
        newest = page.last;
    }
    Ok(newest)
}

async fn verify_file(file: &Path, args: &AuditArgs, session: &Session) -> Result<(), Failure> {
    let lines = read(file)?;
    let mut checker = Checker::default();
    lines.iter().try_for_each(|line| checker.next(line)).map_err(|misfit| altered(&misfit))?;
    let Some((last, hash)) = checker.head().map(|(last, hash)| (last, hash.to_owned())).filter(|_| !args.offline) else {
        return told(&checker, 0, session);
    };
    let there = Pages::new(args, session, Some(last))?.next().await?;
    let Page { lines, first, last: newest, .. } =
        there.unwrap_or(Page { lines: Vec::new(), first: 1, last: 0, head: String::new(), next: None });
    if newest < last {
        return Err(Failure::new(Code::Altered, format!("{} has line {last}, and the PAN's log ends with line {newest}", file.display())));
    }
    if first > last + 1 {
        let text = format!(
            "{} fits, but ends with line {last}, and the PAN keeps lines from {first} on: what was between is not known",
            file.display()
        );
        return Err(Failure::new(Code::State, text));
    }
    if let Some(other) = lines.first().filter(|line| line.number == last && line.hash != hash) {
        let text =
            format!("line {} of the PAN's log is not the one in {}: it, or one before it, was written anew", other.number, file.display());
        return Err(Failure::new(Code::Altered, text));
    }
    let kept = go_on(&mut checker, Pages::new(args, session, Some(last))?).await?;
    told(&checker, kept, session)
}

/// Lines as `-o jsonl` or `-o json` wrote them.
fn read(file: &Path) -> Result<Vec<Line>, Failure> {
    let text = std::fs::read_to_string(file).map_err(Failure::local(format!("read {}", file.display())))?;
    let bad = |at: usize, error: serde_json::Error| {
        Failure::new(Code::Altered, format!("{}:{at}: no line of an audit log: {error}", file.display()))
    };
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(&text).map_err(|error| bad(error.line(), error));
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(at, line)| serde_json::from_str(line).map_err(|error| bad(at + 1, error))).collect()
}

fn told(checker: &Checker, newest: u64, session: &Session) -> Result<(), Failure> {
    let (last, head) = checker.head().unwrap_or((newest, ""));
    if session.out.is_data() {
        let all = json!({"ok": true, "lines": checker.lines, "first": checker.first, "last": last, "head": head});
        return session.out.data(&all);
    }
    match checker.first {
        Some(first) => session.out.say(&format!("{} lines fit: {first} to {last}, whose hash is {head}", checker.lines)),
        None => session.out.say("there are no lines"),
    }
}
