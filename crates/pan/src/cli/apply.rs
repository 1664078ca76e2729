//! `pan apply`: create or change objects, all of them or none.

use super::failure::Failure;
use super::kind::Kind;
use super::ready::{Awaited, wait};
use super::refused::refused;
use super::session::Session;
use clap::{Args, ValueEnum};
use pan_api::ApiError;
use pan_api::requests::{Applied, Apply, ApplyResult, File};
use pan_model::Span;
use std::io::Read;
use std::path::Path;

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
    let answer: Result<Vec<Applied>, ApiError> = client.post(&path, &request).await;
    let applied = match answer {
        Ok(applied) => applied,
        Err(error) => {
            if session.out.is_data() && !error.problems.is_empty() {
                session.out.data(&refused(&error.problems, &request.files, session.partition_if_any()?.as_ref()))?;
            }
            return Err(error.into());
        }
    };
    print(&applied, dry_run, session)?;
    if let (Some(limit), false) = (limit, dry_run) {
        wait_for(&applied, limit, session).await?;
    }
    Ok(0)
}

fn print(applied: &[Applied], dry_run: bool, session: &Session) -> Result<(), Failure> {
    if session.out.is_data() {
        return session.out.data(applied);
    }
    if applied.is_empty() {
        return session.out.say("nothing to apply: there is no document in it");
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

async fn wait_for(applied: &[Applied], limit: Span, session: &Session) -> Result<(), Failure> {
    let client = session.client()?;
    let awaited: Vec<Awaited> = applied.iter().filter_map(awaited).collect();
    session.out.progress(&format!("waiting up to {limit} for {} objects", awaited.len()));
    let started = std::time::Instant::now();
    wait(limit, || {
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
    Some(Awaited { kind, partition, name: one.name.clone() })
}

/// The texts of files, folders and standard input, each with its name.
pub fn read_files(names: &[String]) -> Result<Vec<File>, Failure> {
    let mut files = Vec::new();
    for name in names {
        if name == "-" {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(Failure::local("read standard input"))?;
            files.push(File { name: "standard input".into(), text });
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
    let text = std::fs::read_to_string(name).map_err(Failure::local(format!("read {name}")))?;
    Ok(File { name: name.to_owned(), text })
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
        return Err(Failure::Usage(format!("folder {} has no .yaml, .yml or .json file", path.display())));
    }
    Ok(names)
}
