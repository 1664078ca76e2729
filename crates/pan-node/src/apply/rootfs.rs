//! A server's root file system: its image read-only, under a private writable layer that every start gets anew. What is root's on
//! disk in image and volumes is the root's of its partition in the server.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use pan_api::desired::ServerOrder;
use pan_api::volume::VolumeOrder;
use pan_image::config::Defaults;
use pan_image::user::User;
use pan_linux::mount::{self, Busy};
use pan_linux::oci::{Access, Bind, Users};
use pan_linux::userns::{UserNs, bind_idmapped};
use pan_model::cluster::Image;

use super::ApplyError;
use super::files::{self, Place};
use crate::error::FileError;
use crate::host::Host;
use crate::image::Ready;
use crate::names;
use crate::paths::ServerPaths;
use crate::users::UserSpace;

/// A root file system that is mounted, and what belongs on top of it.
#[derive(Debug)]
pub(crate) struct Rootfs {
    /// Whose it is.
    pub users: Users,
    /// Paths to cover.
    pub masked: Vec<PathBuf>,
    /// Volumes, with the owners that they have on disk.
    pub volumes: Vec<Bind>,
    /// Files to show where a tmpfs covers the layer.
    pub files: Vec<Bind>,
    /// What its image says of the program to run; nothing if that is no image of its own.
    pub defaults: Defaults,
    /// Who runs that.
    pub user: User,
}

/// Makes and mounts it, whatever was there before.
pub(super) fn make(host: &Host, order: &ServerOrder, users: &UserSpace, image: Option<Ready>) -> Result<Rootfs, ApplyError> {
    let at = host.paths.server(&names::id(&order.key));
    remove(&at)?;
    let Lower { path: lower, masked, defaults, user } = lower(host, &order.image, image)?;
    let ids = users.named.ids;
    let root = ids.outside(0);
    make_folder(host.paths.roots(), 0o711)?;
    for folder in [&at.root, &at.rootfs(), &at.lower(), &at.volumes(), &at.upper(), &at.work(), &at.shown()] {
        make_folder(folder, 0o700)?;
    }
    // The root of the partition may come this way, and nobody else of the host.
    give(&at.root, root)?;
    // The layer's own root is what the server sees as "/".
    let upper = at.upper();
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&upper, open).map_err(FileError::of("open", &upper))?;
    give(&upper, root)?;
    let volumes = volumes(host, order, &lower, &masked)?;
    let mut shown = Vec::new();
    let own = own_files(order);
    let given = order.files.iter().map(|file| (file.path.as_str(), file.content.as_str()));
    for (path, content) in own.iter().map(|(path, content)| (*path, content.as_str())).chain(given) {
        match files::place(&lower, path, &masked)? {
            Place::Layer(inside) => files::write(&lower, &upper, &inside, content, ids)?,
            Place::Covered(target) => {
                let source = at.shown().join(shown.len().to_string());
                files::write_file(&source, content, ids)?;
                shown.push(Bind { source, target, access: Access::ReadWrite });
            }
        }
    }
    bind_idmapped(&lower, &at.lower(), &users.open, Access::ReadOnly)?;
    let mounted = mount::overlay(&at.lower(), &upper, &at.work(), &at.rootfs());
    // The overlay has what it needs of it.
    mount::unmount(&at.lower(), Busy::Detach)?;
    mounted?;
    Ok(Rootfs { users: users.named.clone(), masked, volumes, files: shown, defaults, user })
}

/// Shows a server's volumes with the owners that it is to see, and returns where. Only for as long as its container is made of them: in the
/// host they would keep the volume from being taken away.
pub(super) fn show_volumes(at: &ServerPaths, root: &Rootfs) -> Result<Vec<Bind>, ApplyError> {
    if root.volumes.is_empty() {
        return Ok(Vec::new());
    }
    let users = UserNs::open(&root.users.namespace)?;
    let show = |(number, volume): (usize, &Bind)| {
        let source = at.volumes().join(number.to_string());
        make_folder(&source, 0o700)?;
        bind_idmapped(&volume.source, &source, &users, volume.access)?;
        Ok(Bind { source, ..volume.clone() })
    };
    root.volumes.iter().enumerate().map(show).collect()
}

/// Undoes [`show_volumes`], however far that came.
pub(super) fn hide_volumes(at: &ServerPaths) -> Result<(), ApplyError> {
    let folder = at.volumes();
    let listed = match fs::read_dir(&folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        listed => listed.map_err(FileError::of("list", &folder))?,
    };
    for entry in listed {
        let shown = entry.map_err(FileError::of("list", &folder))?.path();
        mount::unmount(&shown, Busy::Detach)?;
        // Not with what is in it: that would be the volume's, were it still mounted.
        gone(fs::remove_dir(&shown), &shown)?;
    }
    Ok(())
}

fn make_folder(folder: &Path, mode: u32) -> Result<(), FileError> {
    DirBuilder::new().recursive(true).mode(mode).create(folder).map_err(FileError::of("make", folder))
}

fn give(folder: &Path, to: u32) -> Result<(), FileError> {
    chown(folder, Some(to), Some(to)).map_err(FileError::of("set the owner of", folder))
}

/// Unmounts it and wipes the writable layer. Nothing there is fine.
pub(super) fn remove(at: &ServerPaths) -> Result<(), ApplyError> {
    unmount(at)?;
    wipe(at)
}

/// Unmounts it. Nothing there is fine.
pub(super) fn unmount(at: &ServerPaths) -> Result<(), ApplyError> {
    hide_volumes(at)?;
    for folder in [at.lower(), at.rootfs()] {
        mount::unmount(&folder, Busy::Detach)?;
    }
    for folder in [&at.volumes(), &at.lower(), &at.rootfs(), &at.root] {
        gone(fs::remove_dir(folder), folder)?;
    }
    Ok(())
}

/// Wipes the writable layer of one that is not mounted.
pub(super) fn wipe(at: &ServerPaths) -> Result<(), ApplyError> {
    for folder in [&at.layer, &at.shown()] {
        gone(fs::remove_dir_all(folder), folder)?;
    }
    Ok(())
}

fn gone(done: std::io::Result<()>, folder: &Path) -> Result<(), ApplyError> {
    match done {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(FileError::of("remove", folder)(error))?,
        _ => Ok(()),
    }
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

/// An image on this host's disk.
struct Lower {
    path: PathBuf,
    masked: Vec<PathBuf>,
    defaults: Defaults,
    user: User,
}

fn lower(host: &Host, image: &Image, ready: Option<Ready>) -> Result<Lower, ApplyError> {
    let path = match (image, ready) {
        // Nothing in there is this host's.
        (_, Some(Ready { root, defaults, user })) => return Ok(Lower { path: root, masked: Vec::new(), defaults, user }),
        (Image::Host, None) => PathBuf::from("/"),
        // Resolved, so that a link cannot lead to what is hidden.
        (Image::Dir(folder), None) => fs::canonicalize(folder).map_err(FileError::of("find the image", Path::new(folder)))?,
        (Image::Oci(_) | Image::Layout(_), None) => return Err(ApplyError::Lost("its image was not brought here".into())),
    };
    match host.hidden.inside(&path) {
        Some(masked) => Ok(Lower { path, masked, defaults: Defaults::default(), user: User::default() }),
        None => Err(ApplyError::HiddenImage { path }),
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
