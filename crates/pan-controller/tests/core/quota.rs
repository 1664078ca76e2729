//! How much storage a partition may have.

use super::volumes::volume_key;
use super::*;
use pan_api::ApiError;
use pan_model::ByteSize;

/// A partition that may have so many GiB, with servers that have a volume of one GiB in two copies.
fn manifest(most: &str, servers: u32, size: &str) -> String {
    format!(
        "
api: pan/v1
kind: Partition
name: p
spec: {{network: 10.7.0.0/24{most}}}
---
api: pan/v1
kind: Cluster
partition: p
name: db
spec:
  servers: {servers}
  image: host
  command: [/bin/db]
  volumes: [{{name: data, size: {size}, mount: /srv, copies: 2}}]
"
    )
}

const FIVE: &str = ", quota: {storage: 5GiB}";

const READERS: &str = "
api: pan/v1
kind: Volume
partition: p
name: copy
spec: {from: db-1.data@monday, access: readers-many}
---
api: pan/v1
kind: Cluster
partition: p
name: reader
spec:
  servers: 4
  image: host
  command: [/bin/reader]
  volumes: [{volume: copy, mount: /srv}]
";

fn exceeds(result: Result<impl std::fmt::Debug, ApiError>, what: &str) {
    let error = result.unwrap_err();
    let text = error.problems.first().map_or(error.message.as_str(), |problem| problem.message.as_str());
    assert_eq!(error.code, Code::Quota, "{error:?}");
    assert!(text.starts_with(&format!("quota of storage: {what}")), "{text}");
}

#[test]
fn volumes_and_their_snapshots_count_once_for_each_copy() {
    let mut pan = Pan::with_storage(&["s1", "s2"]);
    pan.apply(&manifest(FIVE, 2, "1GiB")).unwrap();
    exceeds(pan.apply(&manifest(FIVE, 3, "1GiB")), "2GiB asked for, 4GiB used, 5GiB allowed");
    assert_eq!(pan.world.volumes.len(), 2, "nothing was changed");
    exceeds(pan.apply(&manifest(FIVE, 2, "2GiB")), "");
    pan.rounds(3);
    let resize = |size| Request::ResizeVolume { volume: volume_key("db-1.data"), size: ByteSize(size) };
    exceeds(pan.ask(resize(2 << 30)), "2GiB asked for, 4GiB used, 5GiB allowed");
    pan.ask(resize(3 << 29)).unwrap();
    exceeds(pan.take("db-1.data", "monday"), "2GiB asked for, 5GiB used, 5GiB allowed");

    exceeds_less(&mut pan);
    pan.apply(&manifest(", quota: {storage: 7GiB}", 2, "1GiB")).unwrap();
    pan.rounds(3);
    pan.take("db-2.data", "monday").unwrap();
    exceeds(pan.take("db-1.data", "monday"), "3GiB asked for, 7GiB used, 7GiB allowed");
    pan.apply(&manifest("", 3, "1GiB")).unwrap();
    pan.take("db-1.data", "monday").unwrap();
}

/// A quota cannot be made smaller than what there is, and says what there is.
fn exceeds_less(pan: &mut Pan) {
    let error = pan.apply(&manifest(", quota: {storage: 4GiB}", 2, "1GiB")).unwrap_err();
    let [problem] = error.problems.as_slice() else { panic!("{error:?}") };
    assert_eq!(problem.code, Code::Quota);
    assert!(problem.message.contains("take 5GiB, each copy counted, and this allows 4GiB"), "{}", problem.message);
}

#[test]
fn what_many_read_counts_for_what_may_be_written_of_it() {
    let mut pan = Pan::with_snapshot();
    // The volume and its snapshot, twice.
    let most = |bytes: u64| {
        format!("\napi: pan/v1\nkind: Partition\nname: p\nspec: {{network: 10.7.0.0/24, quota: {{storage: {}MiB}}}}\n", bytes >> 20)
    };
    let used = 4 << 30;
    pan.apply(&most(used + (127 << 20))).unwrap();
    exceeds(pan.apply(READERS), "128MiB asked for, 4GiB used");
    pan.apply(&most(used + (128 << 20))).unwrap();
    pan.apply(READERS).unwrap();
}
