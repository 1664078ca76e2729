//! The part of a server's task that is about a server that runs: health checks, and its unasked end.

use pan_model::cluster::HealthSpec;

use super::exit::{Watch, words};
use super::life::{Life, Running, target};
use super::record::{Bound, Container};
use super::task::{Flow, Task, flow};
use crate::clock;
use crate::decide;
use crate::health::{self, Health};
use crate::names;
use pan_member::Tick;

/// What ended a rest.
enum Event {
    Died,
    Time,
    Wanted(Flow),
    /// Something about its volumes.
    Volumes,
    Checked(Result<(), String>),
}

impl Task {
    /// It runs. `complaint` is why it did not before, which is told until there is news of its health.
    pub(super) fn started(&mut self, mut bound: Bound, container: Container, complaint: Option<String>) {
        let now = clock::now();
        let health = Health::at_start(bound.order.health.as_ref(), now);
        let watch = Watch::open(&self.host.deaths, &container);
        if health.healthy_since().is_some() {
            bound.steps.push(("first-healthy".into(), clock::wall_micros()));
        }
        tracing::info!(server = %self.key, epoch = %bound.order.epoch, instance = container.instance, "started");
        self.life = Life::Running(Running { bound, container, watch, health, check_at: now, complaint, lost: None });
        self.note();
    }

    /// Puts health right after the order's checks changed.
    pub(super) fn checks_changed(&mut self) {
        if let Life::Running(running) = &mut self.life
            && running.bound.order.health.is_none()
            && running.health.healthy_since().is_none()
        {
            running.health = Health::at_start(None, clock::now());
            running.complaint = None;
        }
    }

    pub(super) async fn rest_running(&mut self, until: Option<Tick>) -> Flow {
        let Life::Running(running) = &self.life else { return Flow::Continue(()) };
        let spec = running.bound.order.health.clone();
        let target = target(&running.bound, &self.host);
        let check_at = running.check_at;
        let check = async {
            match &spec {
                Some(spec) => {
                    clock::reach(check_at).await;
                    health::probe(&target, spec).await
                }
                None => std::future::pending().await,
            }
        };
        let timer = async {
            match until {
                Some(at) => clock::reach(at).await,
                None => std::future::pending().await,
            }
        };
        let event = tokio::select! {
            biased;
            () = running.watch.dead() => Event::Died,
            changed = self.wanted.changed() => Event::Wanted(flow(changed)),
            () = self.volumes.changed() => Event::Volumes,
            () = timer => Event::Time,
            seen = check => Event::Checked(seen),
        };
        match event {
            Event::Died => self.died().await,
            Event::Time | Event::Volumes => {}
            Event::Wanted(flow) => return flow,
            Event::Checked(seen) => {
                if let Some(spec) = &spec {
                    self.checked(seen, spec);
                }
            }
        }
        Flow::Continue(())
    }

    fn checked(&mut self, seen: Result<(), String>, spec: &HealthSpec) {
        match &seen {
            Ok(()) => self.host.counts.checks_passed.one(),
            Err(_) => self.host.counts.checks_failed.one(),
        }
        let Life::Running(running) = &mut self.life else { return };
        let now = clock::now();
        let before = running.health;
        running.health = before.after(seen.is_ok(), spec, now);
        running.check_at = now.plus(health::pause(running.health, spec.every.0));
        running.complaint = seen.err();
        let kind = std::mem::discriminant(&before);
        if kind == std::mem::discriminant(&running.health) {
            return;
        }
        if matches!(before, Health::Starting { .. }) {
            running.bound.steps.push(("first-healthy".into(), clock::wall_micros()));
        }
        tracing::info!(server = %self.key, health = ?running.health, complaint = running.complaint, "health changed");
        self.note();
    }

    async fn died(&mut self) {
        let words = words(&self.host.paths.server(&names::id(&self.key)).exit()).await;
        let Life::Running(Running { bound, health, .. }) = self.take() else { return };
        tracing::warn!(server = %self.key, words, "ended unasked");
        let ends = decide::ends_after(bound.ends, health.healthy_since(), clock::now());
        self.ended(Bound { ends, ..bound }, words);
        self.bury().await;
    }
}
