//! Which cluster a request is for. A table is compiled once and never changes; a change makes another.
//!
//! Of all routes that match the most specific has the request: an exact host before a longer wildcard before a shorter
//! before none; then an exact path before a longer prefix before a shorter; then one that names methods; then more headers; then
//! more query parameters; then one with a rule; then the order of the document. Routes that match the same share by weight.

mod facts;
mod redirect;
mod spec;

use crate::edit::Edits;
use hyper::header::HeaderName;
use hyper::{HeaderMap, Method};
use pan_model::proxy::{Misfit, RouteSpec, RuleSaid};
use redirect::Redirect;
use spec::Matcher;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// What of a request decides.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The host, in lower case and without port ([`pan_model::proxy::host_of`]).
    pub host: &'a str,
    /// The path, [`pan_model::proxy::canonical`].
    pub path: &'a str,
    /// What follows `?`.
    pub query: Option<&'a str>,
    /// The method.
    pub method: &'a Method,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// Who asks.
    pub client: IpAddr,
    /// Whether by TLS.
    pub tls: bool,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// What becomes of a request.
    pub action: Action,
    /// Edits of it and of its answer.
    pub edits: Arc<Edits>,
    /// Its place in the document.
    pub place: usize,
    weight: u32,
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A cluster answers: its place in the service's list.
    Cluster(usize),
    /// The proxy answers with another address.
    Redirect(Redirect),
}

/// Routes that match the same.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    matcher: Matcher,
    routes: Vec<Route>,
    /// The sum of their weights.
    total: u64,
}

/// The routes of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// Most specific first.
    exact: BTreeMap<String, Vec<Group>>,
    /// Most specific first.
    others: Vec<Group>,
}

impl Table {
    /// Compiles. `clusters` are the service's, by place.
    ///
    /// # Errors
    /// A part of a route is not what it should be, or names a cluster that there is not.
    pub fn compile(specs: &[RouteSpec], clusters: &[&str]) -> Result<Self, Misfit> {
        let mut groups: Vec<Group> = Vec::new();
        for (at, one) in specs.iter().enumerate() {
            let (matcher, route) = spec::compile(one, at, clusters).map_err(|misfit| misfit.within(format_args!("routes[{at}]")))?;
            let weight = u64::from(route.weight);
            match groups.iter_mut().find(|group| group.matcher == matcher) {
                Some(group) => {
                    group.routes.push(route);
                    group.total += weight;
                }
                None => groups.push(Group { matcher, routes: vec![route], total: weight }),
            }
        }
        // Stable: of equally specific ones the first of the document stays first.
        groups.sort_by_key(|group| std::cmp::Reverse(group.matcher.rank()));
        let mut table = Self::default();
        for group in groups {
            match group.matcher.exact_host() {
                Some(host) => table.exact.entry(host.to_owned()).or_default().push(group),
                None => table.others.push(group),
            }
        }
        Ok(table)
    }

    /// The route of a request. `draw` is any number of 64 bits; it decides among routes that share. O(routes without or
    /// with this host).
    #[must_use]
    pub fn find(&self, seen: &Seen<'_>, draw: u64) -> Option<&Route> {
        let exact = self.exact.get(seen.host).into_iter().flatten();
        let group = exact.chain(&self.others).find(|group| group.total > 0 && group.matcher.matches(seen))?;
        let mut left = u64::try_from((u128::from(draw) * u128::from(group.total)) >> 64).expect("below the total");
        group.routes.iter().find(|route| {
            let weight = u64::from(route.weight);
            let its = left < weight;
            left = left.saturating_sub(weight);
            its
        })
    }

    /// What the rules said that were asked before a route was found, and that route's.
    #[must_use]
    pub fn rules(&self, seen: &Seen<'_>) -> Vec<RuleSaid> {
        let mut asked = Vec::new();
        for group in self.exact.get(seen.host).into_iter().flatten().chain(&self.others).filter(|group| group.total > 0) {
            if let Some(verdict) = group.matcher.verdict(seen) {
                asked.push(RuleSaid { route: group.routes[0].place, said: facts::said(verdict) });
            }
            if group.matcher.matches(seen) {
                break;
            }
        }
        asked
    }

    /// Headers that decide somewhere: an answer to a cache has to say so.
    #[must_use]
    pub fn header_names(&self) -> Vec<HeaderName> {
        let groups = self.exact.values().flatten().chain(&self.others);
        let mut names: Vec<HeaderName> = groups.flat_map(|group| group.matcher.header_names()).collect();
        names.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        names.dedup();
        names
    }
}

#[cfg(test)]
mod tests;
