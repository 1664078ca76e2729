//! `pan login`: a token becomes a context. The PAN is known by its authority's certificate, or by that one's fingerprint, before the token is shown to it.

use super::failure::Failure;
use super::session::Session;
use super::token;
use crate::context::{Context, Contexts};
use clap::Args;
use pan_api::client::Client;
use pan_api::keyfile::parse_key;
use pan_api::token::{AccessToken, Caller};
use pan_model::Code;
use serde_json::json;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

/// More than any token, so that a wrong file is not read whole.
const TOKEN_MAX: u64 = 4096;

/// Keep a token and where it is good as a context, and make that the current one.
#[derive(Debug, Clone, Args)]
pub struct LoginArgs {
    /// Where the PAN's API is; several controllers separated by commas.
    #[arg(value_name = "URL")]
    url: String,
    /// Holds the token that `pan token create --role ROLE` printed; standard input when absent.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The certificate of the PAN's authority.
    #[arg(long, value_name = "FILE", required_unless_present = "fingerprint", conflicts_with = "fingerprint")]
    ca: Option<PathBuf>,
    /// The fingerprint of that certificate, as `pan token create` said it.
    #[arg(long, value_name = "HEX", value_parser = fingerprint)]
    fingerprint: Option<Fingerprint>,
    /// The context's name; by default the partition's, or `pan`.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

#[derive(Debug, Clone, Copy)]
struct Fingerprint([u8; 32]);

fn fingerprint(text: &str) -> Result<Fingerprint, String> {
    parse_key(text).map(Fingerprint).ok_or_else(|| "expected 64 hexadecimal digits (SHA-256 of the certificate)".into())
}

/// `pan login`.
pub async fn run(args: LoginArgs, session: &Session) -> Result<(), Failure> {
    let token = read(args.token_file.as_deref())?;
    let client = match (&args.ca, args.fingerprint) {
        (Some(path), _) => {
            let ca = std::fs::read_to_string(path).map_err(Failure::local(format!("read {}", path.display())))?;
            Client::new(&args.url, Some(&token), &ca)?
        }
        (None, Some(Fingerprint(authority))) => Client::pinned(&args.url, Some(&token), authority)?,
        (None, None) => return Err(Failure::Usage("how is the PAN known? give --ca FILE or --fingerprint HEX".into())),
    };
    let caller: Caller = client.get("/v1/self").await?;
    let name = args.name.or_else(|| caller.partition.as_ref().map(ToString::to_string)).unwrap_or_else(|| "pan".into());
    let partition = caller.partition.as_ref().map(ToString::to_string);
    let context = Context { name: name.clone(), url: args.url, token, ca: caller.ca, partition };
    Contexts::change(|contexts| {
        contexts.put(context);
        contexts.current = Some(name.clone());
        Ok::<_, Failure>(())
    })?;
    if session.out.is_data() {
        let Caller { role, partition, expires, .. } = caller;
        return session.out.data(&json!({"kind": "context", "name": name, "role": role, "partition": partition, "expires": expires}));
    }
    let place = token::place(caller.partition.as_ref());
    let until = caller.expires.map(|expires| format!(" until {expires}")).unwrap_or_default();
    session.out.say(&format!("context {name} is the current one: {} of {place}{until}", caller.role))
}

/// What a file or standard input holds, if it is a token. What it is instead is not told: it may be a secret all the same.
fn read(file: Option<&Path>) -> Result<String, Failure> {
    let mut text = String::new();
    let (what, read) = match file {
        Some(path) => {
            let read = std::fs::File::open(path).and_then(|file| file.take(TOKEN_MAX).read_to_string(&mut text));
            (path.display().to_string(), read)
        }
        None => {
            let mut input = std::io::stdin();
            if input.is_terminal() {
                return Err(Failure::Usage("expected the token on standard input, or --token-file FILE: what is typed is seen".into()));
            }
            ("standard input".to_owned(), Read::by_ref(&mut input).take(TOKEN_MAX).read_to_string(&mut text))
        }
    };
    read.map_err(Failure::local(format!("read {what}")))?;
    let token = text.trim();
    let good = AccessToken::read(token).is_some() || token.strip_prefix("pan_local_").is_some();
    let wrong =
        || Failure::new(Code::Invalid, format!("{what}: this is no token: expected one as `pan token create --role ROLE` printed it"));
    good.then(|| token.to_owned()).ok_or_else(wrong)
}
