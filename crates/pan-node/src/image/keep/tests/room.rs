//! What counts towards what a partition may have.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_an_image_says_of_its_program_takes_room_as_well() {
    let rig = Rig::new(|config| config.partition_max = ByteSize(1 << 20));
    for n in ["0", "1", "2"] {
        // No layer at all, and half a megabyte of words.
        layout(&rig.at(&format!("layouts/{n}")), "v", &[], &json!({"Env": [format!("A{n}={}", "x".repeat(450 << 10))]}));
    }
    rig.ready(7, "oci-layout:0").await;
    rig.ready(7, "oci-layout:1").await;
    rig.refused(rig.try_ready(7, "oci-layout:2").await, "the images that this partition uses may take 1048576 bytes together");
    assert_eq!(rig.kept().len(), 2, "{:?}", rig.kept());
}

#[tokio::test(flavor = "multi_thread")]
async fn files_have_bounds_as_bytes_do() {
    let rig = Rig::new(|config| config.partition_max = ByteSize(2 << 20));
    for n in ["0", "1"] {
        let names: Vec<String> = (0..80).map(|file| format!("{n}-{file}")).collect();
        let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
        layout(&rig.at(&format!("layouts/{n}")), "v", &[(LAYER, layer(&files))], &json!({}));
    }
    rig.ready(7, "oci-layout:0").await;
    rig.refused(rig.try_ready(7, "oci-layout:1").await, "the images that this partition uses may take 128 files and folders together");
    rig.ready(8, "oci-layout:1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_for_nothing_has_a_bound() {
    let rig = Rig::new(|config| config.image_max = ByteSize(1 << 20));
    let empty = gzip(b"").repeat((1 << 20) / 20 + 1);
    layout(&rig.at("layouts/0"), "v", &[(LAYER_GZIP, empty)], &json!({}));
    rig.refused(rig.try_ready(7, "oci-layout:0").await, "it has more than 1048576 bytes in its layers");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_there_stays_when_it_comes_once_more() {
    let rig = Rig::new(|_| {});
    let digest = layout(&rig.at("layouts/web"), "v1", &web(), &config()).parse().unwrap();
    let ready = rig.ready(7, "oci-layout:web").await;
    let inode = fs::metadata(&ready.root).unwrap().ino();
    // As of a job that took too long to be waited for.
    let store = &rig.images.0.store;
    let late = store.begin(7).unwrap();
    let note = fs::read(ready.root.parent().unwrap().join("image.json")).unwrap();
    store.finish(7, &digest, &late, &note).unwrap();
    drop(late);
    assert_eq!(fs::metadata(&ready.root).unwrap().ino(), inode);
    assert!(ready.root.join("bin/new").exists());
    assert_eq!(rig.kept().len(), 1, "{:?}", rig.kept());
    // One that is of no use gives way.
    fs::write(ready.root.parent().unwrap().join("image.json"), "{}").unwrap();
    assert_eq!(rig.ready(7, "oci-layout:web").await, ready);
    assert_ne!(fs::metadata(&ready.root).unwrap().ino(), inode);
    assert_eq!(rig.kept().len(), 1, "{:?}", rig.kept());
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_as_many_as_are_remembered() {
    let rig = Rig::new(|_| {});
    layout(&rig.at("layouts/web"), "v1", &web(), &config());
    let ready = rig.ready(7, "oci-layout:web").await;
    let refs = rig.at("state/images/7/refs");
    let known = fs::read(refs.join(&super::super::super::store::names(&refs).unwrap()[0])).unwrap();
    for n in 0..1000 {
        fs::write(refs.join(format!("{n:064}")), &known).unwrap();
    }
    // All of them were looked up a moment ago.
    rig.refused(rig.try_ready(7, "oci-layout:web:v1").await, "servers of this partition use 1000 names of images already");
    assert_eq!(rig.ready(7, "oci-layout:web").await, ready);
}
