//! The clients that people have: libnbd's, QEMU's, fio's and nbd-client, each against a server in this process.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod kit;

use std::sync::Arc;

use kit::{Rig, export, has, must, run, text};
use pan_nbd::{Access, BlockSizes, Connections};
use pan_nbd_serve::{File, Limits, Memory};

const SIZE: u64 = 16 << 20;

/// Data with a hole of 4 MiB in it and an end that is no whole page.
fn sample() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let length = usize::try_from(SIZE).unwrap();
    let mut data: Vec<u8> = (0..length / 8).flat_map(|_| noise()).collect();
    data[4 << 20..8 << 20].fill(0);
    data
}

#[tokio::test(flavor = "multi_thread")]
async fn nbdinfo_is_told_what_is_exported() {
    if !has("nbdinfo") {
        return;
    }
    let mut strict = export("strict", 1 << 20);
    strict.blocks = BlockSizes::new(4096, 65536, 1 << 20).unwrap();
    (strict.access, strict.connections, strict.description) = (Access::ReadOnly, Connections::One, "of large blocks".to_owned());
    let storage = Arc::new(Memory::new());
    let rig = Rig::serve(vec![(export("disk", SIZE), Arc::clone(&storage)), (strict, storage)], Limits::LOCAL);
    let told: serde_json::Value = serde_json::from_str(&must("nbdinfo", &["--json", &rig.uri("disk")]).await).unwrap();
    assert_eq!(told["protocol"], "newstyle-fixed");
    assert_eq!(told["structured"], true);
    let disk = &told["exports"][0];
    assert_eq!(disk["export-size"], SIZE);
    assert_eq!(disk["contexts"], serde_json::json!(["base:allocation"]));
    for can in ["can_cache", "can_df", "can_fast_zero", "can_flush", "can_fua", "can_multi_conn", "can_trim", "can_zero"] {
        assert_eq!(disk[can], true, "{can}");
    }
    assert_eq!(disk["is_read_only"], false);
    let told: serde_json::Value = serde_json::from_str(&must("nbdinfo", &["--list", "--json", &rig.uri("")]).await).unwrap();
    let strict = told["exports"].as_array().unwrap().iter().find(|export| export["export-name"] == "strict").unwrap();
    assert_eq!(strict["description"], "of large blocks");
    assert_eq!([&strict["is_read_only"], &strict["can_multi_conn"], &strict["can_trim"]], [true, false, false]);
    let blocks = ["block_size_minimum", "block_size_preferred", "block_size_maximum"].map(|size| strict[size].as_u64().unwrap());
    assert_eq!(blocks, [4096, 65536, 1 << 20]);
    assert!(!run("nbdinfo", &[&rig.uri("nobody")]).await.status.success());
    assert_eq!(rig.end().await.failed, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nbdcopy_brings_back_what_it_took_there() {
    if !has("nbdcopy") {
        return;
    }
    let rig = Rig::disk(Arc::new(Memory::new()), SIZE);
    let (from, back) = (rig.file("from"), rig.file("back"));
    std::fs::write(&from, sample()).unwrap();
    must("nbdcopy", &[text(&from), &rig.uri("disk")]).await;
    must("nbdcopy", &[&rig.uri("disk"), text(&back)]).await;
    assert!(std::fs::read(&back).unwrap() == sample(), "other bytes came back");
    let map = must("nbdinfo", &["--map", "--json", &rig.uri("disk")]).await;
    let map: serde_json::Value = serde_json::from_str(&map).unwrap();
    let found: Vec<_> =
        map.as_array().unwrap().iter().map(|part| ["offset", "length", "type"].map(|key| part[key].as_u64().unwrap())).collect();
    assert_eq!(found, [[0, 4 << 20, 0], [4 << 20, 4 << 20, 3], [8 << 20, 8 << 20, 0]], "what was zeroes takes no space");
    // From one export to another, over several connections, with extents.
    let other = Rig::disk(Arc::new(Memory::new()), SIZE);
    must("nbdcopy", &[&rig.uri("disk"), &other.uri("disk")]).await;
    must("nbdcopy", &[&other.uri("disk"), text(&back)]).await;
    assert!(std::fs::read(&back).unwrap() == sample(), "other bytes came out of the copy");
    assert_eq!((rig.end().await.failed, other.end().await.failed), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn qemu_img_converts_to_and_from_and_finds_no_difference() {
    if !has("qemu-img") {
        return;
    }
    let rig = Rig::disk(Arc::new(Memory::new()), SIZE);
    let (raw, qcow, uri) = (rig.file("raw"), rig.file("qcow2"), rig.uri("disk"));
    std::fs::write(&raw, sample()).unwrap();
    must("qemu-img", &["convert", "-n", "-f", "raw", "-O", "raw", text(&raw), &uri]).await;
    let info: serde_json::Value = serde_json::from_str(&must("qemu-img", &["info", "--output=json", &uri]).await).unwrap();
    assert_eq!(info["virtual-size"], SIZE);
    let same = must("qemu-img", &["compare", "-f", "raw", "-F", "raw", text(&raw), &uri]).await;
    assert!(same.contains("Images are identical"), "{same}");
    must("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", &uri, text(&qcow)]).await;
    must("qemu-img", &["compare", "-f", "qcow2", "-F", "raw", text(&qcow), &uri]).await;
    must("qemu-io", &["-f", "raw", "-c", "write -P 1 1M 512", &uri]).await;
    let other = run("qemu-img", &["compare", "-f", "raw", "-F", "raw", text(&raw), &uri]).await;
    assert_eq!(other.status.code(), Some(1), "a difference of one sector is seen");
    assert_eq!(rig.end().await.failed, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn qemu_io_writes_zeroes_discards_and_reads_patterns() {
    if !has("qemu-io") {
        return;
    }
    let mut image = export("image", SIZE);
    image.access = Access::ReadOnly;
    let storage = Arc::new(Memory::new());
    let rig = Rig::serve(vec![(export("disk", SIZE), Arc::clone(&storage)), (image, storage)], Limits::LOCAL);
    let commands = [
        "write -P 0xab 0 3M",
        "write -f -P 0xcd 64k 192k",
        "flush",
        "read -P 0xab 0 64k",
        "read -P 0xcd 64k 192k",
        "read -P 0xab 256k 2816k",
        "write -z 128k 64k",
        "read -P 0 128k 64k",
        "write -z -u 512k 1M",
        "read -P 0 512k 1M",
        "discard 2M 64k",
        "read -P 0 2M 64k",
        "write -z -n 0 64k",
        "read -P 0 0 64k",
        "aio_write -P 1 3M 2M",
        "aio_write -P 2 5M 2M",
        "aio_flush",
        "read -P 1 3M 2M",
        "read -P 2 5M 2M",
    ];
    let arguments: Vec<&str> = ["-f", "raw"].into_iter().chain(commands.iter().flat_map(|command| ["-c", command])).collect();
    let said = must("qemu-io", &[&arguments[..], &[&rig.uri("disk")]].concat()).await;
    assert!(!said.contains("failed"), "{said}");
    let refused = run("qemu-io", &["-f", "raw", "-c", "write 0 4k", &rig.uri("image")]).await;
    assert!(!refused.status.success(), "a read-only export was opened for writing");
    must("qemu-io", &["-r", "-f", "raw", "-c", "read -P 1 3M 2M", &rig.uri("image")]).await;
    assert_eq!(rig.end().await.failed, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn fio_verifies_what_it_wrote_over_several_connections() {
    if !has("fio") {
        return;
    }
    let backing = tempfile::tempfile().unwrap();
    backing.set_len(SIZE).unwrap();
    let rig = Rig::disk(Arc::new(File::new(backing)), SIZE);
    let uri = format!("--uri={}", rig.uri("disk"));
    let options = "--name=verify --ioengine=nbd --rw=randwrite --bsrange=512-128k --blockalign=512 --iodepth=32 --size=4m --offset_increment=4m \
                   --numjobs=4 --verify=crc32c --verify_fatal=1 --verify_state_save=0 --do_verify=1 --fsync=64 --group_reporting --output-format=json";
    let arguments: Vec<&str> = options.split_whitespace().chain([uri.as_str()]).collect();
    let told = must("fio", &arguments).await;
    let told: serde_json::Value = serde_json::from_str(&told[told.find('{').unwrap()..]).unwrap();
    let job = &told["jobs"][0];
    assert_eq!((job["error"].as_i64(), job["read"]["io_bytes"].as_u64()), (Some(0), Some(SIZE)), "all of it was read and verified");
    assert_eq!(rig.end().await.failed, 0);
}

/// The kernel's own client, as far as this kernel has it: without nbd it is told what the kernel would be told.
#[tokio::test(flavor = "multi_thread")]
async fn nbd_client_lists_and_attaches_where_the_kernel_can() {
    if !has("nbd-client") {
        return;
    }
    let rig = Rig::disk(Arc::new(Memory::new()), SIZE);
    let socket = rig.socket();
    let listed = must("nbd-client", &["-l", "-unix", text(&socket)]).await;
    assert!(listed.lines().any(|line| line.trim() == "disk"), "{listed}");
    let attached = run("nbd-client", &["-unix", text(&socket), "-N", "disk", "-b", "4096", "/dev/nbd15"]).await;
    let said = [&attached.stdout[..], &attached.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("size = 16MB"), "{said}");
    if !std::path::Path::new("/sys/block/nbd15").exists() {
        assert!(!attached.status.success() && said.contains("nbd"), "{said}");
        // What this test is about besides, negotiating, is done.
        println!("this kernel has no nbd: nothing could be attached");
        assert_eq!(rig.end().await.failed, 0);
        return;
    }
    assert!(attached.status.success(), "{said}");
    let (from, back) = (rig.file("from"), rig.file("back"));
    std::fs::write(&from, sample()).unwrap();
    must("dd", &[&format!("if={}", from.display()), "of=/dev/nbd15", "bs=1M", "oflag=direct", "conv=fsync", "status=none"]).await;
    must("dd", &["if=/dev/nbd15", &format!("of={}", back.display()), "bs=1M", "iflag=direct", "status=none"]).await;
    must("nbd-client", &["-d", "/dev/nbd15"]).await;
    assert!(std::fs::read(&back).unwrap() == sample(), "other bytes came back");
    assert_eq!(rig.end().await.failed, 0);
}
