//! Made-up orders for tests.

use pan_api::desired::{RunOrder, ServerOrder};
use pan_api::volume::{Claim, VolumeOrder};
use pan_model::cluster::{Image, StopSpec};
use pan_model::mirror::Record;
use pan_model::volume::Filesystem;
use pan_model::{ByteSize, Cpu, Epoch, Lineage, Mac, Resources, ServerKey, Session, VolumeEpoch, VolumeId};

pub(crate) fn order(partition: &str, name: &str) -> ServerOrder {
    ServerOrder {
        key: ServerKey { partition: partition.parse().unwrap(), name: name.parse().unwrap() },
        cluster: "web".parse().unwrap(),
        epoch: Epoch(1),
        incarnation: 0,
        run: RunOrder::Run,
        mac: Mac([2, 0x70, 10, 0, 0, 10]),
        addresses: vec!["10.0.0.10".parse().unwrap()],
        image: Image::Host,
        command: vec!["sleep".into(), "600".into()],
        env: [].into(),
        files: vec![],
        resources: Resources::new(Cpu(100), ByteSize(64 << 20)),
        cpu_max: None,
        stop: StopSpec::default(),
        health: None,
        restart_attempts: 2,
        egress: None,
        allow: None,
        volumes: Vec::new(),
    }
}

pub(crate) fn volume(number: u64, claim: bool) -> VolumeOrder {
    let record = Record {
        lineage: Lineage(1),
        adopts: None,
        epoch: VolumeEpoch(1),
        session: Session(1),
        in_sync: [].into(),
        out: [].into(),
        had: [].into(),
        changes: 0,
    };
    VolumeOrder {
        volume: VolumeId(number),
        name: "web-1.data".parse().unwrap(),
        size: ByteSize(64 << 20),
        mount: "/data".into(),
        filesystem: Filesystem::Ext4,
        read_only: false,
        claim: claim.then(|| Claim { record, members: Vec::new(), capability: String::new(), snapshots: Vec::new() }),
    }
}
