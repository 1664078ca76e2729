//! The part of a volume's task that waits for something in the kernel that waits for the head: it looks on, and ends the waiting when
//! [`super::decide`] says so.

use tokio::time::sleep;

use super::act;
use super::decide::{self, Keeper, Step, Waiting, Wish};
use super::error::VolumeError;
use super::patience::{GivenUp, LOOK_EVERY, Patience};
use super::task::{Task, Told, blocking};
use crate::clock;

impl Task {
    /// Looks whether anything gets done, where that matters.
    pub(super) async fn look_on(&mut self, wish: Wish) {
        if !decide::has_patience(wish) {
            self.here.waiting = Waiting::No;
            return;
        }
        if self.here.waiting == Waiting::Over {
            return;
        }
        let (at, device) = (self.at.clone(), self.here.device.clone());
        let Ok(seen) = blocking(move || Ok(act::progress(&at, device.as_deref()))).await else { return };
        let now = clock::now();
        match &mut self.here.waiting {
            Waiting::Yes(patience) => patience.look(seen, now),
            Waiting::No | Waiting::Over => self.here.waiting = Waiting::Yes(Patience::begin(seen, now)),
        }
    }

    /// Looks whether the file system has stopped writing. Finding out may take long where a device hangs: what the look before found counts then.
    pub(super) async fn look_at_filesystem(&mut self, told: &Told) {
        let Told::Attached(whose, _) = told else { return };
        let Some(device) = self.here.device.clone().filter(|_| self.here.mounted && !self.here.stopped) else { return };
        match self.here.looking.take() {
            Some(looking) if looking.is_finished() => self.here.stopped = looking.await.unwrap_or(false),
            Some(looking) => self.here.looking = Some(looking),
            None => {
                let (at, wanted) = (self.at.clone(), whose.order.filesystem);
                self.here.looking = Some(tokio::task::spawn_blocking(move || act::has_stopped(&at, &device, wanted)));
            }
        }
    }

    /// Remembers that something was given up, for the server's task to tell.
    pub(super) fn gave_up(&mut self, why: GivenUp) {
        tracing::warn!(volume = %self.at.volume, ?why, "whatever waits for it fails from now on");
        if let Some(words) = why.words() {
            (self.here.waiting, self.here.given_up) = (Waiting::Over, Some(words));
        }
    }

    /// Does something that waits for the head, until that is lost, or there is no more use in waiting.
    pub(super) async fn supervised<T: Send + 'static>(
        &mut self,
        step: Step,
        work: impl FnOnce() -> Result<T, VolumeError> + Send + 'static,
    ) -> Result<T, VolumeError> {
        let mut work = tokio::task::spawn_blocking(work);
        let mut aborted = false;
        loop {
            let wish = self.told.borrow().wish();
            tokio::select! {
                done = &mut work => return done.unwrap_or_else(|lost| Err(VolumeError::Lost(lost.to_string()))),
                () = Self::news(self.here.status.as_mut(), &self.here.keeper), if !aborted => {}
                changed = self.told.changed(), if !aborted => aborted = changed.is_err(),
                () = sleep(LOOK_EVERY), if !aborted && decide::has_patience(wish) => {}
            }
            self.see_keeper();
            let wish = self.told.borrow().wish();
            self.look_on(wish).await;
            let why = decide::breaks_off(step, wish, self.here.waiting, clock::now());
            if aborted || (why.is_none() && !matches!(self.here.keeper, Keeper::Lost(_))) {
                continue;
            }
            aborted = true;
            why.into_iter().for_each(|why| self.gave_up(why));
            let at = self.at.clone();
            // If it cannot be done, the work's own bound is left.
            let _ = blocking(move || act::abort(&at)).await;
        }
    }
}
