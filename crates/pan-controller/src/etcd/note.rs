//! What a host knows of its member of etcd beside the member's data, and what follows when that is gone. Pure, but for two functions
//! that read and write the note.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What the note beside the data folder says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Note {
    /// There is none: etcd was never started here.
    Missing,
    /// etcd was about to be started for the first time, and has not been seen to have an identity.
    Began,
    /// It is or was a member, and may have acknowledged what only it and one other know.
    Member,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Be the member it was.
    Resume,
    /// Start for the first time, with the others of the configuration. Etcd itself refuses if they run and know it.
    First,
    /// The data is lost: never vote under the old id, be replaced.
    Replace,
}

const BEGAN: &str = "began\n";
const MEMBER: &str = "member\n";

/// What follows from whether there is data and from the note. Data is a log of etcd's: without one it takes itself for new.
pub(super) fn decide(has_data: bool, note: Note) -> Step {
    match (has_data, note) {
        (true, Note::Missing | Note::Began | Note::Member) => Step::Resume,
        (false, Note::Missing | Note::Began) => Step::First,
        (false, Note::Member) => Step::Replace,
    }
}

/// Beside the data folder, not in it.
pub(super) fn path(data: &Path) -> PathBuf {
    data.with_extension("note")
}

/// Whether etcd would find itself here.
pub(super) fn has_data(data: &Path) -> io::Result<bool> {
    let files = match fs::read_dir(data.join("member/wal")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        files => files?,
    };
    for file in files {
        if file?.path().extension().is_some_and(|extension| extension == "wal") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What the note says. One that says neither was damaged after it was written, so there was a member.
pub(super) fn read(path: &Path) -> io::Result<Note> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Note::Missing),
        text => Ok(if text? == BEGAN.as_bytes() { Note::Began } else { Note::Member }),
    }
}

/// Writes the note; when this returns it outlives a power failure.
pub(super) fn write(path: &Path, note: Note) -> io::Result<()> {
    let text = match note {
        Note::Missing => return Ok(()),
        Note::Began => BEGAN,
        Note::Member => MEMBER,
    };
    fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
    pan_api::file::replace(path, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_without_data_is_never_started_as_it_was() {
        let table = [
            (true, Note::Missing, Step::Resume),
            (true, Note::Began, Step::Resume),
            (true, Note::Member, Step::Resume),
            (false, Note::Missing, Step::First),
            (false, Note::Began, Step::First),
            (false, Note::Member, Step::Replace),
        ];
        for (has_data, note, step) in table {
            assert_eq!(decide(has_data, note), step, "{has_data} {note:?}");
        }
    }

    #[test]
    fn notes_are_read_as_written_and_damaged_ones_on_the_safe_side() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(&folder.path().join("state/etcd"));
        assert_eq!(path, folder.path().join("state/etcd.note"));
        assert_eq!(read(&path).unwrap(), Note::Missing);
        for note in [Note::Began, Note::Member] {
            write(&path, note).unwrap();
            assert_eq!(read(&path).unwrap(), note);
        }
        fs::write(&path, "").unwrap();
        assert_eq!(read(&path).unwrap(), Note::Member);
    }

    #[test]
    fn data_is_a_log() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("member/wal");
        assert!(!has_data(folder.path()).unwrap());
        fs::create_dir_all(&log).unwrap();
        fs::write(log.join("0.tmp"), "").unwrap();
        assert!(!has_data(folder.path()).unwrap());
        fs::write(log.join("0000000000000000-0000000000000000.wal"), "").unwrap();
        assert!(has_data(folder.path()).unwrap());
    }
}
