//! `pan explain`, `pan error`, `pan completion` and `pan version`: what needs no PAN.

use super::failure::Failure;
use super::session::Session;
use clap::Args;
use pan_api::requests::Version;
use pan_model::Code;
use pan_model::explain::explain;
use serde_json::json;

/// Explain the fields of a manifest.
#[derive(Debug, Clone, Args)]
pub struct ExplainArgs {
    /// A kind, or a field of it like cluster.health.http.
    #[arg(value_name = "KIND[.FIELD]")]
    pub path: String,
}

/// Explain an error code.
#[derive(Debug, Clone, Args)]
pub struct ErrorArgs {
    /// The code, like PAN-200; all when absent.
    pub code: Option<String>,
}

/// Print a completion script.
#[derive(Debug, Clone, Args)]
pub struct CompletionArgs {
    /// For which shell.
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// `pan explain`.
pub fn run_explain(args: &ExplainArgs, session: &Session) -> Result<(), Failure> {
    let text = explain(&args.path).map_err(|error| Failure::Usage(error.to_string()))?;
    if session.out.is_data() { session.out.data(&json!({"path": args.path, "text": text})) } else { session.out.raw(text.as_bytes()) }
}

/// `pan error`.
pub fn run_error(args: &ErrorArgs, session: &Session) -> Result<(), Failure> {
    let codes: Vec<Code> = match &args.code {
        None => Code::ALL.to_vec(),
        Some(text) => {
            let known = text.parse().or_else(|_| format!("PAN-{text}").parse());
            vec![known.map_err(|_| Failure::new(Code::NotFound, format!("there is no error code {text:?}: `pan error` lists them")))?]
        }
    };
    let one = args.code.is_some();
    if session.out.is_data() {
        let pages: Vec<_> = codes.iter().map(|code| json!({"code": code, "page": code.page()})).collect();
        return match pages.as_slice() {
            [page] if one => session.out.data(page),
            all => session.out.data(all),
        };
    }
    codes.iter().try_for_each(|code| {
        if one {
            return session.out.line(&format!("{code}\n{}", code.page()));
        }
        session.out.line(&format!("{code}  {}", code.page().lines().next().unwrap_or_default()))
    })
}

/// `pan completion`.
pub fn run_completion(args: &CompletionArgs, mut command: clap::Command, session: &Session) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "pan", &mut script);
    session.out.raw(&script)
}

/// `pan version`: this program's, and the PAN's if one answers.
pub async fn run_version(session: &Session) -> Result<(), Failure> {
    let software = env!("CARGO_PKG_VERSION");
    let answer: Option<Result<Version, _>> = match session.client() {
        Ok(client) => Some(client.get("/v1/version").await),
        Err(_) => None,
    };
    let server = answer.as_ref().and_then(|answer| answer.as_ref().ok());
    if session.out.is_data() {
        return session.out.data(&json!({"client": software, "server": server}));
    }
    session.out.line(&format!("pan {software}"))?;
    match (server, &answer) {
        (Some(server), _) => session.out.line(&format!("PAN {} (API {}, wire format {})", server.software, server.api, server.wire)),
        (None, Some(Err(error))) => session.out.say(&format!("no PAN answers: {error}")),
        (None, _) => session.out.say("no PAN is chosen"),
    }
}
