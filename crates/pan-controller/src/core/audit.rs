//! The audit log: who changed what, or was refused. One log for the PAN, and one for each partition, which tells nothing of what is outside of
//! it. A change and its lines are one transaction.

mod inside;
mod log;
mod often;
mod refused;
mod told;

pub use inside::{Recent, inside};
pub use log::{Entry, Log};
pub use often::Often;
pub use refused::{Attempt, Refusals, refused};

use super::operate;
use super::request::{Reply, Request};
use super::world::{Now, World};
use log::Draft;
use pan_api::ApiError;
use pan_api::token::{AccessRole, id_text};
use pan_model::{Name, PartitionName};
use told::{Act, Told};

/// What a partition calls everybody who is not of it.
const PROVIDER: &str = "the provider";
/// Objects of one apply that the PAN's log names one by one. Of more it says how many: partitions' logs have them all, and twice all of them
/// would not fit one transaction with what they tell of.
const NAMED_MAX: usize = 100;
/// Longest text of a field: names have 63 letters, and two of them with what is between them fit.
const TEXT_MAX: usize = 160;

/// Who asks, as the log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// Whom its token was made for, or what it is.
    pub name: String,
    /// Its token.
    pub token: Option<u64>,
    /// Its role; none of hosts, and of machines that join.
    pub role: Option<AccessRole>,
    /// The partition that it is of.
    pub partition: Option<PartitionName>,
}

impl Actor {
    /// Somebody with a role.
    #[must_use]
    pub fn new(name: Option<&Name>, token: Option<u64>, role: AccessRole, partition: Option<PartitionName>) -> Self {
        let name = match (name, token) {
            (Some(name), _) => name.to_string(),
            (None, Some(_)) => "somebody".to_owned(),
            (None, None) => "administrator".to_owned(),
        };
        Self { name, token, role: Some(role), partition }
    }

    /// A host, or a machine that becomes one.
    #[must_use]
    pub fn host(name: String) -> Self {
        Self { name, token: None, role: None, partition: None }
    }

    fn line(&self, place: Option<&PartitionName>) -> Draft {
        let of_it = place.is_none() || self.partition.as_ref() == place;
        let role = self.role.map_or("host", AccessRole::as_str);
        let (principal, token, role) = match of_it {
            true => (self.name.clone(), self.token.map(id_text), role),
            false => (PROVIDER.to_owned(), None, "provider"),
        };
        Draft { principal, token, role, ..Draft::default() }
    }
}

/// A text that is the same in every tool that reads the log.
fn plain(text: &str) -> String {
    let plain = |letter: char| if letter == ' ' || letter.is_ascii_graphic() { letter } else { '?' };
    text.chars().take(TEXT_MAX).map(plain).collect()
}

/// Carries a request out and writes down that it was; or refuses it and leaves the world, and its logs, as they were.
///
/// # Errors
/// The refusal: who asked for it says so with [`refused`].
pub fn request(world: &mut World, now: Now, actor: &Actor, request: Request) -> Result<Reply, ApiError> {
    let told = told::told(world, &request);
    let before = std::mem::take(&mut world.dirty);
    let reply = operate::request(world, now, actor.partition.as_ref(), request);
    // Who asks for what is so already, again and again, pushes nothing out of the log.
    let reply = match reply {
        Ok(reply) if !world.dirty.is_empty() => reply,
        other => {
            world.dirty.extend(before);
            return other;
        }
    };
    let acts = match (told, &reply) {
        (Told::Acts(acts), _) => acts,
        (Told::WhatWasApplied, Reply::Applied(all)) => told::applied(all),
        (Told::WhatWasApplied, Reply::Done | Reply::Certify { .. } | Reply::Keys { .. } | Reply::Volume(_)) => Vec::new(),
    };
    let acts = if actor.role.is_none() { often::first(world, now, actor, acts) } else { acts };
    write(world, now, actor, acts);
    world.asked.extend(world.dirty.iter().cloned());
    world.dirty.extend(before);
    Ok(reply)
}

/// Tells what could not be told at once.
pub fn advance(world: &mut World, now: Now) {
    refused::advance(world, now);
    often::advance(world, now);
}

fn write(world: &mut World, now: Now, actor: &Actor, acts: Vec<Act>) {
    let (mut pan, mut inside): (Vec<Draft>, Vec<(PartitionName, Draft)>) = (Vec::new(), Vec::new());
    // Everybody of the PAN answers to it for what it did in partitions; hosts do there what they are told.
    let of_the_pan = actor.role.is_some() && actor.partition.is_none();
    let many = acts.len() > NAMED_MAX;
    for act in acts {
        let Act { place, verb, kind, name, result, detail, aside, times } = act;
        let (name, detail) = (plain(&name), plain(&detail));
        if place.is_none() || (of_the_pan && !many) {
            let name = match &place {
                Some(partition) if kind != "partition" => format!("{partition}/{name}"),
                Some(_) | None => name.clone(),
            };
            let words = [detail.as_str(), aside.as_str()].into_iter().filter(|words| !words.is_empty());
            let detail = plain(&words.collect::<Vec<_>>().join(" "));
            pan.push(Draft { verb: verb.into(), kind, name, result, detail, times, ..actor.line(None) });
        }
        if let Some(partition) = place {
            let draft = Draft { verb: verb.into(), kind, name, result, detail, times, ..actor.line(Some(&partition)) };
            inside.push((partition, draft));
        }
    }
    // An apply may be about many partitions.
    while let Some(partition) = inside.first().map(|(partition, _)| partition.clone()) {
        let (its, rest) = inside.into_iter().partition::<Vec<_>, _>(|(other, _)| *other == partition);
        if of_the_pan && many {
            let (name, detail) = (partition.to_string(), format!("objects={}", its.len()));
            pan.push(Draft { verb: "apply".into(), kind: "partition", name, result: "done", detail, ..actor.line(None) });
        }
        log::append(world, now, Some(&partition), its.into_iter().map(|(_, draft)| draft).collect());
        inside = rest;
    }
    log::append(world, now, None, pan);
}

/// A partition goes, and its log with it.
pub fn go_with(world: &mut World, partition: &PartitionName) {
    log::forget(world, partition);
}
