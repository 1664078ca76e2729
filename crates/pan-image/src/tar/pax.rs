//! Extended heads of POSIX.1-2001: lines of `LENGTH KEY=VALUE`.

use crate::Refusal;

/// The records that mean something here.
#[derive(Default)]
pub(super) struct Records {
    pub path: Option<Vec<u8>>,
    pub target: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub mtime: Option<u64>,
}

impl Records {
    pub(super) fn refuse_any(self) -> Result<(), Refusal> {
        let Self { path, target, size, uid, gid, mtime } = self;
        let plain = path.is_none() && target.is_none() && [size, uid, gid, mtime].iter().all(Option::is_none);
        if plain { Ok(()) } else { Err(Refusal::Archive("it has a head for all its files")) }
    }
}

/// Reads all of them.
pub(super) fn read(mut text: &[u8]) -> Result<Records, Refusal> {
    let wrong = || Refusal::Archive("an extended head is none");
    let mut found = Records::default();
    while !text.is_empty() && text[0] != 0 {
        let blank = text.iter().take(20).position(|byte| *byte == b' ').ok_or_else(wrong)?;
        let length: usize = std::str::from_utf8(&text[..blank]).ok().and_then(|digits| digits.parse().ok()).ok_or_else(wrong)?;
        let record = text.get(blank + 1..length).ok_or_else(wrong)?;
        let (key, value) = match (record.strip_suffix(b"\n"), record.iter().position(|byte| *byte == b'=')) {
            (Some(record), Some(at)) if at < record.len() => (&record[..at], &record[at + 1..]),
            _ => return Err(wrong()),
        };
        let number = || whole(value).ok_or_else(wrong);
        match key {
            b"path" => found.path = Some(value.to_vec()),
            b"linkpath" => found.target = Some(value.to_vec()),
            b"size" => found.size = Some(number()?),
            b"uid" => found.uid = Some(number()?),
            b"gid" => found.gid = Some(number()?),
            b"mtime" => found.mtime = Some(if value.starts_with(b"-") { 0 } else { number()? }),
            key if key.starts_with(b"GNU.sparse.") => return Err(Refusal::Archive("sparse files are not supported")),
            _ => {}
        }
        text = &text[length..];
    }
    Ok(found)
}

/// The part before the point.
fn whole(value: &[u8]) -> Option<u64> {
    let value = std::str::from_utf8(value).ok()?;
    value.split('.').next()?.parse().ok()
}
