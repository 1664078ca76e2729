//! One request from its head to its answer's.

use super::alarm::Patience;
use super::answer;
use super::connection::Conversation;
use super::gate::{Gate, Pass, Turned};
use super::live::Service;
use super::outgoing::Outgoing;
use super::record::Record;
use super::reply::{Reply, Stream};
use super::send::{Carrier, Failed, Job, Sending};
use super::tunnel;
use super::upload::{Fault, Feed, Terms};
use crate::attempt::{self, Attempt, IDEMPOTENCY_KEY, Outcome, Repeat, Verdict};
use crate::choice::Asker;
use crate::edit::Edits;
use crate::forwarded::{self, Origin};
use crate::proxied::Ends;
use crate::route::{Action, Seen};
use crate::screen::{Refusal, Upgrade};
use crate::target::is_path;
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, HOST, HeaderValue, SET_COOKIE, UPGRADE};
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Version};
use pan_model::proxy::{canonical, host_of, is_authority};
use std::borrow::Cow;
use std::sync::Arc;
use tokio::time::Instant;

/// Answers a request.
pub async fn exchange(talk: Arc<Conversation>, mut request: Request<Incoming>) -> Response<Reply> {
    let refusal = talk.wire.call();
    let live = talk.worker.shared.live.load_full();
    // A service that was taken away goes on as it was for whoever is connected.
    let service = live.service(talk.listen).unwrap_or_else(|| Arc::clone(&talk.service));
    let asks = request.headers().contains_key(UPGRADE) && request.body().is_end_stream();
    let client = asks.then(|| hyper::upgrade::on(&mut request));
    let (head, body) = request.into_parts();
    let mut record = Record::begin(&talk.worker.shared, &service, &talk.wire, talk.client.ip(), &head);
    if let Some(why) = refusal {
        record.unread();
        return answer::refuse(record, why.status(), why.sentence());
    }
    let exchange = Exchange { talk: Arc::clone(&talk), service, head, client };
    let response = exchange.serve(body, record).await;
    if asks {
        let agreed = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        talk.wire.settle(if agreed { Upgrade::Agreed } else { Upgrade::Declined });
    }
    response
}

/// What the last attempt would have been answered with, if there had been none after it, and why it failed.
type Told = ((StatusCode, Outcome), &'static str);

/// A request that is looked at.
struct Exchange {
    talk: Arc<Conversation>,
    service: Arc<Service>,
    head: Parts,
    /// The client's connection, if it asks to change the protocol.
    client: Option<OnUpgrade>,
}

/// What is settled before the first attempt.
struct Plan {
    gate: Arc<Gate>,
    edits: Arc<Edits>,
    /// Where the canonical path is not as the client wrote it.
    path: Option<String>,
    authority: HeaderValue,
    /// What it asks to change to.
    upgrade: Option<HeaderValue>,
    job: Job,
}

impl Exchange {
    async fn serve(self, body: Incoming, mut record: Record) -> Response<Reply> {
        if let Some((status, why)) = self.refusal(&body) {
            return answer::refuse(record, status, why);
        }
        let authority = self.authority();
        let asked = authority.to_str().unwrap_or_default();
        let host = lower(host_of(asked));
        let path = match canonical(self.head.uri.path()) {
            Ok(path) => path,
            Err(_) => return answer::refuse(record, StatusCode::BAD_REQUEST, "a path with . or .. or a bad % in it"),
        };
        let Parts { method, headers, uri, .. } = &self.head;
        let seen = Seen {
            host: &host,
            path: &path,
            query: uri.query(),
            method,
            headers,
            client: self.talk.client.ip(),
            tls: self.talk.scheme() == "https",
        };
        let service = Arc::clone(&self.service);
        let (gate, edits) = match service.routes.find(&seen, self.talk.worker.draw()) {
            None => return answer::say(record, StatusCode::NOT_FOUND, "no route of this service matches"),
            Some(route) => match &route.action {
                Action::Redirect(redirect) => {
                    let location = redirect.location(self.talk.scheme(), asked, uri.path(), &seen);
                    let mut response = answer::redirect(record, redirect.status, &location);
                    service.edits.response.apply(response.headers_mut());
                    route.edits.response.apply(response.headers_mut());
                    return response;
                }
                Action::Cluster(at) => (Arc::clone(&service.gates[*at]), Arc::clone(&route.edits)),
            },
        };
        let path = match path {
            Cow::Borrowed(_) => None,
            Cow::Owned(path) => Some(path),
        };
        let upgrade = self.client.is_some().then(|| forwarded::upgrade(&self.head.headers)).flatten();
        let upgrade = upgrade.filter(|_| self.head.version == Version::HTTP_11);
        let job = self.job(upgrade.is_some(), body);
        record.feed.clone_from(&job.feed);
        let plan = Plan { gate, edits, path, authority, upgrade, job };
        self.attempts(plan, record).await
    }

    /// What is wrong with a request, whatever its route.
    fn refusal(&self, body: &Incoming) -> Option<(StatusCode, &'static str)> {
        if [Method::CONNECT, Method::TRACE].contains(&self.head.method) {
            return Some((StatusCode::NOT_IMPLEMENTED, "CONNECT and TRACE are not for services"));
        }
        let (method, uri) = (&self.head.method, &self.head.uri);
        // Of HTTP/1 the wire has passed no other; those of HTTP/2 are seen here first, and so is the host in a target.
        if !is_path(method.as_str(), uri.path()) {
            return Some((StatusCode::BAD_REQUEST, Refusal::Target.sentence()));
        }
        if self.head.headers.len() > self.service.limits.headers {
            return Some((Refusal::TooManyHeaders.status(), Refusal::TooManyHeaders.sentence()));
        }
        let mut said = self.head.headers.get_all(HOST).iter().map(HeaderValue::as_bytes);
        let first = said.next();
        let asked = uri.authority().map(|authority| authority.as_str().as_bytes());
        if said.next().is_some() || !first.into_iter().chain(asked).all(is_authority) {
            return Some((StatusCode::BAD_REQUEST, Refusal::Host.sentence()));
        }
        let limit = self.service.limits.body?;
        let known = body.size_hint().lower();
        (known > limit.0).then_some((StatusCode::PAYLOAD_TOO_LARGE, Self::fault(Fault::TooLarge).1))
    }

    /// The host asked for, as the client wrote it: a target that has one comes before the header (RFC 9112, 3.2.2).
    fn authority(&self) -> HeaderValue {
        let target = self.head.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
        let header = || self.head.headers.get(HOST).filter(|host| host.to_str().is_ok()).cloned();
        target.or_else(header).unwrap_or_else(|| HeaderValue::from_static(""))
    }

    fn job(&self, upgrade: bool, body: Incoming) -> Job {
        let service = &self.service;
        let whole = service.timeouts.whole.map(|whole| Instant::now() + whole.0);
        let keyed = service.retry.keyed && self.head.headers.contains_key(IDEMPOTENCY_KEY);
        let terms = || Terms {
            limit: service.limits.body.map(|limit| limit.0),
            keep_max: service.limits.replay.0,
            patience: Patience::new(service.timeouts.body.0, whole),
        };
        Job {
            feed: Feed::of(body, terms),
            repeat: Repeat::of(&self.head.method, keyed),
            ends: Ends { client: self.talk.client, server: self.talk.local },
            upgrade,
            whole,
        }
    }

    fn outgoing<'a>(&'a self, plan: &'a Plan) -> Outgoing<'a> {
        Outgoing {
            head: &self.head,
            origin: Origin { told: &self.talk.told, authority: &plan.authority, version: self.head.version },
            forwarding: self.service.forwarding,
            edits: [&self.service.edits.request, &plan.edits.request],
            upgrade: plan.upgrade.as_ref(),
        }
    }

    async fn attempts(mut self, plan: Plan, mut record: Record) -> Response<Reply> {
        let (mut tried, mut outcome) = (Vec::new(), Outcome::NotSent);
        let mut told: Option<Told> = None;
        loop {
            let path = plan.path.as_deref().unwrap_or_else(|| self.head.uri.path());
            let asker = Asker { client: self.talk.client.ip(), path, headers: &self.head.headers, tried: &tried };
            let mut pass = match plan.gate.enter(&asker).await {
                Ok(pass) => pass,
                Err(turned) => return Self::turned(record, turned, told),
            };
            record.attempt(&pass.backend);
            tried.push(pass.backend.index);
            let (worker, job, timeouts) = (&self.talk.worker, &plan.job, &self.service.timeouts);
            let (outgoing, elsewhere) = (self.outgoing(&plan), || plan.gate.has_up_besides(&tried));
            let sent = Sending { worker, job, outgoing, backend: &pass.backend, timeouts, elsewhere }.run().await;
            let failed = match sent {
                Ok((response, carrier)) => {
                    if outcome_of(response.status()) == pan_balance::Outcome::Answered {
                        pass.first_byte();
                    }
                    return self.answer(plan, record, pass, response, carrier);
                }
                Err(failed) => failed,
            };
            if let Some(fault) = plan.job.feed.as_ref().and_then(|feed| feed.fault()) {
                drop(pass);
                return self.faulted(record, fault);
            }
            pass.end(pan_balance::Outcome::Failed);
            let Failed { failure, outcome: this } = failed;
            if this == Outcome::Unknown {
                outcome = Outcome::Unknown;
            }
            let made = u32::try_from(tried.len()).unwrap_or(u32::MAX);
            let (repeat, replayable, most) = (plan.job.repeat, plan.job.replayable(), self.service.retry.attempts);
            let attempt = Attempt { failure, outcome, repeat, replayable, made, most };
            match attempt::decide(&attempt, || plan.gate.may_retry()) {
                Verdict::Again => told = Some((attempt::last_word(&attempt), failure.sentence())),
                Verdict::Tell(status, outcome) => return answer::unanswered(record, status, outcome, failure.sentence()),
            }
        }
    }

    /// Nobody has the request.
    fn turned(record: Record, turned: Turned, told: Option<Told>) -> Response<Reply> {
        // What an earlier attempt ended with says more than that there is no other server.
        if let Some(((status, outcome), why)) = told {
            return answer::unanswered(record, status, outcome, why);
        }
        let why = match turned {
            Turned::Busy => "all servers have as many requests as they may",
            Turned::Nobody => "no server is up",
        };
        answer::unanswered(record, StatusCode::SERVICE_UNAVAILABLE, Outcome::NotSent, why)
    }

    fn fault(fault: Fault) -> (StatusCode, &'static str) {
        match fault {
            Fault::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than this service allows"),
            Fault::Slow => (StatusCode::REQUEST_TIMEOUT, "the body did not come in time"),
            Fault::Broken | Fault::Superseded => (StatusCode::BAD_REQUEST, "the body broke off"),
        }
    }

    /// The client's body cannot be read on.
    fn faulted(&self, record: Record, fault: Fault) -> Response<Reply> {
        let (status, why) = Self::fault(fault);
        let why = self.talk.wire.broken().map_or(why, |refusal| refusal.sentence());
        answer::refuse(record, status, why)
    }

    /// A server's answer has begun.
    fn answer(&mut self, plan: Plan, mut record: Record, pass: Pass, response: Response<Incoming>, carrier: Carrier) -> Response<Reply> {
        let Plan { gate, edits, job, .. } = plan;
        if let Some(feed) = &job.feed {
            feed.keep_no_more();
        }
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return self.switch(record, pass, response, carrier);
        }
        let (mut head, incoming) = response.into_parts();
        record.answered(head.status);
        forwarded::strip(&mut head.headers);
        head.version = Version::HTTP_11;
        head.extensions.clear();
        if let Some(mark) = gate.cookie(pass.backend.index, &self.head.headers) {
            let secure = if self.talk.secure { "; Secure" } else { "" };
            let cookie = format!("{mark}; Path=/; HttpOnly; SameSite=Lax{secure}");
            head.headers.append(SET_COOKIE, HeaderValue::from_str(&cookie).expect("a name that was checked, and digits"));
        }
        self.service.edits.response.apply(&mut head.headers);
        edits.response.apply(&mut head.headers);
        let outcome = outcome_of(head.status);
        let patience = Patience::new(self.service.timeouts.body.0, job.whole);
        Response::from_parts(head, Reply::stream(Stream::new(incoming, patience, outcome, pass, carrier), record))
    }

    /// The server agrees to change the protocol: what comes after the answer's head goes to and fro as it is.
    fn switch(&mut self, mut record: Record, pass: Pass, mut response: Response<Incoming>, carrier: Carrier) -> Response<Reply> {
        let server = hyper::upgrade::on(&mut response);
        let protocol = response.headers().get(UPGRADE).cloned();
        let (Some(client), Some(protocol), Carrier::Link(link, _)) = (self.client.take(), protocol, carrier) else {
            pass.end(pan_balance::Outcome::Failed);
            return answer::unanswered(record, StatusCode::BAD_GATEWAY, Outcome::Unknown, "the server changed to no protocol");
        };
        link.release();
        let (mut head, _) = response.into_parts();
        forwarded::strip(&mut head.headers);
        self.service.edits.response.apply(&mut head.headers);
        head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        head.headers.insert(UPGRADE, protocol);
        head.extensions.clear();
        record.answered(head.status);
        tunnel::spawn(&self.talk, tunnel::Ends { client, server, pass, idle: self.service.timeouts.body.0 });
        Response::from_parts(head, Reply::fixed(bytes::Bytes::new(), record))
    }
}

/// A host as routes have it.
fn lower(host: &str) -> Cow<'_, str> {
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) { Cow::Owned(host.to_ascii_lowercase()) } else { Cow::Borrowed(host) }
}

/// What a server did, by its own word: with these it says that it could not do its work.
fn outcome_of(status: StatusCode) -> pan_balance::Outcome {
    match status {
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => pan_balance::Outcome::Failed,
        _ => pan_balance::Outcome::Answered,
    }
}
