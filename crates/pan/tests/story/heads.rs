//! The processes of volumes in a laboratory, found by what they are and where.

use pan_lab::LabHost;
use pan_lab::harness::TestLab;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The processes of heads on a host: the one that keeps (`serve` false), or the one that serves.
pub fn heads(lab: &TestLab, host: LabHost, serve: bool) -> Vec<i32> {
    let of = |path: &Path| fs::metadata(path).map(|there| (there.dev(), there.ino())).ok();
    let network = of(&Path::new("/run/netns").join(lab.name().host_netns(host)));
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = words.split(|byte| *byte == 0).collect();
        let is_head = words.get(1).is_some_and(|word| *word == b"head");
        let serves = words.iter().any(|word| word.starts_with(b"--serve"));
        if is_head && serves == serve && network.is_some() && of(&entry.path().join("ns/net")) == network {
            found.push(pid);
        }
    }
    found
}

/// Ends processes as a crash does.
pub fn kill(pids: &[i32]) {
    for pid in pids {
        // SIGKILL, through the program: one that is gone already is as good.
        let _ = std::process::Command::new("kill").arg("-9").arg(pid.to_string()).output();
    }
}
