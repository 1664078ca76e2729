//! Whether each member answers: asked one by one, beside the calls that go to whichever member does.
//!
//! A member says "no leader" when it is cut off from the others: it then is of no more use than one that is gone.

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::client::Client;
use super::connection::Connection;
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::grpc;
use super::wire::{MemberListRequest, MembersResponse, Method};

/// What is known of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sign {
    /// Its name, or one of its endpoints until it is known.
    pub member: String,
    /// Why it is of no use, if no endpoint of it answers.
    pub silence: Option<String>,
}

/// Asks every member; keeps a connection to each endpoint.
#[derive(Debug)]
pub struct Pulse {
    client: Arc<Client>,
    ways: Vec<Way>,
}

/// One endpoint.
#[derive(Debug)]
struct Way {
    endpoint: Endpoint,
    connection: Option<Connection>,
    /// Whose it is, as it said last.
    member: Option<String>,
}

impl Pulse {
    pub(super) fn of(client: Arc<Client>) -> Self {
        let way = |endpoint: &Endpoint| Way { endpoint: endpoint.clone(), connection: None, member: None };
        let ways = client.endpoints().iter().map(way).collect();
        Self { client, ways }
    }

    /// Asks all members at once, and waits as long for each as for any call. In the order of the endpoints. Whoever drops it before it is done
    /// has nobody left to ask.
    pub async fn feel(&mut self) -> Vec<Sign> {
        // It changes nothing, and a member tells what it knows itself: it need not ask the others.
        let request = grpc::frame(&MemberListRequest { linearizable: false });
        let mut asking = JoinSet::new();
        for (at, way) in std::mem::take(&mut self.ways).into_iter().enumerate() {
            asking.spawn(ask(Arc::clone(&self.client), at, way, request.clone()));
        }
        let mut asked = asking.join_all().await;
        asked.sort_by_key(|(at, ..)| *at);
        let lists: Vec<MembersResponse> = asked.iter().filter_map(|(.., answer)| answer.as_ref().ok().cloned()).collect();
        let mut answers = Vec::with_capacity(asked.len());
        for (_, mut way, answer) in asked {
            let url = way.endpoint.to_string();
            let told = answer.as_ref().ok().and_then(MembersResponse::teller);
            way.member = told.or(way.member).or_else(|| lists.iter().find_map(|list| list.listener(&url)));
            answers.push((url, way.member.clone(), answer.err()));
            self.ways.push(way);
        }
        signs(answers)
    }
}

async fn ask(client: Arc<Client>, at: usize, mut way: Way, request: Bytes) -> (usize, Way, Result<MembersResponse, String>) {
    let answer = client.at(&way.endpoint, &mut way.connection, Method::MemberList, request).await;
    if answer.is_err() {
        way.connection = None;
    }
    (at, way, answer.map_err(|failure| chain(&failure)))
}

fn chain(failure: &Failure) -> String {
    match std::error::Error::source(failure) {
        Some(source) => format!("{failure}: {source}"),
        None => failure.to_string(),
    }
}

/// One for each member, from endpoints, whose they are, and why they do not answer. A member answers if any endpoint of it does.
fn signs(answers: Vec<(String, Option<String>, Option<String>)>) -> Vec<Sign> {
    let mut all: Vec<Sign> = Vec::new();
    for (endpoint, member, silence) in answers {
        let member = member.unwrap_or(endpoint);
        match all.iter_mut().find(|sign| sign.member == member) {
            Some(known) if silence.is_none() => known.silence = None,
            Some(_) => {}
            None => all.push(Sign { member, silence }),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answers: &[(&str, Option<&str>, Option<&str>)], wanted: &[(&str, Option<&str>)]) {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let answers = answers.iter().map(|(endpoint, member, silence)| ((*endpoint).to_owned(), owned(*member), owned(*silence)));
        let told = signs(answers.collect());
        let told: Vec<_> = told.iter().map(|sign| (sign.member.as_str(), sign.silence.as_deref())).collect();
        assert_eq!(told, wanted);
    }

    #[test]
    fn a_member_answers_if_any_endpoint_of_it_does() {
        check(
            &[
                ("a1", Some("e1"), Some("cut")),
                ("a2", Some("e2"), Some("cut")),
                ("a3", None, Some("cut")),
                ("b1", Some("e1"), None),
                ("b2", Some("e2"), Some("gone")),
            ],
            &[("e1", None), ("e2", Some("cut")), ("a3", Some("cut"))],
        );
        check(&[("a1", Some("e1"), None), ("b1", Some("e1"), Some("cut"))], &[("e1", None)]);
    }
}
