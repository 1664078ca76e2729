//! Where images lie: `state_dir/images/NUMBER/sha256-DIGEST`, each partition's by its network's number, which no other partition ever has,
//! not one of the same name either.
//!
//! Beside them, in `refs`, which image a tag or an index was when it was looked up. What is being made has a name that ends in `.new`,
//! what is being removed one in `.gone`: neither is ever taken for an image.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use pan_image::config::Defaults;
use pan_image::user::User;
use pan_linux::beneath::Beneath;
use pan_model::image::{Digest, Image, Version};
use serde::{Deserialize, Serialize};

use crate::apply::adopt;
use crate::paths::Paths;
use crate::server::record::Record;

const VERSION: u16 = 1;
const NOTE: &str = "image.json";
const ROOT: &str = "root";
const REFS: &str = "refs";
/// Names that are remembered for one partition, as what a server's image means must not be forgotten while it runs.
const REFS_MAX: usize = 1000;
/// An image that was asked for this recently may be on its way into a server whose record does not say so yet.
const CLAIMED: Duration = Duration::from_secs(600);

/// An image that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ready {
    /// Its root file system, with the owners that it has in a server.
    pub root: PathBuf,
    /// What it says of the program to run.
    pub defaults: Defaults,
    /// Who runs it.
    pub user: User,
}

/// What lies beside the root file system.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Note {
    version: u16,
    /// What it takes of the disk.
    bytes: u64,
    defaults: Defaults,
    user: User,
}

impl Note {
    pub(super) const fn new(bytes: u64, defaults: Defaults, user: User) -> Self {
        Self { version: VERSION, bytes, defaults, user }
    }
}

#[derive(Debug)]
pub(super) struct Kept {
    pub digest: Digest,
    bytes: u64,
    pub used: SystemTime,
}

/// All partitions' images.
#[derive(Debug)]
pub(super) struct Store {
    paths: Paths,
    /// Held while use is noted, and while it is looked at to take something away.
    uses: Mutex<()>,
}

/// An image in the making; removed unless it is finished.
#[derive(Debug)]
pub(super) struct Unfinished(pub PathBuf);

impl Unfinished {
    pub(super) fn root(&self) -> PathBuf {
        self.0.join(ROOT)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.0.exists()
            && let Err(error) = remove(&self.0)
        {
            tracing::warn!(%error, "half an image stays behind until the agent starts again");
        }
    }
}

impl Store {
    pub(super) const fn new(paths: Paths) -> Self {
        Self { paths, uses: Mutex::new(()) }
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.paths.images()
    }

    pub(super) fn partition(&self, vni: u32) -> PathBuf {
        self.folder().join(vni.to_string())
    }

    /// The image that a name meant when it was looked up, if that is here. Notes that it is used.
    pub(super) fn known(&self, vni: u32, image: &Image) -> Option<Ready> {
        self.meant(vni, image).and_then(|digest| self.image(vni, &digest))
    }

    /// Which image a name meant.
    fn meant(&self, vni: u32, image: &Image) -> Option<Digest> {
        let noted = fs::read_to_string(self.reference(vni, image)).ok().and_then(|text| text.parse().ok());
        noted.or_else(|| match image {
            Image::Oci(reference) => match &reference.version {
                Version::Digest(digest) => Some(digest.clone()),
                Version::Tag(_) => None,
            },
            Image::Host | Image::Dir(_) | Image::Layout(_) => None,
        })
    }

    /// An image by its digest. Notes that it is used.
    pub(super) fn image(&self, vni: u32, digest: &Digest) -> Option<Ready> {
        let _uses = self.uses();
        let folder = self.place(vni, digest);
        let note = read(&folder)?;
        let root = folder.join(ROOT);
        if let Err(error) = File::options().append(true).open(folder.join(NOTE)).and_then(|file| file.set_modified(SystemTime::now())) {
            tracing::warn!(%error, "the use of an image cannot be noted");
        }
        root.is_dir().then_some(Ready { root, defaults: note.defaults, user: note.user })
    }

    /// Remembers what a name means.
    pub(super) fn refer(&self, vni: u32, image: &Image, digest: &Digest) -> io::Result<()> {
        let path = self.reference(vni, image);
        let folder = self.partition(vni).join(REFS);
        folders(&folder)?;
        if names(&folder)?.len() >= REFS_MAX {
            self.forget_names(vni)?;
            self.forget_unused_names(vni)?;
        }
        if names(&folder)?.len() >= REFS_MAX {
            return Err(io::Error::other("servers of one partition use too many names of images"));
        }
        let fresh = path.with_extension("new");
        write(&fresh, digest.to_string().as_bytes())?;
        fs::rename(fresh, path)
    }

    /// A folder for an image in the making, with one for its root file system.
    pub(super) fn begin(&self, vni: u32) -> io::Result<Unfinished> {
        let name = format!("{:016x}.new", crate::boot::random()?);
        let made = Unfinished(self.partition(vni).join(name));
        folders(&made.0)?;
        fs::create_dir(made.root())?;
        Ok(made)
    }

    /// Makes it an image, which is on disk before it has its name.
    pub(super) fn finish(&self, vni: u32, digest: &Digest, made: &Unfinished, note: &Note) -> io::Result<()> {
        write(&made.0.join(NOTE), &serde_json::to_vec(note)?)?;
        Beneath::open(&made.0)?.sync()?;
        let place = self.place(vni, digest);
        if place.exists() {
            // One whose note cannot be read, or it would have been used.
            remove(&place)?;
        }
        fs::rename(&made.0, &place)
    }

    /// What a new image of a partition may take, once those went that nobody uses and that are too many.
    pub(super) fn make_room(&self, vni: u32, most: u64) -> io::Result<u64> {
        let mut kept = self.kept(vni)?;
        kept.sort_by_key(|image| image.used);
        let mut used: u64 = kept.iter().map(|image| image.bytes).sum();
        // A half for what comes, the other for what may be wanted again.
        for image in kept {
            if used > most / 2 && self.remove_unused(vni, &image.digest, SystemTime::UNIX_EPOCH, CLAIMED)? {
                used = used.saturating_sub(image.bytes);
            }
        }
        Ok(most.saturating_sub(used))
    }

    /// A partition's images.
    pub(super) fn kept(&self, vni: u32) -> io::Result<Vec<Kept>> {
        let mut found = Vec::new();
        for name in names(&self.partition(vni))? {
            let Some(digest) = name.strip_prefix("sha256-").and_then(|hex| format!("sha256:{hex}").parse().ok()) else { continue };
            let folder = self.place(vni, &digest);
            let used = fs::metadata(folder.join(NOTE)).and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            found.push(Kept { digest, bytes: read(&folder).map_or(0, |note| note.bytes), used });
        }
        Ok(found)
    }

    /// The images of all servers that are here.
    fn in_use(&self) -> io::Result<BTreeSet<(u32, Digest)>> {
        let of = |record: &Record| {
            let vni = record.bound.cable.vni;
            self.meant(vni, &record.bound.order.image).map(|digest| (vni, digest))
        };
        Ok(self.records()?.iter().filter_map(of).collect())
    }

    /// Takes an image away that no server has and that was used last more than `keep` ago, or before `since`, whichever is later; says
    /// whether it did.
    pub(super) fn remove_unused(&self, vni: u32, digest: &Digest, since: SystemTime, keep: Duration) -> io::Result<bool> {
        let place = self.place(vni, digest);
        let uses = self.uses();
        let used = fs::metadata(place.join(NOTE)).and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        // A clock that was set back makes everything used just now.
        let unused = SystemTime::now().duration_since(used.max(since)).is_ok_and(|unused| unused > keep.max(CLAIMED));
        if !unused || self.in_use()?.contains(&(vni, digest.clone())) {
            return Ok(false);
        }
        let gone = put_aside(&place)?;
        drop(uses);
        take_away(&gone)?;
        Ok(true)
    }

    /// Removes names of images that are gone.
    pub(super) fn forget_names(&self, vni: u32) -> io::Result<()> {
        let folder = self.partition(vni).join(REFS);
        for name in names(&folder)? {
            let path = folder.join(name);
            let means = fs::read_to_string(&path).ok().and_then(|text| text.parse::<Digest>().ok());
            if means.is_none_or(|digest| !self.place(vni, &digest).exists()) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Removes names that no server has.
    fn forget_unused_names(&self, vni: u32) -> io::Result<()> {
        let _uses = self.uses();
        let records = self.records()?;
        let in_use: BTreeSet<PathBuf> =
            records.iter().map(|record| self.reference(record.bound.cable.vni, &record.bound.order.image)).collect();
        let folder = self.partition(vni).join(REFS);
        for path in names(&folder)?.into_iter().map(|name| folder.join(name)).filter(|path| !in_use.contains(path)) {
            let noted = fs::metadata(&path)?.modified()?;
            if SystemTime::now().duration_since(noted).is_ok_and(|age| age > CLAIMED) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn records(&self) -> io::Result<Vec<Record>> {
        let records = adopt::records(&self.paths).map_err(|error| io::Error::other(crate::error::chain(&error)))?;
        Ok(records.into_iter().map(|(_, record)| record).collect())
    }

    fn uses(&self) -> MutexGuard<'_, ()> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, vni: u32, digest: &Digest) -> PathBuf {
        self.partition(vni).join(format!("sha256-{}", digest.hex()))
    }

    fn reference(&self, vni: u32, image: &Image) -> PathBuf {
        self.partition(vni).join(REFS).join(pan_image::digest(image.to_string().as_bytes()).hex())
    }
}

/// Takes something away.
pub(super) fn remove(what: &Path) -> io::Result<()> {
    take_away(&put_aside(what)?)
}

/// Gives something another name, so that what is left of a removal that was cut short is no image.
fn put_aside(what: &Path) -> io::Result<PathBuf> {
    let name = what.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let gone = what.with_file_name(format!("{}.{:08x}.gone", name.trim_end_matches(".gone"), crate::boot::random()? & 0xffff_ffff));
    fs::rename(what, &gone)?;
    Ok(gone)
}

fn take_away(gone: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (gone.parent(), gone.file_name()) else { return Err(io::ErrorKind::InvalidInput.into()) };
    Beneath::open(parent)?.remove(Path::new(name), &|_| false)
}

fn read(folder: &Path) -> Option<Note> {
    let text = fs::read(folder.join(NOTE)).ok()?;
    serde_json::from_slice::<Note>(&text).ok().filter(|note| note.version == VERSION)
}

fn folders(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(bytes)
}

/// What is in a folder; nothing if there is none.
pub(super) fn names(folder: &Path) -> io::Result<Vec<String>> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed?.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned())).collect(),
    }
}
