//! Every file of `examples/` reads as a user's would.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use pan_model::manifest::parse;

#[test]
fn every_example_is_a_good_manifest() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in &files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(file).unwrap();
        let documents = parse(&[(name.clone(), text)], None).unwrap_or_else(|problems| panic!("{name}: {problems:#?}"));
        // One partition each, so that all of them can be applied to one PAN.
        let partitions = documents.iter().filter(|document| document.object.kind() == "partition");
        assert_eq!(partitions.count(), 1, "{name}");
        let own = documents[0].object.partition();
        assert!(documents.iter().all(|document| document.object.partition() == own), "{name}");
        assert_eq!(Some(own.as_str()), name.strip_suffix(".yaml"), "{name}");
    }
    assert!(files.len() >= 3, "{files:?}");
}
