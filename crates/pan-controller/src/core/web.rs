//! Services of layer 7 as directors are told of them.

use super::orders::service_order;
use super::record::ServiceRecord;
use super::world::{ServiceKey, World};
use pan_api::certificate::CertificateFacts;
use pan_api::desired::{WebCluster, WebOrder};
use pan_model::ServiceSpec;
use pan_model::proxy::{BalanceSpec, CertificateSpec, EditSpec, MatchSpec, RetrySpec, RouteSpec};
use pan_model::tls::{Secret, ServiceTls};

/// What a director's proxy needs to know.
pub(super) fn order(world: &World, key: &ServiceKey, record: &ServiceRecord) -> WebOrder {
    let spec = &record.spec;
    let cluster = |name: &pan_model::ClusterName| {
        let servers = world.servers_of(&(key.0.clone(), name.clone()));
        let upstream = spec.upstreams.iter().find(|upstream| upstream.cluster == *name);
        WebCluster {
            name: name.clone(),
            servers: servers.into_iter().map(|server| server.name).collect(),
            protocol: upstream.map(|upstream| upstream.protocol).unwrap_or_default(),
            announce: upstream.is_some_and(|upstream| upstream.announce),
        }
    };
    WebOrder {
        service: service_order(world, key, record),
        routes: routes(spec),
        clusters: spec.clusters().into_iter().map(|(name, _)| cluster(name)).collect(),
        balance: balance(spec),
        retry: retry(spec),
        timeouts: spec.timeouts.unwrap_or_default(),
        tls: certificates(record),
        edits: spec.edits.clone(),
        limits: spec.limits.unwrap_or_default(),
        forwarding: spec.forwarding,
        proxy_protocol: spec.proxy_protocol,
    }
}

fn certificates(record: &ServiceRecord) -> Vec<CertificateSpec> {
    let given = record.spec.tls.iter().flat_map(ServiceTls::all).zip(&record.certificates);
    // None is taken without its key.
    let whole = given.filter_map(|((_, cert, key), facts)| Some((cert, key?, facts)));
    let one = |(cert, key, facts): (&str, &Secret, &CertificateFacts)| CertificateSpec {
        hosts: facts.names.clone(),
        cert: cert.to_owned(),
        key: key.text().to_owned(),
    };
    whole.map(one).collect()
}

/// The routes, and the cluster that has what none of them matches.
fn routes(spec: &ServiceSpec) -> Vec<RouteSpec> {
    let named = spec.routes.iter().map(|one| RouteSpec {
        matches: one.matches.clone(),
        cluster: one.cluster.as_ref().map(ToString::to_string),
        redirect: one.redirect.clone(),
        weight: one.weight,
        edits: one.edits.clone(),
    });
    let rest = spec.cluster.iter().map(|name| RouteSpec {
        matches: MatchSpec::default(),
        cluster: Some(name.to_string()),
        redirect: None,
        weight: 100,
        edits: EditSpec::default(),
    });
    named.chain(rest).collect()
}

fn balance(spec: &ServiceSpec) -> BalanceSpec {
    let given = &spec.balance;
    BalanceSpec {
        policy: Some(given.policy.as_str().to_owned()),
        chain: given.chain.iter().map(|step| step.as_str().to_owned()).collect(),
        key: given.key.clone(),
        sticky: given.sticky.clone(),
        slow_start: given.slow_start,
        limits: given.limits.clone(),
    }
}

fn retry(spec: &ServiceSpec) -> RetrySpec {
    let (usual, given) = (RetrySpec::default(), spec.retry.unwrap_or_default());
    RetrySpec {
        attempts: given.attempts.unwrap_or(usual.attempts),
        budget_percent: given.budget.map_or(usual.budget_percent, |budget| u32::from(budget.0)),
        keyed: given.keyed,
    }
}
