//! Which ids of the host the servers of a partition have: a range of its own, beside everybody else's. Pure.
//!
//! The node decides, and no controller: what is free depends on the host, and nothing that leaves it carries such an id, because
//! volumes and images are mounted so that root's files on disk are root's in the server. A range is a partition's as long as anything
//! of its servers is on the node.

use pan_linux::userns::IdRange;

/// As many as programs of today's images count on: `nobody` is 65534.
pub(crate) const IDS: u32 = 1 << 16;
/// Above what systemd (524288 to 1879048191, <https://systemd.io/UIDS-GIDS/>) gives to containers, and what SSSD makes of users of
/// Active Directory by default (up to 2000200000, `ldap_idmap_range_max` of sssd-ad(5)).
const FIRST: u32 = 0x7740_0000;
/// The last 65536 ids below 2^31 are systemd's for foreign files; above that, programs and parts of the kernel take ids for negative
/// numbers.
const LAST: u32 = 0x7ffd_0000;

/// One of the ranges that overlap none of those taken; there are 2238. Which one is what `drawn` says, a number that nobody knows:
/// a server sees in `/proc/self/uid_map` which it has, and from the lowest that was free it would know how many others are there.
pub(crate) fn free(taken: &[IdRange], drawn: u64) -> Option<IdRange> {
    let all = (FIRST..=LAST).step_by(IDS as usize).map(|first| IdRange { first, count: IDS });
    let free: Vec<IdRange> = all.filter(|range| !taken.iter().any(|other| overlap(*range, *other))).collect();
    let at = drawn.checked_rem(free.len() as u64)?;
    Some(free[usize::try_from(at).expect("there are 2238")])
}

fn overlap(one: IdRange, other: IdRange) -> bool {
    let end = |range: IdRange| u64::from(range.first) + u64::from(range.count);
    u64::from(one.first) < end(other) && u64::from(other.first) < end(one)
}

/// The ids of a file such as passwd(5) or group(5): the third field of each line.
pub(crate) fn of_accounts(text: &str) -> impl Iterator<Item = IdRange> {
    let ids = text.lines().filter_map(|line| line.split(':').nth(2)?.parse().ok());
    ids.map(|first| IdRange { first, count: 1 })
}

/// The ranges of a file such as subuid(5): `NAME:FIRST:COUNT`.
pub(crate) fn of_delegations(text: &str) -> impl Iterator<Item = IdRange> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':').skip(1).map(|field| field.trim().parse().ok());
        Some(IdRange { first: fields.next()??, count: fields.next()?? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u32, count: u32) -> IdRange {
        IdRange { first, count }
    }

    #[test]
    fn what_is_drawn_is_free_and_any_that_is_free_can_be_drawn() {
        let all: std::collections::BTreeSet<u32> = (0..2238).map(|drawn| free(&[], drawn).unwrap().first).collect();
        assert_eq!((all.len(), all.first(), all.last()), (2238, Some(&FIRST), Some(&LAST)));
        // One that is taken moves none but its own draws and those after it; with all but one taken that one is left.
        let taken = [range(FIRST + IDS, IDS)];
        assert_eq!([0, 1, 2236].map(|drawn| free(&taken, drawn).unwrap().first), [FIRST, FIRST + 2 * IDS, LAST]);
        let others: Vec<IdRange> = all.iter().filter(|first| **first != LAST).map(|first| range(*first, IDS)).collect();
        assert_eq!(free(&others, u64::MAX), Some(range(LAST, IDS)));
        assert_eq!(free(&[range(0, u32::MAX)], 7), None);
    }

    #[test]
    fn what_the_host_uses_is_left_to_it() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nodd:x:2000748544:1::/:/bin/sh\nbad line\n";
        let subuid = "lxd:2000683008:1\nme:100000:65536\nbroken:1\n\n";
        let taken: Vec<IdRange> = of_accounts(passwd).chain(of_delegations(subuid)).collect();
        assert_eq!(taken, [range(0, 1), range(2_000_748_544, 1), range(2_000_683_008, 1), range(100_000, 65_536)]);
        // The first id of the first range and the first of the second.
        assert_eq!(free(&taken, 0), Some(range(FIRST + 2 * IDS, IDS)));
        assert_eq!(free(&[range(FIRST + IDS - 1, 2)], 0), Some(range(FIRST + 2 * IDS, IDS)));
    }
}
