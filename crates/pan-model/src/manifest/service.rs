//! What of a service is wrong by itself.

use super::check::Findings;
use crate::import::EXPORTS_MAX;
use crate::notyet::NOT_YET;
use crate::proxy::{Condition, is_token};
use crate::service::{BalancePolicy, BalanceSpec, Layer, Secret, ServiceRoute};
use crate::{Code, PartitionName, ServiceSpec, Span};
use std::collections::BTreeSet;

/// Routes of a service: a request is compared with each.
const ROUTES_MAX: usize = 256;
/// Steps of a chain, each of which looks at every server.
const STEPS_MAX: usize = 8;
/// Times that a request is sent: beyond, a failing service is only made busier.
const ATTEMPTS_MAX: u32 = 10;
/// Certificates of a service.
const CERTIFICATES_MAX: usize = 64;
/// Bytes of a chain, and of a key: some ten certificates.
const PEM_MAX: usize = 64 << 10;
/// The share of a route, so that no sum is too large.
const WEIGHT_MAX: u32 = 1_000_000;

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

    /// Of layer 7.
    fn requests(&mut self, spec: &ServiceSpec) {
        if spec.cluster.is_none() && spec.routes.is_empty() {
            self.add("cluster", "nobody answers: give `cluster`, `routes`, or both");
        }
        if !spec.export.is_empty() {
            self.add_code(Code::NotYet, "export", format!("export of a service of layer 7: {NOT_YET}"));
        }
        self.tls(spec);
        self.routes(spec);
        self.balance(&spec.balance);
        if let Some(attempts) = spec.retry.and_then(|retry| retry.attempts)
            && !(1..=ATTEMPTS_MAX).contains(&attempts)
        {
            self.add("retry.attempts", format!("{attempts} times: expected 1 to {ATTEMPTS_MAX}, the first included"));
        }
        if let Some(given) = &spec.timeouts {
            let all =
                [("head", given.head), ("idle", given.idle), ("connect", given.connect), ("request", given.request), ("body", given.body)];
            let all = all.into_iter().chain(given.whole.map(|whole| ("whole", whole)));
            for (name, _) in all.filter(|(_, span)| *span == Span::millis(0)) {
                self.add(format!("timeouts.{name}"), "no time at all: every request would fail");
            }
        }
    }

    /// Whether texts are certificates and keys is for who can read them.
    fn tls(&mut self, spec: &ServiceSpec) {
        let Some(tls) = &spec.tls else { return };
        if tls.more.len() >= CERTIFICATES_MAX {
            self.add(
                "tls.more",
                format!("{} certificates: at most {} besides the first are possible", tls.more.len(), CERTIFICATES_MAX - 1),
            );
        }
        for (place, cert, key) in tls.all() {
            for (name, text) in [("cert", Some(cert)), ("key", key.map(Secret::text))] {
                if let Some(length) = text.map(str::len).filter(|length| *length > PEM_MAX) {
                    self.add(format!("tls.{place}{name}"), format!("{length} bytes: at most {PEM_MAX} are possible"));
                }
            }
        }
    }

    fn routes(&mut self, spec: &ServiceSpec) {
        if spec.routes.len() > ROUTES_MAX {
            self.add("routes", format!("{} routes: at most {ROUTES_MAX} are possible", spec.routes.len()));
            return;
        }
        let everything = spec.cluster.as_ref().and(crate::proxy::MatchSpec::default().condition().ok());
        let mut known: Vec<(usize, Condition, &ServiceRoute)> = Vec::new();
        for (at, route) in spec.routes.iter().enumerate() {
            if route.weight > WEIGHT_MAX {
                self.add(format!("routes[{at}].weight"), format!("{} is too much: at most {WEIGHT_MAX}", route.weight));
            }
            for (index, method) in route.matches.method.iter().enumerate().filter(|(_, name)| is_token(name)) {
                let upper = method.to_ascii_uppercase();
                if *method != upper {
                    self.add(format!("routes[{at}].match.method[{index}]"), format!("{method:?} is no method: expected {upper}"));
                }
            }
            let condition = match route.matches.condition() {
                Ok(condition) => condition,
                Err(misfit) => {
                    self.add(format!("routes[{at}].match.{}", misfit.place), misfit.reason);
                    continue;
                }
            };
            if everything.as_ref() == Some(&condition) {
                let text = "this route matches everything, and so does `cluster`: remove one of the two";
                self.add(format!("routes[{at}]"), text);
            }
            let same = |(_, other, known): &&(usize, Condition, &ServiceRoute)| *other == condition && known.cluster == route.cluster;
            if let Some((first, ..)) = known.iter().find(same) {
                let text = format!("routes[{first}] has the same condition and the same cluster: keep one of them");
                self.add(format!("routes[{at}]"), text);
            }
            known.push((at, condition, route));
        }
        for (at, condition, route) in &known {
            let alike = known.iter().filter(|(_, other, _)| other == condition);
            if route.weight == 0 && alike.map(|(.., other)| u64::from(other.weight)).sum::<u64>() == 0 {
                self.add(
                    format!("routes[{at}].weight"),
                    "nobody would have these requests: give a weight, or another route with this condition",
                );
            }
        }
    }

    fn balance(&mut self, spec: &BalanceSpec) {
        match (spec.policy == BalancePolicy::TANDEM, spec.chain.len()) {
            (true, 0) => self.add("balance.policy", "tandem goes by a chain: give `chain`, like [specifics, capacity]"),
            (true, steps) if steps > STEPS_MAX => self.add("balance.chain", format!("{steps} steps: at most {STEPS_MAX} are possible")),
            (false, 1..) => self.add("balance.chain", format!("only tandem has a chain, and the policy is {}", spec.policy.as_str())),
            (true | false, _) => {}
        }
        if let Some(key) = &spec.key {
            let named = key.strip_prefix("header:").or_else(|| key.strip_prefix("cookie:"));
            if !(key == "client" || key == "path" || named.is_some_and(is_token)) {
                self.add("balance.key", format!("{key:?} is not a key: expected client, path, header:NAME or cookie:NAME"));
            }
        }
        if let Some(sticky) = &spec.sticky {
            if sticky.cookie.is_some() && sticky.header.is_some() {
                self.add("balance.sticky.header", "sessions go by a cookie or by a header: keep one of them");
            }
            for (place, name) in [("cookie", &sticky.cookie), ("header", &sticky.header)] {
                if let Some(name) = name.as_ref().filter(|name| !is_token(name)) {
                    self.add(format!("balance.sticky.{place}"), format!("{name:?} is not the name of a {place}"));
                }
            }
        }
        if spec.limits.as_ref().is_some_and(|limits| limits.connections == 0) {
            self.add("balance.limits.connections", "0 requests at once would refuse them all: give 1 or more");
        }
    }
}
