//! Made-up orders for tests.

use pan_api::desired::{RunOrder, ServerOrder};
use pan_model::cluster::{Image, StopSpec};
use pan_model::{ByteSize, Cpu, Epoch, Mac, Resources, ServerKey};

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
        stop: StopSpec::default(),
        health: None,
        restart_attempts: 2,
        volumes: Vec::new(),
    }
}
