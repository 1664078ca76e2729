//! Tokens with which machines join, and the numbers of the certificates that hosts get.

use super::digest::Digest;
use super::record::{CredentialRecord, TokenRecord};
use super::request::{Joining, Reply};
use super::world::{Dirty, Now, World};
use pan_api::ApiError;
use pan_api::token::id_text;
use pan_model::event::Severity;
use pan_model::host::Role;
use pan_model::{Code, HostName, Span};
use std::net::IpAddr;
use std::time::Duration;

/// Tokens at the same time: a hall of machines that is set up in one go, and a bound on what a script in a loop can fill.
const TOKENS_MAX: usize = 1000;
/// A token that lies about for longer is a password.
const LIVES_MAX: Duration = Duration::from_secs(7 * 86_400);
/// How long one that is over is still shown, so that whoever wonders why it does not work finds it.
const SHOWN_AFTER: i64 = 3_600_000_000;

/// A token to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct New {
    /// SHA-256 of its secret.
    pub secret: Digest,
    /// The host that a machine becomes with it.
    pub host: HostName,
    /// That host's roles.
    pub roles: Vec<Role>,
    /// How long it is good.
    pub lives: Span,
}

/// Makes a token.
///
/// # Errors
/// `Invalid` for roles or a life that no token has, `State` when there are too many.
pub fn create(world: &mut World, now: Now, id: u64, new: New) -> Result<(), ApiError> {
    let refuse = |code, text: String| Err(ApiError::new(code, text));
    if new.lives.0.is_zero() || new.lives.0 > LIVES_MAX {
        return refuse(Code::Invalid, format!("a token that is good for {}: expected at most 7d, and more than nothing", new.lives));
    }
    let mut roles = new.roles;
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() {
        return refuse(Code::Invalid, format!("host {} would have no role: expected some of node, storage, director", new.host));
    }
    if roles.contains(&Role::Controller) {
        return refuse(Code::NotYet, "controllers cannot join yet: every host's configuration names them".into());
    }
    if world.tokens.len() >= TOKENS_MAX || world.tokens.contains_key(&id) {
        return refuse(Code::State, format!("there are {} tokens already: `pan token revoke` those that nobody needs", world.tokens.len()));
    }
    let expires = now.wall.saturating_add(i64::try_from(new.lives.0.as_micros()).unwrap_or(i64::MAX));
    let words: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
    let text = format!("a machine may join as {} ({}) with token {} within {}", new.host, words.join(", "), id_text(id), new.lives);
    world.host_event(now, &new.host, Severity::Info, "TokenCreated", text);
    let record = TokenRecord { host: new.host, roles, secret: new.secret, created: now.wall, expires, used_for: None };
    world.tokens.insert(id, record);
    world.dirty.insert(Dirty::Token(id));
    Ok(())
}

/// Forgets a token.
///
/// # Errors
/// `NotFound`.
pub fn revoke(world: &mut World, now: Now, id: u64) -> Result<(), ApiError> {
    let known = world.tokens.remove(&id).ok_or_else(|| ApiError::new(Code::NotFound, format!("there is no token {}", id_text(id))))?;
    world.dirty.insert(Dirty::Token(id));
    world.host_event(now, &known.host, Severity::Info, "TokenRevoked", format!("token {} is good for nothing any more", id_text(id)));
    Ok(())
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
    if token.secret != joining.secret || token.host != joining.host || now.wall >= token.expires || !again {
        return Err(refused());
    }
    check_addresses(world, joining)?;
    let (roles, first) = (token.roles.clone(), token.used_for.is_none());
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
