//! Whose turn it is, until when, and what becomes of work that nobody waits for.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use super::*;

const SOON: Duration = Duration::from_secs(20);

async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {SOON:?}: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A registry that never answers, and how often it was asked.
fn silent() -> (Arc<AtomicUsize>, u16) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let port = answering(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        None
    });
    (asked, port)
}

fn begin(rig: &Rig, vni: u32, image: &str) -> tokio::task::JoinHandle<Result<Option<Ready>, String>> {
    let (images, image) = (rig.images.clone(), image.parse().unwrap());
    tokio::spawn(async move { images.ready(vni, &image).await })
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_turn_takes_nothing_of_the_time_for_work() {
    let rig = Rig::with(Duration::from_secs(20), |config| config.patience = Span::millis(3000));
    layout(&rig.at("layouts/web"), "v1", &web(), &config());
    let (asked, port) = silent();
    let stuck = begin(&rig, 7, &format!("oci:127.0.0.1:{port}/x:1"));
    until("the first has its turn", || asked.load(Ordering::SeqCst) == 1).await;
    // It waits for all of the first's time, and has all of its own then.
    assert!(rig.ready(7, "oci-layout:web").await.root.exists());
    rig.refused(stuck.await.unwrap(), "it was not there after 3s");
}

#[tokio::test(flavor = "multi_thread")]
async fn turns_are_taken_until_the_thread_ends_not_until_somebody_stops_waiting() {
    let rig = Rig::new(|config| config.patience = Span::millis(500));
    layout(&rig.at("layouts/web"), "v1", &web(), &config());
    let ((held, holds), (release, released)) = (mpsc::channel(), mpsc::channel::<()>());
    let images = rig.images.clone();
    let holder = std::thread::spawn(move || {
        let _uses = images.0.store.uses();
        held.send(()).unwrap();
        released.recv().unwrap_err();
    });
    holds.recv().unwrap();
    // Its thread stands still, as one in syncfs(2) on a slow disk does.
    rig.refused(rig.try_ready(7, "oci-layout:web").await, "it was not there after 0s");
    let inner = &rig.images.0;
    assert_eq!(inner.fetching.available_permits(), FETCHING_MAX - 1);
    assert_eq!(inner.unpacking.available_permits(), UNPACKING_MAX - 1);
    drop(release);
    holder.join().unwrap();
    until("all turns are free", || {
        inner.fetching.available_permits() == FETCHING_MAX && inner.unpacking.available_permits() == UNPACKING_MAX
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_nobody_waits_for_any_more_is_not_begun() {
    let rig = Rig::with(Duration::from_secs(60), |config| config.patience = Span::millis(60_000));
    let (first, second) = (silent(), silent());
    let _stuck = begin(&rig, 7, &format!("oci:127.0.0.1:{}/x:1", first.1));
    until("the first has its turn", || first.0.load(Ordering::SeqCst) == 1).await;
    let image = format!("oci:127.0.0.1:{}/x:1", second.1);
    let key = (7, image.parse().unwrap());
    let waiting = begin(&rig, 7, &image);
    until("the second waits", || rig.images.0.lock().is_running(&key)).await;
    waiting.abort();
    until("it is forgotten", || !rig.images.0.lock().is_running(&key)).await;
    assert_eq!(second.0.load(Ordering::SeqCst), 0);
}
