//! Where a volume's things are on this host. All of it vanishes with the boot.

use std::path::{Path, PathBuf};

use pan_model::VolumeId;

/// One volume's folders and files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub volume: VolumeId,
    /// Everything of it.
    pub folder: PathBuf,
    /// The one file that its head serves. Loop devices are known by the names of their files, and belong to the whole machine: so this
    /// is no other host's and no other boot's.
    pub file: PathBuf,
}

impl Place {
    /// That of a volume of the host whose volumes are under `all`, and whose boot identifier is `boot`.
    pub(crate) fn new(all: &Path, boot: u64, volume: VolumeId) -> Self {
        let folder = all.join(volume.to_string());
        let file = folder.join("served").join(format!("pan-{volume}-{boot:016x}"));
        Self { volume, folder, file }
    }

    /// Which volume a folder of that name is about; `None` if it is about none.
    pub(crate) fn volume_of(name: &str) -> Option<VolumeId> {
        name.parse().ok().map(VolumeId).filter(|volume| volume.to_string() == name)
    }

    /// Where the file system of the one file is mounted.
    pub(crate) fn served(&self) -> &Path {
        self.file.parent().expect("it lies in a folder")
    }

    /// Where the file system on it is mounted.
    pub(crate) fn mnt(&self) -> PathBuf {
        self.folder.join("mnt")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_one_volumes_on_one_host() {
        let place = Place::new(Path::new("/run/pan/volumes"), 0xab, VolumeId(7));
        assert_eq!(place.file, Path::new("/run/pan/volumes/7/served/pan-7-00000000000000ab"));
        assert_eq!((place.served(), place.mnt().as_path()), (Path::new("/run/pan/volumes/7/served"), Path::new("/run/pan/volumes/7/mnt")));
        assert_ne!(place.file.file_name(), Place::new(Path::new("/run/pan/volumes"), 0xac, VolumeId(7)).file.file_name());
        assert_eq!(Place::volume_of("7"), Some(VolumeId(7)));
        for other in ["", "07", "7x", "-1"] {
            assert_eq!(Place::volume_of(other), None, "{other}");
        }
    }
}
