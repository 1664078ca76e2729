//! What every command has at hand: the flags that stand everywhere, the client, the partition, the output.

use super::failure::Failure;
use super::kind::Kind;
use super::output::{Format, Output, note};
use crate::context::{Context, Contexts};
use clap::Args;
use pan_api::client::Client;
use pan_model::PartitionName;
use std::cell::OnceCell;

/// The flags that stand everywhere.
#[derive(Debug, Clone, Args)]
pub struct Globals {
    /// The context to use instead of the current one.
    #[arg(long, global = true, env = "PAN_CONTEXT", hide_env_values = true, value_name = "NAME")]
    pub context: Option<String>,
    /// The partition meant.
    #[arg(short, long, global = true, env = "PAN_PARTITION", hide_env_values = true, value_name = "PARTITION")]
    pub partition: Option<String>,
    /// How to print.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub output: Format,
    /// Take what a controller knew last, where none can find out whether there is anything newer.
    #[arg(long, global = true)]
    pub stale: bool,
    /// Print only what was asked for.
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Say on stderr what is being done.
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

/// A run of a command.
pub struct Session {
    pub globals: Globals,
    pub out: Output,
    client: OnceCell<Client>,
}

impl Session {
    pub fn new(globals: Globals) -> Self {
        let out = Output::new(globals.output, globals.quiet);
        Self { globals, out, client: OnceCell::new() }
    }

    /// The context of the command line, PAN_CONTEXT or the file; `None` when none was ever chosen.
    pub fn context(&self) -> Result<Option<Context>, Failure> {
        let contexts = match Contexts::load() {
            Ok(contexts) => contexts,
            Err(error) if self.globals.context.is_some() || set("PAN_URL").is_none() => return Err(error.into()),
            // PAN_URL says where to go; there need be no file.
            Err(_) => Contexts::default(),
        };
        match &self.globals.context {
            Some(name) => Ok(Some(contexts.named(name)?.clone())),
            None => Ok(contexts.current().cloned()),
        }
    }

    /// The client of the PAN that is meant. PAN_URL, PAN_TOKEN and PAN_CA replace what the context says.
    pub fn client(&self) -> Result<&Client, Failure> {
        if self.client.get().is_none() {
            let client = self.connect()?;
            // Only this task sets it, so it is still empty.
            let _ = self.client.set(client);
        }
        Ok(self.client.get().expect("it was just set"))
    }

    /// A client of its own.
    pub fn connect(&self) -> Result<Client, Failure> {
        let context = self.context()?;
        let url = set("PAN_URL").or_else(|| context.as_ref().map(|context| context.url.clone()));
        let url = url.ok_or_else(|| {
            Failure::Usage("no PAN is chosen: `pan up` makes one here, `pan context use NAME` chooses one, PAN_URL with PAN_TOKEN and PAN_CA names one".into())
        })?;
        let token = set("PAN_TOKEN").or_else(|| context.as_ref().map(|context| context.token.clone()));
        let ca = match (set("PAN_CA"), &context) {
            (Some(path), _) => std::fs::read_to_string(&path).map_err(Failure::local(format!("read PAN_CA {path}")))?,
            (None, Some(context)) => context.ca_pem()?,
            (None, None) => {
                return Err(Failure::Usage(
                    "PAN_URL is set, but neither PAN_CA (a file with the PAN's CA certificate) nor a context".into(),
                ));
            }
        };
        self.out.verbose(self.globals.verbose, || format!("calling {url}"));
        let client = Client::new(&url, token.as_deref(), &ca)?;
        Ok(if self.globals.stale { client.accepting_stale() } else { client })
    }

    /// Says how old that is which was told, to those who took it of any age.
    pub fn say_age(&self) {
        let age = self.client.get().and_then(Client::oldest);
        if let Some(age) = age.filter(|_| self.globals.stale && !self.globals.quiet) {
            note(&format!("as of {}.{:03} s ago: there may be something newer", age.as_secs(), age.subsec_millis()));
        }
    }

    /// The partition of `-p`, PAN_PARTITION or the context.
    pub fn partition_if_any(&self) -> Result<Option<PartitionName>, Failure> {
        let text = match &self.globals.partition {
            Some(given) => Some(given.clone()),
            // A broken context is reported by whoever needs it to connect.
            None => self.context().ok().flatten().and_then(|context| context.partition),
        };
        let parse = |text: String| PartitionName::new(text).map_err(|error| Failure::Usage(format!("partition {error}")));
        text.map(parse).transpose()
    }

    /// As [`Session::partition_if_any`], but there must be one.
    pub fn partition(&self) -> Result<PartitionName, Failure> {
        self.partition_if_any()?
            .ok_or_else(|| Failure::Usage("which partition? give -p PARTITION, or set PAN_PARTITION or the context's".into()))
    }

    /// The partition that objects of a kind are looked for in; `None` for kinds outside of partitions.
    pub fn partition_for(&self, kind: Kind) -> Result<Option<PartitionName>, Failure> {
        if kind.is_in_partition() { self.partition().map(Some) } else { Ok(None) }
    }

    /// The partition and the bare name of an object that may be given as `PARTITION/NAME`.
    pub fn place<'a>(&self, kind: Kind, name: &'a str) -> Result<(Option<PartitionName>, &'a str), Failure> {
        if name.is_empty() || name.ends_with('/') {
            return Err(Failure::Usage(format!("which {kind}? the name is empty; `pan get {kind}` lists what there is")));
        }
        match name.split_once('/') {
            Some((partition, bare)) if kind.is_in_partition() => {
                let partition = PartitionName::new(partition).map_err(|error| Failure::Usage(format!("partition {error}")))?;
                Ok((Some(partition), bare))
            }
            _ => Ok((self.partition_for(kind)?, name)),
        }
    }

    /// The path of one object.
    pub fn path(&self, kind: Kind, name: &str) -> Result<String, Failure> {
        let (partition, name) = self.place(kind, name)?;
        Ok(kind.path(partition.as_ref(), name))
    }
}

/// A variable that is set and not empty.
fn set(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
