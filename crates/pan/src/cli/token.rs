//! `pan token …`: what lets machines, people and programs in. A token is shown once, when it is made.

use super::failure::Failure;
use super::get::{self, GetArgs};
use super::kind::Kind;
use super::output::note;
use super::session::Session;
use clap::Subcommand;
use pan_api::client::escape;
use pan_api::token::{AccessRole, NewToken, TokenMade};
use pan_model::host::Role;
use pan_model::{HostName, Name, PartitionName, Span};
use serde_json::json;
use std::time::Duration;

/// A machine that is set up joins at once.
const JOINING_LIVES: Duration = Duration::from_secs(600);
/// A day's work.
const ACCESS_LIVES: Duration = Duration::from_secs(8 * 3600);

/// What can be done with tokens.
#[derive(Debug, Clone, Subcommand)]
pub enum TokenCommand {
    /// Make one and print it, this once.
    Create {
        /// For a machine that becomes this host, with `pan join`.
        #[arg(long, value_name = "HOST", required_unless_present = "role")]
        join: Option<HostName>,
        /// What that host may do for the PAN.
        #[arg(long, value_name = "ROLE,…", value_delimiter = ',', value_parser = role, requires = "join")]
        roles: Vec<Role>,
        /// For somebody with this role: pan-administrator, pan-operator, pan-monitor, or in a partition (-p) administrator, operator, monitor.
        #[arg(long, value_name = "ROLE", conflicts_with = "join")]
        role: Option<AccessRole>,
        /// Who that is, for the record.
        #[arg(long = "for", value_name = "NAME", requires = "role")]
        whom: Option<Name>,
        /// How long it is good: 10m by default for a machine, 8h for somebody with a role.
        #[arg(long, value_name = "TIME")]
        expires: Option<Span>,
    },
    /// Show all, without what makes them work.
    List,
    /// Make one worthless.
    Revoke {
        /// Which one.
        id: String,
    },
}

fn role(text: &str) -> Result<Role, String> {
    let known = || Role::ALL.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", ");
    Role::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| format!("expected one of {}", known()))
}

/// `pan token …`.
pub async fn run(command: TokenCommand, session: &Session) -> Result<(), Failure> {
    match command {
        TokenCommand::Create { join, roles, role, whom, expires } => {
            let partition = match role {
                Some(role) if role.is_of_a_partition() => Some(session.partition()?),
                Some(_) | None => None,
            };
            let expires = expires.unwrap_or(Span(if role.is_some() { ACCESS_LIVES } else { JOINING_LIVES }));
            create(NewToken { host: join, roles, role, partition, name: whom, expires }, session).await
        }
        TokenCommand::List => get::run(GetArgs { kind: Kind::Token, name: None, all: false, watch: false }, session).await,
        TokenCommand::Revoke { id } => {
            let (): () = session.client()?.delete(&format!("/v1/tokens/{}", escape(&id))).await?;
            if session.out.is_data() {
                return session.out.data(&json!({"kind": "token", "name": id, "result": "revoked"}));
            }
            session.out.say(&format!("token {id} revoked"))
        }
    }
}

/// Where a role is one, in words.
pub fn place(partition: Option<&PartitionName>) -> String {
    partition.map_or_else(|| "the PAN".to_owned(), |partition| format!("partition {partition}"))
}

async fn create(new: NewToken, session: &Session) -> Result<(), Failure> {
    let made: TokenMade = session.client()?.post("/v1/tokens", &new).await?;
    if session.out.is_data() {
        return session.out.data(&made);
    }
    // Alone on stdout, so that it can be written to a file.
    session.out.line(&made.token)?;
    if !session.globals.quiet {
        let url = session.client()?.url();
        let TokenMade { id, expires, .. } = &made;
        match (&made.host, made.role) {
            (Some(host), _) => {
                note(&format!("token {id} lets one machine join as {host} until {expires}; it is not shown again"));
                note(&format!("on that machine: pan join {url} --name {host} --token-file FILE --address … --fabric-a … --fabric-b …"));
            }
            (None, role) => {
                let role = role.map_or("somebody", AccessRole::as_str);
                note(&format!("token {id} is for {role} of {} until {expires}; it is not shown again", place(made.partition.as_ref())));
                let authority = made.authority.as_deref().unwrap_or_default();
                note(&format!("whoever gets it: pan login {url} --fingerprint {authority} --token-file FILE"));
            }
        }
    }
    Ok(())
}
