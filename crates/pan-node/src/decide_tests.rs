//! The table of decisions, row by row.

use super::*;
use crate::testing::order;

const NOW: Tick = Tick(100_000_000_000);

fn after(by: Duration) -> Tick {
    NOW.plus(by)
}

fn bound(epoch: u64, incarnation: u64, ends: u32) -> Binding {
    Binding { epoch: Epoch(epoch), incarnation, ends, ends_max: 2 }
}

fn ordered(epoch: u64, incarnation: u64, run: RunOrder) -> ServerOrder {
    ServerOrder { epoch: Epoch(epoch), incarnation, run, ..order("acme", "web-1") }
}

fn check(wish: Option<&ServerOrder>, here: Here, expected: Action) {
    let told = wish.map_or(Wish::Gone, Wish::Order);
    assert_eq!(next(told, here, NOW), expected, "wish {wish:?}, here {here:?}");
}

const IDLE: Action = Action::Rest { until: None };

#[test]
fn only_an_order_to_run_starts_something() {
    check(Some(&ordered(1, 0, RunOrder::Run)), Here::Nothing, Action::Start);
    check(Some(&ordered(1, 0, RunOrder::Hold)), Here::Nothing, IDLE);
    check(Some(&ordered(1, 0, RunOrder::Stop)), Here::Nothing, IDLE);
    check(None, Here::Nothing, IDLE);
    assert_eq!(next(Wish::Unknown, Here::Nothing, NOW), IDLE);
}

#[test]
fn what_runs_goes_on_until_something_newer_is_said() {
    let running = Here::Running { binding: bound(5, 3, 0), hopeless: None, lost: false };
    assert_eq!(next(Wish::Unknown, running, NOW), IDLE);
    check(Some(&ordered(5, 3, RunOrder::Run)), running, IDLE);
    check(Some(&ordered(5, 3, RunOrder::Hold)), running, IDLE);
    check(Some(&ordered(5, 4, RunOrder::Hold)), running, IDLE);
    for run in [RunOrder::Run, RunOrder::Hold, RunOrder::Stop] {
        check(Some(&ordered(6, 3, run)), running, Action::Ask(Why::Orphan));
        check(Some(&ordered(4, 9, run)), running, IDLE);
    }
    check(Some(&ordered(5, 4, RunOrder::Run)), running, Action::Ask(Why::Unwanted));
    check(Some(&ordered(5, 3, RunOrder::Stop)), running, Action::Ask(Why::Unwanted));
    check(None, running, Action::Ask(Why::Orphan));
}

#[test]
fn a_server_without_hope_is_started_again_unless_held() {
    let sick = |at| Here::Running { binding: bound(5, 3, 0), hopeless: Some(at), lost: false };
    let later = after(Duration::from_secs(1));
    check(Some(&ordered(5, 3, RunOrder::Run)), sick(NOW), Action::Ask(Why::Unhealthy));
    check(Some(&ordered(5, 3, RunOrder::Run)), sick(later), Action::Rest { until: Some(later) });
    check(Some(&ordered(5, 3, RunOrder::Hold)), sick(NOW), IDLE);
    check(None, sick(later), Action::Ask(Why::Orphan));
}

#[test]
fn grace_ends_with_a_kill_whatever_is_wanted() {
    let soon = after(Duration::from_millis(1));
    for wish in [None, Some(&ordered(9, 0, RunOrder::Run))] {
        check(wish, Here::Stopping { kill_at: soon }, Action::Rest { until: Some(soon) });
        check(wish, Here::Stopping { kill_at: NOW }, Action::Kill);
    }
}

#[test]
fn a_server_that_ended_is_started_with_growing_pauses_and_then_given_up() {
    let run = ordered(5, 3, RunOrder::Run);
    let ended = |ends| Here::Ended { binding: bound(5, 3, ends), at: NOW };
    check(Some(&run), ended(0), Action::Start);
    check(Some(&run), ended(1), Action::Rest { until: Some(after(Duration::from_millis(200))) });
    check(Some(&run), ended(2), Action::Rest { until: Some(after(Duration::from_millis(400))) });
    check(Some(&run), ended(3), Action::GiveUp);
    check(Some(&ordered(5, 3, RunOrder::Hold)), ended(0), IDLE);
    check(None, ended(0), Action::Release);
    check(Some(&ordered(6, 3, RunOrder::Run)), ended(3), Action::Release);
    check(Some(&ordered(5, 4, RunOrder::Run)), ended(3), Action::Release);
    check(Some(&ordered(4, 3, RunOrder::Stop)), ended(0), Action::Start);
    assert_eq!(back_off(40), BACK_OFF_MAX);
}

#[test]
fn a_failed_server_stays_so_until_a_newer_order() {
    let failed = Here::Failed { binding: bound(5, 3, 3) };
    check(Some(&ordered(5, 3, RunOrder::Run)), failed, IDLE);
    check(Some(&ordered(5, 3, RunOrder::Hold)), failed, IDLE);
    check(Some(&ordered(5, 4, RunOrder::Run)), failed, Action::Release);
    check(Some(&ordered(6, 0, RunOrder::Hold)), failed, Action::Release);
    check(Some(&ordered(5, 3, RunOrder::Stop)), failed, Action::Release);
    check(None, failed, Action::Release);
}

#[test]
fn health_forgives() {
    let healthy_for = |seconds: u64| Some(Tick(NOW.0 - seconds * 1_000_000_000));
    assert_eq!(ends_after(2, healthy_for(59), NOW), 3);
    assert_eq!(ends_after(2, healthy_for(60), NOW), 1);
    assert_eq!(ends_after(2, None, NOW), 3);
}

#[test]
fn what_is_made_ready_waits_for_an_order_it_serves() {
    let order = ordered(0, 0, RunOrder::Run);
    let warm = Here::Warm { fits: true };
    assert_eq!(next(Wish::Warm(&order), Here::Nothing, NOW), Action::Warm);
    assert_eq!(next(Wish::Warm(&order), warm, NOW), IDLE);
    assert_eq!(next(Wish::Unknown, warm, NOW), IDLE);
    check(Some(&ordered(6, 3, RunOrder::Run)), warm, Action::Start);
    check(Some(&ordered(6, 3, RunOrder::Hold)), warm, IDLE);
    check(Some(&ordered(6, 3, RunOrder::Stop)), warm, Action::Release);
    check(None, warm, Action::Release);
    // What was made is not what is wanted any more.
    let other = Here::Warm { fits: false };
    assert_eq!(next(Wish::Warm(&order), other, NOW), Action::Release);
    check(Some(&ordered(6, 3, RunOrder::Run)), other, Action::Release);
    // An earlier instance that still runs here belongs elsewhere.
    let running = Here::Running { binding: bound(5, 3, 0), hopeless: None, lost: false };
    assert_eq!(next(Wish::Warm(&order), running, NOW), Action::Ask(Why::Orphan));
    assert_eq!(next(Wish::Warm(&order), Here::Ended { binding: bound(5, 3, 0), at: NOW }, NOW), Action::Release);
}

#[test]
fn only_the_binding_may_differ() {
    let made = ordered(0, 0, RunOrder::Hold);
    assert!(serves(&made, &ordered(7, 4, RunOrder::Run)));
    let env = [("MODE".to_owned(), "other".to_owned())].into_iter().collect();
    assert!(!serves(&made, &ServerOrder { env, ..ordered(7, 4, RunOrder::Run) }));
    assert!(
        serves(&made, &ServerOrder { allow: Some(vec![]), ..ordered(7, 4, RunOrder::Run) }),
        "who may speak to it changes while it runs"
    );
}

fn with_volume(order: ServerOrder, claim: bool) -> ServerOrder {
    ServerOrder { volumes: vec![crate::testing::volume(7, claim)], ..order }
}

#[test]
fn a_server_with_volumes_starts_when_it_has_them() {
    let run = with_volume(ordered(5, 3, RunOrder::Run), true);
    let waits = |ready| Here::Attaching { binding: bound(5, 3, 0), ready };
    check(Some(&run), waits(false), IDLE);
    check(Some(&run), waits(true), Action::Start);
    check(Some(&ordered(4, 3, RunOrder::Run)), waits(true), Action::Start);
    check(Some(&ordered(5, 3, RunOrder::Hold)), waits(true), IDLE);
    for ready in [false, true] {
        check(Some(&ordered(5, 4, RunOrder::Run)), waits(ready), Action::Release);
        check(Some(&ordered(6, 3, RunOrder::Run)), waits(ready), Action::Release);
        check(Some(&ordered(5, 3, RunOrder::Stop)), waits(ready), Action::Release);
        check(None, waits(ready), Action::Release);
        assert_eq!(next(Wish::Warm(&run), waits(ready), NOW), Action::Release);
    }
    assert_eq!(next(Wish::Unknown, waits(true), NOW), Action::Start);
}

#[test]
fn a_server_that_lost_a_volume_does_not_run_on() {
    let lost = Here::Running { binding: bound(5, 3, 0), hopeless: None, lost: true };
    for run in [RunOrder::Run, RunOrder::Hold, RunOrder::Stop] {
        check(Some(&ordered(5, 3, run)), lost, Action::Ask(Why::HeadLost));
        check(Some(&ordered(6, 3, run)), lost, Action::Ask(Why::Orphan));
    }
    assert_eq!(next(Wish::Unknown, lost, NOW), Action::Ask(Why::HeadLost));
    check(None, lost, Action::Ask(Why::Orphan));
}

#[test]
fn volumes_stay_for_the_same_binding_only() {
    let order = |epoch, run| with_volume(ordered(epoch, 4, run), true);
    assert!(keeps_volumes(&order(5, RunOrder::Run), Epoch(5)));
    assert!(keeps_volumes(&order(5, RunOrder::Hold), Epoch(5)));
    assert!(!keeps_volumes(&order(5, RunOrder::Stop), Epoch(5)));
    assert!(!keeps_volumes(&order(6, RunOrder::Run), Epoch(5)));
    assert!(!keeps_volumes(&ordered(5, 4, RunOrder::Run), Epoch(5)), "it has none any more");
}

#[test]
fn what_was_made_ready_waits_for_a_claim() {
    let (made, claimed) = (with_volume(ordered(0, 0, RunOrder::Run), false), with_volume(ordered(7, 1, RunOrder::Run), true));
    assert!(serves(&made, &claimed));
    assert!(!serves(&made, &ordered(7, 1, RunOrder::Run)));
    let mut elsewhere = claimed;
    elsewhere.volumes[0].mount = "/other".into();
    assert!(!serves(&made, &elsewhere));
}
