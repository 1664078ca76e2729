//! The part of a volume's task that says how the volume is: to its server's task, and in the host's report; and that weighs what its head says
//! of this host.

use pan_api::volume::VolumeReport;
use pan_model::VolumeEpoch;

use super::decide::{Action, Keeper, Origin, Trouble, Users};
use super::standing::{Seen, Stage};
use super::task::{Task, Told};
use super::unfit::Hurdle;
use crate::clock;

impl Task {
    /// Tells the server's task, if there is something new, and the host.
    pub(super) fn publish(&self, told: &Told, action: Action) {
        let here = &self.here;
        let users = match told {
            Told::Attached(_, users) => *users,
            Told::Gone(_) => Users::None,
        };
        let clearing = matches!(action, Action::Clear(_) | Action::Lose | Action::GiveUp(_));
        let stage = match (here.origin, action) {
            (_, Action::Done) => Stage::Gone,
            (Origin::Lost, _) => Stage::Lost(here.message.clone().unwrap_or_default()),
            (Origin::Known, _) if here.mounted && !clearing => Stage::Mounted,
            _ if here.unfit.is_over() => Stage::Unfit(self.waits_for(told)),
            (Origin::Known | Origin::Unsure, _) => Stage::UnderWay(self.waits_for(told)),
        };
        let problem = match here.trouble {
            Trouble::None => here.unfit.why(),
            Trouble::Up(..) | Trouble::Down(_) | Trouble::Growth(_) => here.message.clone(),
        };
        let name = self.seen.borrow().name.clone();
        self.host.volumes.problem(self.at.volume, problem.map(|problem| format!("volume {name}: {problem}")));
        let changed = self.seen.send_if_modified(|seen| {
            let (steps, lost, given_up) = (here.steps.clone(), here.lost.clone(), here.given_up.clone());
            let fresh = Seen { name: name.clone(), stage, users, steps, lost, given_up };
            let changed = *seen != fresh;
            *seen = fresh;
            changed
        });
        if changed {
            self.wake.notify_one();
        }
    }

    /// What the head says of this host. The same status is read many times, and each failure counts once.
    pub(super) fn weigh(&mut self, unfit: Option<String>, report: &VolumeReport) {
        let (here, leased) = (&mut self.here.unfit, self.host.is_leased());
        match unfit {
            Some(why) if here.is_news(report.restarts) => here.failed(Hurdle::Head, why, leased, clock::now()),
            Some(_) => {}
            None => {
                here.head_tries();
                // Only one that has begun writes as anybody.
                if report.epoch > VolumeEpoch(0) {
                    here.worked(Hurdle::Head);
                }
            }
        }
    }

    fn waits_for(&self, told: &Told) -> String {
        let here = &self.here;
        let now = match (told, &here.keeper) {
            (Told::Gone(_), _) => "is being taken away",
            (Told::Attached(whose, _), Keeper::None | Keeper::Lost(_)) if whose.order.claim.is_none() => "waits for the right to write it",
            (Told::Attached(..), Keeper::None | Keeper::Lost(_)) => "its head is being started",
            (Told::Attached(..), Keeper::Opening(_)) => "its head is opening",
            (Told::Attached(..), Keeper::Open) => "is being mounted",
        };
        let before = here.message.clone().or_else(|| here.unfit.why());
        before.map_or_else(|| now.to_owned(), |before| format!("{now} ({before})"))
    }
}
