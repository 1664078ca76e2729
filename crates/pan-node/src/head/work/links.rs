//! The worker's connections to the members of its volume: each has one life after another.

use super::{Link, Worker};
use crate::head::link::{self, News, Told, Way};
use pan_model::mirror::Member;
use pan_replica::Event;
use std::sync::Arc;
use std::time::Duration;

/// Between two attempts to reach a replica, at first and at most.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(200));

impl Worker {
    pub(super) fn heard(&mut self, (member, life, news): Told) {
        let Some(link) = self.links.get_mut(&member).filter(|link| link.life == life) else { return };
        match news {
            News::Up(requests) => {
                tracing::debug!(%member, "connected");
                (link.requests, link.attempt) = (Some(requests), 0);
                self.handle(Event::Connected(member));
            }
            News::Reply(reply) => self.handle(Event::Reply(member, reply)),
            News::Down(why) => {
                tracing::debug!(%member, why, "not connected");
                let was_up = link.requests.is_some();
                self.connect(member);
                if was_up {
                    self.handle(Event::Disconnected(member));
                }
            }
        }
    }

    /// Begins another life of the connection to a member; the former one, if there is any, is over.
    pub(super) fn connect(&mut self, member: Member) {
        let former = self.links.remove(&member);
        let attempt = former.as_ref().map_or(0, |link| link.attempt + 1);
        if let Some(link) = former {
            link.task.abort();
        }
        let Some(place) = self.places.get(&member).cloned() else { return };
        let after = if attempt == 0 { Duration::ZERO } else { (RECONNECT.0 * 2u32.pow(attempt.min(5) - 1)).min(RECONNECT.1) };
        self.lives += 1;
        let way = Way {
            host: self.order.host.clone(),
            volume: self.order.volume.volume,
            place,
            capability: self.capability.clone(),
            attempt,
            extents: Arc::clone(&self.extents),
            shelf: self.shelf.clone(),
        };
        let task = tokio::spawn(link::live(way, self.lives, after, self.news.0.clone()));
        self.links.insert(member, Link { life: self.lives, attempt, requests: None, task });
    }

    /// Connections to all members there are, and to nobody else.
    pub(super) fn follow_members(&mut self) {
        let members: Vec<Member> = self.head.record().members().collect();
        let gone: Vec<Member> = self.links.keys().copied().filter(|member| !members.contains(member)).collect();
        for link in gone.iter().filter_map(|member| self.links.remove(member)) {
            link.task.abort();
        }
        for member in members {
            if self.places.contains_key(&member) && !self.links.contains_key(&member) {
                self.connect(member);
            }
        }
    }
}
