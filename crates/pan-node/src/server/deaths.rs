//! One thread that waits for the death of any of the servers' first processes, poll(2) on pidfds.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pan_linux::process::PidFd;
use tokio::sync::watch;

/// A process and whom to tell.
struct Watched {
    process: PidFd,
    dead: watch::Sender<bool>,
}

/// A handle on the thread; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Deaths {
    // Holds at most one entry per server: who has one waits for it.
    fresh: Sender<Watched>,
    wake: UnixStream,
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "process {}", self.process.pid())
    }
}

impl Deaths {
    pub(crate) fn start() -> io::Result<Self> {
        let (wake, woken) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        wake.set_nonblocking(true)?;
        let (fresh, inbox) = channel();
        std::thread::Builder::new().name("deaths".into()).spawn(move || follow(&woken, &inbox))?;
        Ok(Self { fresh, wake })
    }

    /// What becomes true when the process is dead.
    pub(crate) fn watch(&self, process: PidFd) -> watch::Receiver<bool> {
        let (dead, seen) = watch::channel(false);
        // Both fail only if the thread is gone, and then the receiver says so too. A full pipe wakes anyway.
        let _gone = self.fresh.send(Watched { process, dead });
        let _full = (&self.wake).write(&[0]);
        seen
    }
}

fn follow(mut woken: &UnixStream, inbox: &Receiver<Watched>) {
    let mut all: Vec<Watched> = Vec::new();
    loop {
        let mut fds = vec![PollFd::new(woken.as_fd(), PollFlags::POLLIN)];
        fds.extend(all.iter().map(|one| PollFd::new(one.process.as_fd(), PollFlags::POLLIN)));
        if let Err(error) = poll(&mut fds, PollTimeout::NONE)
            && error != nix::Error::EINTR
        {
            tracing::error!(%error, "can no longer wait for the death of servers");
            return;
        }
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        let mut dead = ready.iter().skip(1);
        all.retain(|one| {
            let died = *dead.next().expect("one entry per process");
            if died {
                one.dead.send_replace(true);
            }
            !died && !one.dead.is_closed()
        });
        if ready[0] && matches!(woken.read(&mut [0; 64]), Ok(0)) {
            return;
        }
        all.extend(inbox.try_iter());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use std::time::Duration;

    #[tokio::test]
    async fn each_death_is_told_to_its_watcher() {
        let deaths = Deaths::start().unwrap();
        let mut sleepers: Vec<_> = (0..3).map(|_| Command::new("sleep").arg("60").spawn().unwrap()).collect();
        let watch = |child: &std::process::Child| deaths.watch(PidFd::open(child.id() as i32).unwrap());
        let mut seen: Vec<_> = sleepers.iter().map(watch).collect();
        for at in [1, 2, 0] {
            assert!(!*seen[at].borrow());
            sleepers[at].kill().unwrap();
            let told = tokio::time::timeout(Duration::from_secs(5), seen[at].wait_for(|dead| *dead)).await;
            assert!(*told.unwrap().unwrap());
            sleepers[at].wait().unwrap();
        }
    }
}
