//! `pan volume …`.

use super::arguments::VolumeCommand;
use super::export;
use super::failure::Failure;
use super::get::{self, GetArgs};
use super::kind::Kind;
use super::ready::wait;
use super::session::Session;
use clap::Args;
use pan_api::requests::{Applied, Apply, File};
use pan_api::volume::{RecoverVolume, ResizeVolume, SnapshotState, TakeSnapshot, Volume};
use pan_model::{ByteSize, Name, PartitionName, SnapshotName, Span, VolumeName};
use serde_json::json;

/// Keep a volume as it is now, or remove what was kept.
///
/// What a snapshot holds is what a power failure at that moment would have left: databases and file systems start from it as after one.
#[derive(Debug, Clone, Args)]
pub struct SnapshotArgs {
    /// VOLUME@NAME.
    #[arg(value_name = "VOLUME@NAME")]
    pub snapshot: String,
    /// Remove it instead.
    #[arg(long)]
    pub remove: bool,
    /// How long to wait until it is kept.
    #[arg(long, value_name = "TIME", default_value = "60s", conflicts_with = "remove")]
    pub timeout: Span,
}

/// Make a volume that begins as a snapshot.
///
/// As a manifest of kind Volume with `from` does. It shares what it has in common with the snapshot.
#[derive(Debug, Clone, Args)]
pub struct CloneArgs {
    /// VOLUME@NAME.
    #[arg(value_name = "VOLUME@NAME")]
    pub snapshot: String,
    /// What the new volume is called.
    pub name: Name,
    /// How much it holds; as much as the snapshot unless it is given.
    #[arg(long)]
    pub size: Option<ByteSize>,
    /// On how many storage hosts it is kept.
    #[arg(long, default_value_t = 2)]
    pub copies: u8,
}

/// Make a volume larger; its file system follows when a server has it.
#[derive(Debug, Clone, Args)]
pub struct ResizeArgs {
    /// Which volume.
    pub volume: String,
    /// Its size from now on.
    pub size: ByteSize,
}

/// Go on with what is left of a volume, all copies of which that had everything are lost.
#[derive(Debug, Clone, Args)]
pub struct RecoverArgs {
    /// Which volume.
    pub volume: String,
    /// Its name once more: what only the lost copies had is given up for ever, also if they come back.
    #[arg(long, value_name = "VOLUME")]
    pub accept_data_loss: VolumeName,
}

/// `pan volume`.
pub async fn run(command: VolumeCommand, session: &Session) -> Result<(), Failure> {
    match command {
        VolumeCommand::List { all } => get::run(GetArgs { kind: Kind::Volume, name: None, all, watch: false }, session).await,
        VolumeCommand::Snapshot(args) if args.remove => remove(args, session).await,
        VolumeCommand::Snapshot(args) => snapshot(args, session).await,
        VolumeCommand::Clone(args) => clone(args, session).await,
        VolumeCommand::Resize(args) => resize(args, session).await,
        VolumeCommand::Export(args) => export::run(args, session).await,
        VolumeCommand::Recover(args) => recover(args, session).await,
    }
}

/// A snapshot that is named as `[PARTITION/]VOLUME@NAME`: its partition, its name, and the path of its volume.
pub(super) fn named(text: &str, session: &Session) -> Result<(PartitionName, SnapshotName, String), Failure> {
    let (partition, bare) = session.place(Kind::Volume, text)?;
    let name: SnapshotName = bare.parse().map_err(|error: pan_model::volume::SnapshotNameError| Failure::Usage(error.to_string()))?;
    let path = Kind::Volume.path(partition.as_ref(), name.volume.as_str());
    Ok((partition.map_or_else(|| session.partition(), Ok)?, name, path))
}

async fn snapshot(args: SnapshotArgs, session: &Session) -> Result<(), Failure> {
    let (_, name, path) = named(&args.snapshot, session)?;
    let client = session.client()?;
    let (): () = client.post(&format!("{path}/snapshots"), &TakeSnapshot { name: name.name.clone() }).await?;
    wait(args.timeout, || async {
        let volume: Volume = client.get(&path).await?;
        let found = volume.snapshots.into_iter().find(|snapshot| snapshot.name == name.name);
        match found {
            Some(snapshot) if snapshot.state == SnapshotState::Ready => Ok(Vec::new()),
            Some(snapshot) if snapshot.state == SnapshotState::Failed => {
                let why = snapshot.message.unwrap_or_default();
                Err(Failure::new(pan_model::Code::State, format!("snapshot {name} could not be taken: {why}; remove it, and try again")))
            }
            Some(snapshot) => {
                Ok(vec![format!("snapshot {name} is not taken yet{}", snapshot.message.map(|why| format!(": {why}")).unwrap_or_default())])
            }
            None => Err(Failure::new(pan_model::Code::NotFound, format!("snapshot {name} was removed"))),
        }
    })
    .await?;
    report(session, "snapshot", &name.to_string(), "is kept")
}

async fn remove(args: SnapshotArgs, session: &Session) -> Result<(), Failure> {
    let (_, name, path) = named(&args.snapshot, session)?;
    let (): () = session.client()?.delete(&format!("{path}/snapshots/{}", name.name)).await?;
    report(session, "snapshot", &name.to_string(), "is removed")
}

async fn clone(args: CloneArgs, session: &Session) -> Result<(), Failure> {
    let (partition, from, _) = named(&args.snapshot, session)?;
    let mut spec = json!({"from": from, "copies": args.copies});
    if let Some(size) = args.size {
        spec["size"] = json!(size.0);
    }
    let document = json!({"api": pan_model::manifest::API, "kind": "Volume", "partition": partition, "name": args.name, "spec": spec});
    // What is wrong with it is told as of a file of that name.
    let file = File { name: format!("volume {}", args.name), text: document.to_string() };
    let applied: Vec<Applied> = session.client()?.post("/v1/apply", &Apply { files: vec![file], dry_run: false }).await?;
    let is_new = applied.iter().any(|one| one.result == pan_api::requests::ApplyResult::Created);
    report(session, "volume", args.name.as_str(), if is_new { "is being made" } else { "was there" })
}

async fn resize(args: ResizeArgs, session: &Session) -> Result<(), Failure> {
    let path = session.path(Kind::Volume, &args.volume)?;
    let (): () = session.client()?.post(&format!("{path}/resize"), &ResizeVolume { size: args.size }).await?;
    report(session, "volume", &args.volume, &format!("is to hold {}", args.size))
}

async fn recover(args: RecoverArgs, session: &Session) -> Result<(), Failure> {
    let path = session.path(Kind::Volume, &args.volume)?;
    let (): () = session.client()?.post(&format!("{path}/recover"), &RecoverVolume { accept_data_loss: args.accept_data_loss }).await?;
    report(session, "volume", &args.volume, "goes on with what is left of it")
}

fn report(session: &Session, kind: &str, name: &str, what: &str) -> Result<(), Failure> {
    if session.out.is_data() {
        return session.out.data(&json!({"kind": kind, "name": name, "result": what}));
    }
    session.out.say(&format!("{kind} {name} {what}"))
}
