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

use super::error::{ImageError, disk};
use super::room::{self, CLAIMED, Kept, Room};
use crate::apply::adopt;
use crate::paths::Paths;
use crate::server::record::Record;

const VERSION: u16 = 1;
const NOTE: &str = "image.json";
const ROOT: &str = "root";
const REFS: &str = "refs";
/// Names that are remembered for one partition, as what a server's image means must not be forgotten while it runs.
const REFS_MAX: usize = 1000;

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
    /// Inodes; not there in notes of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    files: Option<u64>,
    defaults: Defaults,
    user: User,
}

impl Note {
    /// Of an image whose root file system takes that much.
    pub(super) const fn new(root: Room, defaults: Defaults, user: User) -> Self {
        Self { version: VERSION, bytes: root.bytes, files: Some(root.files), defaults, user }
    }

    /// As it lies on disk.
    pub(super) fn text(&self) -> io::Result<Vec<u8>> {
        Ok(serde_json::to_vec(self)?)
    }

    /// What the image takes, with the note itself, which is that long.
    pub(super) fn takes(&self, length: u64) -> Room {
        // Nothing took less than a block.
        let files = self.files.unwrap_or(self.bytes / 4096);
        Room { bytes: self.bytes, files }.plus(Room::around(length))
    }
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

    /// Where a layer lies until it is unpacked.
    pub(super) fn layer(&self, number: usize) -> PathBuf {
        self.0.join(format!("layer-{number}"))
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
    pub(super) fn refer(&self, vni: u32, image: &Image, digest: &Digest) -> Result<(), ImageError> {
        let failed = disk("note what a name means");
        if self.room_for_a_name(vni).map_err(&failed)? == 0 {
            return Err(ImageError::Names { most: REFS_MAX });
        }
        let path = self.reference(vni, image);
        let fresh = path.with_extension("new");
        write(&fresh, digest.to_string().as_bytes()).and_then(|()| fs::rename(fresh, path)).map_err(failed)
    }

    /// How many more names may be remembered, once those went that mean nothing and that no server has, if need be.
    fn room_for_a_name(&self, vni: u32) -> io::Result<usize> {
        let folder = self.partition(vni).join(REFS);
        folders(&folder)?;
        if names(&folder)?.len() >= REFS_MAX {
            self.forget_names(vni)?;
            self.forget_unused_names(vni)?;
        }
        Ok(REFS_MAX.saturating_sub(names(&folder)?.len()))
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
    ///
    /// If the same image came by another way meanwhile, that one stays, as servers may run from it.
    pub(super) fn finish(&self, vni: u32, digest: &Digest, made: &Unfinished, note: &[u8]) -> io::Result<()> {
        write(&made.0.join(NOTE), note)?;
        Beneath::open(&made.0)?.sync()?;
        let place = self.place(vni, digest);
        let uses = self.uses();
        if read(&place).is_some() && place.join(ROOT).is_dir() {
            return Ok(());
        }
        // What is there without a note that can be read is not used.
        let gone = if place.exists() { Some(put_aside(&place)?) } else { None };
        fs::rename(&made.0, &place)?;
        drop(uses);
        gone.map_or(Ok(()), |gone| take_away(&gone))
    }

    /// What a new image of a partition may take, once those went that nobody uses and that are too many.
    pub(super) fn make_room(&self, vni: u32, most: Room) -> io::Result<Room> {
        let in_use = self.in_use()?.into_iter().filter(|(other, _)| *other == vni).map(|(_, digest)| digest).collect();
        for digest in room::surplus(self.kept(vni)?, &in_use, most, SystemTime::now()) {
            self.remove_unused(vni, &digest, SystemTime::UNIX_EPOCH, CLAIMED)?;
        }
        Ok(most.minus(room::taken(&self.kept(vni)?)))
    }

    /// A partition's images.
    pub(super) fn kept(&self, vni: u32) -> io::Result<Vec<Kept>> {
        let mut found = Vec::new();
        for name in names(&self.partition(vni))? {
            let Some(digest) = name.strip_prefix("sha256-").and_then(|hex| format!("sha256:{hex}").parse().ok()) else { continue };
            let folder = self.place(vni, &digest);
            let meta = fs::metadata(folder.join(NOTE));
            let length = meta.as_ref().map_or(0, fs::Metadata::len);
            let used = meta.and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            let takes = read(&folder).map_or(Room::around(length), |note| note.takes(length));
            found.push(Kept { digest, takes, used });
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
        if !room::is_stale(used, since, keep, SystemTime::now()) || self.in_use()?.contains(&(vni, digest.clone())) {
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

    pub(super) fn uses(&self) -> MutexGuard<'_, ()> {
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
