//! Members of the controllers' store: told once when one is lost, and once more when it is back.
//!
//! What was told is in the events, which are the same for whichever controller leads: one that takes over tells nothing again, and misses
//! nothing that a leader did not live to tell.

use super::world::{About, Now, World};
use pan_member::Tick;
use pan_model::event::{Event, Severity};
use std::time::Duration;

/// How long a member has to be silent: an election of etcd, in which all are of no use for a moment, takes less.
const LOST: Duration = Duration::from_secs(3);

const KIND: &str = "store";
const GONE: &str = "StoreMemberLost";
const BACK: &str = "StoreMemberBack";

/// A member as this controller sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Since when it does not answer, and why.
    pub silent: Option<(Tick, String)>,
}

/// All members were asked: for each why it does not answer, if so.
pub fn asked(world: &mut World, now: Now, answers: Vec<(String, Option<String>)>) {
    let mut former = std::mem::take(&mut world.seen.members);
    for (name, silence) in answers {
        let from = former.remove(&name).and_then(|member| member.silent).map_or(now.boot, |(from, _)| from);
        world.seen.members.insert(name, Member { silent: silence.map(|why| (from, why)) });
    }
    tell(world, now);
}

fn tell(world: &mut World, now: Now) {
    let answering = world.seen.members.values().filter(|member| member.silent.is_none()).count();
    let all = world.seen.members.len();
    for (name, member) in world.seen.members.clone() {
        let told = told(world, &name);
        let (severity, reason, text) = match &member.silent {
            Some((from, why)) if !told && now.boot.since(*from) >= LOST => {
                let text = format!(
                    "member {name} of the controllers' store has not answered for {} s ({why}); {}",
                    LOST.as_secs(),
                    left(answering, all)
                );
                (Severity::Warning, GONE, text)
            }
            None if told => {
                (Severity::Info, BACK, format!("member {name} of the controllers' store answers again: {answering} of {all} do"))
            }
            Some(_) | None => continue,
        };
        world.event(now, &About { partition: None, kind: KIND, object: &name }, severity, reason, text);
    }
}

/// Whether the loss of a member is what was told of it last.
fn told(world: &World, name: &str) -> bool {
    let of_it = |event: &&std::sync::Arc<Event>| event.kind == KIND && event.object == name;
    world.events.get(&None).and_then(|events| events.iter().rev().find(of_it)).is_some_and(|event| event.reason == GONE)
}

/// What that means for whoever wants to change something.
fn left(answering: usize, all: usize) -> String {
    let majority = all / 2 + 1;
    match answering.checked_sub(majority) {
        Some(0) => format!("{answering} of {all} answer, and no further one may be lost: see to its machine"),
        Some(more) => format!("{answering} of {all} answer, and {more} more may be lost"),
        None => format!("{answering} of {all} answer, fewer than the {majority} that have to: nothing can be changed"),
    }
}

/// Those that do not answer, for an error: nothing, or a clause that begins with a semicolon.
#[must_use]
pub fn silent<'a>(members: impl Iterator<Item = (&'a str, Option<&'a str>)>) -> String {
    let members: Vec<_> = members.collect();
    let silent: Vec<&str> = members.iter().filter(|(_, silence)| silence.is_some()).map(|(name, _)| *name).collect();
    match silent.as_slice() {
        [] => String::new(),
        [one] => format!("; of the {} members of the store one does not answer: {one}", members.len()),
        names => format!("; of the {} members of the store these do not answer: {}", members.len(), names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::world::Settings;

    /// Seconds pass, and after each the members are asked, of which these are silent.
    fn pass(world: &mut World, now: &mut Now, seconds: u64, silent: &[&str]) {
        for _ in 0..seconds {
            now.boot = now.boot.plus(Duration::from_secs(1));
            let answer = |name: &str| (name.to_owned(), silent.contains(&name).then(|| "it cannot be reached".to_owned()));
            asked(world, *now, ["e1", "e2", "e3"].map(answer).to_vec());
        }
    }

    fn events(world: &World) -> Vec<String> {
        let all = world.events.get(&None).into_iter().flatten();
        all.map(|event| format!("{} {}", event.object, event.reason)).collect()
    }

    #[test]
    fn a_member_that_is_lost_is_told_once_and_so_is_its_return() {
        let (mut world, mut now) = (World::new(Settings::bare()), Now::default());
        pass(&mut world, &mut now, 2, &[]);
        // An election: all are of no use for a moment.
        pass(&mut world, &mut now, 2, &["e1", "e2", "e3"]);
        pass(&mut world, &mut now, 1, &[]);
        pass(&mut world, &mut now, 3, &["e2"]);
        assert!(events(&world).is_empty(), "{:?}", events(&world));
        pass(&mut world, &mut now, 60, &["e2"]);
        assert_eq!(events(&world), ["e2 StoreMemberLost"]);
        let message = world.events[&None][0].message.clone();
        assert!(message.contains("cannot be reached") && message.contains("2 of 3 answer, and no further one may be lost"), "{message}");
        pass(&mut world, &mut now, 60, &[]);
        assert_eq!(events(&world), ["e2 StoreMemberLost", "e2 StoreMemberBack"]);
        pass(&mut world, &mut now, 5, &["e2"]);
        assert_eq!(events(&world).len(), 3, "another time");
    }

    #[test]
    fn whoever_leads_next_tells_what_was_not_told_and_nothing_twice() {
        let (mut world, mut now) = (World::new(Settings::bare()), Now::default());
        // The leader went with the member's machine.
        world.leading = false;
        pass(&mut world, &mut now, 10, &["e1"]);
        assert!(events(&world).is_empty(), "who follows tells nothing");
        world.leading = true;
        pass(&mut world, &mut now, 1, &["e1"]);
        assert_eq!(events(&world), ["e1 StoreMemberLost"]);
        // The next one has the events from the store, and has asked nobody yet.
        world.seen = Default::default();
        pass(&mut world, &mut now, 10, &["e1"]);
        assert_eq!(events(&world).len(), 1);
        world.seen = Default::default();
        pass(&mut world, &mut now, 1, &[]);
        assert_eq!(events(&world), ["e1 StoreMemberLost", "e1 StoreMemberBack"]);
    }

    #[test]
    fn errors_name_who_does_not_answer() {
        let check = |silences: [Option<&str>; 3], wanted: &str| {
            assert_eq!(silent(["e1", "e2", "e3"].into_iter().zip(silences)), wanted);
        };
        check([None; 3], "");
        check([None, Some("gone"), None], "; of the 3 members of the store one does not answer: e2");
        check([Some("gone"), Some("gone"), None], "; of the 3 members of the store these do not answer: e1, e2");
    }
}
