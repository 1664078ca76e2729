//! What of a service of layer 7 is wrong by itself.

use super::check::Findings;
use crate::notyet::NOT_YET;
use crate::proxy::{Condition, EditSpec, Limits, MatchSpec, Protocol, is_token};
use crate::service::{BalancePolicy, BalanceSpec, Secret, ServiceRoute};
use crate::{ByteSize, Code, ServiceSpec, Span};
use std::collections::BTreeSet;

/// Routes of a service: a request is compared with each.
const ROUTES_MAX: usize = 256;
/// Those of them that have a rule: a request asks each, at worst.
const RULES_MAX: usize = 64;
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
/// Headers that are edited in one head, and bytes of a value: each request pays for them.
const EDITS_MAX: usize = 64;
const VALUE_MAX: usize = 4 << 10;
/// What a client may send at most, whatever a service says: it is in the memory of a proxy that serves others too.
const HEAD: (ByteSize, ByteSize) = (ByteSize(1 << 10), ByteSize(1 << 20));
const HEADERS_MAX: usize = 1_000;
const CONNECTIONS_MAX: usize = 100_000;
const STREAMS_MAX: u32 = 1_000;
const REPLAY_MAX: ByteSize = ByteSize(1 << 20);

impl Findings {
    /// Of layer 7.
    pub(super) fn requests(&mut self, spec: &ServiceSpec) {
        if spec.cluster.is_none() && spec.routes.is_empty() {
            self.add("cluster", "nobody answers: give `cluster`, `routes`, or both");
        }
        if !spec.export.is_empty() {
            self.add_code(Code::NotYet, "export", format!("export of a service of layer 7: {NOT_YET}"));
        }
        self.tls(spec);
        self.routes(spec);
        self.edits("edits", &spec.edits);
        self.upstreams(spec);
        self.limits(spec.limits.as_ref());
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
        let rules = spec.routes.iter().filter(|route| route.matches.rule.is_some()).count();
        if rules > RULES_MAX {
            self.add("routes", format!("{rules} routes have rules: at most {RULES_MAX} are possible"));
        }
        let everything = spec.cluster.as_ref().and(MatchSpec::default().condition().ok());
        let mut known: Vec<(usize, Condition, &ServiceRoute)> = Vec::new();
        for (at, route) in spec.routes.iter().enumerate() {
            self.route(at, route, spec.tls.is_some());
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
            let same = |(_, other, known): &&(usize, Condition, &ServiceRoute)| {
                *other == condition && (&known.cluster, &known.redirect) == (&route.cluster, &route.redirect)
            };
            if let Some((first, ..)) = known.iter().find(same) {
                let what = if route.cluster.is_some() { "cluster" } else { "redirect" };
                let text = format!("routes[{first}] has the same condition and the same {what}: keep one of them");
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

    /// What of a route is wrong whatever the others are.
    fn route(&mut self, at: usize, route: &ServiceRoute, tls: bool) {
        let place = format!("routes[{at}]");
        if route.weight > WEIGHT_MAX {
            self.add(format!("{place}.weight"), format!("{} is too much: at most {WEIGHT_MAX}", route.weight));
        }
        for (index, method) in route.matches.method.iter().enumerate().filter(|(_, name)| is_token(name)) {
            let upper = method.to_ascii_uppercase();
            if *method != upper {
                self.add(format!("{place}.match.method[{index}]"), format!("{method:?} is no method: expected {upper}"));
            }
        }
        match (&route.cluster, &route.redirect) {
            (None, None) => self.add(&place, "nobody answers: give `cluster`, or `redirect`"),
            (Some(_), Some(_)) => self.add(format!("{place}.redirect"), "a route has a cluster or a redirect: remove one of the two"),
            (Some(_), None) => {}
            (None, Some(redirect)) => {
                let own = if tls { "https" } else { "http" };
                let alone = redirect.host.is_none() && redirect.path.is_none();
                if let Err(misfit) = redirect.check() {
                    self.add(format!("{place}.redirect.{}", misfit.place), misfit.reason);
                } else if alone && redirect.scheme.as_deref() == Some(own) {
                    let text = format!("requests come by {own}, so it leads to where they came: expected another scheme, a host or a path");
                    self.add(format!("{place}.redirect.scheme"), text);
                }
            }
        }
        self.edits(&format!("{place}.edits"), &route.edits);
    }

    fn edits(&mut self, place: &str, spec: &EditSpec) {
        if let Err(misfit) = spec.check() {
            self.add(format!("{place}.{}", misfit.place), misfit.reason);
        }
        for (part, head) in [("request", &spec.request), ("response", &spec.response)] {
            let edited = head.set.len() + head.add.len() + head.remove.len();
            if edited > EDITS_MAX {
                self.add(format!("{place}.{part}"), format!("{edited} headers: at most {EDITS_MAX} are possible"));
            }
            for (how, map) in [("set", &head.set), ("add", &head.add)] {
                for (name, value) in map.iter().filter(|(_, value)| value.len() > VALUE_MAX) {
                    self.add(format!("{place}.{part}.{how}.{name}"), format!("{} bytes: at most {VALUE_MAX} are possible", value.len()));
                }
            }
        }
    }

    fn upstreams(&mut self, spec: &ServiceSpec) {
        let mut seen = BTreeSet::new();
        for (at, upstream) in spec.upstreams.iter().enumerate() {
            let cluster = &upstream.cluster;
            if !spec.is_answered_by(cluster) {
                self.add(format!("upstreams[{at}].cluster"), format!("no route leads to cluster {cluster}: add one, or remove this"));
            } else if !seen.insert(cluster) {
                self.add(format!("upstreams[{at}].cluster"), format!("cluster {cluster} is named twice: keep one of them"));
            }
            if upstream.announce && upstream.protocol == Protocol::Http2 {
                let text = "a connection of HTTP/2 carries the requests of many clients: remove it, or `protocol: http2`";
                self.add(format!("upstreams[{at}].announce"), text);
            }
        }
    }

    fn limits(&mut self, given: Option<&Limits>) {
        let Some(limits) = given else { return };
        if !(HEAD.0..=HEAD.1).contains(&limits.head) {
            self.add("limits.head", format!("{} for a head: expected {} to {}", limits.head, HEAD.0, HEAD.1));
        }
        if limits.replay > REPLAY_MAX {
            self.add("limits.replay", format!("{} is too much: at most {REPLAY_MAX}", limits.replay));
        }
        let numbers = [
            ("headers", limits.headers, HEADERS_MAX),
            ("connections", limits.connections, CONNECTIONS_MAX),
            ("streams", limits.streams as usize, STREAMS_MAX as usize),
        ];
        for (name, number, most) in numbers.into_iter().filter(|(_, number, most)| !(1..=*most).contains(number)) {
            self.add(format!("limits.{name}"), format!("{number} is not possible: expected 1 to {most}"));
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
