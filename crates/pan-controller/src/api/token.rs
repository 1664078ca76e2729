//! Routes of tokens, and the one by which a machine joins with one.

use super::answer;
use super::call::{Call, not_found};
use super::route::{Access, Answering, Gives, Method, Route, ready, schema};
use crate::auth::{Noun, Verb};
use crate::core::digest::Digest;
use crate::core::request::{Joining, Reply, Request};
use crate::core::tokens::{New, TokenFor};
use crate::handle::Principal;
use crate::site::Identity;
use pan_api::ApiError;
use pan_api::join::{Join, Joined};
use pan_api::keyfile::{hex, parse_key};
use pan_api::keys::Keys;
use pan_api::pki;
use pan_api::token::{AccessToken, JoinToken, NewToken, Token, TokenMade, id_text};
use pan_model::{Code, HostName};
use sha2::{Digest as _, Sha256};

const CHANGE: (Verb, Noun) = (Verb::Change, Noun::Token);

pub const ROUTES: &[Route] = &[
    Route::watched::<Vec<Token>, Token>("/v1/tokens", "All tokens, without their secrets.", Noun::Token, list),
    Route::watched::<Token, Token>("/v1/tokens/{token}", "A token, without its secret.", Noun::Token, one),
    Route {
        gives: Gives::Json(schema::<TokenMade>),
        ..Route::act(Method::Post, "/v1/tokens", "Make a token: for a machine that joins, or for somebody with a role.", CHANGE, create)
            .taking::<NewToken>()
    },
    Route::act(Method::Delete, "/v1/tokens/{token}", "Revoke a token.", CHANGE, revoke),
    Route {
        method: Method::Post,
        path: "/v1/join",
        summary: "Become a host, with a join token.",
        access: Access::Joining(join),
        query: &[],
        takes: Some(schema::<Join>),
        gives: Gives::Json(schema::<Joined>),
    },
];

fn list(call: Call<Principal>) -> Answering {
    ready(call.list(|scope| scope.tokens()))
}

/// The token in the path.
fn id(call: &Call<Principal>) -> Result<u64, ApiError> {
    let text: String = call.name("token")?;
    let number = u64::from_str_radix(&text, 16).ok().filter(|number| id_text(*number) == text);
    number.ok_or_else(|| not_found(format_args!("token {text:?}")))
}

fn one(call: Call<Principal>) -> Answering {
    ready(id(&call).and_then(|id| call.one(format!("token {}", id_text(id)), move |scope| scope.token(id))))
}

fn create(call: Call<Principal>) -> Answering {
    Box::pin(async move {
        let new: NewToken = call.body()?;
        let (lives, purpose) = (new.expires, purpose(&call, new)?);
        let authority = call.site().authority()?.fingerprint;
        let mut secret = [0; 32];
        let failed = |error: getrandom::Error| ApiError::new(Code::Internal, format!("no random numbers: {error}"));
        getrandom::fill(&mut secret).map_err(failed)?;
        let id = getrandom::u64().map_err(failed)?;
        let until = jiff::Timestamp::now().saturating_add(lives.0).unwrap_or(jiff::Timestamp::MAX);
        let new = New { purpose: purpose.clone(), secret: Digest(Sha256::digest(secret).into()), lives };
        call.request(Request::CreateToken(id, new)).await?;
        let made = TokenMade {
            id: id_text(id),
            token: String::new(),
            host: None,
            role: None,
            partition: None,
            authority: Some(hex(&authority)),
            expires: format!("{until:.6}"),
        };
        Ok(answer::json(&match purpose {
            TokenFor::Joining { host, .. } => TokenMade { token: JoinToken { id, secret, authority }.text(), host: Some(host), ..made },
            TokenFor::Access { role, partition, .. } => {
                TokenMade { token: AccessToken { id, secret }.text(), role: Some(role), partition, ..made }
            }
        }))
    })
}

/// What a token is asked for, and whether its maker may: nobody gives what it does not have.
fn purpose(call: &Call<Principal>, new: NewToken) -> Result<TokenFor, ApiError> {
    let NewToken { host, roles, role, partition, name, .. } = new;
    let refuse = |text: &str| Err(ApiError::new(Code::Invalid, text));
    let purpose = match (host, role) {
        (Some(host), None) if partition.is_none() && name.is_none() => TokenFor::Joining { host, roles },
        (None, Some(role)) if roles.is_empty() => TokenFor::Access { role, partition, name },
        (Some(_), None) => return refuse("a token with which a machine joins has a host and roles, and neither partition nor name"),
        (None, Some(_)) => return refuse("\"roles\" are those of hosts: expected \"role\" alone"),
        (Some(_), Some(_)) | (None, None) => return refuse("expected either \"host\", for a machine, or \"role\", for somebody who calls"),
    };
    match (&purpose, &call.who.partition) {
        (_, None) => {}
        (TokenFor::Access { role, partition: Some(partition), .. }, Some(_)) if role.is_of_a_partition() => {
            call.scope().require_partition(partition)?;
        }
        (TokenFor::Joining { .. } | TokenFor::Access { .. }, Some(_)) => {
            return Err(ApiError::new(Code::Denied, format!("{} may let nobody in but into its partition", call.who.name)));
        }
    }
    Ok(purpose)
}

fn revoke(call: Call<Principal>) -> Answering {
    Box::pin(async move {
        let id = id(&call)?;
        call.scope().token(id).ok_or_else(|| not_found(format_args!("token {}", id_text(id))))?;
        call.request(Request::RevokeToken(id)).await
    })
}

fn join(call: Call<()>) -> Answering {
    Box::pin(async move {
        let join: Join = call.body()?;
        let request = pki::Request::read(&join.request).map_err(|error| ApiError::new(Code::Invalid, error.to_string()))?;
        // What is no id or no secret is treated as one that nobody has.
        let token = u64::from_str_radix(&join.token, 16).unwrap_or_default();
        let secret = parse_key(&join.secret).map(Sha256::digest).unwrap_or_default();
        let joining = Joining {
            token,
            secret: Digest(secret.into()),
            host: join.host.clone(),
            key: Digest(request.key_digest()),
            addresses: [join.address, join.a, join.b],
        };
        // Whether it can be signed is known before the token is used up.
        call.site().authority()?;
        let who = Principal::host(format!("joining host {}", join.host));
        let Reply::Certify { roles, serial } = call.handle().request(&who, Request::Join(joining)).await? else {
            return Err(ApiError::new(Code::Internal, "a join was answered with something else"));
        };
        joined(&call, &join.host, &request, (roles, serial)).map(|joined| answer::json(&joined))
    })
}

fn joined(
    call: &Call<()>,
    host: &HostName,
    request: &pki::Request,
    (roles, serial): (Vec<pan_model::host::Role>, u64),
) -> Result<Joined, ApiError> {
    let site = call.site();
    let cert = {
        // Other hosts know it by its name. An address that a host claims might be somebody else's.
        let identity = Identity { name: host.clone(), roles: roles.clone(), addresses: Vec::new() };
        site.certify(request, identity, serial)?
    };
    let view = call.handle().view();
    let Keys { own, pan, .. } = site.keys(host, &roles, view.keys);
    Ok(Joined {
        ca: site.ca_pem.clone(),
        cert,
        keys: own,
        pan_keys: pan,
        profile: site.profile.clone(),
        controllers: site.controllers.iter().map(Into::into).collect(),
        lessors: site.lessors.iter().map(Into::into).collect(),
        directors: site.directors.iter().map(Into::into).collect(),
        roles,
    })
}
