//! Why an image is not to be had, in words for the owner of the partition: nothing of this host, its disk or other partitions.

use std::time::Duration;

use pan_image::Refusal;

/// Why an image is not to be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageError {
    /// The node's configuration does not list it.
    #[error(
        "registry {0} is not among those that may be used here: use another, or ask an administrator to list it (node.images.registries)"
    )]
    NotListed(String),
    /// The name leads to an address that no partition may reach through a node.
    #[error("registry {0} is at an address that may not be used from here")]
    Address(String),
    /// No connection, or one that broke.
    #[error("no answer from registry {registry}: {why}")]
    Silent {
        /// Which.
        registry: String,
        /// What happened, cut.
        why: String,
    },
    /// Nothing came for too long.
    #[error("registry {registry} sent nothing for {}s", waited.as_secs())]
    Stalled {
        /// Which.
        registry: String,
        /// How long.
        waited: Duration,
    },
    /// It says no.
    #[error("registry {registry} refuses: {status}{said}")]
    Refused {
        /// Which.
        registry: String,
        /// The HTTP status in words.
        status: String,
        /// What else it says, cut.
        said: String,
    },
    /// It speaks otherwise than expected.
    #[error("registry {registry}: {why}")]
    Odd {
        /// Which.
        registry: String,
        /// What was wrong.
        why: &'static str,
    },
    /// What came is not what was named.
    #[error("what came has the digest {found}, and {wanted} was expected: the image was changed, or the digest is wrong")]
    Digest {
        /// By the bytes.
        found: String,
        /// By whoever named it.
        wanted: String,
    },
    /// A size that is not the one named.
    #[error("one of its parts has another size than its manifest says")]
    Size,
    /// A layout.
    #[error("OCI layout {path}: {why}")]
    Layout {
        /// As it was asked for.
        path: String,
        /// What was wrong, cut.
        why: String,
    },
    /// What it consists of.
    #[error(transparent)]
    Refusal(#[from] Refusal),
    /// The partition's images together would be too large.
    #[error(
        "the images that this partition uses may take {most} {what} together where the server is to run, and this one does not fit beside them"
    )]
    Quota {
        /// The bound.
        most: u64,
        /// Of what.
        what: &'static str,
    },
    /// The disk.
    #[error("there is no room for it where the server is to run")]
    NoRoom,
    /// The disk refuses. What it said is in the log.
    #[error("it cannot be kept where the server is to run")]
    Disk,
    /// All of it together.
    #[error("it was not there after {}s", .0.as_secs())]
    TooLong(Duration),
    /// Of names, not of bytes.
    #[error("servers of this partition use {most} names of images already where this one is to run")]
    Names {
        /// The bound.
        most: usize,
    },
    /// It was not even begun.
    #[error("its turn to be brought did not come within {}s", .0.as_secs())]
    NoTurn(Duration),
    /// All who asked for it have changed their minds.
    #[error("nobody waits for it any more")]
    Unwanted,
    /// A defect here, which the log tells of.
    #[error("the work on it broke off where the server is to run")]
    Lost,
    /// Host's folders are where they are.
    #[error("it is a folder where the server is to run, and nothing that is brought there")]
    OfHost,
    /// Too many others of the partition wait.
    #[error("too many other images of this partition are on their way")]
    Busy,
}

/// Logs what the disk said, which is not for the partition's owner.
pub(super) fn disk(what: &'static str) -> impl Fn(std::io::Error) -> ImageError {
    move |error| {
        tracing::error!(%error, what, "images");
        match error.kind() {
            std::io::ErrorKind::StorageFull => ImageError::NoRoom,
            _ => ImageError::Disk,
        }
    }
}

/// Words of foreign origin, such as may be shown.
pub(super) fn cut(text: &str) -> String {
    pan_image::shown(text.as_bytes())
}
