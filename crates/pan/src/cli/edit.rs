//! `pan edit`: an object's document in an editor, then applied.

use super::apply::apply;
use super::failure::Failure;
use super::kind::Kind;
use super::output::note;
use super::session::Session;
use clap::Args;
use pan_api::requests::File;
use pan_model::Code;
use pan_model::manifest::API;
use serde_json::{Map, Value, json};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Command;

/// Change an object in an editor (VISUAL, else EDITOR, else vi).
#[derive(Debug, Clone, Args)]
pub struct EditArgs {
    /// What kind: partition, cluster, service, import or policy.
    #[arg(value_enum)]
    pub kind: Kind,
    /// Which one.
    pub name: String,
}

/// `pan edit`; the exit code.
pub async fn run(args: EditArgs, session: &Session) -> Result<u8, Failure> {
    let kind = args.kind;
    let title = match kind {
        Kind::Partition => "Partition",
        Kind::Cluster => "Cluster",
        Kind::Service => "Service",
        Kind::Import => "Import",
        Kind::Policy => "Policy",
        other => {
            return Err(Failure::Usage(format!(
                "a {other} has no document to edit: expected partition, cluster, service, import or policy"
            )));
        }
    };
    let (partition, name) = session.place(kind, &args.name)?;
    let mut object: Value = session.client()?.get(&kind.path(partition.as_ref(), name)).await?;
    let mut document = Map::new();
    document.insert("api".into(), json!(API));
    document.insert("kind".into(), json!(title));
    if let Some(partition) = &partition {
        document.insert("partition".into(), json!(partition));
    }
    document.insert("name".into(), json!(name));
    document.insert("spec".into(), object["spec"].take());
    let before =
        serde_saphyr::to_string(&document).map_err(|error| Failure::new(Code::Internal, format!("cannot write the document: {error}")))?;
    let draft = Draft::new(&before)?;
    draft.edit()?;
    let after = draft.read()?;
    if after == before || after.trim().is_empty() {
        draft.discard();
        session.out.say("nothing was changed")?;
        return Ok(0);
    }
    let file = File { name: draft.path.display().to_string(), text: after };
    let result = apply(vec![file], false, None, session).await;
    match result {
        Ok(0) => draft.discard(),
        Ok(_) | Err(_) => note(&format!("what you wrote is kept in {0}; correct it and `pan apply -f {0}`", draft.path.display())),
    }
    result
}

/// A file of the user's own while they edit it.
struct Draft {
    path: PathBuf,
}

impl Draft {
    fn new(text: &str) -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("pan-edit-{}.yaml", std::process::id()));
        let failed = |error| Failure::local(format!("write {}", path.display()))(error);
        // Never an existing file: the folder belongs to everybody.
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)?;
        Ok(Self { path })
    }

    fn edit(&self) -> Result<(), Failure> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let editor = set("VISUAL").or_else(|| set("EDITOR")).unwrap_or_else(|| "vi".into());
        // As a shell reads it, so that it may have arguments and quotes.
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("{editor} \"$0\"")).arg(&self.path);
        let status = shell.status().map_err(Failure::local(format!("run the editor {editor}")))?;
        if status.success() {
            return Ok(());
        }
        self.discard();
        Err(Failure::new(Code::State, format!("the editor {editor} ended with {status}; nothing was changed")))
    }

    fn read(&self) -> Result<String, Failure> {
        std::fs::read_to_string(&self.path).map_err(Failure::local(format!("read {}", self.path.display())))
    }

    fn discard(&self) {
        // What remains in a folder for temporary files harms nobody.
        let _ = std::fs::remove_file(&self.path);
    }
}
