//! The part of a server's task that is about what a start needs before anything is made: a network to be in, and its image.

use std::time::Duration;

use super::life::{Attaching, Leftover, Life};
use super::record::Bound;
use super::report;
use super::task::{Flow, Task, Wanted, flow};
use crate::clock;
use crate::decide;
use crate::image::Ready;

/// An image that is here is found sooner; of one that is not, people want to know what is waited for.
const SILENT_FOR: Duration = Duration::from_millis(200);

impl Task {
    /// Waits for another desired state, as this one has no network for the server.
    pub(super) async fn unconnected(&mut self, wanted: &Wanted) -> Flow {
        let message = Some("its partition's network is not known here".into());
        if let Wanted::Order(order, _) = wanted {
            self.send(Some(report::starting(order, 0, message))).await;
        }
        self.rest(None).await
    }

    /// The image of a server that is to be started or made ready, if it is one to be brought here; or how to go on without: something
    /// else is wanted by now, or it is not to be had.
    pub(super) async fn image(&mut self, bound: &Bound) -> Result<Option<Ready>, Flow> {
        // What was made ahead was made of it.
        if matches!(self.life, Life::Warm(_) | Life::Attaching(Attaching { rootfs: Some(_), .. })) {
            return Ok(None);
        }
        let images = self.host.images.clone();
        let mut bringing = std::pin::pin!(images.ready(bound.cable.vni, &bound.order.image));
        let early = tokio::time::timeout(SILENT_FOR, &mut bringing).await;
        let is_warm = bound.order.epoch.0 == 0;
        let brought = match early {
            Ok(brought) => brought,
            Err(_) => {
                if !is_warm {
                    let message = format!("its image {} is being fetched", bound.order.image);
                    self.send(Some(report::starting(&bound.order, bound.restarts, Some(message)))).await;
                }
                tokio::select! {
                    brought = bringing => brought,
                    changed = self.wanted.changed() => return Err(flow(changed)),
                }
            }
        };
        brought.map_err(|why| {
            let message = format!("cannot start: {why}");
            tracing::warn!(server = %self.key, message);
            if is_warm {
                self.life = Life::Leftover(Leftover { bound: bound.clone(), at: clock::now(), message });
            } else {
                self.host.counts.not_started.one();
                let ends = decide::ends_after(bound.ends, None, clock::now());
                self.ended(Bound { ends, ..bound.clone() }, message);
            }
            Flow::Continue(())
        })
    }
}
