//! One image, had: found out which it is, its parts brought here, its root file system made.

use std::sync::Arc;
use std::time::Instant;

use pan_image::config::{self, Defaults};
use pan_image::manifest::{self, Blob, Document, Manifest};
use pan_image::user::{self, User};
use pan_image::{Bounds, Budget, Refusal};
use pan_linux::beneath::Beneath;
use pan_model::image::{Digest, Image, Layout, Reference, Version};
use tokio::sync::OwnedSemaphorePermit;

use super::error::{ImageError, disk};
use super::keep::Inner;
use super::layout;
use super::patience::Patience;
use super::registry::Repository;
use super::room::Room;
use super::store::{Note, Ready, Unfinished};
use super::unpack::{self, Limits};

/// passwd(5) and group(5) of an image are read this far.
const ACCOUNTS_MAX: u64 = 1 << 20;

/// What a job is about, and what it holds while it is at it.
#[derive(Clone)]
pub(super) struct Job {
    pub inner: Arc<Inner>,
    pub vni: u32,
    pub image: Image,
    pub patience: Patience,
    /// Kept until the last thread of the job ends, which may be later than whoever waits for it is told.
    pub _turns: Arc<Turns>,
}

/// Its partition's turn, and its place among all partitions'.
pub(super) struct Turns {
    pub _partition: OwnedSemaphorePermit,
    pub _fetching: OwnedSemaphorePermit,
}

/// What came of a registry.
enum Fetched {
    /// Nothing that was not here.
    Ready(Ready),
    /// An image whose layers are there as they were packed.
    Packed(Box<Packed>),
}

struct Packed {
    digest: Digest,
    manifest: Manifest,
    defaults: Defaults,
    begun: Begun,
}

/// A folder for an image, and how large that may get.
struct Begun {
    made: Unfinished,
    allowed: Room,
}

impl Job {
    pub(super) async fn run(mut self) -> Result<Ready, ImageError> {
        match self.image.clone() {
            Image::Oci(reference) => {
                let packed = match self.patience.within(self.fetch(&reference)).await? {
                    Fetched::Ready(ready) => return Ok(ready),
                    Fetched::Packed(packed) => packed,
                };
                self.unpacking(|job| job.unpack_fetched(*packed)).await
            }
            Image::Layout(layout) => self.unpacking(move |job| job.take(&layout)).await,
            Image::Host | Image::Dir(_) => Err(ImageError::OfHost),
        }
    }

    /// Does what is work for the processor and the disk, in its turn, which nobody holds while waiting for a network, and which is over when
    /// the thread has ended, however long somebody waits for that.
    async fn unpacking(&mut self, work: impl FnOnce(&Self) -> Result<Ready, ImageError> + Send + 'static) -> Result<Ready, ImageError> {
        self.patience.waits(Instant::now());
        let turns = self.inner.unpacking.clone();
        let turn = self.patience.within(async { Ok(turns.acquire_owned().await.expect("the semaphore is never closed")) }).await?;
        self.patience.works(Instant::now());
        let job = self.clone();
        let body = move || {
            let _turn = turn;
            work(&job)
        };
        self.patience.within(blocking(body)).await
    }

    async fn fetch(&self, reference: &Reference) -> Result<Fetched, ImageError> {
        let asker = self.inner.asker();
        let mut repository = Repository::new(&asker, reference)?;
        let (digest, manifest) = resolve(&mut repository, &reference.version).await?;
        let (job, named, packed) = (self.clone(), digest.clone(), packed(&manifest));
        let begun = blocking(move || match job.here(&named)? {
            Some(ready) => Ok(Err(ready)),
            None => job.begin(packed).map(Ok),
        });
        let begun = match begun.await? {
            Ok(begun) => begun,
            Err(ready) => return Ok(Fetched::Ready(ready)),
        };
        let text = repository.small(&manifest.config).await?;
        unpack::compare(&pan_image::digest(&text), &manifest.config.digest)?;
        let defaults = config::read(&text, manifest::architecture(std::env::consts::ARCH))?;
        for (number, (blob, _)) in manifest.layers.iter().enumerate() {
            let path = begun.made.layer(number);
            let mut file = tokio::fs::File::create(&path).await.map_err(disk("make a file for a layer"))?;
            repository.blob(blob, &mut file, &self.inner.disk).await?;
        }
        Ok(Fetched::Packed(Box::new(Packed { digest, manifest, defaults, begun })))
    }

    fn unpack_fetched(&self, packed: Packed) -> Result<Ready, ImageError> {
        let Packed { digest, manifest, defaults, begun } = packed;
        self.unpack(&digest, &manifest, begun, defaults, |number, made| {
            let path = made.layer(number);
            let file = std::fs::File::open(&path).map_err(disk("open a layer"))?;
            // Its bytes go when the last reader does.
            std::fs::remove_file(&path).map_err(disk("remove a layer"))?;
            Ok(Box::new(file))
        })
    }

    fn take(&self, asked: &Layout) -> Result<Ready, ImageError> {
        let config = &self.inner.config;
        let limits = self.limits();
        let time = || limits.time();
        let open = layout::open(config.layouts.as_deref(), &self.inner.hidden, asked, &time, config.partition_max.0)?;
        let Document::Index(index) = manifest::read(&open.index(asked)?)? else { return Err(no_index()) };
        let architecture = manifest::architecture(std::env::consts::ARCH);
        let mut digest = index.named(asked.version.as_ref(), architecture)?.digest.clone();
        let mut document = manifest::read(&open.document(asked, &digest)?)?;
        if let Document::Index(inner) = &document {
            digest = inner.pick(architecture)?.digest.clone();
            document = manifest::read(&open.document(asked, &digest)?)?;
        }
        let Document::Image(manifest) = document else { return Err(no_image()) };
        if let Some(ready) = self.here(&digest)? {
            return Ok(ready);
        }
        // It takes no room, as it lies there already; but it is read.
        if packed(&manifest) > config.image_max.0 {
            return Err(ImageError::Refusal(Refusal::TooMuch { what: "bytes in its layers", most: config.image_max.0 }));
        }
        let begun = self.begin(0)?;
        let defaults = config::read(&open.document(asked, &manifest.config.digest)?, architecture)?;
        self.unpack(&digest, &manifest, begun, defaults, |number, _| open.blob(asked, &manifest.layers[number].0.digest))
    }

    /// The image, if this partition has it by its digest already. From now on the name means that.
    fn here(&self, digest: &Digest) -> Result<Option<Ready>, ImageError> {
        let ready = self.inner.store.image(self.vni, digest);
        if ready.is_some() {
            self.inner.store.refer(self.vni, &self.image, digest)?;
        }
        Ok(ready)
    }

    /// Begins one whose layers take so much, packed, until all of it is unpacked.
    fn begin(&self, packed: u64) -> Result<Begun, ImageError> {
        let most = self.of_image();
        let made = self.inner.store.begin(self.vni).map_err(disk("make a folder for an image"))?;
        let room = self.inner.store.make_room(self.vni, self.of_partition()).map_err(disk("make room for an image"))?;
        let bytes = room.bytes.min(most.bytes);
        if packed > bytes {
            let too_much = Refusal::TooMuch { what: "bytes, unpacked", most: bytes };
            return Err(self.refused(Room { bytes, ..most }, ImageError::Refusal(too_much)));
        }
        self.inner.disk.fits(Room { bytes: packed, files: manifest::LAYERS_MAX as u64 })?;
        Ok(Begun { made, allowed: Room { bytes: most.bytes.min(room.bytes - packed), files: most.files.min(room.files) } })
    }

    /// What one image may take.
    fn of_image(&self) -> Room {
        let bytes = self.inner.config.image_max.0;
        Room { bytes, files: Bounds::of(bytes).files }
    }

    /// What all of the partition's may take.
    fn of_partition(&self) -> Room {
        Room::of(self.inner.config.partition_max.0)
    }

    /// Why it is not taken: also if what it has too much of would not be too much without the partition's other images.
    fn refused(&self, allowed: Room, error: ImageError) -> ImageError {
        let (image, partition) = (self.of_image(), self.of_partition());
        match error {
            ImageError::Refusal(Refusal::TooMuch { most, .. }) if most == allowed.bytes && most < image.bytes => {
                ImageError::Quota { most: partition.bytes, what: "bytes" }
            }
            ImageError::Refusal(Refusal::TooMuch { most, .. }) if most == allowed.files && most < image.files => {
                ImageError::Quota { most: partition.files, what: "files and folders" }
            }
            other => other,
        }
    }

    fn unpack<'a>(
        &self,
        digest: &Digest,
        manifest: &Manifest,
        Begun { made, allowed }: Begun,
        defaults: Defaults,
        open: impl Fn(usize, &Unfinished) -> Result<Box<dyn std::io::Read + 'a>, ImageError>,
    ) -> Result<Ready, ImageError> {
        let root = Beneath::open(&made.root()).map_err(disk("open a folder for an image"))?;
        let limits = self.limits();
        let look = limits.room();
        let mut budget = Budget::new(Bounds { files: allowed.files, ..Bounds::of(allowed.bytes) });
        for (number, (blob, packed)) in manifest.layers.iter().enumerate() {
            unpack::layer(open(number, &made)?, (blob, *packed), &mut budget, &root, &look)
                .map_err(|error| self.refused(allowed, error))?;
        }
        let user = who(&root, &defaults)?;
        let note = Note::new(Room { bytes: budget.on_disk(), files: budget.files() }, defaults, user);
        let text = note.text().map_err(disk("write a note"))?;
        is_within(note.takes(text.len() as u64), allowed).map_err(|error| self.refused(allowed, ImageError::Refusal(error)))?;
        self.inner.store.finish(self.vni, digest, &made, &text).map_err(disk("keep an image"))?;
        self.here(digest)?.ok_or(ImageError::Disk)
    }

    fn limits(&self) -> Limits {
        Limits { until: self.patience.until(), disk: self.inner.disk.clone() }
    }
}

/// Bytes of all its layers, as they are packed.
fn packed(manifest: &Manifest) -> u64 {
    manifest.layers.iter().fold(0, |sum, (blob, _)| sum.saturating_add(blob.size))
}

fn is_within(takes: Room, allowed: Room) -> Result<(), Refusal> {
    if takes.bytes > allowed.bytes {
        return Err(Refusal::TooMuch { what: "bytes, unpacked", most: allowed.bytes });
    }
    if takes.files > allowed.files {
        return Err(Refusal::TooMuch { what: "files and folders", most: allowed.files });
    }
    Ok(())
}

fn who(root: &Beneath, defaults: &Defaults) -> Result<User, ImageError> {
    let text = |path: &str| root.text(std::path::Path::new(path), ACCOUNTS_MAX);
    Ok(user::find(&defaults.user, &text("etc/passwd"), &text("etc/group"))?)
}

async fn resolve(repository: &mut Repository<'_>, version: &Version) -> Result<(Digest, Manifest), ImageError> {
    let (digest, document) = named(repository, version).await?;
    match document {
        Document::Image(manifest) => Ok((digest, manifest)),
        Document::Index(index) => {
            let Blob { digest, .. } = index.pick(manifest::architecture(std::env::consts::ARCH))?.clone();
            match named(repository, &Version::Digest(digest)).await? {
                (digest, Document::Image(manifest)) => Ok((digest, manifest)),
                (_, Document::Index(_)) => Err(no_image()),
            }
        }
    }
}

async fn named(repository: &mut Repository<'_>, version: &Version) -> Result<(Digest, Document), ImageError> {
    let bytes = repository.document(version).await?;
    let digest = pan_image::digest(&bytes);
    if let Version::Digest(wanted) = version {
        unpack::compare(&digest, wanted)?;
    }
    Ok((digest, manifest::read(&bytes)?))
}

fn no_image() -> ImageError {
    ImageError::Refusal(Refusal::Document { what: "index", message: "it leads to another index".into() })
}

fn no_index() -> ImageError {
    ImageError::Refusal(Refusal::Document { what: "index", message: "it is a manifest".into() })
}

pub(super) async fn blocking<T: Send + 'static>(body: impl FnOnce() -> Result<T, ImageError> + Send + 'static) -> Result<T, ImageError> {
    tokio::task::spawn_blocking(body).await.unwrap_or_else(|lost| {
        tracing::error!(error = %lost, "a step with an image was lost");
        Err(ImageError::Lost)
    })
}
