//! Whether a mounted file system has stopped writing because of an error: an ext4 is read-only then, an XFS is shut down. Neither ends by
//! itself before it is unmounted. Looking waits for no device, but an XFS may wait for whoever changes its root folder.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

use super::contents::Kind;

/// Whether the file system of a device, which is mounted for writing at `target`, does not write any more.
///
/// # Errors
/// It cannot be found out, as where nothing is mounted.
pub fn has_stopped(device: &Path, target: &Path, kind: Kind) -> io::Result<bool> {
    match kind {
        Kind::Ext4 => {
            let name = device.file_name().ok_or(ErrorKind::InvalidInput)?;
            // Not statvfs(3): since Linux 6.14 one that stopped for an error is read-only by a flag of its own.
            fs::read_to_string(Path::new("/proc/fs/ext4").join(name).join("options")).map(|options| ext4_stopped(&options))
        }
        // What is shut down refuses to be opened.
        Kind::Xfs => match File::open(target) {
            Ok(_) => Ok(false),
            Err(error) if error.raw_os_error() == Some(libc::EIO) => Ok(true),
            Err(error) => Err(error),
        },
    }
}

/// By its options, one a line, the first of which is how it is mounted.
fn ext4_stopped(options: &str) -> bool {
    options.lines().any(|option| ["ro", "emergency_ro", "shutdown"].contains(&option))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ext4_that_stopped_says_so_whatever_the_kernel_calls_it() {
        let mounted = |first: &str, last: &str| format!("{first}\nbsddf\nnogrpid\nerrors=remount-ro\ndata=ordered\n{last}");
        assert!(!ext4_stopped(&mounted("rw", "")));
        assert!(!ext4_stopped(""));
        for (first, last) in [("ro", ""), ("rw", "emergency_ro\n"), ("rw", "shutdown\n")] {
            assert!(ext4_stopped(&mounted(first, last)), "{first} {last}");
        }
    }
}
