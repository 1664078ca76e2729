//! What rules may say of requests.

use super::condition::is_token;
use super::spec::Misfit;
use pan_rule::{Rule, Schema, Type, Variable};
use std::sync::{Arc, LazyLock};

/// A variable of requests, in the order of the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestVariable {
    /// `request.method`: in capitals, as methods are.
    Method,
    /// `request.host`: in lower case, without port.
    Host,
    /// `request.path`: as routes compare it.
    Path,
    /// `request.query`: parameters as written; of several with one name the first.
    Query,
    /// `request.headers`: by name in lower case; several of one name with `, ` between them.
    Headers,
    /// `request.tls`: whether the client's connection to the proxy is of TLS.
    Tls,
    /// `request.client`: the client's address.
    Client,
}

impl RequestVariable {
    /// All, by place in the schema.
    pub const ALL: [Self; 7] = [Self::Method, Self::Host, Self::Path, Self::Query, Self::Headers, Self::Tls, Self::Client];

    fn variable(self) -> Variable {
        match self {
            Self::Method => Variable::new("request.method", Type::Text),
            Self::Host => Variable::new("request.host", Type::Text),
            Self::Path => Variable::new("request.path", Type::Text),
            Self::Query => Variable::new("request.query", Type::Map),
            Self::Headers => Variable { key: header, ..Variable::new("request.headers", Type::Map) },
            Self::Tls => Variable::new("request.tls", Type::Bool),
            Self::Client => Variable::new("request.client", Type::Address),
        }
    }
}

fn header(name: &str) -> Result<(), String> {
    let lower = name.to_ascii_lowercase();
    if !is_token(name) {
        return Err("it is not a header's name".to_owned());
    }
    if lower == name { Ok(()) } else { Err(format!("names of headers are in lower case here: expected {lower}")) }
}

static SCHEMA: LazyLock<Arc<Schema>> =
    LazyLock::new(|| Arc::new(Schema { variables: RequestVariable::ALL.into_iter().map(RequestVariable::variable).collect() }));

/// A rule of requests.
///
/// # Errors
/// It is none; the reason names the place in the text.
pub fn request_rule(text: &str) -> Result<Rule, Misfit> {
    Rule::new(text, Arc::clone(&SCHEMA)).map_err(|refusal| Misfit::new("rule", refusal.to_string()))
}
