//! Draining a whole failure domain: the intent is recorded, and after every change the next nodes are drained as far as
//! every promise allows ([`pan_plan::evacuate`]). Whoever leads next goes on from the record.

use super::operate;
use super::place;
use super::record::{DomainDrain, Duty};
use super::world::{Dirty, Now, World};
use pan_api::ApiError;
use pan_model::event::Severity;
use pan_model::{Code, HostName};
use pan_plan::evacuate::{self, Next, Stuck};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Domains drained at the same time: more than anybody works on, and each costs a proof after every change.
const DRAINS_MAX: usize = 16;

/// A label that says which nodes are meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Domain {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: String,
}

impl std::str::FromStr for Domain {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').filter(|(_, value)| !value.is_empty()).ok_or("expected NAME=VALUE, such as rack=r1")?;
        pan_model::node::label(key, value)?;
        Ok(Self { key: key.to_owned(), value: value.to_owned() })
    }
}

impl std::fmt::Display for Domain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

/// How far a drain is, and what it waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Nodes are being emptied.
    Draining,
    /// No node may be drained now.
    Held(String),
    /// All are empty.
    Done,
}

/// The nodes of a domain, as the planner sees them.
#[must_use]
pub fn nodes_of(snapshot: &pan_plan::Snapshot, domain: &Domain) -> BTreeSet<HostName> {
    let has = |node: &pan_plan::Node| node.labels.get(&domain.key) == Some(&domain.value);
    snapshot.nodes.iter().filter(|(_, node)| has(node)).map(|(name, _)| name.clone()).collect()
}

/// Records that a domain is to be emptied, after a proof that it can be. Asking again changes nothing.
///
/// # Errors
/// `NotFound` when no node has the label, `Protection` with the loss that would break a promise.
pub fn begin(world: &mut World, now: Now, domain: &Domain) -> Result<(), ApiError> {
    if world.pan.drains.contains_key(&domain.to_string()) {
        return Ok(());
    }
    if world.pan.drains.len() >= DRAINS_MAX {
        return Err(ApiError::new(Code::State, format!("{DRAINS_MAX} domains are drained already: end one first (pan drain --undo)")));
    }
    let snapshot = place::patient(world);
    let nodes = nodes_of(&snapshot, domain);
    if nodes.is_empty() {
        return Err(ApiError::new(Code::NotFound, format!("no node has the label {domain}")));
    }
    evacuate::batches(&snapshot, &nodes).map_err(|stuck| refusal(domain, &stuck))?;
    world.pan.drains.insert(domain.to_string(), DomainDrain::default());
    world.dirty.insert(Dirty::Pan);
    world.seen.replan = true;
    let names: Vec<_> = nodes.iter().map(HostName::as_str).collect();
    for node in &nodes {
        world.host_event(now, node, Severity::Info, "DomainDrain", format!("{domain} is to be emptied: {}", names.join(", ")));
    }
    Ok(())
}

fn refusal(domain: &Domain, stuck: &Stuck) -> ApiError {
    let code = match stuck {
        Stuck::Broken(_) | Stuck::Unproved(_) => Code::Protection,
        Stuck::Homeless(..) => Code::NoCapacity,
    };
    ApiError::new(code, format!("{domain} cannot be emptied: {stuck}; nothing was changed"))
}

/// Ends the drain of a domain; its nodes go back to what they were before it.
///
/// # Errors
/// `NotFound`.
pub fn end(world: &mut World, now: Now, domain: &Domain) -> Result<(), ApiError> {
    let record = world.pan.drains.remove(&domain.to_string());
    let record = record.ok_or_else(|| ApiError::new(Code::NotFound, format!("{domain} is not being drained")))?;
    world.dirty.insert(Dirty::Pan);
    for (node, before) in record.begun {
        let untouched = world.hosts.get(&node).is_some_and(|host| host.duty == Duty::Draining);
        if untouched {
            operate::duty(world, now, &node, before)?;
        }
    }
    Ok(())
}

/// An operator took a node back into use: the drains that cover it leave it alone, and one that covers nothing else ends.
pub fn spare(world: &mut World, node: &HostName) {
    let labels = world.hosts.get(node).map(super::record::HostRecord::effective_labels).unwrap_or_default();
    let snapshot = place::snapshot(world);
    let covers = |name: &String| name.parse::<Domain>().is_ok_and(|domain| labels.get(&domain.key) == Some(&domain.value));
    for name in world.pan.drains.keys().filter(|name| covers(name)).cloned().collect::<Vec<_>>() {
        let all = name.parse().map(|domain| nodes_of(&snapshot, &domain)).unwrap_or_default();
        if let Some(drain) = world.pan.drains.get_mut(&name) {
            drain.begun.remove(node);
            drain.spared.insert(node.clone());
            if all.is_subset(&drain.spared) {
                world.pan.drains.remove(&name);
            }
        }
        world.dirty.insert(Dirty::Pan);
    }
}

/// Drains what may be drained next. Looks only when something changed that the planner sees.
pub fn advance(world: &mut World, now: Now) {
    if world.pan.drains.is_empty() {
        world.seen.drains.1.clear();
        return;
    }
    let looked = world.seen.drains.0.as_ref().is_some_and(|looked| Arc::ptr_eq(looked, &world.seen.snapshot));
    let same = world.pan.drains.keys().eq(world.seen.drains.1.keys());
    // One cluster after the other moves, and while a server is on its way nobody knows yet that it runs again.
    if (looked && same) || !place::moving_clusters(world).is_empty() {
        return;
    }
    let mut progress = BTreeMap::new();
    for name in world.pan.drains.keys().cloned().collect::<Vec<_>>() {
        let Ok(domain) = name.parse::<Domain>() else { continue };
        progress.insert(name.clone(), advance_one(world, now, &name, &domain));
    }
    world.seen.drains = (Some(world.seen.snapshot.clone()), progress);
}

fn advance_one(world: &mut World, now: Now, name: &str, domain: &Domain) -> Progress {
    let snapshot = place::patient(world);
    let spared = world.pan.drains.get(name).map(|drain| drain.spared.clone()).unwrap_or_default();
    let wanted: BTreeSet<HostName> = nodes_of(&snapshot, domain).difference(&spared).cloned().collect();
    let nodes = match evacuate::next(&snapshot, &wanted) {
        Ok(Next::Done) => {
            if world.seen.drains.1.get(name).is_some_and(|before| *before != Progress::Done) {
                for node in &wanted {
                    world.host_event(now, node, Severity::Info, "DomainEmpty", format!("every node with {domain} is empty"));
                }
            }
            return Progress::Done;
        }
        Ok(Next::Wait(_)) => return Progress::Draining,
        Ok(Next::Drain(nodes)) => nodes,
        Err(stuck) => {
            let text = stuck.to_string();
            if world.seen.drains.1.get(name) != Some(&Progress::Held(text.clone())) {
                for node in &wanted {
                    world.host_event(now, node, Severity::Warning, "DomainDrainHeld", format!("draining {domain} waits: {text}"));
                }
            }
            return Progress::Held(text);
        }
    };
    for node in nodes {
        let before = world.hosts.get(&node).map_or(Duty::Full, |host| host.duty);
        // It is a node: the planner's snapshot has it.
        if operate::duty(world, now, &node, Duty::Draining).is_ok()
            && let Some(drain) = world.pan.drains.get_mut(name)
        {
            drain.begun.insert(node, before);
            world.dirty.insert(Dirty::Pan);
        }
    }
    Progress::Draining
}
