//! What a proxy does now: a document compiled. It never changes; a new document makes another, which takes over what the
//! two have in common: connections counted, requests at servers, sessions.

use super::gate::{Clock, Gate};
use super::tls::{self, Tickets, Tls};
use crate::choice::Chooser;
use crate::edit::Edits;
use crate::route::Table;
use crate::tally::{ServiceCounts, ServiceTally};
use pan_balance::stable_hash;
use pan_model::proxy::{
    BackendSpec, BalanceSpec, ClusterSpec, Forwarding, Misfit, Protocol, ProxyProtocol, ProxySpec, RetrySpec, ServiceSpec,
};
use pan_model::proxy::{Limits, Timeouts};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

/// Why a document is not in force. What was before still is.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// It does not fit together.
    #[error(transparent)]
    Misfit(#[from] Misfit),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
}

/// A service.
#[derive(Debug)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Where requests go.
    pub routes: Table,
    /// Its clusters, by the place that routes name.
    pub gates: Vec<Arc<Gate>>,
    /// Edits of everything.
    pub edits: Edits,
    /// How much.
    pub limits: Limits,
    /// How long.
    pub timeouts: Timeouts,
    /// How often.
    pub retry: RetrySpec,
    /// Whom to believe.
    pub forwarding: Forwarding,
    /// Whether connections begin by saying who the client is.
    pub proxy_protocol: ProxyProtocol,
    /// Certificates.
    pub tls: Option<Tls>,
    /// What is counted.
    pub tally: Arc<ServiceTally>,
}

/// What makes two gates the same: else what it remembers would be of something else.
type GateKey = (String, String, BalanceSpec, Protocol, bool, RetrySpec);

/// All services.
#[derive(Debug)]
pub struct Live {
    services: BTreeMap<SocketAddr, Arc<Service>>,
    gates: Vec<(GateKey, Arc<Gate>)>,
    tickets: Tickets,
}

/// What has to be done once a document is in force.
#[derive(Debug)]
pub struct Pending(Vec<(Arc<Gate>, Vec<BackendSpec>)>);

impl Pending {
    /// Does it.
    pub fn carry_out(self) {
        self.0.iter().for_each(|(gate, servers)| gate.update(servers));
    }
}

impl Live {
    /// Nothing.
    pub fn new(tickets: Tickets) -> Self {
        Self { services: BTreeMap::new(), gates: Vec::new(), tickets }
    }

    /// Compiles a document; changes nothing of what is in force.
    ///
    /// # Errors
    /// The first part that does not fit.
    pub fn compile(&self, spec: &ProxySpec, clock: Clock) -> Result<(Self, Pending), Misfit> {
        let (mut live, mut pending) = (Self::new(self.tickets.clone()), Pending(Vec::new()));
        let mut names = BTreeSet::new();
        for (at, service) in spec.services.iter().enumerate() {
            let place = format!("services[{at}]");
            if !names.insert(&service.name) {
                return Err(Misfit::new(format!("{place}.name"), format!("{:?} is another service's", service.name)));
            }
            let compiled = self.compile_service(service, clock, &mut live, &mut pending).map_err(|misfit| misfit.within(&place))?;
            let compiled = Arc::new(compiled);
            for (at, address) in service.listen.iter().enumerate() {
                if let Some(other) = live.services.insert(*address, Arc::clone(&compiled)) {
                    let reason = format!("{address} is what service {:?} listens on", other.name);
                    return Err(Misfit::new(format!("{place}.listen[{at}]"), reason));
                }
            }
        }
        Ok((live, pending))
    }

    fn compile_service(&self, spec: &ServiceSpec, clock: Clock, live: &mut Self, pending: &mut Pending) -> Result<Service, Misfit> {
        if spec.listen.is_empty() {
            return Err(Misfit::new("listen", "a service listens somewhere"));
        }
        let mut gates = Vec::new();
        for (at, cluster) in spec.clusters.iter().enumerate() {
            let place = format!("clusters[{at}]");
            if spec.clusters[..at].iter().any(|other| other.name == cluster.name) {
                return Err(Misfit::new(format!("{place}.name"), format!("{:?} is another cluster's", cluster.name)));
            }
            if cluster.announce && cluster.protocol == Protocol::Http2 {
                return Err(Misfit::new(format!("{place}.announce"), "a connection of HTTP/2 carries the requests of many clients"));
            }
            distinct(&cluster.servers).map_err(|misfit| misfit.within(&place))?;
            let (key, gate) = self.gate(spec, cluster, clock).map_err(|misfit| misfit.within(format_args!("{place}.balance")))?;
            pending.0.push((Arc::clone(&gate), cluster.servers.clone()));
            live.gates.push((key, Arc::clone(&gate)));
            gates.push(gate);
        }
        let clusters: Vec<&str> = spec.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
        let known = self.services.values().find(|service| service.name == spec.name);
        Ok(Service {
            name: spec.name.clone(),
            routes: Table::compile(&spec.routes, &clusters)?,
            gates,
            edits: Edits::compile(&spec.edits).map_err(|misfit| misfit.within("edits"))?,
            limits: spec.limits,
            timeouts: spec.timeouts,
            retry: spec.retry,
            forwarding: spec.forwarding,
            proxy_protocol: spec.proxy_protocol,
            tls: tls::config(&spec.tls, &self.tickets)?,
            tally: known.map(|service| Arc::clone(&service.tally)).unwrap_or_default(),
        })
    }

    fn gate(&self, spec: &ServiceSpec, cluster: &ClusterSpec, clock: Clock) -> Result<(GateKey, Arc<Gate>), Misfit> {
        let key = (spec.name.clone(), cluster.name.clone(), cluster.balance.clone(), cluster.protocol, cluster.announce, spec.retry);
        if let Some((_, gate)) = self.gates.iter().find(|(known, _)| *known == key) {
            return Ok((key, Arc::clone(gate)));
        }
        let former = self.gates.iter().find(|((service, name, ..), _)| *service == spec.name && *name == cluster.name);
        // The same on every director, and in each of its threads.
        let secret = stable_hash(&[b"affinity", spec.name.as_bytes(), cluster.name.as_bytes()]);
        let chooser = Chooser::new(&spec.name, cluster, spec.retry, secret)?;
        Ok((key, Arc::new(Gate::new(cluster, chooser, clock, former.map(|(_, gate)| &**gate)))))
    }

    /// The service of an address.
    pub fn service(&self, listen: SocketAddr) -> Option<Arc<Service>> {
        self.services.get(&listen).cloned()
    }

    /// A service by its name.
    pub fn named(&self, name: &str) -> Option<Arc<Service>> {
        self.services.values().find(|service| service.name == name).cloned()
    }

    /// Addresses that are listened on.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.services.keys().copied()
    }

    /// Time goes on.
    pub fn tick(&self) {
        self.gates.iter().for_each(|(_, gate)| gate.tick());
    }

    /// What was counted.
    pub fn counts(&self) -> Vec<ServiceCounts> {
        let services: BTreeMap<&str, &Arc<Service>> = self.services.values().map(|service| (service.name.as_str(), service)).collect();
        let counts = |service: &Arc<Service>| {
            let (mut servers, mut waiting) = (Vec::new(), 0);
            for gate in &service.gates {
                let (of_gate, more) = gate.counts();
                servers.extend(of_gate);
                waiting += more;
            }
            service.tally.counts(&service.name, waiting, servers)
        };
        services.into_values().map(counts).collect()
    }
}

fn distinct(servers: &[BackendSpec]) -> Result<(), Misfit> {
    for (at, server) in servers.iter().enumerate() {
        let before = &servers[..at];
        if before.iter().any(|other| other.index == server.index) {
            return Err(Misfit::new(format!("servers[{at}].index"), format!("{} is another server's", server.index)));
        }
        if before.iter().any(|other| other.name == server.name) {
            return Err(Misfit::new(format!("servers[{at}].name"), format!("{:?} is another server's", server.name)));
        }
    }
    Ok(())
}
