//! The table of decisions about a volume, row by row, and the way that following them leads.

use super::super::patience::Progress;
use super::*;

const NOW: Tick = Tick(100_000_000_000);
const SIZE: u64 = 1 << 30;
const IDLE: Action = Action::Rest { until: None };

fn wanted(claim: Claim, users: Users) -> Wish {
    Wish::Attached { claim, users, size: SIZE }
}

const fn nothing() -> Here {
    let (keeper, origin, trouble, waiting) = (Keeper::None, Origin::Known, Trouble::None, Waiting::No);
    Here { keeper, told: true, device: None, mounted: false, stopped: false, fits: true, rest: false, origin, trouble, waiting }
}

fn mounted() -> Here {
    Here { keeper: Keeper::Open, device: Some(SIZE), mounted: true, rest: true, ..nothing() }
}

fn lost() -> Keeper {
    Keeper::Lost("fenced".into())
}

fn check(wish: Wish, here: Here, expected: Action) {
    assert_eq!(next(wish, &here, NOW), expected, "{wish:?} {here:?}");
}

#[test]
fn a_volume_goes_up_step_by_step_and_only_with_a_claim() {
    let up = wanted(Claim::Here, Users::None);
    check(wanted(Claim::Awaited, Users::None), nothing(), IDLE);
    check(up, nothing(), Action::Begin);
    let began = Here { keeper: Keeper::Opening(NOW), rest: true, ..nothing() };
    check(up, began.clone(), IDLE);
    check(up, Here { told: false, ..began.clone() }, Action::Tell);
    // However long it takes: nobody waits for it in the kernel.
    check(up, Here { keeper: Keeper::Opening(Tick(0)), ..began.clone() }, IDLE);
    let open = Here { keeper: Keeper::Open, ..began };
    check(up, open.clone(), Action::Attach);
    check(up, Here { told: false, ..open.clone() }, Action::Tell);
    check(up, Here { device: Some(SIZE), ..open }, Action::Mount);
    for users in [Users::None, Users::Some] {
        check(wanted(Claim::Here, users), mounted(), IDLE);
        check(wanted(Claim::Awaited, users), mounted(), IDLE);
        check(wanted(Claim::Here, users), Here { told: false, ..mounted() }, Action::Tell);
    }
}

#[test]
fn whoever_uses_what_was_lost_is_told_and_nothing_is_cleared_under_them() {
    for here in [
        Here { keeper: lost(), ..mounted() },
        Here { keeper: Keeper::None, ..mounted() },
        Here { mounted: false, ..mounted() },
        Here { stopped: true, ..mounted() },
        Here { device: None, ..mounted() },
        nothing(),
    ] {
        for origin in [Origin::Known, Origin::Unsure] {
            check(wanted(Claim::Here, Users::Some), Here { origin, ..here.clone() }, Action::Lose);
        }
        check(wanted(Claim::Here, Users::Some), Here { origin: Origin::Lost, ..here }, IDLE);
    }
    let left = Here { keeper: lost(), origin: Origin::Lost, ..mounted() };
    check(wanted(Claim::Here, Users::None), left.clone(), Action::Clear(Hung::Abort));
    // Those who used it may have gone first, for the same reason.
    check(wanted(Claim::Here, Users::None), Here { origin: Origin::Known, ..left }, Action::Lose);
}

/// It would stay so for as long as it is mounted.
#[test]
fn a_file_system_that_stopped_is_mounted_anew() {
    let stopped = Here { stopped: true, ..mounted() };
    check(wanted(Claim::Here, Users::None), stopped.clone(), Action::Lose);
    check(wanted(Claim::Here, Users::None), Here { origin: Origin::Lost, ..stopped.clone() }, Action::Clear(Hung::Abort));
    check(Wish::Gone(Hung::Wait), stopped, Action::Clear(Hung::Wait));
}

/// Waited for since then, with something that waits and nothing that gets done.
fn since(then: Tick) -> Waiting {
    Waiting::Yes(Patience::begin(Progress { done: 0, waits: true }, then))
}

#[test]
fn who_was_killed_and_waits_is_let_go_when_storage_does_nothing() {
    let killed = |hung| wanted(Claim::Here, Users::Killed(hung));
    let look = Action::Rest { until: Some(NOW.plus(LOOK_EVERY)) };
    check(killed(Hung::Wait), Here { waiting: since(NOW), ..mounted() }, look);
    check(killed(Hung::Wait), Here { waiting: Waiting::No, ..mounted() }, look);
    check(killed(Hung::Wait), Here { waiting: since(NOW), told: false, ..mounted() }, Action::Tell);
    check(killed(Hung::Wait), Here { waiting: since(Tick(0)), ..mounted() }, Action::GiveUp(GivenUp::Still));
    // Who has still time to end is looked on, and may go on waiting; but does so no more once killed.
    let leaving = wanted(Claim::Here, Users::Leaving);
    check(leaving, Here { waiting: since(Tick(0)), ..mounted() }, look);
    check(leaving, Here { waiting: since(NOW), told: false, ..mounted() }, Action::Tell);
    check(leaving, Here { keeper: lost(), ..mounted() }, Action::Lose);
    assert!(has_patience(leaving) && !has_patience(wanted(Claim::Here, Users::Some)));
    assert_eq!(breaks_off(Step::Upkeep, leaving, since(Tick(0)), NOW), None);
    // Others may write it by now.
    check(killed(Hung::Abort), Here { waiting: since(NOW), ..mounted() }, Action::GiveUp(GivenUp::Elsewhere));
    check(killed(Hung::Wait), Here { origin: Origin::Unsure, waiting: since(Tick(0)), ..mounted() }, Action::Adopt);
    check(killed(Hung::Wait), Here { keeper: lost(), ..mounted() }, Action::Lose);
    check(killed(Hung::Wait), Here { origin: Origin::Lost, waiting: Waiting::Over, ..mounted() }, IDLE);
    // Who was not killed may wait for as long as the kernel lets them, and storage may come back.
    check(wanted(Claim::Here, Users::Some), Here { waiting: since(Tick(0)), ..mounted() }, IDLE);
    // It goes, and nothing waits for what was given up.
    check(Wish::Gone(Hung::Wait), Here { origin: Origin::Lost, waiting: Waiting::Over, ..mounted() }, Action::Clear(Hung::Abort));
}

#[test]
fn a_step_is_broken_off_when_nobody_needs_it_or_nothing_gets_done() {
    let check = |step, wish, waiting, expected| assert_eq!(breaks_off(step, wish, waiting, NOW), expected, "{step:?} {wish:?} {waiting:?}");
    for step in [Step::Up, Step::Upkeep, Step::Down] {
        check(step, wanted(Claim::Here, Users::None), since(Tick(0)), None);
        check(step, wanted(Claim::Here, Users::Some), since(Tick(0)), None);
        check(step, Wish::Gone(Hung::Abort), since(NOW), Some(GivenUp::Elsewhere));
        check(step, wanted(Claim::Here, Users::Killed(Hung::Wait)), since(Tick(0)), Some(GivenUp::Still));
    }
    // A file system that is made, checked or mounted for nobody is left at once; one that is written out, as soon as nothing moves.
    check(Step::Up, Wish::Gone(Hung::Wait), since(NOW), Some(GivenUp::Unused));
    for step in [Step::Upkeep, Step::Down] {
        check(step, Wish::Gone(Hung::Wait), since(NOW), None);
        check(step, Wish::Gone(Hung::Wait), since(Tick(0)), Some(GivenUp::Still));
        check(step, Wish::Gone(Hung::Wait), Waiting::Over, None);
    }
}

#[test]
fn a_head_that_is_replaced_has_a_while_to_serve_again() {
    let end = NOW.plus(REOPEN_MAX);
    let again = |since| Here { keeper: Keeper::Opening(since), ..mounted() };
    for users in [Users::None, Users::Some] {
        check(wanted(Claim::Here, users), again(NOW), Action::Rest { until: Some(end) });
    }
    check(wanted(Claim::Here, Users::Some), again(Tick(0)), Action::Lose);
    check(wanted(Claim::Here, Users::None), again(Tick(0)), Action::Lose);
    let half = Here { mounted: false, ..again(Tick(0)) };
    check(wanted(Claim::Here, Users::None), half, Action::Clear(Hung::Abort));
    check(wanted(Claim::Here, Users::Some), Here { origin: Origin::Unsure, ..again(NOW) }, Action::Adopt);
}

#[test]
fn what_an_earlier_agent_left_is_kept_for_those_who_use_it_and_cleared_otherwise() {
    let left = Here { origin: Origin::Unsure, ..mounted() };
    check(wanted(Claim::Here, Users::Some), left.clone(), Action::Adopt);
    check(wanted(Claim::Here, Users::None), left, Action::Clear(Hung::Abort));
    check(wanted(Claim::Awaited, Users::None), Here { rest: true, origin: Origin::Unsure, ..nothing() }, Action::Clear(Hung::Abort));
    check(wanted(Claim::Here, Users::None), Here { origin: Origin::Unsure, ..nothing() }, Action::Begin);
}

#[test]
fn what_is_not_wanted_goes_and_a_failure_is_tried_again() {
    for hung in [Hung::Wait, Hung::Abort] {
        check(Wish::Gone(hung), nothing(), Action::Done);
        check(Wish::Gone(hung), Here { rest: true, ..nothing() }, Action::Clear(hung));
        for keeper in [Keeper::Open, Keeper::Opening(NOW), lost()] {
            check(Wish::Gone(hung), Here { keeper, ..mounted() }, Action::Clear(hung));
        }
        let failed = Here { trouble: Trouble::Down(NOW), ..mounted() };
        check(Wish::Gone(hung), failed.clone(), Action::Rest { until: Some(NOW.plus(RELEASE_AGAIN)) });
        check(Wish::Gone(hung), Here { trouble: Trouble::Down(Tick(0)), ..failed }, Action::Clear(hung));
    }
}

#[test]
fn failures_on_the_way_up_are_cleared_at_once_and_begun_again_ever_later() {
    let up = wanted(Claim::Here, Users::None);
    let failed = |times| Trouble::Up(times, NOW);
    let half = Here { keeper: Keeper::Open, device: Some(SIZE), rest: true, origin: Origin::Unsure, trouble: failed(1), ..nothing() };
    check(up, half, Action::Clear(Hung::Abort));
    for times in [1, 3] {
        let cleared = Here { trouble: failed(times), ..nothing() };
        check(up, cleared, Action::Rest { until: Some(NOW.plus(back_off(times))) });
    }
    check(up, Here { trouble: Trouble::Up(1, Tick(0)), ..nothing() }, Action::Begin);
    // Once begun, earlier failures change nothing.
    check(up, Here { keeper: Keeper::Open, rest: true, trouble: failed(2), ..nothing() }, Action::Attach);
}

#[test]
fn a_volume_that_grew_grows_here_too() {
    let small = Here { device: Some(SIZE / 2), ..mounted() };
    for users in [Users::None, Users::Some] {
        let wish = wanted(Claim::Here, users);
        check(wish, Here { told: false, ..small.clone() }, Action::Tell);
        check(wish, small.clone(), Action::Grow);
        let later = NOW.plus(GROW_AGAIN);
        check(wish, Here { trouble: Trouble::Growth(later), ..small.clone() }, Action::Rest { until: Some(later) });
        check(wish, Here { trouble: Trouble::Growth(NOW), ..small.clone() }, Action::Grow);
        // It may have grown while it was not here.
        check(wish, Here { fits: false, ..mounted() }, Action::Grow);
        check(wish, Here { device: Some(SIZE * 2), ..mounted() }, IDLE);
    }
}

#[test]
fn without_a_lease_that_is_what_is_told() {
    let told = |leased| in_words("it cannot be mounted", "Input/output error (os error 5)", leased);
    assert_eq!(told(true), "it cannot be mounted: Input/output error (os error 5)");
    assert!(told(false).starts_with("it cannot be mounted: the node has no lease"), "{}", told(false));
    assert!(told(false).ends_with("Input/output error (os error 5)"), "what failed is told all the same: {}", told(false));
}
