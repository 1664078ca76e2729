//! Going into servers and reading snapshots changes no record, but it is written down, by the controller that leads, before it is done: no
//! line, no program.

use super::audit;
use super::call::Call;
use super::dispatch::App;
use crate::handle::{Handle, Principal, PrincipalRole};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use pan_api::hostclient::{HostClient, HostOptions};
use pan_api::inside::{Bearer, Inside, PATH, TellInside};
use pan_api::requests::ExecFrame;
use pan_api::{ApiError, WIRE_VERSION};
use pan_model::host_config::CONTROLLER_PORT;
use pan_model::{Code, Name, ServerKey, VolumeKey};
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// How often the end of a program is told again where nobody leads, a second apart: twice as long as another leader takes.
const TRIES_MAX: usize = 30;
const PAUSE: Duration = Duration::from_secs(1);
/// The last line of an answer, which says how a program ended, is not longer.
const LAST_LINE_MAX: usize = 64;

/// Has it written down; answered once that is committed.
///
/// # Errors
/// It is not written. What was to be done is not to be done.
pub async fn tell(app: &App, who: &Principal, what: Inside) -> Result<(), ApiError> {
    let Some((leader, address)) = app.handle.view().leader.clone() else {
        return told(&app.handle, who, what).await;
    };
    let PrincipalRole::Access(role) = who.role else {
        return Err(ApiError::new(Code::Internal, "a host goes into nothing"));
    };
    let who = Bearer { token: who.token, called: who.called.clone(), role, partition: who.partition.clone() };
    let told = TellInside { version: WIRE_VERSION, who, what };
    let address = SocketAddr::new(address, CONTROLLER_PORT);
    let client = HostClient::new(app.agents.clone(), address, Some(&leader), HostOptions::default());
    client.post(PATH, &told).await.map_err(|error| match error.code {
        Code::HostUnreachable => ApiError::new(Code::NotLeading, format!("{leader} leads, but {error}; nothing was done")),
        _ => error,
    })
}

/// What a controller was told, by another one or by itself.
///
/// # Errors
/// As [`tell`].
pub async fn told(handle: &Handle, who: &Principal, what: Inside) -> Result<(), ApiError> {
    // Where it was asked, that its token ended may not be known yet.
    let begins = matches!(what, Inside::Begun { .. } | Inside::Read { .. });
    let ended = |token: u64| !handle.view().grants.get(&token).is_some_and(|grant| grant.lasts(super::dispatch::wall()));
    if begins && who.token.is_some_and(ended) {
        return Err(crate::auth::unauthenticated());
    }
    handle.inside(who, what).await
}

/// Somebody was refused to go inside. Nothing was done, so the answer stands whether it could be written or not.
pub async fn refused(app: &App, who: &Principal, what: Inside, code: Code) {
    if audit::is_refusal(code)
        && let Err(error) = tell(app, who, what).await
    {
        tracing::warn!(%error, "a refusal is not in the audit log");
    }
}

/// Before a part of a snapshot is read: a line for each time that somebody begins to.
///
/// # Errors
/// As [`tell`].
pub async fn reads(call: &Call<Principal>, volume: &VolumeKey, snapshot: &Name) -> Result<(), ApiError> {
    let (app, token, now) = (&call.app, call.who.token, crate::owner::now().boot);
    let is_told = app.reading.lock().unwrap_or_else(PoisonError::into_inner).is_told(token, volume, snapshot, now);
    if is_told {
        return Ok(());
    }
    tell(app, &call.who, Inside::Read { volume: volume.clone(), snapshot: snapshot.clone() }).await?;
    app.reading.lock().unwrap_or_else(PoisonError::into_inner).told(token, volume.clone(), snapshot.clone(), now);
    Ok(())
}

/// A program in a server, from the line that it begins to the line that it ended.
pub struct Run {
    app: Arc<App>,
    who: Principal,
    server: ServerKey,
    id: String,
    /// How it ended, as far as that is known.
    how: Option<String>,
    /// The end of what came, back to the last newline, while it may be the last line.
    tail: Vec<u8>,
}

impl Run {
    /// Writes the line that it begins.
    ///
    /// # Errors
    /// As [`tell`].
    pub async fn begin(call: &Call<Principal>, server: &ServerKey, command: &[String]) -> Result<Self, ApiError> {
        let random = getrandom::u64().map_err(|error| ApiError::new(Code::Internal, format!("no random numbers: {error}")))?;
        let (id, program) = (format!("{random:016x}"), command.first().cloned().unwrap_or_default());
        let begun = Inside::Begun { server: server.clone(), run: id.clone(), program, arguments: command.len().saturating_sub(1) };
        tell(&call.app, &call.who, begun).await?;
        Ok(Self { app: call.app.clone(), who: call.who.clone(), server: server.clone(), id, how: None, tail: Vec::new() })
    }

    /// It came to nothing.
    pub fn failed(mut self, error: &ApiError) {
        self.how = Some(format!("failed={}", error.code.as_str()));
    }

    /// What it says, through to its end; whoever lets go of it before has it killed.
    pub fn follow<E: Send>(
        self,
        lines: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
    ) -> impl Stream<Item = Result<Bytes, E>> + Send {
        futures_util::stream::unfold((self, Box::pin(lines)), |(mut run, mut lines)| async move {
            let Some(item) = lines.next().await else {
                run.over();
                return None;
            };
            if let Ok(bytes) = &item {
                run.hear(bytes);
            }
            Some((item, (run, lines)))
        })
    }

    fn hear(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.tail.last() == Some(&b'\n') {
                self.tail.clear();
            }
            // The beginning of a longer line is no frame by itself.
            let room = LAST_LINE_MAX.saturating_sub(self.tail.len());
            self.tail.extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") && !self.tail.ends_with(b"\n") {
                self.tail.clear();
            }
        }
        if let Ok(ExecFrame::Exit(status)) = serde_json::from_slice(&self.tail) {
            self.how = Some(format!("exit={status}"));
        }
    }

    /// Nothing comes any more.
    fn over(&mut self) {
        if self.how.is_none() {
            self.how = Some(if self.is_good() { "lost" } else { "token-ended" }.to_owned());
        }
    }

    fn is_good(&self) -> bool {
        let view = self.app.handle.view();
        self.who.token.is_none_or(|token| view.grants.get(&token).is_some_and(|grant| grant.lasts(super::dispatch::wall())))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let how = self.how.take().unwrap_or_else(|| "caller-left".to_owned());
        let (app, who) = (self.app.clone(), self.who.clone());
        let server = self.server.clone();
        let ended = Inside::Ended { server: server.clone(), run: std::mem::take(&mut self.id), how };
        // A controller that ends takes it along.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            for _ in 0..TRIES_MAX {
                match tell(&app, &who, ended.clone()).await {
                    // Its partition is gone, and the log with it.
                    Ok(()) | Err(ApiError { code: Code::NotFound, .. }) => return,
                    Err(error) => tracing::debug!(%error, "the end of a program is not in the audit log yet"),
                }
                tokio::time::sleep(PAUSE).await;
            }
            tracing::warn!(%server, "the end of a program is not in the audit log");
        });
    }
}
