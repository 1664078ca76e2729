//! Conditions of routes, compiled.

use super::redirect::Redirect;
use super::{Action, Route, Seen};
use crate::edit::Edits;
use hyper::Method;
use hyper::header::{HeaderName, HeaderValue};
use pan_model::proxy::{Condition, HostPattern, MatchSpec, Misfit, PathPattern, RequestVariable, RouteSpec};
use pan_rule::{Rule, Verdict};
use std::sync::Arc;

/// A condition, compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matcher {
    host: HostPattern,
    path: PathPattern,
    methods: Vec<Method>,
    headers: Vec<(HeaderName, HeaderValue)>,
    query: Vec<(String, String)>,
    rule: Option<Rule>,
}

/// The condition of a route, and what becomes of a request that it matches. `clusters` are the service's, by place.
pub(super) fn compile(spec: &RouteSpec, place: usize, clusters: &[&str]) -> Result<(Matcher, Route), Misfit> {
    let matcher = Matcher::compile(&spec.matches).map_err(|misfit| misfit.within("match"))?;
    let action = match (&spec.cluster, &spec.redirect) {
        (Some(name), None) => {
            let place = clusters.iter().position(|cluster| cluster == name);
            Action::Cluster(place.ok_or_else(|| Misfit::new("cluster", format!("there is no cluster {name:?}")))?)
        }
        (None, Some(redirect)) => Action::Redirect(Redirect::compile(redirect).map_err(|misfit| misfit.within("redirect"))?),
        (Some(_), Some(_)) => return Err(Misfit::new("redirect", "a route has a cluster or a redirect, not both")),
        (None, None) => return Err(Misfit::new("cluster", "a route wants a cluster or a redirect")),
    };
    let edits = Edits::compile(&spec.edits).map_err(|misfit| misfit.within("edits"))?;
    Ok((matcher, Route { action, edits: Arc::new(edits), place, weight: spec.weight }))
}

impl Matcher {
    fn compile(spec: &MatchSpec) -> Result<Self, Misfit> {
        let Condition { host, path, methods, headers, query, rule } = spec.condition()?;
        let method = |name: String| Method::from_bytes(name.as_bytes()).map_err(|error| Misfit::new("method", error.to_string()));
        let header = |(name, value): (String, String)| {
            let bad = |what| Misfit::new(format!("header.{name}"), format!("not a header's {what}"));
            let compiled = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad("name"))?;
            Ok((compiled, HeaderValue::from_str(&value).map_err(|_| bad("value"))?))
        };
        Ok(Self {
            host,
            path,
            methods: methods.into_iter().map(method).collect::<Result<_, Misfit>>()?,
            headers: headers.into_iter().map(header).collect::<Result<_, Misfit>>()?,
            query,
            rule,
        })
    }

    /// The more specific, the greater.
    pub(super) fn rank(&self) -> impl Ord + use<> {
        let host = match &self.host {
            HostPattern::Any => (0, 0),
            HostPattern::Under(name) => (1, name.len()),
            HostPattern::Exactly(_) => (2, 0),
        };
        let path = match &self.path {
            PathPattern::Any => (0, 0),
            PathPattern::Under(path) => (1, path.len()),
            PathPattern::Exactly(_) => (2, 0),
        };
        (host, path, !self.methods.is_empty(), self.headers.len(), self.query.len(), self.rule.is_some())
    }

    pub(super) fn exact_host(&self) -> Option<&str> {
        match &self.host {
            HostPattern::Exactly(name) => Some(name),
            HostPattern::Any | HostPattern::Under(_) => None,
        }
    }

    pub(super) fn header_names(&self) -> impl Iterator<Item = HeaderName> {
        let place = RequestVariable::ALL.iter().position(|one| *one == RequestVariable::Headers);
        let asked = self.rule.iter().zip(place).flat_map(|(rule, place)| rule.keys(place));
        let asked = asked.filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok());
        self.headers.iter().map(|(name, _)| name.clone()).chain(asked)
    }

    pub(super) fn matches(&self, seen: &Seen<'_>) -> bool {
        self.fits(seen) && self.rule.as_ref().is_none_or(|rule| rule.judge(seen) == Ok(true))
    }

    /// What the rule says, if there is one and all else matches.
    pub(super) fn verdict(&self, seen: &Seen<'_>) -> Option<Verdict> {
        self.rule.as_ref().filter(|_| self.fits(seen)).map(|rule| rule.explain(seen))
    }

    /// All but the rule.
    fn fits(&self, seen: &Seen<'_>) -> bool {
        let host = match &self.host {
            HostPattern::Any => true,
            HostPattern::Under(end) => seen.host.len() > end.len() && seen.host.ends_with(end.as_str()),
            HostPattern::Exactly(name) => seen.host == name,
        };
        let path = match &self.path {
            PathPattern::Any => true,
            PathPattern::Under(start) => {
                seen.path.strip_prefix(start.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            PathPattern::Exactly(path) => seen.path == path,
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
