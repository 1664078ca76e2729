//! A server's root file system: its image read-only, under a private writable layer that every start gets
//! anew.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use pan_api::desired::ServerOrder;
use pan_api::volume::VolumeOrder;
use pan_linux::mount::{self, Busy};
use pan_linux::oci::{Access, Bind};
use pan_model::cluster::Image;

use super::ApplyError;
use super::files::{self, Place};
use crate::error::FileError;
use crate::host::Host;
use crate::names;
use crate::paths::ServerPaths;

/// A root file system that is mounted, and what belongs on top of it.
#[derive(Debug)]
pub(crate) struct Rootfs {
    /// Paths to cover.
    pub masked: Vec<PathBuf>,
    /// Volumes, and files to show where a tmpfs covers the layer.
    pub binds: Vec<Bind>,
}

/// Makes and mounts it, whatever was there before.
pub(super) fn make(host: &Host, order: &ServerOrder) -> Result<Rootfs, ApplyError> {
    let at = host.paths.server(&names::id(&order.key));
    remove(&at)?;
    let lower = lower(&order.image)?;
    let Some(masked) = host.hidden.inside(&lower) else {
        return Err(ApplyError::HiddenImage { path: lower });
    };
    for folder in [at.upper(), at.work(), at.rootfs(), at.shown()] {
        // Only root may look in from outside; the layer's own root is what the server sees as "/".
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(FileError::of("make", &folder))?;
    }
    let upper = at.upper();
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&upper, open).map_err(FileError::of("open", &upper))?;
    let mut binds = volumes(host, order, &lower, &masked)?;
    let own = own_files(order);
    let given = order.files.iter().map(|file| (file.path.as_str(), file.content.as_str()));
    for (path, content) in own.iter().map(|(path, content)| (*path, content.as_str())).chain(given) {
        match files::place(&lower, path, &masked)? {
            Place::Layer(inside) => files::write(&lower, &upper, &inside, content)?,
            Place::Covered(target) => {
                let source = at.shown().join(binds.len().to_string());
                files::write_file(&source, content)?;
                binds.push(Bind { source, target, access: Access::ReadWrite });
            }
        }
    }
    mount::overlay(&lower, &upper, &at.work(), &at.rootfs())?;
    Ok(Rootfs { masked, binds })
}

/// Unmounts it and wipes the writable layer. Nothing there is fine.
pub(super) fn remove(at: &ServerPaths) -> Result<(), ApplyError> {
    unmount(at)?;
    wipe(at)
}

/// Unmounts it. Nothing there is fine.
pub(super) fn unmount(at: &ServerPaths) -> Result<(), ApplyError> {
    Ok(mount::unmount(&at.rootfs(), Busy::Detach)?)
}

/// Wipes the writable layer of one that is not mounted.
pub(super) fn wipe(at: &ServerPaths) -> Result<(), ApplyError> {
    for folder in [&at.layer, &at.shown()] {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(FileError::of("wipe", folder)(error))?,
            _ => {}
        }
    }
    Ok(())
}

/// Where the server finds its volumes. The runtime makes what folders are missing on the way, in the layer, and follows links no further
/// than the root file system.
fn volumes(host: &Host, order: &ServerOrder, lower: &Path, masked: &[PathBuf]) -> Result<Vec<Bind>, ApplyError> {
    let bind = |volume: &VolumeOrder| {
        let target = files::folder(lower, &volume.mount, masked)?;
        let access = if volume.read_only { Access::ReadOnly } else { Access::ReadWrite };
        Ok(Bind { source: host.volumes.place(volume.volume).mnt(), target, access })
    };
    order.volumes.iter().map(bind).collect()
}

fn lower(image: &Image) -> Result<PathBuf, ApplyError> {
    match image {
        Image::Host => Ok(PathBuf::from("/")),
        // Resolved, so that a link cannot lead to what is hidden.
        Image::Dir(folder) => Ok(fs::canonicalize(folder).map_err(FileError::of("find the image", Path::new(folder)))?),
    }
}

/// What a server's root says of the server itself.
fn own_files(order: &ServerOrder) -> [(&'static str, String); 3] {
    let name = &order.key.name;
    let mut hosts = String::from("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n");
    for address in &order.addresses {
        hosts += &format!("{address} {name}\n");
    }
    [("/etc/hostname", format!("{name}\n")), ("/etc/hosts", hosts), ("/etc/resolv.conf", "# This network has no resolver.\n".into())]
}
