//! Routes as the document has them, and their conditions compiled.

use super::redirect::RedirectSpec;
use super::{Action, Route, Seen, path};
use crate::edit::EditSpec;
use crate::spec::Misfit;
use hyper::Method;
use hyper::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A route: a condition, and a cluster or a redirect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RouteSpec {
    /// When; always if absent.
    #[serde(default, rename = "match")]
    pub matches: MatchSpec,
    /// Who answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Or where else to ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<RedirectSpec>,
    /// The share among routes with the same condition.
    #[serde(default = "usual")]
    pub weight: u32,
    /// Edits after the service's.
    #[serde(default)]
    pub edits: EditSpec,
}

fn usual() -> u32 {
    100
}

/// A condition; all that it names has to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct MatchSpec {
    /// The host: `shop.example`, or `*.example` for every name under it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The path and everything under it: `/api/` (which `/api` matches, and `/apix` does not). `=/api` is that path alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// One of these methods.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub method: Vec<String>,
    /// Headers with one of their values being this.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub header: BTreeMap<String, String>,
    /// Query parameters of this value, as written there.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Any,
    /// `.example`
    Under(String),
    Exactly(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Path {
    Any,
    /// Without the slash at its end.
    Under(String),
    Exactly(String),
}

/// A condition, compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matcher {
    host: Host,
    path: Path,
    methods: Vec<Method>,
    headers: Vec<(HeaderName, HeaderValue)>,
    query: Vec<(String, String)>,
}

impl RouteSpec {
    pub(super) fn compile(&self, place: usize, clusters: &[&str]) -> Result<(Matcher, Route), Misfit> {
        let matcher = self.matches.compile().map_err(|misfit| misfit.within("match"))?;
        let action = match (&self.cluster, &self.redirect) {
            (Some(name), None) => {
                let place = clusters.iter().position(|cluster| cluster == name);
                Action::Cluster(place.ok_or_else(|| Misfit::new("cluster", format!("there is no cluster {name:?}")))?)
            }
            (None, Some(redirect)) => Action::Redirect(redirect.compile().map_err(|misfit| misfit.within("redirect"))?),
            (Some(_), Some(_)) => return Err(Misfit::new("redirect", "a route has a cluster or a redirect, not both")),
            (None, None) => return Err(Misfit::new("cluster", "a route wants a cluster or a redirect")),
        };
        let edits = self.edits.compile().map_err(|misfit| misfit.within("edits"))?;
        Ok((matcher, Route { action, edits, place, weight: self.weight }))
    }
}

impl MatchSpec {
    fn compile(&self) -> Result<Matcher, Misfit> {
        let method = |(at, name): (usize, &String)| {
            let bad = |_| Misfit::new(format!("method[{at}]"), format!("{name:?} is not a method"));
            Method::from_bytes(name.as_bytes()).map_err(bad)
        };
        let header = |(name, value): (&String, &String)| {
            let bad = |what| Misfit::new(format!("header.{name}"), format!("not a header's {what}"));
            let compiled = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad("name"))?;
            Ok((compiled, HeaderValue::from_str(value).map_err(|_| bad("value"))?))
        };
        let mut methods = self.method.iter().enumerate().map(method).collect::<Result<Vec<_>, Misfit>>()?;
        methods.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        methods.dedup();
        Ok(Matcher {
            host: self.host.as_deref().map_or(Ok(Host::Any), host)?,
            path: self.path.as_deref().map_or(Ok(Path::Any), path_of)?,
            methods,
            headers: self.header.iter().map(header).collect::<Result<Vec<_>, Misfit>>()?,
            query: self.query.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        })
    }
}

fn host(text: &str) -> Result<Host, Misfit> {
    let lower = text.to_ascii_lowercase();
    let (name, wild) = lower.strip_prefix("*.").map_or((lower.as_str(), false), |name| (name, true));
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._:[]".contains(&byte);
    if name.is_empty() || name.starts_with('.') || name.ends_with('.') || !name.bytes().all(good) || path::host_of(name) != name {
        return Err(Misfit::new("host", format!("{text:?} is not a host: expected a name or *.NAME, without a port")));
    }
    Ok(if wild { Host::Under(format!(".{name}")) } else { Host::Exactly(lower) })
}

fn path_of(text: &str) -> Result<Path, Misfit> {
    let (path, exactly) = text.strip_prefix('=').map_or((text, false), |path| (path, true));
    let bad = |why: &str| Misfit::new("path", format!("{text:?}: {why}"));
    if !path.starts_with('/') || path.bytes().any(|byte| !byte.is_ascii_graphic() || matches!(byte, b'?' | b'#' | b'*')) {
        return Err(bad("expected a path from / on, without ?, # and *; = before it for that path alone"));
    }
    let path = path::canonical(path).map_err(|_| bad("a path has no . or .. in it, and % only with two digits"))?;
    Ok(if exactly { Path::Exactly(path.into_owned()) } else { Path::Under(path.trim_end_matches('/').to_owned()) })
}

impl Matcher {
    /// The more specific, the greater.
    pub(super) fn rank(&self) -> impl Ord + use<> {
        let host = match &self.host {
            Host::Any => (0, 0),
            Host::Under(name) => (1, name.len()),
            Host::Exactly(_) => (2, 0),
        };
        let path = match &self.path {
            Path::Any => (0, 0),
            Path::Under(path) => (1, path.len()),
            Path::Exactly(_) => (2, 0),
        };
        (host, path, !self.methods.is_empty(), self.headers.len(), self.query.len())
    }

    pub(super) fn exact_host(&self) -> Option<&str> {
        match &self.host {
            Host::Exactly(name) => Some(name),
            Host::Any | Host::Under(_) => None,
        }
    }

    pub(super) fn header_names(&self) -> impl Iterator<Item = HeaderName> {
        self.headers.iter().map(|(name, _)| name.clone())
    }

    pub(super) fn matches(&self, seen: &Seen<'_>) -> bool {
        let host = match &self.host {
            Host::Any => true,
            Host::Under(end) => seen.host.len() > end.len() && seen.host.ends_with(end.as_str()),
            Host::Exactly(name) => seen.host == name,
        };
        let path = match &self.path {
            Path::Any => true,
            Path::Under(start) => seen.path.strip_prefix(start.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            Path::Exactly(path) => seen.path == path,
        };
        let header = |(name, value): &(HeaderName, HeaderValue)| seen.headers.get_all(name).iter().any(|found| found == value);
        let parameter = |(name, value): &(String, String)| {
            let mut found = seen.query.unwrap_or_default().split('&').map(|part| part.split_once('=').unwrap_or((part, "")));
            found.any(|(key, found)| key == name && found == value)
        };
        host && path
            && (self.methods.is_empty() || self.methods.contains(seen.method))
            && self.headers.iter().all(header)
            && self.query.iter().all(parameter)
    }
}
