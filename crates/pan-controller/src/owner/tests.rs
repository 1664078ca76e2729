//! The real loop over a store that keeps it waiting, refuses it or leaves it in doubt: nobody learns of anything before it is committed,
//! and nothing is committed once somebody else leads.

mod rig;

use crate::core::request::Request;
use crate::core::world::Dirty;
use crate::ear::Order;
use pan_model::Code;
use pan_store::{Fault, Faulty, Store};
use rig::{Rig, host, lan, soon, until};
use std::time::Duration;

/// With `publish` before `commit`, or the answers before either, this fails at the store's door.
#[tokio::test]
async fn nobody_is_told_of_anything_that_waits_for_the_store() {
    let mut rig = Rig::leading().await;
    rig.store().hold();
    let mut answer = rig.says_hello("n1");
    rig.another_arrives().await;
    assert!(answer.try_recv().is_err(), "answered before it was committed");
    assert!(!rig.handle.view().hosts.contains_key(&host("n1")), "shown before it was committed");
    assert!(rig.handle.desired(&host("n1")).is_none(), "ordered before it was committed");
    assert!(!rig.orders().iter().any(|order| matches!(order, Order::Hosts(_))), "heard before it was committed");
    assert!(!rig.stored().await.contains("n1"));

    rig.store().release();
    soon(answer).await.unwrap().unwrap();
    // Whoever was answered finds what it asked for.
    assert!(rig.handle.view().hosts.contains_key(&host("n1")));
    let desired = rig.handle.desired(&host("n1")).unwrap().borrow().clone().unwrap();
    assert_eq!((desired.host.as_str(), desired.generation.term), ("n1", 1));
    assert!(rig.orders().iter().any(|order| matches!(order, Order::Hosts(known) if known.contains_key(&host("n1")))));
    assert!(rig.stored().await.contains("n1"));
}

/// Somebody else wrote the leader's record: the next transaction is refused, and is the last one.
#[tokio::test]
async fn who_was_deposed_takes_back_what_it_decided_and_commits_no_more() {
    let rig = Rig::leading().await;
    soon(rig.says_hello("n1")).await.unwrap().unwrap();
    rig.orders();
    rig.store().elsewhere().commit(&rig.somebody_takes().await).await.unwrap();
    let before = rig.stored().await;

    let error = soon(rig.says_hello("n2")).await.unwrap().unwrap_err();
    assert_eq!(error.code, Code::NotLeading, "{error}");
    assert!(error.message.contains("nothing was changed"), "{error}");
    rig.becomes(|view| !view.leads && view.hosts.contains_key(&host("n1")) && !view.hosts.contains_key(&host("n2"))).await;
    assert!(rig.handle.desired(&host("n2")).is_none());
    let orders = rig.orders();
    assert!(orders.iter().any(|order| matches!(order, Order::Resigned)), "{orders:?}");
    assert!(!orders.iter().any(|order| matches!(order, Order::Hosts(known) if known.contains_key(&host("n2")))), "{orders:?}");
    assert!(rig.handle.desired(&host("n1")).unwrap().borrow().is_none(), "what it said as the leader is said no more");

    // What it sees as a follower would be an event of the PAN's if it led. Its record is the newest by now, so the store would take it.
    let count = rig.count();
    rig.reports("n1", "the disk is full").await.unwrap();
    let refused = soon(rig.says_hello("n3")).await.unwrap().unwrap_err();
    assert_eq!(refused.code, Code::NotLeading);
    assert_eq!((rig.count(), rig.stored().await), (count, before), "a follower went to the store");
}

/// Whatever one that follows has come to hold for news, it is not its to write: its record is the newest, so the store would take it.
#[tokio::test]
async fn who_follows_does_not_go_to_the_store_to_write() {
    let (rig, mut owner) = Rig::stopped(Faulty::new()).await;
    owner.world.dirty.insert(Dirty::Pan);
    owner.commit().await.unwrap();
    assert_eq!((rig.count(), rig.stored().await.as_str()), (0, ""), "a follower went to the store");
    assert!(owner.world.dirty.is_empty(), "it is not kept for later either");
}

/// The ear finds out that another term has begun while a transaction is on its way: that one is the last.
#[tokio::test]
async fn what_comes_after_the_word_to_step_down_is_not_decided() {
    let mut rig = Rig::leading().await;
    rig.store().hold();
    let first = rig.says_hello("n1");
    rig.another_arrives().await;
    rig.hears(crate::handle::Message::StepDown { reason: "a later term".into() }).await;
    let second = rig.says_hello("n2");
    let count = rig.count();
    rig.store().release();
    soon(first).await.unwrap().unwrap();
    assert_eq!(soon(second).await.unwrap().unwrap_err().code, Code::NotLeading);
    assert_eq!(rig.count(), count);
    let stored = rig.stored().await;
    assert!(stored.contains("n1") && !stored.contains("n2"), "{stored}");
}

/// It reaches the store no more, as one that lost its fabrics: whoever asks it is not kept waiting for what the store will never say.
#[tokio::test]
async fn who_is_to_step_down_waits_for_no_store_that_does_not_answer() {
    let mut rig = Rig::leading().await;
    rig.store().hold();
    let first = rig.says_hello("n1");
    rig.another_arrives().await;
    rig.hears(crate::handle::Message::Liveness(Vec::new())).await;
    rig.hears(crate::handle::Message::StepDown { reason: "too few are heard".into() }).await;
    let second = rig.says_hello("n2");
    let error = soon(first).await.unwrap().unwrap_err();
    assert_eq!(error.code, Code::InDoubt, "{error}");
    assert!(error.message.contains("too few are heard"), "{error}");
    assert_eq!(soon(second).await.unwrap().unwrap_err().code, Code::NotLeading);
    rig.becomes(|view| !view.leads).await;
    rig.store().release();
    rig.hears(crate::handle::Message::Take { expected: 1, term: 2 }).await;
    rig.becomes(|view| view.leads).await;
    soon(rig.says_hello("n3")).await.unwrap().unwrap();
}

/// Whether it was done is not known; what the PAN knows then is what the store has.
#[tokio::test]
async fn who_is_left_in_doubt_says_so_and_believes_the_store() {
    for (followed, there) in [(true, true), (false, false)] {
        let rig = Rig::leading().await;
        let other = rig.somebody_takes().await;
        rig.store().fail(if followed { Fault::Followed(other) } else { Fault::Overtaken(other) });
        let error = soon(rig.says_hello("n1")).await.unwrap().unwrap_err();
        assert_eq!(error.code, Code::InDoubt, "{error}");
        rig.becomes(|view| !view.leads && view.hosts.contains_key(&host("n1")) == there).await;
        assert_eq!(rig.stored().await.contains("n1"), there);
        let order = rig.handle.desired(&host("n1")).and_then(|desired| desired.borrow().clone());
        assert!(order.is_none(), "ordered by one that leads no more: {order:?}");
        assert!(rig.orders().iter().any(|order| matches!(order, Order::Resigned)));
    }
}

/// The store failed and wrote nothing: the caller is told so, and this controller makes way.
#[tokio::test]
async fn what_the_store_failed_to_write_did_not_happen() {
    let rig = Rig::leading().await;
    rig.store().fail(Fault::Failed);
    let error = soon(rig.says_hello("n1")).await.unwrap().unwrap_err();
    assert_eq!(error.code, Code::NotLeading, "{error}");
    rig.becomes(|view| !view.leads && view.hosts.is_empty()).await;
    assert!(rig.handle.desired(&host("n1")).is_none());
    assert!(rig.orders().iter().any(|order| matches!(order, Order::Resigned)));
    assert!(!rig.stored().await.contains("n1"));
}

/// One that follows and whose watch hangs shows an old state; it is found out by what the store itself says.
#[tokio::test]
async fn a_follower_whose_watch_hangs_knows_that_it_is_behind() {
    let (hears, deaf) = (Rig::following().await, Rig::deaf().await);
    for rig in [&hears, &deaf] {
        rig.store().elsewhere().commit(&rig.somebody_takes().await).await.unwrap();
    }
    hears.becomes(|view| view.leader.is_some()).await;
    until(|| deaf.handle.sure.age(Duration::ZERO).is_err()).await;
    assert!(deaf.handle.view().leader.is_none(), "it shows what was before");
    assert!(deaf.handle.sure.age(Duration::MAX).unwrap().unwrap() > lan().store_silence);
    until(|| hears.handle.sure.age(Duration::ZERO).is_ok()).await;
}

/// In one term it counts from one once: another first desired state of that term would pass for the first, or be refused for an older one.
#[tokio::test]
async fn a_term_is_led_once() {
    let rig = Rig::leading().await;
    rig.store().fail(Fault::Failed);
    soon(rig.says_hello("n1")).await.unwrap().unwrap_err();
    rig.becomes(|view| !view.leads).await;
    rig.orders();
    // As the ear may still believe, by the record.
    rig.hears(crate::handle::Message::Lead { term: 1 }).await;
    assert_eq!(soon(rig.says_hello("n1")).await.unwrap().unwrap_err().code, Code::NotLeading);
    assert!(rig.orders().iter().any(|order| matches!(order, Order::Resigned)), "the ear is to stand anew");
    rig.hears(crate::handle::Message::Take { expected: 1, term: 2 }).await;
    rig.becomes(|view| view.leads).await;
    soon(rig.says_hello("n1")).await.unwrap().unwrap();
}

/// What a controller would refuse by what it knows may be right by now.
#[tokio::test]
async fn who_was_deposed_refuses_nothing_by_what_was() {
    let rig = Rig::leading().await;
    let before = rig.count();
    let refused = rig.asks(Request::Cordon(host("n9"))).await.unwrap_err();
    assert_eq!((refused.code, rig.count()), (Code::NotFound, before + 1), "the store was asked whether it leads");
    rig.store().elsewhere().commit(&rig.somebody_takes().await).await.unwrap();
    let refused = rig.asks(Request::Cordon(host("n9"))).await.unwrap_err();
    assert_eq!(refused.code, Code::NotLeading, "{refused}");
}
