//! `pan token …`: tokens with which machines join. A token is shown once, when it is made.

use super::failure::Failure;
use super::get::{self, GetArgs};
use super::kind::Kind;
use super::output::note;
use super::session::Session;
use clap::Subcommand;
use pan_api::client::escape;
use pan_api::token::{NewToken, TokenMade};
use pan_model::host::Role;
use pan_model::{HostName, Span};
use serde_json::json;

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
        /// For a person with this role (not yet).
        #[arg(long, value_name = "ROLE", conflicts_with = "join")]
        role: Option<String>,
        /// How long it is good.
        #[arg(long, value_name = "TIME", default_value = "10m")]
        expires: Span,
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
        TokenCommand::Create { join: Some(host), roles, expires, .. } => create(NewToken { host, roles, expires }, session).await,
        TokenCommand::Create { join: None, .. } => Err(Failure::not_yet("pan token create --role")),
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

async fn create(new: NewToken, session: &Session) -> Result<(), Failure> {
    let made: TokenMade = session.client()?.post("/v1/tokens", &new).await?;
    if session.out.is_data() {
        return session.out.data(&made);
    }
    // Alone on stdout, so that it can be written to a file.
    session.out.line(&made.token)?;
    if !session.globals.quiet {
        let url = session.client()?.url();
        note(&format!("token {} lets one machine join as {} until {}; it is not shown again", made.id, made.host, made.expires));
        note(&format!("on that machine: pan join {url} --token-file FILE --address … --fabric-a … --fabric-b …"));
    }
    Ok(())
}
