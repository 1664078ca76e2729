//! When the PAN's heartbeat keys change. A period's keys are handed out, then used, and those before stay good meanwhile:
//! nobody uses a key that somebody else does not have.

use super::record::KeysRecord;
use super::request::Reply;
use super::seen::Life;
use super::world::{About, Dirty, Now, World};
use pan_api::ApiError;
use pan_model::event::Severity;
use pan_model::host::Role;
use pan_model::{Code, HostName};
use std::time::Duration;

/// How long a period is, unless somebody ends it.
const PERIOD_MAX: i64 = 30 * 86_400 * 1_000_000;
/// How long a host that has new keys may take until all its processes use them; they look once a second.
const PICKED_UP: Duration = Duration::from_secs(3);
/// How long is waited for hosts that are alive and do not fetch the new keys. They are understood afterwards as well, but
/// one that grants leases may understand others no more.
const PATIENCE: Duration = Duration::from_secs(600);

/// Wall clocks further apart than that are told, in microseconds. The way here takes some milliseconds of it.
const SKEW_MAX: i64 = 1_000_000;

/// A rotation in progress, as this controller sees it; a new leader begins to wait anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rotating {
    since: pan_member::Tick,
    /// Since when they could be used.
    ready: Option<pan_member::Tick>,
    /// Whether it was told what it waits for.
    told: bool,
}

/// Begins a new period: its keys are handed out from now on.
///
/// # Errors
/// `State` while the last rotation is not over.
pub fn rotate(world: &mut World, now: Now) -> Result<(), ApiError> {
    let keys = world.pan.keys;
    if keys.newest > keys.current {
        return Err(ApiError::new(Code::State, format!("the keys are being rotated already, to period {}", keys.newest)));
    }
    world.pan.keys = KeysRecord { newest: keys.current + 1, since: now.wall, ..keys };
    tell(world, now, Severity::Info, "KeysHandedOut", format!("keys of period {} are handed out", keys.current + 1));
    Ok(())
}

/// What a host says when it asks for its keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    /// The newest period whose keys it has.
    pub have: Option<u64>,
    /// How far its wall clock was ahead of this controller's when the question came in, microseconds.
    pub ahead: Option<i64>,
}

/// A host asks for its keys.
///
/// # Errors
/// `NotFound` when it never presented itself.
pub fn asked(world: &mut World, now: Now, host: &HostName, asked: Asked) -> Result<Reply, ApiError> {
    if !world.hosts.contains_key(host) {
        return Err(ApiError::new(Code::NotFound, format!("host {host} is not known: it should say hello first")));
    }
    world.seen.hosts.entry(host.clone()).or_default().keys = asked.have;
    if let Some(ahead) = asked.ahead {
        compare_clocks(world, now, host, ahead);
    }
    Ok(Reply::Keys { current: world.pan.keys.current, newest: world.pan.keys.newest })
}

/// Wall clocks decide when certificates are good, and what events say; a controller's, when schedules begin. Nothing else goes by
/// them. A question that was under way for long makes a clock look late, so what is told has been so twice in a row.
fn compare_clocks(world: &mut World, now: Now, host: &HostName, skew: i64) {
    let skewed = skew.abs() > SKEW_MAX;
    let seen = world.seen.hosts.entry(host.clone()).or_default();
    let before = seen.skew.replace(skew).is_some_and(|before| before.abs() > SKEW_MAX);
    if skewed != before || std::mem::replace(&mut seen.skew_told, skewed) == skewed {
        return;
    }
    let controller = world.hosts[host].roles.contains(&Role::Controller);
    let severity = if controller { Severity::Alarm } else { Severity::Warning };
    let way = if skew > 0 { "ahead of" } else { "behind" };
    match skewed {
        true => world.host_event(
            now,
            host,
            severity,
            "ClockSkew",
            format!(
                "the clock of host {host} is {} ms {way} the leading controller's: set it, and have both kept by NTP",
                skew.abs() / 1000
            ),
        ),
        false => world.host_event(now, host, Severity::Info, "ClockRight", format!("the clock of host {host} is right again")),
    }
}

/// Uses keys once everybody has them, and begins a new period when the last one is old.
pub fn advance(world: &mut World, now: Now) {
    let keys = world.pan.keys;
    if keys.newest == keys.current {
        world.seen.rotating = None;
        match keys.since {
            // With whatever is written first: it is not worth a transaction of its own.
            0 if world.dirty.contains(&Dirty::Pan) => world.pan.keys.since = now.wall,
            0 => {}
            since if now.wall.saturating_sub(since) >= PERIOD_MAX => {
                // It cannot be in progress.
                let _ = rotate(world, now);
            }
            _ => {}
        }
        return;
    }
    let mut rotating = world.seen.rotating.unwrap_or(Rotating { since: now.boot, ready: None, told: false });
    let lacking: Vec<&str> = lacking(world, keys.newest).collect();
    let late = now.boot.since(rotating.since) >= PATIENCE;
    let granted = lessors_have(world, keys.newest);
    let ready = granted && (late || lacking.is_empty());
    rotating.ready = ready.then(|| rotating.ready.unwrap_or(now.boot));
    let (spread, missing) = (lacking.is_empty(), lacking.join(", "));
    let held = late && !granted && !std::mem::replace(&mut rotating.told, true);
    world.seen.rotating = Some(rotating);
    if held {
        let names: Vec<&str> = world.settings.lessors.iter().map(HostName::as_str).collect();
        let text = format!(
            "keys of period {} are not used before a majority of the lessors ({}) has fetched them: see which of them is away",
            keys.newest,
            names.join(", ")
        );
        tell(world, now, Severity::Alarm, "KeysHeld", text);
    }
    if rotating.ready.is_some_and(|since| now.boot.since(since) >= PICKED_UP) {
        world.pan.keys = KeysRecord { current: keys.newest, newest: keys.newest, since: now.wall };
        world.seen.rotating = None;
        let text = format!("keys of period {} are used now", keys.newest);
        match spread {
            true => tell(world, now, Severity::Info, "KeysRotated", text),
            false => tell(world, now, Severity::Warning, "KeysRotated", format!("{text}, although {missing} did not fetch them")),
        }
    }
}

/// Whether leases go on with the keys of a period: of a majority of lessors it is known that they have them. One that is dead in this
/// controller's eyes may be all that others hear.
fn lessors_have(world: &World, period: u64) -> bool {
    world.settings.lessors.iter().filter(|name| has(world, name, period)).count() >= world.settings.majority()
}

fn has(world: &World, name: &HostName, period: u64) -> bool {
    world.seen.hosts.get(name).and_then(|seen| seen.keys).is_some_and(|have| have >= period)
}

/// Hosts that take part and do not have the keys of a period. The dead fetch them before they are heard again.
fn lacking(world: &World, period: u64) -> impl Iterator<Item = &str> {
    world.hosts.keys().filter(move |name| world.seen.life(name) != Life::Dead && !has(world, name, period)).map(HostName::as_str)
}

fn tell(world: &mut World, now: Now, severity: Severity, reason: &str, text: String) {
    world.dirty.insert(Dirty::Pan);
    world.event(now, &About { partition: None, kind: "pan", object: "keys" }, severity, reason, text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::world::Settings;
    use pan_api::report::Hello;
    use pan_member::Tick;

    struct Case {
        world: World,
        now: Now,
    }

    impl Case {
        fn new() -> Self {
            let mut case = Self { world: World::new(Settings::bare()), now: Now { wall: 1, boot: Tick(1) } };
            for (last, name) in ["c1", "n1", "s1"].into_iter().enumerate() {
                let address = |net: u8| std::net::IpAddr::from([10, net, 0, u8::try_from(last).unwrap()]);
                let (version, host) = (pan_api::WIRE_VERSION, name.parse().unwrap());
                let (roles, software) = (Vec::new(), String::new());
                let hello =
                    Hello { version, host, roles, software, address: address(0), a: address(1), b: address(2), node: None, storage: None };
                crate::core::hosts::hello(&mut case.world, case.now, &hello).unwrap();
            }
            case
        }

        fn at(&self) -> (u64, u64) {
            (self.world.pan.keys.current, self.world.pan.keys.newest)
        }

        fn after(&mut self, seconds: u64) -> (u64, u64) {
            self.now.boot = self.now.boot.plus(Duration::from_secs(seconds));
            self.now.wall += i64::try_from(seconds).unwrap() * 1_000_000;
            advance(&mut self.world, self.now);
            self.at()
        }

        fn has(&mut self, host: &str, period: u64) {
            asked(&mut self.world, self.now, &host.parse().unwrap(), Asked { have: Some(period), ahead: None }).unwrap();
        }
    }

    #[test]
    fn keys_are_used_only_after_everybody_has_them() {
        let mut case = Case::new();
        assert_eq!(case.after(1), (0, 0));
        rotate(&mut case.world, case.now).unwrap();
        assert_eq!(case.after(1), (0, 1), "handed out, not used");
        assert_eq!(rotate(&mut case.world, case.now).unwrap_err().code, Code::State);
        case.has("c1", 1);
        case.has("n1", 1);
        case.has("s1", 0);
        assert_eq!(case.after(60), (0, 1), "s1 has only the old ones");
        case.has("s1", 1);
        assert_eq!(case.after(0), (0, 1), "its processes may not use them yet");
        assert_eq!(case.after(2), (0, 1));
        assert_eq!(case.after(1), (1, 1));
        let told: Vec<_> = case.world.events[&None].iter().map(|event| event.reason.as_str()).collect();
        assert_eq!(told[told.len() - 2..], ["KeysHandedOut", "KeysRotated"]);
    }

    #[test]
    fn a_host_that_never_answers_holds_it_up_for_a_while_and_a_dead_one_does_not() {
        let mut case = Case::new();
        rotate(&mut case.world, case.now).unwrap();
        case.has("c1", 1);
        case.has("n1", 1);
        assert_eq!((case.after(1), case.after(598)), ((0, 1), (0, 1)));
        assert_eq!(case.after(2), (0, 1), "who fetched them last may not use them yet");
        assert_eq!(case.after(3), (1, 1));
        assert!(case.world.events[&None].back().unwrap().message.contains("although s1 did not"));
        rotate(&mut case.world, case.now).unwrap();
        case.has("c1", 2);
        case.has("n1", 2);
        case.world.seen.hosts.get_mut(&"s1".parse().unwrap()).unwrap().life = Life::Dead;
        assert_eq!((case.after(1), case.after(3)), ((1, 2), (2, 2)));
    }

    #[test]
    fn nothing_is_used_that_a_majority_of_lessors_does_not_have_whoever_is_thought_dead() {
        let mut case = Case::new();
        let mut settings = Settings::bare();
        settings.lessors = ["c1", "n1", "s1"].map(|name| name.parse().unwrap()).to_vec();
        case.world.settings = std::sync::Arc::new(settings);
        rotate(&mut case.world, case.now).unwrap();
        for name in ["n1", "s1"] {
            case.world.seen.hosts.get_mut(&name.parse().unwrap()).unwrap().life = Life::Dead;
        }
        case.has("c1", 1);
        assert_eq!((case.after(5), case.after(700), case.after(700)), ((0, 1), (0, 1), (0, 1)), "one of three");
        let held = |case: &Case| case.world.events[&None].iter().filter(|event| event.reason == "KeysHeld").count();
        assert_eq!(held(&case), 1, "told once");
        case.world.seen.hosts.get_mut(&"n1".parse().unwrap()).unwrap().keys = Some(1);
        assert_eq!((case.after(1), case.after(3)), ((0, 1), (1, 1)), "s1 is dead, and two of three are enough");
    }

    #[test]
    fn a_clock_that_is_wrong_is_told_once_and_when_it_is_right() {
        let mut case = Case::new();
        case.world.hosts.get_mut(&"c1".parse().unwrap()).unwrap().roles = vec![Role::Controller];
        let mut says = |host: &str, off: i64| {
            let before = case.world.events[&None].len();
            asked(&mut case.world, case.now, &host.parse().unwrap(), Asked { have: None, ahead: Some(off) }).unwrap();
            let news = case.world.events[&None].iter().skip(before);
            news.map(|event| format!("{:?} {}", event.severity, event.message)).collect::<String>()
        };
        assert_eq!((says("c1", 0), says("c1", 900_000)), (String::new(), String::new()));
        // One question was under way for long.
        assert_eq!((says("c1", -1_500_000), says("c1", 0)), (String::new(), String::new()));
        assert_eq!(says("c1", -1_500_000), "");
        let told = says("c1", -1_500_000);
        assert!(told.starts_with("Alarm the clock of host c1 is 1500 ms behind"), "{told}");
        assert_eq!(says("c1", -1_700_000), "");
        assert_eq!(says("c1", 10), "");
        assert_eq!(says("c1", 10), "Info the clock of host c1 is right again");
        assert_eq!(says("n1", 60_000_000), "");
        assert!(says("n1", 60_000_000).starts_with("Warning the clock of host n1 is 60000 ms ahead of"));
    }

    #[test]
    fn a_period_ends_by_itself() {
        let mut case = Case::new();
        assert_eq!(case.after(1), (0, 0));
        assert_eq!(case.after(29 * 86_400), (0, 0));
        assert_eq!(case.after(86_400), (0, 1));
    }
}
