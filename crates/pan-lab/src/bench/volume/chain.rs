//! The peer: nbdkit, qemu-storage-daemon and a loop device, on a storage host's disk.

use std::path::Path;

use super::super::error::BenchError;
use super::fio::VOLUME;
use crate::name::LabHost;
use crate::room::Room;

/// Where it lies on the host's disk.
const FOLDER: &str = "/var/lib/pan/peer";
/// Where its file system is mounted.
pub(super) const MOUNTED: &str = "/var/lib/pan/peer/mnt";

/// A chain that lives as long as this value.
pub(super) struct Chain<'a> {
    room: &'a Room,
    host: LabHost,
}

impl<'a> Chain<'a> {
    /// Whether its programs are here.
    pub fn check() -> Result<(), BenchError> {
        let needed = [("/usr/bin/nbdkit", "nbdkit"), ("/usr/bin/qemu-storage-daemon", "qemu-utils")];
        match needed.iter().find(|(path, _)| !Path::new(path).exists()) {
            Some((_, package)) => Err(BenchError::Packages((*package).to_owned())),
            None => Ok(()),
        }
    }

    /// Sets it up. The file system is made in the file, and not through the chain: qemu's export (10.0.2) takes a request while it serves
    /// another one, into the same buffer, and so damages what is written several at a time.
    pub fn up(room: &'a Room, host: LabHost) -> Result<Self, BenchError> {
        let chain = Self { room, host };
        chain.sh(&format!(
            "set -e; mkdir -p {MOUNTED}; cd {FOLDER}; truncate -s {VOLUME} disk; mkfs.ext4 -q -F -b 4096 disk; touch fuse
             nbdkit -U {FOLDER}/nbd -P {FOLDER}/nbdkit.pid file {FOLDER}/disk
             qemu-storage-daemon --daemonize --pidfile {FOLDER}/qsd.pid \
               --blockdev driver=nbd,node-name=disk,server.type=unix,server.path={FOLDER}/nbd \
               --export type=fuse,id=disk,node-name=disk,mountpoint={FOLDER}/fuse,writable=on
             losetup --direct-io=on -b 4096 -f --show {FOLDER}/fuse >device
             mount $(cat device) {MOUNTED}"
        ))?;
        Ok(chain)
    }

    fn sh(&self, script: &str) -> Result<(), BenchError> {
        let output = self.room.exec(self.host, &["sh", "-c", script])?.output();
        let output = output.map_err(|source| BenchError::System { action: "set the peer up", source })?;
        if output.status.success() {
            return Ok(());
        }
        Err(BenchError::Surprise(format!("the peer: {}", String::from_utf8_lossy(&output.stderr).trim())))
    }
}

impl Drop for Chain<'_> {
    fn drop(&mut self) {
        // The laboratory's end would end it as well; a loop device is the whole machine's.
        let _ = self.sh(&format!("cd {FOLDER}; umount {MOUNTED}; losetup -d $(cat device); kill $(cat qsd.pid); kill $(cat nbdkit.pid)"));
    }
}
