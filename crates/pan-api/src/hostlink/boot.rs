//! The directory that a boot empties, `run_dir`, and the host's boot identifier: a random number in it. All
//! roles share both.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Makes `run_dir` for root only, as servers' environment and files lie in it. One that is there keeps its mode:
/// it may be shared on purpose.
///
/// # Errors
/// Those of mkdir(2) but for "exists".
pub fn make_run_dir(run_dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(run_dir)
}

/// The identifier of this boot, drawn by whichever role asks first.
///
/// # Errors
/// The file `boot` in `run_dir` cannot be made, or holds something else than 16 hexadecimal digits.
pub fn boot_id(run_dir: &Path) -> io::Result<u64> {
    let path = run_dir.join("boot");
    if let Some(boot) = read(&path)? {
        return Ok(boot);
    }
    let mut drawn = [0; 8];
    fs::File::open("/dev/urandom")?.read_exact(&mut drawn)?;
    // The thread is in the name because two roles may live in one process.
    let fresh = path.with_extension(format!("new-{}-{:?}", std::process::id(), std::thread::current().id()));
    fs::write(&fresh, format!("{:016x}\n", u64::from_be_bytes(drawn)))?;
    // A link fails where a rename would replace: of two roles the first one's number stays.
    let linked = fs::hard_link(&fresh, &path);
    fs::remove_file(&fresh)?;
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => read(&path)?.ok_or_else(|| io::Error::new(ErrorKind::NotFound, format!("{} vanished", path.display()))),
    }
}

fn read(path: &Path) -> io::Result<Option<u64>> {
    match fs::read_to_string(path) {
        Ok(text) => u64::from_str_radix(text.trim(), 16).map(Some).map_err(|_| {
            io::Error::new(ErrorKind::InvalidData, format!("{} holds {text:?}: expected 16 hexadecimal digits", path.display()))
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::boot_id;

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
}
