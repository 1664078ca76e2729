//! Placing files in a server's writable layer before it starts, such that its image's own folders keep
//! their owners and its symbolic links are followed as the server will follow them.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, fchown};
use std::path::{Component, Path, PathBuf};

use pan_linux::userns::IdRange;

use super::ApplyError;
use crate::error::FileError;

/// As many symbolic links as the kernel itself follows in one path, path_resolution(7).
const LINKS_MAX: usize = 40;

/// Where a file comes to lie.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the layer, at this path relative to its root.
    Layer(PathBuf),
    /// At this absolute path under a tmpfs that covers the layer.
    Covered(PathBuf),
}

/// Finds where the file `path` of a server belongs whose image is the folder `lower`.
pub(super) fn place(lower: &Path, path: &str, hidden: &[PathBuf]) -> Result<Place, ApplyError> {
    let refuse = |reason| ApplyError::Place { path: path.to_owned(), reason };
    let asked = Path::new(path);
    let plain = asked.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    let (Some(parent), Some(name), true) = (asked.parent(), asked.file_name(), asked.is_absolute() && plain) else {
        return Err(refuse("expected an absolute path without '..'"));
    };
    let parent = resolve(lower, parent).map_err(FileError::of("follow", asked))?;
    let is_folder = |path: &Path| fs::symlink_metadata(lower.join(path)).ok().map(|meta| meta.is_dir());
    if parent.ancestors().any(|folder| is_folder(folder) == Some(false)) {
        return Err(refuse("one of its folders is a file in the image"));
    }
    let inside = parent.join(name);
    let target = resolve(lower, &Path::new("/").join(&inside)).map_err(FileError::of("follow", asked))?;
    if is_folder(&target) == Some(true) {
        return Err(refuse("it is a folder in the image"));
    }
    let seen = Path::new("/").join(&inside);
    if hidden.iter().any(|path| seen.starts_with(path)) {
        return Err(refuse("it lies under a path that is hidden from servers"));
    }
    let first = inside.components().next().map(|part| part.as_os_str().to_owned());
    match first.as_ref().and_then(|part| part.to_str()) {
        Some("run" | "tmp") => Ok(Place::Covered(seen)),
        Some("proc" | "sys" | "dev") => Err(refuse("the kernel's own file systems are mounted there")),
        Some(_) | None => Ok(Place::Layer(inside)),
    }
}

/// Finds where the folder `path` of such a server is in truth, once its links are followed.
pub(super) fn folder(lower: &Path, path: &str, hidden: &[PathBuf]) -> Result<PathBuf, ApplyError> {
    let refuse = |reason| ApplyError::Place { path: path.to_owned(), reason };
    let asked = Path::new(path);
    let plain = asked.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !asked.is_absolute() || !plain {
        return Err(refuse("expected an absolute path without '..'"));
    }
    let inside = resolve(lower, asked).map_err(FileError::of("follow", asked))?;
    let is_file = |path: &Path| fs::symlink_metadata(lower.join(path)).is_ok_and(|meta| !meta.is_dir());
    if inside.ancestors().any(is_file) {
        return Err(refuse("it, or one of its folders, is a file in the image"));
    }
    let seen = Path::new("/").join(&inside);
    if hidden.iter().any(|path| seen.starts_with(path)) {
        return Err(refuse("it lies under a path that is hidden from servers"));
    }
    match inside.components().next().and_then(|part| part.as_os_str().to_str()) {
        None => Err(refuse("it is the root folder")),
        Some("proc" | "sys" | "dev") => Err(refuse("the kernel's own file systems are mounted there")),
        Some(_) => Ok(seen),
    }
}

/// Follows a folder's symbolic links without leaving `root`. What is not there is taken as it is.
fn resolve(root: &Path, folder: &Path) -> io::Result<PathBuf> {
    let mut found = PathBuf::new();
    let mut ahead: VecDeque<OsString> = VecDeque::new();
    let push_front = |ahead: &mut VecDeque<OsString>, path: &Path| {
        for part in path.components().rev() {
            ahead.push_front(part.as_os_str().to_owned());
        }
    };
    push_front(&mut ahead, folder);
    let mut links = 0;
    while let Some(part) = ahead.pop_front() {
        match Path::new(&part).components().next() {
            Some(Component::RootDir) => found.clear(),
            Some(Component::ParentDir) => drop(found.pop()),
            Some(Component::Normal(name)) => match fs::read_link(root.join(&found).join(name)) {
                Ok(target) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(io::Error::other("too many symbolic links"));
                    }
                    push_front(&mut ahead, &target);
                }
                // EINVAL: there, and no link. Otherwise the server's start tells what is wrong with it.
                Err(_) => found.push(name),
            },
            Some(Component::CurDir | Component::Prefix(_)) | None => {}
        }
    }
    Ok(found)
}

/// Writes `content` to the path `inside` of the layer `upper` of a server with those ids. Folders that the image has keep its mode and
/// owner.
pub(super) fn write(lower: &Path, upper: &Path, inside: &Path, content: &str, ids: IdRange) -> Result<(), FileError> {
    let parents = inside.parent().map(Path::components);
    let mut folder = PathBuf::new();
    for part in parents.into_iter().flatten() {
        folder.push(part);
        copy_folder(&lower.join(&folder), &upper.join(&folder), ids)?;
    }
    write_file(&upper.join(inside), content, ids)
}

/// Writes a file of the server's root that anybody may read, replacing any.
pub(super) fn write_file(path: &Path, content: &str, ids: IdRange) -> Result<(), FileError> {
    let root = Some(ids.outside(0));
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .open(path)
        .and_then(|mut file| {
            file.write_all(content.as_bytes())?;
            fchown(&file, root, root)?;
            file.set_permissions(fs::Permissions::from_mode(0o644))
        })
        .map_err(FileError::of("write", path))
}

fn copy_folder(model: &Path, folder: &Path, ids: IdRange) -> Result<(), FileError> {
    match DirBuilder::new().mode(0o755).create(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
        made => made.map_err(FileError::of("make", folder))?,
    }
    let like = match fs::metadata(model) {
        Ok(meta) if meta.is_dir() => (meta.mode() & 0o7777, meta.uid(), meta.gid()),
        _ => (0o755, 0, 0),
    };
    chown(folder, Some(ids.outside(like.1)), Some(ids.outside(like.2)))
        .and_then(|()| fs::set_permissions(folder, fs::Permissions::from_mode(like.0)))
        .map_err(FileError::of("set the owner of", folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn image() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["usr/bin", "etc/nginx", "var", "run"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        symlink("usr/bin", dir.path().join("bin")).unwrap();
        symlink("/run", dir.path().join("var/run")).unwrap();
        symlink("../../../../etc", dir.path().join("usr/conf")).unwrap();
        symlink("loop", dir.path().join("loop")).unwrap();
        dir
    }

    #[test]
    fn links_are_followed_as_the_server_would() {
        let image = image();
        let at = |path| place(image.path(), path, &["/etc/shadow".into(), "/root".into()]);
        let layer = |path: &str| Place::Layer(path.into());
        assert_eq!(at("/etc/nginx/nginx.conf").unwrap(), layer("etc/nginx/nginx.conf"));
        assert_eq!(at("/bin/tool").unwrap(), layer("usr/bin/tool"));
        assert_eq!(at("/usr/conf/x").unwrap(), layer("etc/x"));
        assert_eq!(at("/new/folder/x").unwrap(), layer("new/folder/x"));
        assert_eq!(at("/top").unwrap(), layer("top"));
        assert_eq!(at("/var/run/x.pid").unwrap(), Place::Covered("/run/x.pid".into()));
        fs::write(image.path().join("etc/passwd"), "").unwrap();
        assert_eq!(at("/etc/passwd").unwrap(), layer("etc/passwd"));
        for bad in ["/etc/passwd/x", "/etc/passwd/x/y", "/etc/nginx", "/bin"] {
            assert!(at(bad).is_err(), "{bad}");
        }
        for bad in ["etc/x", "/etc/../x", "/", "/proc/x", "/root/x", "/etc/shadow", "/loop/x"] {
            assert!(at(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn volumes_are_mounted_where_links_lead_and_nowhere_hidden() {
        let image = image();
        let at = |path| folder(image.path(), path, &["/root".into()]);
        for (path, found) in [("/data", "/data"), ("/var/run/db", "/run/db"), ("/usr/conf/db", "/etc/db"), ("/etc/nginx", "/etc/nginx")] {
            assert_eq!(at(path).unwrap(), Path::new(found), "{path}");
        }
        fs::write(image.path().join("etc/passwd"), "").unwrap();
        symlink("/root", image.path().join("home")).unwrap();
        for bad in ["data", "/", "/etc/../x", "/etc/passwd", "/etc/passwd/x", "/root/x", "/home/x", "/proc/x", "/dev", "/loop"] {
            assert!(at(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn folders_look_like_the_images() {
        let image = image();
        fs::set_permissions(image.path().join("etc"), fs::Permissions::from_mode(0o711)).unwrap();
        let upper = tempfile::tempdir().unwrap();
        // Not root's to give away: the owners are those of whoever runs the test.
        let meta = fs::metadata(upper.path()).unwrap();
        let own = IdRange { first: meta.uid(), count: 1 };
        write(image.path(), upper.path(), Path::new("etc/new/x"), "hello", own).unwrap();
        assert_eq!(fs::read_to_string(upper.path().join("etc/new/x")).unwrap(), "hello");
        let mode = |path| fs::metadata(upper.path().join(path)).unwrap().mode() & 0o7777;
        assert_eq!((mode("etc"), mode("etc/new"), mode("etc/new/x")), (0o711, 0o755, 0o644));
    }
}
