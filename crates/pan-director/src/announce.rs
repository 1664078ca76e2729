//! Telling the clients' side that public addresses are here now.

use crate::error::{Trouble, line};
use pan_linux::arp::announce;
use pan_linux::netns::Netns;
use pan_linux::rtnl::Mac;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// When addresses are announced after they were taken: at once, and twice more because an announcement can
/// be lost and nobody says so.
const PAUSES: [Duration; 3] = [Duration::ZERO, Duration::from_millis(50), Duration::from_millis(150)];

/// Addresses to announce on one link.
#[derive(Debug)]
pub(crate) struct Announcement {
    pub netns: Netns,
    pub device: &'static str,
    pub addresses: Vec<IpAddr>,
    pub mac: Mac,
    /// False once the addresses are no longer here: announcing them then would take clients away from their
    /// new owner.
    pub current: Arc<AtomicBool>,
}

/// Announces from a thread of its own, which ends by itself after the last time.
pub(crate) fn start(announcements: Vec<Announcement>) {
    if announcements.is_empty() {
        return;
    }
    let started = thread::Builder::new().name("announce".into()).spawn(move || {
        for pause in PAUSES {
            thread::sleep(pause);
            for announcement in announcements.iter().filter(|announcement| announcement.current.load(Ordering::Acquire)) {
                if let Err(trouble) = once(announcement) {
                    tracing::warn!("{}", line(&trouble));
                }
            }
        }
    });
    if let Err(error) = started {
        tracing::warn!("public addresses are not announced: no thread: {error}");
    }
}

fn once(announcement: &Announcement) -> Result<(), Trouble> {
    for address in &announcement.addresses {
        announce(&announcement.netns, announcement.device, *address, announcement.mac)?;
    }
    Ok(())
}
