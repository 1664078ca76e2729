//! Servers' logs: kept from growing without bound, read from the end, followed.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use crate::paths::{Paths, old_log};

/// A log that has grown past this is rotated.
const LOG_BYTES_MAX: u64 = 10 << 20;
/// How often sizes are looked at: a server that writes as fast as it can goes over by what a disk takes in this time.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Most that is read back to find the last lines.
const TAIL_BYTES_MAX: u64 = 4 << 20;
/// Most that is read where all is asked for: a log just before it is rotated, and no more than an agent's memory bears.
const WHOLE_BYTES_MAX: u64 = 12 << 20;

/// Rotates logs for ever.
pub(crate) async fn rotate(paths: Paths) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let folder = paths.layers();
        let done = tokio::task::spawn_blocking(move || rotate_all(&folder, LOG_BYTES_MAX)).await;
        if let Ok(Err(error)) = done {
            tracing::warn!(%error, "cannot rotate logs");
        }
    }
}

/// Copies the end and truncates, because the writer keeps its descriptor: it appends, so it goes on at the new
/// end. What it writes between the two steps is lost; better than a restart. No more is kept than a log may have,
/// however far over it went.
fn rotate_all(folder: &Path, bytes_max: u64) -> io::Result<()> {
    let listed = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        listed => listed?,
    };
    for entry in listed {
        let path = entry?.path();
        let is_log = path.extension().is_some_and(|extension| extension == "log");
        let size = fs::metadata(&path)?.len();
        if !is_log || size <= bytes_max {
            continue;
        }
        let mut log = File::options().read(true).write(true).open(&path)?;
        // Not by much: a log that was written slowly is kept whole.
        log.seek(SeekFrom::Start(size.saturating_sub(2 * bytes_max)))?;
        io::copy(&mut Read::take(&mut log, 2 * bytes_max), &mut File::create(old_log(&path))?)?;
        log.set_len(0)?;
    }
    Ok(())
}

/// The last `lines` lines of a log (all of it if none is given, up to a bound), and how many bytes the log had then.
pub(crate) fn tail(log: &Path, lines: Option<usize>) -> io::Result<(Vec<u8>, u64)> {
    let mut file = match File::open(log) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        opened => opened?,
    };
    let size = file.metadata()?.len();
    let from = size.saturating_sub(if lines.is_some() { TAIL_BYTES_MAX } else { WHOLE_BYTES_MAX });
    file.seek(SeekFrom::Start(from))?;
    let mut text = Vec::new();
    file.take(size - from).read_to_end(&mut text)?;
    if let Some(lines) = lines {
        let start = start_of_last(&text, lines);
        text.drain(..start);
    }
    Ok((text, size))
}

/// What was appended after `from`, and the new end. A log that shrank was rotated: it is read from its start.
pub(crate) fn since(log: &Path, from: u64, bytes_max: u64) -> io::Result<(Vec<u8>, u64)> {
    let mut file = File::open(log)?;
    let size = file.metadata()?.len();
    let from = if size < from { 0 } else { from };
    if size == from {
        return Ok((Vec::new(), from));
    }
    file.seek(SeekFrom::Start(from))?;
    let mut text = Vec::new();
    let read = file.take(bytes_max.min(size - from)).read_to_end(&mut text)?;
    Ok((text, from + u64::try_from(read).expect("a length fits 64 bits")))
}

fn start_of_last(text: &[u8], lines: usize) -> usize {
    let ended = text.strip_suffix(b"\n").unwrap_or(text);
    if lines == 0 {
        return text.len();
    }
    let newlines = ended.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    newlines.map(|(at, _)| at + 1).nth(lines - 1).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn check(text: &str, lines: Option<usize>, expected: &str) {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("x.log");
        fs::write(&log, text).unwrap();
        let (found, size) = tail(&log, lines).unwrap();
        assert_eq!((String::from_utf8(found).unwrap().as_str(), size), (expected, text.len() as u64), "{text:?} {lines:?}");
    }

    #[test]
    fn the_last_lines() {
        check("a\nb\nc\n", Some(2), "b\nc\n");
        check("a\nb\nc", Some(2), "b\nc");
        check("a\nb\n", Some(9), "a\nb\n");
        check("a\n\n", Some(1), "\n");
        check("a\nb\n", Some(0), "");
        check("a\nb\n", None, "a\nb\n");
        check("", Some(3), "");
    }

    #[test]
    fn a_writer_goes_on_after_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("a.b.log");
        let mut writer = pan_linux::process::open_log(&log).unwrap();
        writer.write_all(b"0123456789").unwrap();
        let end = since(&log, 4, 100).unwrap();
        assert_eq!(end, (b"456789".to_vec(), 10));
        rotate_all(dir.path(), 10).unwrap();
        assert_eq!(fs::metadata(&log).unwrap().len(), 10);
        writer.write_all(b"x").unwrap();
        rotate_all(dir.path(), 10).unwrap();
        writer.write_all(b"new").unwrap();
        assert_eq!(fs::read(dir.path().join("a.b.log.1")).unwrap(), b"0123456789x");
        assert_eq!(fs::read(&log).unwrap(), b"new");
        assert_eq!(since(&log, 10, 100).unwrap(), (b"new".to_vec(), 3));
    }
}
