//! What is remembered of a request while it lasts, and told when it ends, however.

use super::gate::Backend;
use super::live::Service;
use super::proxy::Shared;
use super::upload::Feed;
use super::wire::{Taking, WireState};
use crate::access::Line;
use crate::attempt::Outcome;
use hyper::{Method, StatusCode, Version};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::time::Instant;

/// A request. It counts as in flight until this is dropped.
pub struct Record {
    shared: Arc<Shared>,
    service: Arc<Service>,
    wire: Arc<WireState>,
    client: IpAddr,
    method: Method,
    version: Version,
    /// Host and path, where there is a log.
    target: Option<(String, String)>,
    began: Instant,
    answered: Option<Instant>,
    status: Option<StatusCode>,
    /// Its body.
    pub feed: Option<Arc<Feed>>,
    /// Bytes of the answer's body.
    pub sent: u64,
    /// The server that has or had it.
    pub server: Option<Arc<Backend>>,
    /// How often it was sent.
    pub attempts: u32,
    /// What there is to say.
    pub note: Option<&'static str>,
    /// Whether the answer broke off.
    pub cut: bool,
}

impl Record {
    /// Of a request that begins.
    pub fn begin(
        shared: &Arc<Shared>,
        service: &Arc<Service>,
        wire: &Arc<WireState>,
        client: IpAddr,
        head: &hyper::http::request::Parts,
    ) -> Self {
        service.tally.in_flight.add(1);
        let target = shared.logs().then(|| {
            let host = head.uri.authority().map(|authority| authority.as_str().to_owned());
            let said = || head.headers.get(hyper::header::HOST).map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
            (host.or_else(said).unwrap_or_default(), head.uri.path().to_owned())
        });
        Self {
            shared: Arc::clone(shared),
            service: Arc::clone(service),
            wire: Arc::clone(wire),
            client,
            method: head.method.clone(),
            version: head.version,
            target,
            began: Instant::now(),
            answered: None,
            status: None,
            feed: None,
            sent: 0,
            server: None,
            attempts: 0,
            note: None,
            cut: false,
        }
    }

    /// Whether the client speaks HTTP/2, whose connections do not end with a request.
    pub fn multiplexed(&self) -> bool {
        self.version == Version::HTTP_2
    }

    /// It is sent to a server.
    pub fn attempt(&mut self, server: &Arc<Backend>) {
        if self.attempts > 0 {
            self.service.tally.retries.add(1);
        }
        self.attempts += 1;
        self.server = Some(Arc::clone(server));
    }

    /// It stands for what could not be read.
    pub fn unread(&mut self) {
        if let Some(target) = &mut self.target {
            *target = Default::default();
        }
    }

    /// It is refused for what it looks like.
    pub fn refused(&mut self, why: &'static str) {
        self.service.tally.refused.add(1);
        self.note = Some(why);
    }

    /// It is answered.
    pub fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
        self.answered = self.target.is_some().then(Instant::now);
    }

    /// The client is told what is known of an outcome.
    pub fn outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Unknown => self.service.tally.unknown.add(1),
            Outcome::NotSent => {}
        }
    }

    /// Its answer begins to be taken.
    pub fn taking(&self) -> Option<Taking> {
        self.wire.answer()
    }

    fn log(&self, host: &str, path: &str) {
        let micros = |since: Instant| u64::try_from(since.duration_since(self.began).as_micros()).unwrap_or(u64::MAX);
        let now = Instant::now();
        let line = Line {
            time: format!("{:.6}", jiff::Timestamp::now()),
            service: &self.service.name,
            client: self.client,
            method: self.method.as_str(),
            host,
            path,
            protocol: match self.version {
                Version::HTTP_10 => "HTTP/1.0",
                Version::HTTP_2 => "HTTP/2",
                _ => "HTTP/1.1",
            },
            status: self.status.map_or(499, |status| status.as_u16()),
            received: self.feed.as_ref().map_or(0, |feed| feed.read()),
            sent: self.sent,
            server: self.server.as_ref().map(|server| server.name.as_str()),
            attempts: self.attempts,
            first_byte_us: self.answered.map_or(0, micros),
            took_us: micros(now),
            note: self.note,
        };
        self.shared.log(line.render());
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let tally = &self.service.tally;
        tally.in_flight.less();
        let class = self.status.map_or(0, |status| usize::from(status.as_u16() / 100).min(5));
        tally.statuses[class].add(1);
        tally.cut.add(u64::from(self.cut));
        tally.sent.add(self.sent);
        tally.received.add(self.feed.as_ref().map_or(0, |feed| feed.read()));
        tally.durations.observe(self.began.elapsed());
        if let Some((host, path)) = self.target.take() {
            self.log(&host, &path);
        }
        self.wire.ended();
    }
}
