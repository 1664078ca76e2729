//! Conditions of routes in the one form in which they are compared.

use super::path;
use super::route::MatchSpec;
use super::rule::request_rule;
use super::spec::Misfit;
use pan_rule::Rule;

/// Which hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    /// All.
    Any,
    /// Every name that ends so: `.example`.
    Under(String),
    /// This one, in lower case.
    Exactly(String),
}

/// Which paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathPattern {
    /// All.
    Any,
    /// This one and what is under it, without the slash at its end.
    Under(String),
    /// This one.
    Exactly(String),
}

/// A condition. Two that match the same requests by the same words are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Hosts.
    pub host: HostPattern,
    /// Paths.
    pub path: PathPattern,
    /// Methods, sorted; all if there are none.
    pub methods: Vec<String>,
    /// Headers and their values, by name in lower case.
    pub headers: Vec<(String, String)>,
    /// Query parameters and their values.
    pub query: Vec<(String, String)>,
    /// What else has to hold.
    pub rule: Option<Rule>,
}

impl MatchSpec {
    /// What it comes to.
    ///
    /// # Errors
    /// A part of it is none; the place is within this.
    pub fn condition(&self) -> Result<Condition, Misfit> {
        if let Some((at, name)) = self.method.iter().enumerate().find(|(_, name)| !is_token(name)) {
            return Err(Misfit::new(format!("method[{at}]"), format!("{name:?} is not a method")));
        }
        for (name, value) in &self.header {
            let bad = |what| Misfit::new(format!("header.{name}"), format!("not a header's {what}"));
            if !is_token(name) {
                return Err(bad("name"));
            }
            if !is_header_value(value) {
                return Err(bad("value"));
            }
        }
        let mut methods = self.method.clone();
        methods.sort();
        methods.dedup();
        let mut headers: Vec<_> = self.header.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
        headers.sort();
        Ok(Condition {
            host: self.host.as_deref().map_or(Ok(HostPattern::Any), host)?,
            path: self.path.as_deref().map_or(Ok(PathPattern::Any), path_of)?,
            methods,
            headers,
            query: self.query.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            rule: self.rule.as_deref().map(request_rule).transpose()?,
        })
    }
}

fn host(text: &str) -> Result<HostPattern, Misfit> {
    let lower = text.to_ascii_lowercase();
    let (name, wild) = lower.strip_prefix("*.").map_or((lower.as_str(), false), |name| (name, true));
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._:[]".contains(&byte);
    if name.is_empty() || name.starts_with('.') || name.ends_with('.') || !name.bytes().all(good) || path::host_of(name) != name {
        return Err(Misfit::new("host", format!("{text:?} is not a host: expected a name or *.NAME, without a port")));
    }
    Ok(if wild { HostPattern::Under(format!(".{name}")) } else { HostPattern::Exactly(lower) })
}

fn path_of(text: &str) -> Result<PathPattern, Misfit> {
    let (path, exactly) = text.strip_prefix('=').map_or((text, false), |path| (path, true));
    let bad = |why: &str| Misfit::new("path", format!("{text:?}: {why}"));
    if !path.starts_with('/') || path.bytes().any(|byte| !byte.is_ascii_graphic() || matches!(byte, b'?' | b'#' | b'*')) {
        return Err(bad("expected a path from / on, without ?, # and *; = before it for that path alone"));
    }
    let path = path::canonical(path).map_err(|_| bad("a path has no . or .. in it, and % only with two digits"))?;
    Ok(if exactly { PathPattern::Exactly(path.into_owned()) } else { PathPattern::Under(path.trim_end_matches('/').to_owned()) })
}

/// Whether a text is a token, such as a method or a header's name (RFC 9110, 5.6.2).
#[must_use]
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Whether a text can be a header's value: visible characters, spaces and tabs.
#[must_use]
pub fn is_header_value(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte))
}
