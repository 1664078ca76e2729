//! The directory that a boot empties, `run_dir`, and the host's boot identifier: a random number in it. All
//! roles share both.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Makes `run_dir` for root only, as servers' environment and files lie in it. One that is there keeps its mode:
/// it may be shared on purpose.
///
/// # Errors
/// Those of mkdir(2) but for "exists".
pub fn make_run_dir(run_dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(run_dir)
}

/// The kernel's name for this boot (`proc_sys_kernel(5)`), if it can be read. Unlike the identifier in `run_dir`, it does not rest on a boot
/// emptying that.
#[must_use]
pub fn kernel_boot() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|name| name.trim().to_owned())
}

/// How long a role that finds the file damaged waits for the beat process, which knows what was in it and puts it back.
const REPAIR_WAIT: Duration = Duration::from_secs(3);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// More is not read of what is there.
const BYTES_MAX: u64 = 64;

/// The identifier of this boot, drawn by whichever role asks first. One that cannot be read any more is drawn anew: who does not know whether
/// the host was booted has to act as if it had been. Blocks for some seconds then.
///
/// # Errors
/// The file `boot` in `run_dir` cannot be read or made.
pub fn boot_id(run_dir: &Path) -> io::Result<u64> {
    boot_id_within(REPAIR_WAIT, run_dir)
}

fn boot_id_within(wait: Duration, run_dir: &Path) -> io::Result<u64> {
    let path = run_dir.join(FILE);
    let deadline = Instant::now() + wait;
    loop {
        match read(&path)? {
            Noted::Boot(boot) => return Ok(boot),
            Noted::Nothing => return put(&path, draw()?),
            Noted::Damage(_) if Instant::now() < deadline => std::thread::sleep(LOOK_AGAIN),
            Noted::Damage(what) => {
                tracing::warn!(path = %path.display(), what, "holds no 16 hexadecimal digits: goes on as if the host had just been booted");
                replace_damage(run_dir, draw()?)?;
            }
        }
    }
}

/// What became of the identifier of this boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is there.
    There,
    /// It was gone or damaged, and is there again.
    PutBack,
    /// Another one is there.
    Other,
}

/// Sees to it that the identifier of this boot, which the caller has known since it began, can be read by all who come later.
///
/// # Errors
/// As [`boot_id`].
pub fn keep_boot_id(run_dir: &Path, boot: u64) -> io::Result<Kept> {
    let path = run_dir.join(FILE);
    match read(&path)? {
        Noted::Boot(found) if found == boot => return Ok(Kept::There),
        Noted::Boot(_) => return Ok(Kept::Other),
        Noted::Damage(_) => replace_damage(run_dir, boot)?,
        Noted::Nothing => make_run_dir(run_dir)?,
    }
    Ok(if put(&path, boot)? == boot { Kept::PutBack } else { Kept::Other })
}

const FILE: &str = "boot";

/// A number that no other has drawn.
pub(super) fn draw() -> io::Result<u64> {
    let mut drawn = [0; 8];
    fs::File::open("/dev/urandom")?.read_exact(&mut drawn)?;
    Ok(u64::from_be_bytes(drawn))
}

/// Writes it where none is, and returns what is there then.
fn put(path: &Path, boot: u64) -> io::Result<u64> {
    let fresh = write(path, boot)?;
    // A link fails where a rename would replace: of two roles the first one's number stays.
    let linked = fs::hard_link(&fresh, path);
    fs::remove_file(&fresh)?;
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => match read(path)? {
            Noted::Boot(boot) => Ok(boot),
            Noted::Nothing | Noted::Damage(_) => Err(io::Error::new(ErrorKind::NotFound, format!("{} vanished", path.display()))),
        },
    }
}

/// Writes it in the place of what is damaged still: one at a time, so that nobody replaces what another has just written; and at once, so that
/// nobody finds none in between and draws one.
fn replace_damage(run_dir: &Path, boot: u64) -> io::Result<()> {
    let folder = fs::File::open(run_dir)?;
    folder.lock()?;
    let path = run_dir.join(FILE);
    match read(&path)? {
        Noted::Damage(_) => fs::rename(write(&path, boot)?, &path),
        Noted::Boot(_) | Noted::Nothing => Ok(()),
    }
}

/// Writes it beside the file it is for, and returns where.
fn write(path: &Path, boot: u64) -> io::Result<PathBuf> {
    // The thread is in the name because two roles may live in one process.
    let fresh = path.with_extension(format!("new-{}-{:?}", std::process::id(), std::thread::current().id()));
    fs::write(&fresh, format!("{boot:016x}\n"))?;
    Ok(fresh)
}

enum Noted {
    Boot(u64),
    Nothing,
    /// Something else, the beginning of it in words.
    Damage(String),
}

fn read(path: &Path) -> io::Result<Noted> {
    let mut bytes = Vec::new();
    match fs::File::open(path).and_then(|file| file.take(BYTES_MAX).read_to_end(&mut bytes)) {
        Ok(_) => {
            let text = String::from_utf8_lossy(&bytes);
            let digits = text.trim();
            let number = u64::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 16);
            Ok(number.map_or_else(|| Noted::Damage(format!("{text:?}")), Noted::Boot))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Noted::Nothing),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::{Kept, boot_id, boot_id_within, keep_boot_id};
    use std::time::Duration;

    #[test]
    fn all_roles_have_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let all: Vec<u64> = std::thread::scope(|scope| {
            let asked: Vec<_> = (0..8).map(|_| scope.spawn(|| boot_id(dir.path()).unwrap())).collect();
            asked.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(all.iter().all(|boot| *boot == all[0]), "{all:?}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn damage_is_repaired_by_who_knows_and_else_by_drawing_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("boot");
        let boot = boot_id(dir.path()).unwrap();
        assert_eq!(keep_boot_id(dir.path(), boot).unwrap(), Kept::There);
        assert_eq!(keep_boot_id(dir.path(), boot ^ 1).unwrap(), Kept::Other);
        for damage in [&b""[..], b"12\n", b"no number at all\n", b"\xff\xfe\xfd", &[b'a'; 200]] {
            std::fs::write(&path, damage).unwrap();
            // Who waits for it gets the same as before.
            std::thread::scope(|scope| {
                let waits = scope.spawn(|| boot_id_within(Duration::from_secs(60), dir.path()).unwrap());
                assert_eq!(keep_boot_id(dir.path(), boot).unwrap(), Kept::PutBack);
                assert_eq!(waits.join().unwrap(), boot);
            });
            std::fs::write(&path, damage).unwrap();
            let all: Vec<u64> = std::thread::scope(|scope| {
                let asked: Vec<_> = (0..8).map(|_| scope.spawn(|| boot_id_within(Duration::ZERO, dir.path()).unwrap())).collect();
                asked.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert!(all.iter().all(|other| *other == all[0] && *other != boot), "{all:?}");
            std::fs::remove_file(&path).unwrap();
            assert_eq!(keep_boot_id(dir.path(), boot).unwrap(), Kept::PutBack);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
