//! What a server's task is told of its volumes, and what that means for the server. Pure.

use pan_model::VolumeName;

use super::decide::Users;

/// What is known of one volume of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub name: VolumeName,
    pub stage: Stage,
    /// Who it knows to use it. What is mounted for somebody is not taken away under them.
    pub users: Users,
    /// Steps since the server began to wait for it, with their wall clock times.
    pub steps: Vec<(&'static str, i64)>,
    /// When it was lost last, on the wall clock, and why.
    pub lost: Option<(i64, String)>,
    /// Why what was not acknowledged of it was given up when it was let go, if it was.
    pub given_up: Option<String>,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stage {
    /// On its way up or down; what it waits for, or what went wrong last.
    UnderWay(String),
    /// On its way up, and for too long this host has been in the way: what it waits for, and why.
    Unfit(String),
    Mounted,
    /// It was lost under its users: why.
    Lost(String),
    /// Nothing of it is here.
    Gone,
}

/// What it means for the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has all its volumes, and may use them.
    Ready,
    /// All are mounted, and some may be taken away again unless they are told that they will be used.
    Mounted,
    /// Some are not there yet: what the first of them waits for.
    Waits(String),
    /// One cannot be had here; another host may have it.
    Unfit(String),
    /// One was lost.
    Lost(String),
}

/// What is said of volumes before their tasks have spoken.
pub(crate) const NOT_LOOKED_AT: &str = "its volumes are looked at";
/// Word of a lost volume in reports: what events are made of begins with it.
pub(crate) const HEAD_LOST: &str = "HeadLost";

/// What volumes like these mean for their server.
pub(crate) fn standing<'a>(all: impl IntoIterator<Item = &'a Seen>) -> Standing {
    let mut found = Standing::Ready;
    for Seen { name, stage, users, .. } in all {
        let next = match stage {
            Stage::Lost(why) => return Standing::Lost(words(name, why)),
            Stage::Mounted if *users != Users::None => continue,
            Stage::Mounted => Standing::Mounted,
            Stage::Unfit(what) => Standing::Unfit(format!("volume {name}: {what}")),
            Stage::UnderWay(what) => Standing::Waits(format!("volume {name}: {what}")),
            Stage::Gone => Standing::Waits(format!("volume {name} is not here")),
        };
        // What another one waits for is no news of a server that cannot have this one.
        if !matches!((&found, &next), (Standing::Waits(_), Standing::Waits(_) | Standing::Mounted) | (Standing::Unfit(_), _)) {
            found = next;
        }
    }
    found
}

fn words(name: &VolumeName, why: &str) -> String {
    format!("{HEAD_LOST}: volume {name}: {why}")
}

/// Which of them was lost since then, and why. A server that uses it may end of that before anybody else knows.
pub(crate) fn lost_since<'a>(all: impl IntoIterator<Item = &'a Seen>, since: i64) -> Option<String> {
    all.into_iter().find_map(|seen| seen.lost.as_ref().filter(|(at, _)| *at >= since).map(|(_, why)| words(&seen.name, why)))
}

/// Steps of all together: each is done when the last volume has done it. Those from before `since` are of an earlier start.
pub(crate) fn steps<'a>(all: impl IntoIterator<Item = &'a Seen>, since: i64) -> Vec<(String, i64)> {
    let mut found: Vec<(String, i64)> = Vec::new();
    for (name, at) in all.into_iter().flat_map(|seen| &seen.steps).filter(|(_, at)| *at >= since) {
        match found.iter_mut().find(|(known, _)| known == name) {
            Some((_, latest)) => *latest = (*latest).max(*at),
            None => found.push(((*name).to_owned(), *at)),
        }
    }
    found.sort_by_key(|(_, at)| *at);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(name: &str, stage: Stage, steps: &[(&'static str, i64)]) -> Seen {
        Seen { name: name.parse().unwrap(), stage, users: Users::Some, steps: steps.to_vec(), lost: None, given_up: None }
    }

    #[test]
    fn a_server_has_all_its_volumes_or_does_not_run() {
        let (up, waits) = (|name| seen(name, Stage::Mounted, &[]), |name| seen(name, Stage::UnderWay("its head opens".into()), &[]));
        assert_eq!(standing([]), Standing::Ready);
        assert_eq!(standing(&[up("a"), up("b")]), Standing::Ready);
        assert_eq!(standing(&[up("a"), waits("b"), waits("c")]), Standing::Waits("volume b: its head opens".into()));
        assert_eq!(standing(&[seen("a", Stage::Gone, &[])]), Standing::Waits("volume a is not here".into()));
        let fresh = Seen { users: Users::None, ..up("e") };
        assert_eq!(standing(&[up("a"), fresh.clone(), up("b")]), Standing::Mounted);
        assert_eq!(standing(&[fresh, waits("b")]), Standing::Waits("volume b: its head opens".into()));
        let full = seen("f", Stage::Unfit("no space".into()), &[]);
        let unfit = Standing::Unfit("volume f: no space".into());
        assert_eq!(standing(&[full.clone(), waits("b"), up("a")]), unfit);
        assert_eq!(standing(&[waits("b"), full.clone(), full]), unfit);
        let lost = seen("d", Stage::Lost("fenced".into()), &[]);
        assert_eq!(standing(&[waits("b"), lost]), Standing::Lost("HeadLost: volume d: fenced".into()));
    }

    #[test]
    fn a_loss_is_told_of_as_long_as_it_matters() {
        let all = [seen("a", Stage::Mounted, &[]), Seen { lost: Some((10, "fenced".into())), ..seen("b", Stage::Mounted, &[]) }];
        assert_eq!(lost_since(&all, 10), Some("HeadLost: volume b: fenced".into()));
        assert_eq!(lost_since(&all, 11), None);
    }

    #[test]
    fn a_step_is_done_when_the_last_volume_has_done_it() {
        let all = [
            seen("a", Stage::Mounted, &[("claimed", 10), ("attached", 20), ("mounted", 30)]),
            seen("b", Stage::Mounted, &[("claimed", 11), ("attached", 40), ("mounted", 41)]),
            seen("c", Stage::Mounted, &[("claimed", 1), ("attached", 2), ("mounted", 3)]),
        ];
        let expected = [("claimed", 11), ("attached", 40), ("mounted", 41)].map(|(name, at)| (name.to_owned(), at));
        assert_eq!(steps(&all, 10), expected);
        assert_eq!(steps(&all, 50), []);
    }
}
