//! `pan delete`: objects by name, or those of files.

use super::apply::read_files;
use super::failure::Failure;
use super::kind::Kind;
use super::output::note;
use super::ready::{Awaited, wait};
use super::session::Session;
use clap::Args;
use pan_api::requests::File;
use pan_model::manifest::{Object, PROBLEMS_MAX, Problem, parse};
use pan_model::{Code, PartitionName, Span};

/// How long the servers of a file's clusters may take to end before their partition goes.
const ENDING_MAX: Span = Span::millis(120_000);

/// Delete objects.
#[derive(Debug, Clone, Args)]
pub struct DeleteArgs {
    /// What kind.
    #[arg(value_enum, required_unless_present = "files", requires = "name", conflicts_with = "files")]
    pub kind: Option<Kind>,
    /// Which one.
    #[arg(conflicts_with = "files")]
    pub name: Option<String>,
    /// Delete what these files define; may be repeated.
    #[arg(short, long = "file", value_name = "FILE|DIR|-")]
    pub files: Vec<String>,
    /// With everything that depends on it.
    #[arg(long)]
    pub cascade: bool,
}

/// `pan delete`; the exit code.
pub async fn run(args: DeleteArgs, session: &Session) -> Result<u8, Failure> {
    match (args.kind, args.name) {
        (Some(kind), Some(name)) => {
            let target = target(kind, &name, session)?;
            delete(&target, args.cascade, session).await?;
            print(&[target], session)?;
            Ok(0)
        }
        (_, _) => delete_files(&args.files, args.cascade, session).await,
    }
}

fn target(kind: Kind, name: &str, session: &Session) -> Result<Awaited, Failure> {
    match kind {
        Kind::Partition | Kind::Cluster | Kind::Service | Kind::Import | Kind::Policy | Kind::Volume => {}
        Kind::Server => return Err(Failure::Usage("servers come and go with their cluster: use `pan scale cluster NAME N`".into())),
        Kind::Node | Kind::Host => return Err(Failure::not_yet("removing hosts")),
        other => return Err(Failure::Usage(format!("a {other} cannot be deleted"))),
    }
    let (partition, name) = session.place(kind, name)?;
    Ok(Awaited { kind, partition, name: name.to_owned() })
}

async fn delete(target: &Awaited, cascade: bool, session: &Session) -> Result<(), Failure> {
    let path = target.kind.path(target.partition.as_ref(), &target.name);
    let path = if cascade { format!("{path}?cascade=true") } else { path };
    Ok(session.client()?.delete::<()>(&path).await?)
}

fn print(deleted: &[Awaited], session: &Session) -> Result<(), Failure> {
    if session.out.is_data() {
        let row = |one: &Awaited| serde_json::json!({"kind": one.kind.to_string(), "partition": one.partition, "name": one.name, "result": "deleted"});
        return session.out.data(&deleted.iter().map(row).collect::<Vec<_>>());
    }
    deleted.iter().try_for_each(|one| session.out.say(&format!("{} deleted", one.label())))
}

/// Services, imports and policies first, then clusters, then partitions: each before what it depends on.
async fn delete_files(names: &[String], cascade: bool, session: &Session) -> Result<u8, Failure> {
    let texts: Vec<(String, String)> = read_files(names)?.into_iter().map(|File { name, text }| (name, text)).collect();
    let documents = parse(&texts, session.partition_if_any()?.as_ref()).map_err(refusal)?;
    let mut targets: Vec<Awaited> = documents.iter().map(|document| of(&document.object)).collect();
    targets.sort_by_key(|target| match target.kind {
        Kind::Service | Kind::Import | Kind::Policy => 0,
        Kind::Cluster => 1,
        Kind::Volume => 2,
        _ => 3,
    });
    let (mut deleted, mut exit): (Vec<Awaited>, u8) = (Vec::new(), 0);
    for target in targets {
        if target.kind == Kind::Partition {
            wait_for_ends(&deleted, &target.name, session).await?;
        }
        match delete(&target, cascade, session).await {
            Ok(()) => deleted.push(target),
            Err(Failure::Api(error)) if error.code == Code::NotFound => {
                note(&Failure::Api(error).text());
                exit = 3;
            }
            Err(error) => {
                print(&deleted, session)?;
                return Err(error);
            }
        }
    }
    print(&deleted, session)?;
    Ok(exit)
}

fn of(object: &Object) -> Awaited {
    let within = |partition: &PartitionName| Some(partition.clone());
    let (kind, partition) = match object {
        Object::Partition(..) => (Kind::Partition, None),
        Object::Cluster(partition, ..) => (Kind::Cluster, within(partition)),
        Object::Service(partition, ..) => (Kind::Service, within(partition)),
        Object::Volume(partition, ..) => (Kind::Volume, within(partition)),
        Object::Import(partition, ..) => (Kind::Import, within(partition)),
        Object::Policy(partition, ..) => (Kind::Policy, within(partition)),
    };
    Awaited { kind, partition, name: object.name().to_owned() }
}

/// A cluster stays until its servers have ended, and a partition is not deleted around it.
async fn wait_for_ends(deleted: &[Awaited], partition: &str, session: &Session) -> Result<(), Failure> {
    let client = session.client()?;
    wait(ENDING_MAX, || async move {
        let mut missing = Vec::new();
        for one in deleted.iter().filter(|one| one.partition.as_ref().is_some_and(|name| name.as_str() == partition)) {
            if one.look(client).await?.is_some() {
                missing.push(format!("{} has not ended", one.label()));
            }
        }
        Ok(missing)
    })
    .await
}

fn refusal(problems: Vec<Problem>) -> Failure {
    let code = problems.first().map_or(Code::Invalid, |problem| problem.code);
    let message = match problems.as_slice() {
        [only] => only.to_string(),
        more if more.len() > PROBLEMS_MAX => format!("more than {PROBLEMS_MAX} things are wrong in the documents; nothing was changed"),
        more => format!("{} things are wrong in the documents; nothing was changed", more.len()),
    };
    let wire = |problem: Problem| pan_api::Problem {
        code: problem.code,
        source: problem.place.source,
        line: problem.place.line,
        column: problem.place.column,
        message: problem.message,
    };
    let problems: Vec<_> = problems.into_iter().map(wire).collect();
    Failure::Api(pan_api::ApiError { code, message, problems })
}
