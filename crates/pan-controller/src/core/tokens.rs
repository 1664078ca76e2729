//! Tokens: with which machines join, and with which people and programs call the interface; and the numbers of the certificates that hosts get.

use super::digest::Digest;
use super::record::CredentialRecord;
use super::request::{Joining, Reply};
use super::world::{About, Dirty, Now, World};
use pan_api::ApiError;
use pan_api::token::{AccessRole, id_text};
use pan_model::event::Severity;
use pan_model::host::Role;
use pan_model::{Code, HostName, Name, PartitionName, Span};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;

/// Tokens at the same time: a hall of machines that is set up in one go, and a bound on what a script in a loop can fill.
const TOKENS_MAX: usize = 1000;
/// A token to join that lies about for longer is a password.
const JOINING_LIVES_MAX: Duration = Duration::from_secs(7 * 86_400);
/// What nobody changes for longer than a quarter of a year is known to too many.
const ACCESS_LIVES_MAX: Duration = Duration::from_secs(90 * 86_400);
/// How long one that is over is still shown, so that whoever wonders why it does not work finds it.
const SHOWN_AFTER: i64 = 3_600_000_000;

/// What a token is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TokenFor {
    /// One machine that joins.
    Joining {
        /// The host that it becomes.
        host: HostName,
        /// Its roles.
        roles: Vec<Role>,
    },
    /// Somebody who calls the interface.
    Access {
        /// What it may do.
        role: AccessRole,
        /// In which partition; none for roles of the PAN.
        partition: Option<PartitionName>,
        /// Who it is.
        name: Option<Name>,
    },
}

/// What lets somebody in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// For what.
    #[serde(flatten)]
    pub purpose: TokenFor,
    /// SHA-256 of the secret.
    pub secret: Digest,
    /// Wall clock, microseconds since 1970.
    pub created: i64,
    /// The same: from then on it is good for nothing.
    pub expires: i64,
    /// SHA-256 of the key that it was used for.
    pub used_for: Option<Digest>,
}

impl TokenRecord {
    /// The partition that it belongs to, with which it goes; none: the PAN.
    #[must_use]
    pub const fn partition(&self) -> Option<&PartitionName> {
        match &self.purpose {
            TokenFor::Access { partition, .. } => partition.as_ref(),
            TokenFor::Joining { .. } => None,
        }
    }
}

/// A token to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct New {
    /// For what.
    pub purpose: TokenFor,
    /// SHA-256 of its secret.
    pub secret: Digest,
    /// How long it is good.
    pub lives: Span,
}

fn refuse<T>(code: Code, text: impl Into<String>) -> Result<T, ApiError> {
    Err(ApiError::new(code, text))
}

/// Makes a token.
///
/// # Errors
/// `Invalid` for roles or a life that no token has, `NotFound` for a partition that is not there, `State` when there are too many.
pub fn create(world: &mut World, now: Now, id: u64, new: New) -> Result<(), ApiError> {
    let (purpose, most) = match new.purpose {
        TokenFor::Joining { host, roles } => (TokenFor::Joining { roles: host_roles(&host, roles)?, host }, JOINING_LIVES_MAX),
        TokenFor::Access { role, partition, name } => {
            check_access(world, role, partition.as_ref())?;
            (TokenFor::Access { role, partition, name }, ACCESS_LIVES_MAX)
        }
    };
    if new.lives.0.is_zero() || new.lives.0 > most {
        let days = most.as_secs() / 86_400;
        return refuse(Code::Invalid, format!("a token that is good for {}: expected at most {days}d, and more than nothing", new.lives));
    }
    let record = TokenRecord { purpose, secret: new.secret, created: now.wall, expires: later(now, new.lives), used_for: None };
    let others = world.tokens.values().filter(|token| token.partition() == record.partition()).count();
    if others >= TOKENS_MAX || world.tokens.contains_key(&id) {
        return refuse(Code::State, format!("there are {others} tokens already: `pan token revoke` those that nobody needs"));
    }
    let text = match &record.purpose {
        TokenFor::Joining { host, roles } => {
            let words: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
            format!("a machine may join as {host} ({}) with token {} within {}", words.join(", "), id_text(id), new.lives)
        }
        TokenFor::Access { role, name, .. } => {
            let whom = name.as_ref().map_or_else(|| "somebody".to_owned(), Name::to_string);
            format!("{whom} may call as {role} with token {} for {}", id_text(id), new.lives)
        }
    };
    tell(world, now, (id, &record), "TokenCreated", text);
    world.tokens.insert(id, record);
    world.dirty.insert(Dirty::Token(id));
    Ok(())
}

fn later(now: Now, span: Span) -> i64 {
    now.wall.saturating_add(i64::try_from(span.0.as_micros()).unwrap_or(i64::MAX))
}

fn host_roles(host: &HostName, mut roles: Vec<Role>) -> Result<Vec<Role>, ApiError> {
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() {
        return refuse(Code::Invalid, format!("host {host} would have no role: expected some of node, storage, director"));
    }
    if roles.contains(&Role::Controller) {
        return refuse(Code::NotYet, "controllers cannot join yet: every host's configuration names them");
    }
    Ok(roles)
}

fn check_access(world: &World, role: AccessRole, partition: Option<&PartitionName>) -> Result<(), ApiError> {
    match (role.is_of_a_partition(), partition) {
        (true, None) => refuse(Code::Invalid, format!("in which partition is somebody to be {role}? expected one")),
        (false, Some(partition)) => {
            refuse(Code::Invalid, format!("{role} is a role in the whole PAN: expected no partition, found {partition}"))
        }
        (true, Some(partition)) if world.partitions.get(partition).is_none_or(|record| record.deleting) => {
            refuse(Code::NotFound, format!("no partition {:?}", partition.as_str()))
        }
        (true, Some(_)) | (false, None) => Ok(()),
    }
}

/// An event where the token belongs.
fn tell(world: &mut World, now: Now, (id, token): (u64, &TokenRecord), reason: &str, text: String) {
    let id = id_text(id);
    match &token.purpose {
        TokenFor::Joining { host, .. } => world.host_event(now, host, Severity::Info, reason, text),
        TokenFor::Access { partition, .. } => {
            let about = About { partition: partition.as_ref(), kind: "token", object: &id };
            world.event(now, &about, Severity::Info, reason, text);
        }
    }
}

/// Forgets a token.
///
/// # Errors
/// `NotFound`.
pub fn revoke(world: &mut World, now: Now, id: u64) -> Result<(), ApiError> {
    let Some(known) = world.tokens.remove(&id) else {
        return refuse(Code::NotFound, format!("no token {}", id_text(id)));
    };
    world.dirty.insert(Dirty::Token(id));
    tell(world, now, (id, &known), "TokenRevoked", format!("token {} is good for nothing any more", id_text(id)));
    Ok(())
}

/// A partition goes, and with it whoever was let into it: another one of that name is none of theirs.
pub fn go_with(world: &mut World, partition: &PartitionName) {
    let gone: Vec<u64> = world.tokens.iter().filter(|(_, token)| token.partition() == Some(partition)).map(|(id, _)| *id).collect();
    for id in gone {
        world.tokens.remove(&id);
        world.dirty.insert(Dirty::Token(id));
    }
}

/// Forgets tokens that have been over for a while.
pub fn expire(world: &mut World, now: Now) {
    let over: Vec<u64> = world.tokens.iter().filter(|(_, token)| now.wall > token.expires + SHOWN_AFTER).map(|(id, _)| *id).collect();
    for id in over {
        world.tokens.remove(&id);
        world.dirty.insert(Dirty::Token(id));
    }
}

/// Uses a token up. The machine that used it may ask again with the same key, for the answer may have been lost.
///
/// # Errors
/// `Unauthenticated`, in the same words whatever is wrong with the token; `Conflict` when an address is another host's.
pub fn join(world: &mut World, now: Now, joining: &Joining) -> Result<Reply, ApiError> {
    let refused = || {
        let text = "the PAN does not accept this join token: it is used, expired, revoked or unknown, or made for another host; \
            `pan token create --join HOST` makes a new one";
        ApiError::new(Code::Unauthenticated, text)
    };
    let token = world.tokens.get(&joining.token).ok_or_else(refused)?;
    let again = token.used_for.is_none_or(|key| key == joining.key);
    let TokenFor::Joining { host, roles } = &token.purpose else { return Err(refused()) };
    if token.secret != joining.secret || *host != joining.host || now.wall >= token.expires || !again {
        return Err(refused());
    }
    check_addresses(world, joining)?;
    let (roles, first) = (roles.clone(), token.used_for.is_none());
    if let Some(token) = world.tokens.get_mut(&joining.token).filter(|_| first) {
        token.used_for = Some(joining.key);
        world.dirty.insert(Dirty::Token(joining.token));
    }
    let serial = number(world, &joining.host);
    let text = format!("token {} was used; certificate {serial} is issued", id_text(joining.token));
    world.host_event(now, &joining.host, Severity::Info, "TokenUsed", text);
    Ok(Reply::Certify { roles, serial })
}

/// A host gets its certificate anew, with the roles that its present one has.
///
/// # Errors
/// `NotFound` when it is no host any more, or not yet.
pub fn renew(world: &mut World, now: Now, host: &HostName) -> Result<Reply, ApiError> {
    let unknown = || ApiError::new(Code::NotFound, format!("there is no host {host}: it should say hello first"));
    let roles = world.hosts.get(host).ok_or_else(unknown)?.roles.clone();
    let serial = number(world, host);
    world.host_event(now, host, Severity::Info, "CertificateRenewed", format!("certificate {serial} of host {host} is issued"));
    Ok(Reply::Certify { roles, serial })
}

/// The number of the next certificate of a host.
fn number(world: &mut World, host: &HostName) -> u64 {
    let credential: &mut CredentialRecord = world.credentials.entry(host.clone()).or_default();
    credential.issued += 1;
    world.dirty.insert(Dirty::Credential(host.clone()));
    credential.issued
}

fn check_addresses(world: &World, joining: &Joining) -> Result<(), ApiError> {
    let others = world.hosts.iter().filter(|(name, _)| **name != joining.host);
    let taken: Vec<(&HostName, IpAddr)> =
        others.flat_map(|(name, host)| [host.address, host.a, host.b].map(|address| (name, address))).collect();
    for address in joining.addresses {
        if let Some((other, _)) = taken.iter().find(|(_, theirs)| *theirs == address) {
            return Err(ApiError::new(
                Code::Conflict,
                format!("address {address} belongs to host {other}: host {} needs its own", joining.host),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "tokens_tests.rs"]
mod tests;
