//! Draining a whole failure domain: the intent is recorded, and after every change the next nodes are drained as far as
//! every promise allows ([`pan_plan::evacuate`]). Whoever leads next goes on from the record.

use super::record::{DomainDrain, Duty};
use super::world::{Dirty, Now, World};
use super::{operate, place, reach};
use pan_api::ApiError;
use pan_model::event::Severity;
use pan_model::{Code, HostName};
use pan_plan::evacuate::{self, Next, Stuck};
use pan_plan::taken::taken;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Domains drained at the same time: more than anybody works on, and each costs a proof after every change.
const DRAINS_MAX: usize = 16;

/// Promises that one refusal or event names: what is longer nobody reads.
const TOLD_MAX: usize = 20;

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
    if let Some(node) = nodes.iter().find(|node| stays(world, node)) {
        return Err(ApiError::new(
            Code::State,
            format!("{domain} cannot be emptied: {}; nothing was changed", reach::why(world, now, node)),
        ));
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

/// Lets a node give its servers away, if it can be told to; what that takes from others is told of. If it is somebody's room, it must be
/// forced.
///
/// # Errors
/// `NotFound`; `State` for one out of reach; `NoCapacity` or `Protection` with all that would be missing.
pub(super) fn drain_one(world: &mut World, now: Now, node: &HostName, force: bool) -> Result<(), ApiError> {
    operate::known_node(world, node)?;
    if world.hosts[node].duty == Duty::Draining {
        return Ok(());
    }
    if stays(world, node) {
        return Err(ApiError::new(Code::State, format!("node {node} cannot be drained: {}", reach::why(world, now, node))));
    }
    let taken = taken(&place::patient(world), &BTreeSet::from([node.clone()]));
    let said = listed(&taken.said());
    if taken.is_room() && !force {
        let code = if taken.homeless.is_empty() { Code::Protection } else { Code::NoCapacity };
        let text = format!("node {node} is not drained: without it {said}. Make room first, or use --force; nothing was changed");
        return Err(ApiError::new(code, text));
    }
    operate::duty(world, now, node, Duty::Draining)?;
    if !said.is_empty() {
        let severity = if taken.is_room() { Severity::Alarm } else { Severity::Warning };
        world.host_event(now, node, severity, "DrainTakes", format!("with node {node} drained, {said}"));
    }
    Ok(())
}

fn listed(all: &[String]) -> String {
    let more = all.len().saturating_sub(TOLD_MAX);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    all.iter().take(TOLD_MAX).cloned().collect::<Vec<_>>().join("; ") + &more
}

/// Whether a node cannot be told to give away what it has.
fn stays(world: &World, node: &HostName) -> bool {
    reach::is_away(world, node) && world.servers.values().any(|server| server.node.as_ref() == Some(node))
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
    if looked && same {
        return;
    }
    // One cluster after the other moves, and while a server is on its way nobody knows yet that it runs again.
    let moving = !place::moving_clusters(world).is_empty();
    let mut progress = BTreeMap::new();
    for name in world.pan.drains.keys().cloned().collect::<Vec<_>>() {
        let Ok(domain) = name.parse::<Domain>() else { continue };
        let nodes = nodes_of(&world.seen.snapshot, &domain);
        let spared = world.pan.drains.get(&name).map(|drain| &drain.spared);
        let wanted: BTreeSet<HostName> = nodes.into_iter().filter(|node| spared.is_none_or(|spared| !spared.contains(node))).collect();
        // Once one was begun that cannot be told to give its servers away, nothing more begins before it has.
        let begun = |node: &&HostName| world.hosts.get(*node).is_some_and(|host| host.duty == Duty::Draining) && stays(world, node);
        let one = match (wanted.iter().find(begun).map(unheard), world.seen.drains.1.get(&name)) {
            (Some(text), _) => held(world, now, (&name, &wanted), text),
            (None, Some(before)) if moving => before.clone(),
            (None, None) if moving => continue,
            (None, _) => advance_one(world, now, &name, &wanted),
        };
        progress.insert(name, one);
    }
    let looked = if moving { None } else { Some(world.seen.snapshot.clone()) };
    world.seen.drains = (looked, progress);
}

fn unheard(node: &HostName) -> String {
    format!("host {node} is heard and does not report, so it would not be told: see `pan why node {node}`")
}

/// No node may be drained now; said once for each reason.
fn held(world: &mut World, now: Now, (name, wanted): (&str, &BTreeSet<HostName>), text: String) -> Progress {
    let held = Progress::Held(text.clone());
    if world.seen.drains.1.get(name) != Some(&held) {
        for node in wanted {
            world.host_event(now, node, Severity::Warning, "DomainDrainHeld", format!("draining {name} waits: {text}"));
        }
    }
    held
}

fn advance_one(world: &mut World, now: Now, name: &str, wanted: &BTreeSet<HostName>) -> Progress {
    let snapshot = place::patient(world);
    // What cannot be told has its turn last.
    let (away, able): (BTreeSet<HostName>, BTreeSet<HostName>) = wanted.iter().cloned().partition(|node| stays(world, node));
    let nodes = match (evacuate::next(&snapshot, &able), away.first()) {
        (Ok(Next::Done), None) => {
            if world.seen.drains.1.get(name).is_some_and(|before| *before != Progress::Done) {
                for node in wanted {
                    world.host_event(now, node, Severity::Info, "DomainEmpty", format!("every node with {name} is empty"));
                }
            }
            return Progress::Done;
        }
        (Ok(Next::Done), Some(node)) => return held(world, now, (name, wanted), unheard(node)),
        (Ok(Next::Wait(_)), _) => return Progress::Draining,
        (Ok(Next::Drain(nodes)), _) => nodes,
        (Err(stuck), _) => return held(world, now, (name, wanted), stuck.to_string()),
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
