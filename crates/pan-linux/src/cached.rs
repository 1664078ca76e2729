//! Reading what is in memory, and nothing else.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Reads from a file if that needs no disk (preadv2(2) with `RWF_NOWAIT`). `Ok(false)`: not all of it is in the page cache, it is
/// behind the file's end, or the file system cannot tell; what is in `into` then means nothing.
///
/// # Errors
/// What the kernel says of a read that could have been made.
pub fn read_exact_at(file: &File, into: &mut [u8], offset: u64) -> io::Result<bool> {
    let Ok(offset) = libc::off_t::try_from(offset) else { return Ok(false) };
    let part = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    // SAFETY: the one part lies in `into`, which is borrowed exclusively through the call.
    let count = unsafe { libc::preadv2(file.as_raw_fd(), &raw const part, 1, offset, libc::RWF_NOWAIT) };
    match usize::try_from(count) {
        Ok(count) => Ok(count == into.len()),
        Err(_) => match io::Error::last_os_error() {
            error if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EOPNOTSUPP | libc::EINTR | libc::ENOSYS)) => Ok(false),
            error => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_was_just_written_is_in_memory_and_what_is_not_there_is_not() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 8192]).unwrap();
        let mut into = [0; 4096];
        // A file system without this says so every time, and then nothing is read.
        if read_exact_at(&file, &mut into, 4096).unwrap() {
            assert_eq!(into, [7; 4096]);
        }
        assert!(!read_exact_at(&file, &mut into, 6000).unwrap());
        assert!(!read_exact_at(&file, &mut into, u64::MAX).unwrap());
    }
}
