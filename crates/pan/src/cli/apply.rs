//! `pan apply`: create or change objects, all of them or none.

use super::failure::Failure;
use super::kind::Kind;
use super::ready::{Awaited, LOOK_AGAIN, wait_within};
use super::refused::refused;
use super::session::Session;
use clap::{Args, ValueEnum};
use pan_api::ApiError;
use pan_api::client::Client;
use pan_api::requests::{Applied, Apply, ApplyResult, File};
use pan_model::manifest::TEXT_MAX;
use pan_model::{Code, Span};
use std::io::Read;
use std::path::Path;
use std::time::Instant;

/// Create or change objects.
#[derive(Debug, Clone, Args)]
pub struct ApplyArgs {
    /// A file, a folder (its .yaml, .yml and .json files), or - for standard input; may be repeated.
    #[arg(short, long = "file", required = true, value_name = "FILE|DIR|-")]
    pub files: Vec<String>,
    /// Check everything, change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Wait until all servers run and are healthy and all services send to them.
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "60s")]
    pub wait: Option<Span>,
}

/// `pan apply`; the exit code.
pub async fn run(args: ApplyArgs, session: &Session) -> Result<u8, Failure> {
    let files = read_files(&args.files)?;
    apply(files, args.dry_run, args.wait, session).await
}

/// Applies texts, prints what became of each object, waits if asked.
pub async fn apply(files: Vec<File>, dry_run: bool, limit: Option<Span>, session: &Session) -> Result<u8, Failure> {
    let client = session.client()?;
    let path = match session.partition_if_any()? {
        Some(partition) => format!("/v1/apply?partition={partition}"),
        None => "/v1/apply".to_owned(),
    };
    let request = Apply { files, dry_run };
    let deadline = limit.filter(|_| !dry_run).map(|limit| Instant::now() + limit.0);
    let applied = match post(client, &path, &request, deadline).await {
        Ok(applied) => applied,
        Err(error) => {
            if session.out.is_data() && !error.problems.is_empty() {
                session.out.data(&refused(&error.problems, &request.files, session.partition_if_any()?.as_ref()))?;
            }
            return Err(error.into());
        }
    };
    print(&applied, dry_run, session)?;
    if let (Some(limit), Some(deadline)) = (limit, deadline) {
        let left = Span(deadline.saturating_duration_since(Instant::now()));
        wait_for(&applied, Limit { asked: limit, left }, session).await?;
    }
    Ok(0)
}

/// Applies; until the deadline also again and again, while something of the same name is still being deleted.
async fn post(client: &Client, path: &str, request: &Apply, deadline: Option<Instant>) -> Result<Vec<Applied>, ApiError> {
    loop {
        let answer = client.post(path, request).await;
        let leaving = answer.as_ref().is_err_and(|error: &ApiError| error.code == Code::Leaving);
        if !leaving || deadline.is_none_or(|deadline| Instant::now() >= deadline) {
            return answer;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// How long is waited: as asked for, and what is left of that.
struct Limit {
    asked: Span,
    left: Span,
}

fn print(applied: &[Applied], dry_run: bool, session: &Session) -> Result<(), Failure> {
    if session.out.is_data() {
        return session.out.data(applied);
    }
    for one in applied {
        let result = match one.result {
            ApplyResult::Created => "created",
            ApplyResult::Changed => "changed",
            ApplyResult::Unchanged => "unchanged",
            ApplyResult::Refused => "refused",
        };
        let within =
            one.partition.as_ref().filter(|_| one.kind != "partition").map(|partition| format!("{partition}/")).unwrap_or_default();
        session.out.say(&format!("{} {within}{} {result}{}", one.kind, one.name, if dry_run { " (dry run)" } else { "" }))?;
    }
    Ok(())
}

async fn wait_for(applied: &[Applied], limit: Limit, session: &Session) -> Result<(), Failure> {
    let client = session.client()?;
    let awaited: Vec<Awaited> = applied.iter().filter_map(awaited).collect();
    session.out.progress(&format!("waiting up to {} for {} objects", limit.asked, awaited.len()));
    let started = Instant::now();
    wait_within(limit.asked, limit.left.0, || {
        // Ready ones are looked at again: the last look counts for all of them together.
        let all = &awaited;
        async move {
            let mut missing = Vec::new();
            for one in all {
                missing.extend(one.missing(client).await?);
            }
            Ok(missing)
        }
    })
    .await?;
    session.out.progress(&format!("ready after {:.1} s", started.elapsed().as_secs_f64()));
    Ok(())
}

fn awaited(one: &Applied) -> Option<Awaited> {
    let kind = Kind::from_str(&one.kind, true).ok()?;
    let partition = one.partition.clone().filter(|_| kind.is_in_partition());
    // Whether an import leads anywhere is another partition's to say.
    if kind == Kind::Import {
        return None;
    }
    Some(Awaited { kind, partition, name: one.name.clone() })
}

/// How standard input is called.
const STDIN: &str = "standard input";

/// The texts of files, folders and standard input, each with its name.
pub fn read_files(names: &[String]) -> Result<Vec<File>, Failure> {
    let mut files: Vec<File> = Vec::new();
    for name in names {
        if name == "-" {
            if files.iter().any(|file| file.name == STDIN) {
                return Err(Failure::Usage("standard input (-) can be read only once: name it once".into()));
            }
            files.push(File { name: STDIN.into(), text: read(std::io::stdin().lock()).map_err(Failure::local("read standard input"))? });
            continue;
        }
        let path = Path::new(name);
        if path.is_dir() {
            for name in folder(path)? {
                files.push(read_file(&name)?);
            }
        } else {
            files.push(read_file(name)?);
        }
    }
    Ok(files)
}

fn read_file(name: &str) -> Result<File, Failure> {
    let text = std::fs::File::open(name).and_then(read).map_err(Failure::local(format!("read {name}")))?;
    Ok(File { name: name.to_owned(), text })
}

/// Reads a text that is not too long to be one of manifests, whatever else may still come.
fn read(from: impl Read) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    from.take(TEXT_MAX as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > TEXT_MAX {
        let text = format!("it has more than {TEXT_MAX} bytes: split it, or name the right file");
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, text));
    }
    String::from_utf8(bytes).map_err(|_| std::io::Error::new(std::io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

/// The manifests of a folder, sorted.
fn folder(path: &Path) -> Result<Vec<String>, Failure> {
    let failed = |error| Failure::local(format!("read folder {}", path.display()))(error);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let is_manifest = path.extension().is_some_and(|end| ["yaml", "yml", "json"].iter().any(|known| end == *known));
        if is_manifest && path.is_file() {
            names.push(path.to_string_lossy().into_owned());
        }
    }
    names.sort();
    if names.is_empty() {
        let text = format!("no objects in {}: the folder has no .yaml, .yml or .json file", path.display());
        return Err(Failure::new(Code::Invalid, text));
    }
    Ok(names)
}
