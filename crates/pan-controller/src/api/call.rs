//! A request as handlers see it: who asks, what for, and the newest state through the caller's eyes.

use super::answer;
use super::dispatch::{App, wall};
use super::scope::Scope;
use super::watch::{self, KEEP_ALIVE};
use crate::auth::{self, Noun, Verb};
use crate::core::request::{Reply, Request};
use crate::handle::{Handle, Principal};
use crate::site::Site;
use axum::response::Response;
use bytes::Bytes;
use pan_api::ApiError;
use pan_model::{Code, PartitionName, ServerKey, ServerName};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{AcquireError, OwnedSemaphorePermit};

/// The parts of a request.
#[derive(Debug, Clone, Default)]
pub struct Input {
    /// What stands for the `{…}` of the path.
    pub path: BTreeMap<String, String>,
    /// The query; only parameters of the route.
    pub query: BTreeMap<String, String>,
    /// The body.
    pub body: Bytes,
    /// By how much the answer may be older than answers may be.
    pub stale_max: Duration,
}

/// A request of `Who`: nobody in particular, a principal, or a host.
pub struct Call<Who> {
    /// Who asks.
    pub who: Who,
    /// What for.
    pub input: Input,
    pub(super) app: Arc<App>,
}

fn invalid(message: impl Display) -> ApiError {
    ApiError::new(Code::Invalid, message.to_string())
}

/// The refusal of a look-up, the same for what is hidden and what is not there.
pub fn not_found(what: impl Display) -> ApiError {
    ApiError::new(Code::NotFound, format!("no {what}"))
}

impl<Who> Call<Who> {
    /// The controller.
    pub fn handle(&self) -> &Handle {
        &self.app.handle
    }

    /// What hosts are told and certified with.
    pub fn site(&self) -> &Site {
        &self.app.site
    }

    /// A name in the path. One that no object can have is not found.
    pub fn name<T: FromStr>(&self, kind: &str) -> Result<T, ApiError> {
        let text = self.input.path.get(kind).map_or("", String::as_str);
        text.parse().map_err(|_| not_found(format_args!("{kind} {text:?}")))
    }

    /// A query parameter.
    pub fn query<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let read = |text: &String| text.parse().map_err(|error| invalid(format_args!("query parameter {name}={text:?}: {error}")));
        self.input.query.get(name).map(read).transpose()
    }

    /// A yes-or-no query parameter; no when absent.
    pub fn flag(&self, name: &str) -> Result<bool, ApiError> {
        Ok(self.query(name)?.unwrap_or(false))
    }

    /// The body.
    pub fn body<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_json::from_slice(&self.input.body).map_err(|error| invalid(format_args!("the request body: {error}")))
    }

    /// The body; an absent one is the default.
    pub fn body_or_default<T: DeserializeOwned + Default>(&self) -> Result<T, ApiError> {
        if self.input.body.trim_ascii().is_empty() { Ok(T::default()) } else { self.body() }
    }
}

impl Call<Principal> {
    /// The newest state as the caller may see it.
    pub fn scope(&self) -> Scope {
        Scope::new(&self.who, self.app.handle.view(), self.app.domains)
    }

    /// What is shown is not too old for the caller.
    ///
    /// # Errors
    /// `NotLeading`.
    pub fn is_fresh(&self) -> Result<(), ApiError> {
        self.app.handle.age(&self.who, self.input.stale_max).map(drop)
    }

    /// Whether whoever calls still may: tokens are revoked, and their time ends.
    pub fn is_good(&self) -> bool {
        let view = self.app.handle.view();
        self.who.token.is_none_or(|token| view.grants.get(&token).is_some_and(|grant| grant.lasts(wall())))
    }

    /// Waits until it may no more.
    pub async fn no_more(self) {
        let mut changes = self.handle().changes();
        while self.is_good() {
            // The controller ends: so does everything.
            if let Ok(Err(_)) = tokio::time::timeout(KEEP_ALIVE, changes.changed()).await {
                return;
            }
        }
    }

    /// The partition in the path, which the caller sees.
    pub fn partition(&self) -> Result<PartitionName, ApiError> {
        let name: PartitionName = self.name("partition")?;
        self.scope().require_partition(&name)?;
        Ok(name)
    }

    /// The server in the path, which the caller sees.
    pub fn server(&self) -> Result<ServerKey, ApiError> {
        let key = ServerKey { partition: self.partition()?, name: self.name::<ServerName>("server")? };
        self.scope().server(&key).map(|_| key.clone()).ok_or_else(|| not_found(format_args!("server {key}")))
    }

    /// How to call the agents of nodes.
    pub fn agent_tls(&self) -> Arc<rustls::ClientConfig> {
        self.app.agents.clone()
    }

    /// Waits for a turn to ask the planner.
    pub async fn turn(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        self.app.questions.clone().acquire_owned().await
    }

    /// Waits for a turn to read a part of a snapshot.
    pub async fn read_turn(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        self.app.reads.clone().acquire_owned().await
    }

    /// Checks the table of roles for something that the route alone does not say.
    pub fn permit(&self, verb: Verb, noun: Noun) -> Result<(), ApiError> {
        auth::permit(&self.who, verb, noun)
    }

    /// Asks for a change and answers when it is committed.
    pub async fn request(&self, request: Request) -> Result<Response, ApiError> {
        match self.app.handle.request(&self.who, request).await? {
            Reply::Applied(all) => Ok(answer::json(&all)),
            Reply::Done => Ok(answer::done()),
            Reply::Certify { .. } | Reply::Keys { .. } | Reply::Volume(_) => {
                Err(ApiError::new(Code::Internal, "something was granted to nobody"))
            }
        }
    }

    /// Answers with a list, or with its changes if the caller watches.
    pub fn list<K, T>(self, select: impl Fn(&Scope) -> BTreeMap<K, T> + Send + 'static) -> Result<Response, ApiError>
    where
        K: Ord + Send + 'static,
        T: Serialize + PartialEq + Send + 'static,
    {
        if self.flag("watch")? {
            return Ok(watch::objects(self, select));
        }
        Ok(answer::json(&select(&self.scope()).into_values().collect::<Vec<_>>()))
    }

    /// Answers with one object, or with its changes if the caller watches.
    ///
    /// `what` is how a refusal calls it, when it is not there or not the caller's to see.
    pub fn one<T>(self, what: impl Display, select: impl Fn(&Scope) -> Option<T> + Send + 'static) -> Result<Response, ApiError>
    where
        T: Serialize + PartialEq + Send + 'static,
    {
        let found = select(&self.scope()).ok_or_else(|| not_found(what))?;
        if self.flag("watch")? {
            return Ok(watch::objects(self, move |scope| select(scope).map(|object| ((), object)).into_iter().collect()));
        }
        Ok(answer::json(&found))
    }
}
