//! Who runs an image's program: numbers, or names by the image's own passwd(5) and group(5).

use crate::Refusal;

/// Owners that a server may have are below.
const IDS: u32 = 1 << 16;
/// Further groups of one user: as many as the kernel of old allowed to be passed over NFS, twice over.
const GROUPS_MAX: usize = 32;

/// A user by numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Who.
    pub uid: u32,
    /// The first group.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
}

/// Finds `USER`, `UID`, `USER:GROUP` or the like.
///
/// # Errors
/// [`Refusal`]: there is no such user or group.
pub fn find(user: &str, passwd: &str, group: &str) -> Result<User, Refusal> {
    let (name, group_name) = user.split_once(':').map_or((user, None), |(name, group)| (name, Some(group)));
    let unknown = |what: &str, name: &str| {
        Refusal::document("configuration", &format!("there is no {what} {name:?} in the image, by which it is to run"))
    };
    if name.is_empty() {
        return Ok(User::default());
    }
    let number = id(name);
    let accounts = passwd.lines().map(fields).filter(|fields| fields.len() >= 4);
    let account = accounts.into_iter().find(|fields| fields[0] == name || (number.is_some() && id(fields[2]) == number));
    let uid = number.or_else(|| account.as_ref().and_then(|fields| id(fields[2]))).ok_or_else(|| unknown("user", name))?;
    let groups = || group.lines().map(fields).filter(|fields| fields.len() >= 4);
    match group_name.filter(|name| !name.is_empty()) {
        Some(name) => {
            let listed = || groups().find(|fields| fields[0] == name).and_then(|fields| id(fields[2]));
            let gid = id(name).or_else(listed).ok_or_else(|| unknown("group", name))?;
            Ok(User { uid, gid, groups: Vec::new() })
        }
        None => {
            let gid = account.as_ref().and_then(|fields| id(fields[3])).unwrap_or(0);
            let known = account.map_or(name, |fields| fields[0]);
            let has = |fields: &Vec<&str>| fields[3].split(',').any(|member| member == known);
            let further = groups().filter(has).filter_map(|fields| id(fields[2])).filter(|other| *other != gid);
            Ok(User { uid, gid, groups: further.take(GROUPS_MAX).collect() })
        }
    }
}

fn fields(line: &str) -> Vec<&str> {
    // A line may have no end; nobody has more fields than passwd.
    line.splitn(8, ':').collect()
}

fn id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id < IDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nwww:x:33:34:w:/srv:/bin/false\nbroken\nbig:x:70000:1::/:\n";
    const GROUP: &str = "root:x:0:\nwww:x:34:\nlogs:x:4:www,other\nmore:x:5:www\n";

    #[test]
    fn users_are_found_by_number_and_by_name() {
        for (text, uid, gid, groups) in [
            ("", 0, 0, vec![]),
            ("root", 0, 0, vec![]),
            ("0", 0, 0, vec![]),
            ("www", 33, 34, vec![4, 5]),
            ("33", 33, 34, vec![4, 5]),
            ("www:logs", 33, 4, vec![]),
            ("www:7", 33, 7, vec![]),
            ("1000", 1000, 0, vec![]),
            ("1000:1001", 1000, 1001, vec![]),
        ] {
            assert_eq!(find(text, PASSWD, GROUP).unwrap(), User { uid, gid, groups }, "{text}");
        }
        for bad in ["nobody", "www:nobody", "70000", "big", "-1", "broken"] {
            let error = find(bad, PASSWD, GROUP).unwrap_err().to_string();
            assert!(error.contains("in the image, by which it is to run"), "{bad}: {error}");
        }
    }
}
