//! A new member in the place of one that lost its data.
//!
//! A member that forgot what it acknowledged must not vote again under its old id: what was committed with its voice could be undone.
//! So the old id is removed first. That is itself committed by a majority of the old members without it, and each such majority has a
//! member with everything that was ever committed. A new id, which never acknowledged anything, is added then.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::time::sleep;

use super::client::{Client, Repeat};
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::grpc;
use super::timing::Timing;
use super::wire::{ListedMember, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberRemoveRequest, MembersResponse, Method};
use crate::error::BoxError;

/// How often the others are asked whether they know of the new member. They learn of it with the leader's next heartbeat, in `wan`
/// after 500 ms.
const ASKED_MAX: u32 = 60;
/// Pause between two such questions.
const PAUSE: Duration = Duration::from_millis(50);

/// Who is to be replaced, and how to speak to the others.
#[derive(Debug, Clone)]
pub struct Replacement {
    /// Client URLs of the other members.
    pub others: Vec<Endpoint>,
    /// Whom to trust and which certificate to show.
    pub tls: Arc<ClientConfig>,
    /// How long to wait.
    pub timing: Timing,
    /// Where the member listened and will listen for the others: it is known by them.
    pub peer_urls: Vec<String>,
}

/// The member was not replaced, or it is not certain that it was; doing it again does no harm.
#[derive(Debug, thiserror::Error)]
pub enum ReplaceError {
    /// It was the only one.
    #[error("there are no other members: what it knew is lost unless there is a backup")]
    Alone,
    /// The others did not do it.
    #[error("cannot {action}")]
    Call {
        /// What was tried.
        action: &'static str,
        /// Why not.
        source: BoxError,
    },
    /// One of the others has not heard of it.
    #[error("{0} does not know of the new member yet")]
    Late(Endpoint),
}

/// Removes whoever has these peer URLs and adds a member with a new id at the same. Returns the peer URLs of all members, the new one
/// too. Members refuse while a majority of them does not answer, and to add one until all have been connected for five seconds.
///
/// # Errors
/// [`ReplaceError`].
pub async fn replace(replacement: &Replacement) -> Result<Vec<Vec<String>>, ReplaceError> {
    let Replacement { others, tls, timing, peer_urls } = replacement;
    if others.is_empty() {
        return Err(ReplaceError::Alone);
    }
    let failed = |action| move |failure: Failure| ReplaceError::Call { action, source: failure.into() };
    let client = Client::new(others.clone(), tls, *timing);
    let list = MemberListRequest { linearizable: true };
    let listed: MembersResponse = client.call(Method::MemberList, &list, Repeat::Reading).await.map_err(failed("list the members"))?;
    for ListedMember { id, .. } in listed.members.iter().filter(|member| is_at(member, peer_urls)) {
        let request = MemberRemoveRequest { id: *id };
        let removing = client.call::<MembersResponse>(Method::MemberRemove, &request, Repeat::Writing);
        removing.await.map_err(failed("remove the member that was lost"))?;
    }
    let request = MemberAddRequest { peer_urls: peer_urls.clone() };
    let added: MemberAddResponse =
        client.call(Method::MemberAdd, &request, Repeat::Writing).await.map_err(failed("add the member anew"))?;
    let id = added.member.map(|member| member.id);
    for other in others {
        wait_known(other, replacement, id).await?;
    }
    Ok(added.members.into_iter().map(|member| member.peer_urls).collect())
}

/// Until a member that answers knows the new id and no other there: etcd asks any of them for its own id when it starts.
async fn wait_known(other: &Endpoint, replacement: &Replacement, id: Option<u64>) -> Result<(), ReplaceError> {
    let client = Client::new(vec![other.clone()], &replacement.tls, replacement.timing);
    let list = grpc::frame(&MemberListRequest { linearizable: true });
    for _ in 0..ASKED_MAX {
        let Ok(known) = client.attempt::<MembersResponse>(Method::MemberList, list.clone()).await else { return Ok(()) };
        let mut there = known.members.iter().filter(|member| is_at(member, &replacement.peer_urls)).map(|member| member.id);
        if there.next() == id && there.next().is_none() {
            return Ok(());
        }
        sleep(PAUSE).await;
    }
    Err(ReplaceError::Late(other.clone()))
}

fn is_at(member: &ListedMember, peer_urls: &[String]) -> bool {
    member.peer_urls.iter().any(|url| peer_urls.contains(url))
}
