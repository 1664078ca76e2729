//! What of a service is wrong by itself.

use super::check::Findings;
use crate::import::EXPORTS_MAX;
use crate::notyet::NOT_YET;
use crate::proxy::{Forwarding, ProxyProtocol};
use crate::service::{BalancePolicy, Layer};
use crate::{Code, PartitionName, ServiceSpec};
use std::collections::BTreeSet;

impl Findings {
    pub(super) fn service(&mut self, partition: &PartitionName, spec: &ServiceSpec) {
        self.port("port", spec.port);
        if let Some(port) = spec.target_port {
            self.port("targetPort", port);
        }
        if let Some(address) = spec.address
            && (address.is_unspecified() || address.is_loopback() || address.is_multicast())
        {
            self.add("address", format!("{address} cannot be a public address"));
        }
        self.exports(partition, spec);
        match spec.layer {
            Layer::Four => self.connections(spec),
            Layer::Seven => self.requests(spec),
        }
    }

    fn exports(&mut self, partition: &PartitionName, spec: &ServiceSpec) {
        if spec.export.len() > EXPORTS_MAX {
            self.add("export", format!("{} partitions: at most {EXPORTS_MAX} are possible", spec.export.len()));
        }
        let mut seen = BTreeSet::new();
        for (index, other) in spec.export.iter().enumerate() {
            if other == partition {
                self.add(format!("export[{index}]"), format!("{partition} is where the service is: remove it"));
            } else if !seen.insert(other) {
                self.add(format!("export[{index}]"), format!("partition {other} is named twice: keep one of them"));
            }
        }
    }

    /// Of layer 4.
    fn connections(&mut self, spec: &ServiceSpec) {
        if spec.cluster.is_none() {
            self.add("cluster", "missing field `cluster`: the cluster that answers");
        }
        let given = [
            ("routes", !spec.routes.is_empty()),
            ("retry", spec.retry.is_some()),
            ("timeouts", spec.timeouts.is_some()),
            ("tls", spec.tls.is_some()),
            ("limits", spec.limits.is_some()),
            ("edits", !spec.edits.is_none()),
            ("forwarding", spec.forwarding != Forwarding::default()),
            ("proxyProtocol", spec.proxy_protocol != ProxyProtocol::default()),
            ("upstreams", !spec.upstreams.is_empty()),
        ];
        let given = given.into_iter().filter(|(_, given)| *given).map(|(name, _)| name.to_owned());
        let balance = spec.balance.of_layer_7().map(|name| format!("balance.{name}"));
        for name in given.chain(balance) {
            self.add(&name, format!("`{name}` is about requests, and layer 4 knows connections only: give `layer: 7`, or remove it"));
        }
        if spec.balance.policy != BalancePolicy::ROUND_ROBIN {
            let name = spec.balance.policy.as_str();
            self.add_code(Code::NotYet, "balance.policy", format!("layer 4 with balance policy {name}: {NOT_YET}"));
        }
    }
}
