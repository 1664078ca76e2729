//! What this kernel has to make block devices with.

use std::fs;
use std::path::Path;

/// Something that is there, or why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ability {
    /// It is.
    Yes,
    /// It is not; what to do about it.
    No(&'static str),
}

/// What of each way there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abilities {
    /// File systems in user space.
    pub fuse: Ability,
    /// Block devices on files.
    pub loops: Ability,
    /// The kernel's own client of network block devices.
    pub nbd: Ability,
}

/// Looks. Modules that are not loaded count as missing: nothing here loads one.
pub fn probe() -> Abilities {
    let filesystems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let fuse = filesystems.lines().any(|line| line.split_whitespace().last() == Some("fuse"));
    let (device, control) = (Path::new("/dev/fuse").exists(), Path::new("/dev/loop-control").exists());
    // The driver of network block devices makes some as soon as it is there.
    let nbd = Path::new("/sys/block/nbd0").exists();
    let told = |there, advice| if there { Ability::Yes } else { Ability::No(advice) };
    Abilities {
        fuse: match (fuse, device) {
            (true, there) => told(there, "the kernel has FUSE but there is no /dev/fuse here"),
            (false, _) => Ability::No("the kernel has no FUSE: modprobe fuse, or a kernel with CONFIG_FUSE_FS"),
        },
        loops: told(control, "there is no /dev/loop-control: modprobe loop, or a kernel with CONFIG_BLK_DEV_LOOP"),
        nbd: told(nbd, "there is no /dev/nbd0: modprobe nbd, or a kernel with CONFIG_BLK_DEV_NBD"),
    }
}
