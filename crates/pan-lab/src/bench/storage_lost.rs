//! A storage host loses its power under fio and comes back: how long writing stood still, what was copied to it, and whether both
//! copies are one.
//!
//! Copies are compared as a server would see them: the whole device is read while one of the two hosts is without power, and again
//! while the other one is. Nothing of a storage host's disk is looked into.

use std::process::{Child, Stdio};
use std::time::Duration;

use pan_api::volume::{Volume, VolumeState};
use serde_json::Value;

use super::counter;
use super::cut::CutTime;
use super::demo::{Demo, READY_MAX};
use super::disturb::counted;
use super::error::BenchError;
use super::report::RunDetail;
use crate::name::LabHost;

/// The longest that one write or its flush took, of those before the cut too. There is one at a time, so it is the longest time
/// without any.
pub(super) const STALL: &str = "ms of the longest stall";
/// What heads wrote to the host from its start until it was in sync.
pub(super) const COPIED: &str = "MiB copied on return";
/// One if reading the device gives something else from the other host.
pub(super) const DIFFERENT: &str = "copies that differ";

const MIB: u64 = 1 << 20;
/// What the volume holds, and what of it is worked on.
const FILLED_MIB: u64 = 512;
const WORKED_MIB: u64 = 32;
/// The part that is worked on, and as much again for the file system's journal: an eighth of a whole copy.
pub(super) const COPIED_MAX_MIB: u64 = 2 * WORKED_MIB;

/// fio works for some time before the cut, and long enough after it for any stall that is worth measuring to be over.
const BEFORE: Duration = Duration::from_secs(1);
const WORK: Duration = Duration::from_secs(4);
/// What is missed here is copied within a second; a machine that does other things takes its time.
const BACK_MAX: Duration = Duration::from_secs(60);

const NAME: &str = "store-1.data";
const MANIFEST: &str = "api: pan/v1\nkind: Cluster\npartition: demo\nname: store\nspec:\n  servers: 1\n  image: host\n  \
     command: [sleep, inf]\n  volumes: [{name: data, size: 1GiB, mount: /srv, copies: 2}]\n";

/// A volume of two copies, and where it is mounted.
pub(super) struct Store {
    node: LabHost,
    folder: String,
    copies: [LabHost; 2],
}

impl Store {
    /// Makes it and fills it.
    pub(super) fn fill(demo: &Demo<'_>) -> Result<Self, BenchError> {
        if !std::path::Path::new("/usr/bin/fio").exists() {
            return Err(BenchError::Packages("fio".to_owned()));
        }
        demo.pan.wait("two storage hosts", READY_MAX, || demo.pan.apply("store", MANIFEST).map(drop).map_err(|error| error.to_string()))?;
        let volume = demo.pan.wait("the volume", READY_MAX, || in_sync(demo, None))?;
        let server = demo.servers()?.into_iter().find(|server| Some(&server.name) == volume.attached_to.as_ref());
        let node = server.and_then(|server| server.node).ok_or_else(|| BenchError::Surprise("no node has the volume".to_owned()))?;
        let node = demo.host(&node)?;
        let [one, other] = &volume.replicas[..] else {
            return Err(BenchError::Surprise(format!("{} copies are no two", volume.replicas.len())));
        };
        let copies = [demo.host(one.host.as_str())?, demo.host(other.host.as_str())?];
        let look = format!("for folder in /run/pan/volumes/*; do grep -q '\"{NAME}\"' $folder/order.json && echo $folder/mnt; done");
        let folder = sh(demo, node, &look)?;
        // The kernel would go on making inode tables in the background for a while: a change between two looks.
        let fill = format!(
            "mount -o remount,noinit_itable {folder}; dd if=/dev/urandom of={folder}/work bs=1M count={FILLED_MIB} oflag=direct status=none; \
             sync -f {folder}"
        );
        sh(demo, node, &fill)?;
        Ok(Self { node, folder, copies })
    }

    /// One run. They take turns in being lost.
    pub(super) fn run(&self, demo: &Demo<'_>, number: usize) -> Result<RunDetail, BenchError> {
        let (lost, kept) = (self.copies[number % 2], self.copies[(number + 1) % 2]);
        let working = self.work(demo)?;
        demo.pan.pause(BEFORE, || Ok(()))?;
        let cut = CutTime::of(|| Ok(demo.room.kill(lost)?))?;
        let output = working.wait_with_output().map_err(|source| BenchError::System { action: "wait for fio", source })?;
        let stall = longest(&String::from_utf8_lossy(&output.stdout)).map_err(BenchError::Surprise)?;
        demo.pan.wait("the loss of a copy", BACK_MAX, || in_sync(demo, Some(lost)))?;
        let before = self.sum(demo)?;
        demo.room.start(lost)?;
        demo.pan.wait("both copies in sync", BACK_MAX, || in_sync(demo, None))?;
        let copied = demo.count(counter::WRITTEN, Some(lost))?;
        demo.room.kill(kept)?;
        demo.pan.wait("the loss of the other copy", BACK_MAX, || in_sync(demo, Some(kept)))?;
        let after = self.sum(demo)?;
        demo.room.start(kept)?;
        demo.pan.wait("both copies in sync again", BACK_MAX, || in_sync(demo, None))?;
        let counts = [(STALL, stall), (COPIED, copied.div_ceil(MIB)), (DIFFERENT, u64::from(before != after))];
        Ok(counted(&lost.to_string(), "store-1", &cut, &[], &counts))
    }

    fn work(&self, demo: &Demo<'_>) -> Result<Child, BenchError> {
        let (file, size) = (format!("--filename={}/work", self.folder), format!("--size={WORKED_MIB}M"));
        let runtime = format!("--runtime={}", WORK.as_secs());
        let fixed = ["--rw=randwrite", "--bs=4k", "--iodepth=1", "--fsync=1", "--ioengine=psync", "--direct=1", "--randseed=0"];
        let argv: Vec<&str> =
            ["fio", "--name=work", &file, &size, &runtime, "--time_based", "--output-format=json"].into_iter().chain(fixed).collect();
        let mut command = demo.room.exec(self.node, &argv)?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().map_err(|source| BenchError::System { action: "run fio", source })
    }

    /// What is on the device, in a few characters.
    fn sum(&self, demo: &Demo<'_>) -> Result<String, BenchError> {
        let folder = &self.folder;
        let script = format!("sync -f {folder}; dd if=$(findmnt -no SOURCE {folder}) bs=1M iflag=direct status=none | sha256sum");
        sh(demo, self.node, &script)
    }
}

/// What a script says, which is something.
fn sh(demo: &Demo<'_>, host: LabHost, script: &str) -> Result<String, BenchError> {
    let output = demo.room.exec(host, &["bash", "-ec", &format!("set -o pipefail; {script}")])?.output();
    let output = output.map_err(|source| BenchError::System { action: "run a script in a host", source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(BenchError::Surprise(format!("{script}: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

/// The volume, once both copies have everything, or all but that of one host.
fn in_sync(demo: &Demo<'_>, without: Option<LabHost>) -> Result<Volume, String> {
    let all: Vec<Volume> = demo.pan.look("/v1/volumes").map_err(|error| error.message)?;
    let volume = all.into_iter().find(|volume| volume.name.as_str() == NAME).ok_or("there is no volume yet")?;
    let missing = |host: LabHost| volume.replicas.iter().any(|replica| !replica.in_sync && replica.host.as_str() == host.to_string());
    let reached = match without {
        None => volume.state == VolumeState::Ready && volume.in_sync == 2 && volume.attached_to.is_some(),
        Some(host) => volume.in_sync == 1 && missing(host),
    };
    if reached { Ok(volume) } else { Err(format!("{} of 2 copies in sync, volume {:?}", volume.in_sync, volume.state)) }
}

/// Milliseconds of the longest write or flush, from fio's JSON.
fn longest(text: &str) -> Result<u64, String> {
    let from = text.find('{').ok_or_else(|| format!("fio said no figures: {}", text.trim()))?;
    let all: Value = serde_json::from_str(&text[from..]).map_err(|error| format!("fio's figures: {error}"))?;
    let job = &all["jobs"][0];
    if job["error"].as_i64() != Some(0) {
        return Err(format!("fio failed with error {}", job["error"]));
    }
    let max = |latencies: &Value| latencies["max"].as_u64().ok_or("fio's figures lack latencies");
    let longest = max(&job["write"]["clat_ns"])?.max(max(&job["sync"]["lat_ns"])?);
    Ok(longest.div_ceil(1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_the_longest_of_writes_and_flushes() {
        let text = |error: i32, write: u64, flush: u64| {
            let of = |max: u64| format!(r#"{{"max": {max}}}"#);
            format!(r#"{{"jobs": [{{"error": {error}, "write": {{"clat_ns": {}}}, "sync": {{"lat_ns": {}}}}}]}}"#, of(write), of(flush))
        };
        assert_eq!(longest(&text(0, 2_000_000, 301_000_001)), Ok(302));
        assert_eq!(longest(&format!("a warning\n{}", text(0, 5_000_000, 0))), Ok(5));
        assert!(longest(&text(5, 1, 1)).unwrap_err().contains("error 5"));
        assert!(longest("no such file").unwrap_err().contains("no such file"));
    }

    #[test]
    fn its_volume_is_one_that_can_be_had() {
        pan_model::manifest::parse(&[("store.yaml".into(), MANIFEST.into())], None).unwrap();
    }
}
