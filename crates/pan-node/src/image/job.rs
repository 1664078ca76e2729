//! One image, had: found out which it is, its parts brought here, its root file system made.

use std::sync::Arc;
use std::time::{Duration, Instant};

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
use super::registry::Repository;
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
    pub until: Instant,
    /// The partition's turn. Kept until the last thread of the job ends.
    pub _turn: Arc<OwnedSemaphorePermit>,
}

impl Job {
    pub(super) async fn run(self) -> Result<Ready, ImageError> {
        match self.image.clone() {
            Image::Oci(reference) => self.bring(&reference).await,
            Image::Layout(layout) => {
                let unpacking = self.unpacking().await?;
                blocking(move || {
                    let _unpacking = unpacking;
                    self.take(&layout)
                })
                .await
            }
            // Nothing is to be had of these.
            Image::Host | Image::Dir(_) => Err(ImageError::Disk),
        }
    }

    async fn bring(self, reference: &Reference) -> Result<Ready, ImageError> {
        let asker = self.inner.asker();
        let mut repository = Repository::new(&asker, reference)?;
        let (digest, manifest) = resolve(&mut repository, &reference.version).await?;
        let job = self.clone();
        let packed = manifest.layers.iter().fold(0_u64, |sum, (blob, _)| sum.saturating_add(blob.size));
        let named = digest.clone();
        let begun = blocking(move || match job.here(&named)? {
            Some(ready) => Ok(Err(ready)),
            None => job.begin(packed).map(Ok),
        });
        let (made, budget) = match begun.await? {
            Ok(begun) => begun,
            Err(ready) => return Ok(ready),
        };
        let text = repository.small(&manifest.config).await?;
        unpack::compare(&pan_image::digest(&text), &manifest.config.digest)?;
        let defaults = config::read(&text, manifest::architecture(std::env::consts::ARCH))?;
        for (number, (blob, _)) in manifest.layers.iter().enumerate() {
            let path = made.0.join(format!("layer-{number}"));
            let mut file = tokio::fs::File::create(&path).await.map_err(disk("make a file for a layer"))?;
            repository.blob(blob, &mut file, &self.limits()).await?;
        }
        let unpacking = self.unpacking().await?;
        blocking(move || {
            let _unpacking = unpacking;
            self.unpack(&digest, &manifest, (made, budget), defaults, |number, made| {
                let path = made.0.join(format!("layer-{number}"));
                let file = std::fs::File::open(&path).map_err(disk("open a layer"))?;
                // Its bytes go when the last reader does.
                std::fs::remove_file(&path).map_err(disk("remove a layer"))?;
                Ok(Box::new(file))
            })
        })
        .await
    }

    fn take(&self, asked: &Layout) -> Result<Ready, ImageError> {
        let config = &self.inner.config;
        let open = layout::open(config.layouts.as_deref(), &self.inner.hidden, asked, &self.limits(), config.partition_max.0)?;
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
        let begun = self.begin(0)?;
        let defaults = config::read(&open.document(asked, &manifest.config.digest)?, architecture)?;
        self.unpack(&digest, &manifest, begun, defaults, |number, _| open.blob(asked, &manifest.layers[number].0.digest))
    }

    /// The image, if this partition has it by its digest already. From now on the name means that.
    fn here(&self, digest: &Digest) -> Result<Option<Ready>, ImageError> {
        let ready = self.inner.store.image(self.vni, digest);
        if ready.is_some() {
            self.inner.store.refer(self.vni, &self.image, digest).map_err(disk("note what a name means"))?;
        }
        Ok(ready)
    }

    /// A folder for it, and how large it may get.
    fn begin(&self, packed: u64) -> Result<(Unfinished, u64), ImageError> {
        let config = &self.inner.config;
        let made = self.inner.store.begin(self.vni).map_err(disk("make a folder for an image"))?;
        let room = self.inner.store.make_room(self.vni, config.partition_max.0).map_err(disk("make room for an image"))?;
        if packed > room.min(config.image_max.0) {
            return Err(self.too_large(room.min(config.image_max.0)));
        }
        self.limits().fits(packed)?;
        // What is packed lies there as well until all of it is unpacked.
        Ok((made, config.image_max.0.min(room - packed)))
    }

    /// By which of the two bounds.
    fn too_large(&self, most: u64) -> ImageError {
        let config = &self.inner.config;
        if most < config.image_max.0 {
            return ImageError::Quota { most: config.partition_max.0 };
        }
        ImageError::Refusal(Refusal::TooMuch { what: "bytes, unpacked", most })
    }

    fn unpack<'a>(
        &self,
        digest: &Digest,
        manifest: &Manifest,
        (made, most): (Unfinished, u64),
        defaults: Defaults,
        open: impl Fn(usize, &Unfinished) -> Result<Box<dyn std::io::Read + 'a>, ImageError>,
    ) -> Result<Ready, ImageError> {
        let root = Beneath::open(&made.root()).map_err(disk("open a folder for an image"))?;
        let mut budget = Budget::new(Bounds::of(most));
        for (number, (blob, packed)) in manifest.layers.iter().enumerate() {
            unpack::layer(open(number, &made)?, (blob, *packed), &mut budget, &root, &self.limits()).map_err(|error| match error {
                ImageError::Refusal(Refusal::TooMuch { most: bound, .. }) if bound == most => self.too_large(most),
                other => other,
            })?;
        }
        let user = who(&root, &defaults)?;
        let store = &self.inner.store;
        store.finish(self.vni, digest, &made, &Note::new(budget.on_disk(), defaults, user)).map_err(disk("keep an image"))?;
        self.here(digest)?.ok_or(ImageError::Disk)
    }

    fn limits(&self) -> Limits {
        Limits { until: self.until, disk: self.inner.store.folder(), free_min: self.inner.config.free_min.0 }
    }

    /// A turn for work on the processor and the disk, which nobody holds while it waits for a network.
    async fn unpacking(&self) -> Result<OwnedSemaphorePermit, ImageError> {
        self.inner.unpacking.clone().acquire_owned().await.map_err(|_| ImageError::TooLong(Duration::ZERO))
    }
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
        Err(ImageError::Disk)
    })
}
