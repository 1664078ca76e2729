//! From a host's configuration to a running controller: the loop, the ear, the interface, the link to its peers.

use crate::core::age::Limit;
use crate::core::persist;
use crate::core::world::{Settings, World};
use crate::ear::{self, Asker, Ear, Setup};
use crate::handle::{Handle, Message, View};
use crate::metrics::Metrics;
use crate::owner::{Inbox, Links, Owner, chain};
use crate::sure::{self, Sure};
use arc_swap::ArcSwap;
use pan_api::hostlink::HostLink;
use pan_api::keyfile::read_key;
use pan_api::report::Hello;
use pan_api::tls::LiveTls;
use pan_linux::datagram::Waker;
use pan_member::{BootId, Nonce, Profile, Timing};
use pan_model::HostName;
use pan_model::host::Role;
use pan_model::host_config::{ControllerConfig, HostConfig, Pool, StoreConfig};
use pan_store::{AnyStore, ConnectError, Embedded, Etcd, EtcdOptions};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Messages waiting: hosts and callers are held back beyond it.
const INBOX_MAX: usize = 4096;
/// What the ear has told and the loop not taken: more waits with the ear, which keeps the newest of it.
const HEARD_MAX: usize = 16;
/// Under which all keys lie in etcd, which others may use as well.
const STORE_PREFIX: &str = "panloom/";
/// MTU of a fabric less the encapsulation (VXLAN over IPv6).
const MTU: u32 = 1500 - 70;

/// Why a controller cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration lacks something or contradicts itself.
    #[error("configuration of host {host}: {message}")]
    Config {
        /// The host.
        host: HostName,
        /// What is wrong.
        message: String,
    },
    /// The key of heartbeats cannot be used.
    #[error("the PAN's key")]
    Key(#[from] pan_api::keyfile::KeyFileError),
    /// The store cannot be opened.
    #[error("the store cannot be opened")]
    Open(#[from] pan_store::OpenError),
    /// The store cannot be read.
    #[error("the store cannot be read")]
    Read(#[from] pan_store::ReadError),
    /// A record cannot be used.
    #[error(transparent)]
    Load(#[from] persist::LoadError),
    /// The API cannot be served.
    #[error("the API cannot be served: {0}")]
    Serve(String),
    /// Heartbeats cannot be received.
    #[error("heartbeats cannot be received: {0}")]
    Deaf(String),
}

fn settings(host: &HostConfig, config: &ControllerConfig) -> Settings {
    let ranges = |pools: &[Pool]| pools.iter().map(|pool| (pool.first, pool.last)).collect();
    Settings {
        outside: config.outside.clone(),
        pools: ranges(&config.pools),
        reserved: ranges(&config.reserved),
        host_image_allowed: config.host_image_allowed,
        layer7: config.layer7,
        egress: config.egress,
        reach: config.reach.as_ref().map(|reach| (reach.from, reach.to)),
        mtu: MTU,
        lessors: host.lessors.iter().map(|lessor| lessor.name.clone()).collect(),
    }
}

/// Runs the controller until it fails.
///
/// # Errors
/// [`RunError`].
pub async fn run(config: HostConfig) -> Result<(), RunError> {
    let wrong = |message: String| RunError::Config { host: config.name.clone(), message };
    let part = config.controller.clone().ok_or_else(|| wrong("it has the role controller but no part `controller`".into()))?;
    let root = read_key(&part.root_key)?;
    let store = Arc::new(open_store(&config, &part).await?);
    let random = || getrandom::u64().map_err(|error| wrong(format!("random numbers: {error}")));
    let instance = random()?;
    let (inbox, asked) = mpsc::channel(INBOX_MAX);
    let (tell, heard) = mpsc::channel(HEARD_MAX);
    let (orders, ordered) = std::sync::mpsc::channel();
    let (record, record_asked) = Asker::new();
    let waker = Waker::new().map_err(|error| wrong(format!("eventfd: {error}")))?;
    let ear = Ear { orders, waker: waker.clone(), protected: Arc::new(AtomicUsize::new(1)) };
    let (changed, changes) = watch::channel(0);
    // The times of the store are the same for every size of PAN.
    let sure = Sure::new(Limit::of(&timing(&config, 1)?, config.controllers.len()));
    let handle = handle(inbox, changes, sure.clone(), &config);
    let world = World::new(settings(&config, &part));
    let links = Links {
        store: store.clone(),
        ear: ear.clone(),
        inbox: Inbox { heard, asked, kept: VecDeque::new() },
        record_asker: record.clone(),
        handle: handle.clone(),
        changed,
    };
    let mut owner = Owner::new(config.name.clone(), instance, world, links, crate::seal::Sealer::new(root));
    owner.reload().await?;
    // Whoever asks before the first round must not be told that there is nothing.
    owner.publish();
    let timing = timing(&config, owner.world.hosts.len())?;
    let fabrics = [config.fabrics.a.address.addr(), config.fabrics.b.address.addr()];
    let setup = Setup {
        me: config.name.clone(),
        instance: BootId(instance),
        nonces: [Nonce(random()?), Nonce(random()?)],
        timing,
        fabrics,
        root,
        controllers: config.controllers.clone(),
        lessors: config.lessors.clone(),
        protected: ear.protected.clone(),
        waker,
        orders: ordered,
        metrics: handle.metrics.clone(),
        inbox: tell,
        record,
    };
    tokio::spawn(sure::keep(store.clone(), sure, timing));
    tokio::spawn(crate::members::keep(store.clone(), handle.clone()));
    let reading = tokio::spawn(ear::read(store, ear.clone(), record_asked));
    let hearing = tokio::task::spawn_blocking(move || ear::run(setup));
    let listeners = pan_linux::listen::inherited();
    let (served, front) = (handle.clone(), config.clone());
    let server = tokio::spawn(async move { crate::server::serve(served, &front, listeners).await });
    // A controller is a host like the others: it presents itself to whoever leads.
    let link = HostLink::start(&config, Role::Controller, Hello::of(&config)).await.map_err(|error| wrong(error.to_string()))?;
    tokio::spawn(crate::neighbours::watch(link.desired.clone(), config.clone(), handle.metrics.clone()));
    if !config.roles.iter().any(|role| matches!(role, Role::Node | Role::Director)) {
        tokio::spawn(crate::routes::keep(link.desired.clone(), config.clone()));
    }
    tokio::select! {
        ended = owner.work() => ended,
        ended = reading => Err(unread(ended)),
        ended = server => Err(RunError::Serve(why(ended))),
        ended = hearing => Err(RunError::Deaf(why(ended))),
    }
}

/// Why a part that goes on for ever has ended, in words.
fn why<E: std::error::Error + 'static>(ended: Result<Result<(), E>, tokio::task::JoinError>) -> String {
    match ended {
        Ok(Ok(())) => "that part of the controller has ended, which is a fault of the program".to_owned(),
        Ok(Err(error)) => chain(&error),
        Err(error) => format!("that part of the controller was lost, which is a fault of the program: {error}"),
    }
}

/// The record is read for as long as there is an ear.
fn unread(ended: Result<Result<(), persist::LoadError>, tokio::task::JoinError>) -> RunError {
    match ended {
        Ok(Err(error)) => error.into(),
        Ok(Ok(())) | Err(_) => RunError::Serve(format!("the leader's record is read no more: {}", why(ended))),
    }
}

/// Pause before etcd is called again that does not answer yet.
const AGAIN: Duration = Duration::from_millis(100);

async fn open_store(config: &HostConfig, part: &ControllerConfig) -> Result<AnyStore, RunError> {
    let wrong = |message: String| RunError::Config { host: config.name.clone(), message };
    let StoreConfig::Etcd { endpoints } = &part.store else {
        let directory = config.state_dir.join("controller");
        std::fs::create_dir_all(&directory).map_err(|error| wrong(format!("{}: {error}", directory.display())))?;
        return Ok(AnyStore::Embedded(Embedded::open(&directory.join("store.redb"))?));
    };
    let endpoints = endpoints.iter().map(|text| text.parse()).collect::<Result<Vec<pan_store::Endpoint>, _>>();
    let endpoints = endpoints.map_err(|error| wrong(error.to_string()))?;
    let tls = LiveTls::open(&config.tls).and_then(|tls| tls.client_config()).map_err(|error| wrong(error.to_string()))?;
    let timing = match profile(config)? {
        Profile::Lan => pan_store::Timing::LAN,
        Profile::Shared => pan_store::Timing::SHARED,
        Profile::Wan => pan_store::Timing::WAN,
    };
    loop {
        let options = EtcdOptions { endpoints: endpoints.clone(), tls: tls.clone(), prefix: STORE_PREFIX.into(), timing };
        match Etcd::connect(options).await {
            Ok(store) => return Ok(AnyStore::Etcd(store)),
            Err(ConnectError::Unreachable { .. }) => {
                tracing::info!("etcd does not answer yet");
                tokio::time::sleep(AGAIN).await;
            }
            Err(error) => return Err(wrong(format!("etcd: {error}"))),
        }
    }
}

fn handle(inbox: mpsc::Sender<Message>, changes: watch::Receiver<u64>, sure: Sure, config: &HostConfig) -> Handle {
    let view = Arc::new(ArcSwap::from_pointee(View::default()));
    Handle {
        view,
        changes,
        inbox,
        desires: Arc::default(),
        metrics: Arc::new(Metrics::default()),
        store_lost: Arc::default(),
        members: Arc::default(),
        sure,
        run_dir: config.run_dir.as_path().into(),
    }
}

fn profile(config: &HostConfig) -> Result<Profile, RunError> {
    let unknown = |error: pan_member::profile::UnknownProfile| RunError::Config { host: config.name.clone(), message: error.to_string() };
    config.profile.parse().map_err(unknown)
}

fn timing(config: &HostConfig, hosts: usize) -> Result<Timing, RunError> {
    let wrong = |message: String| RunError::Config { host: config.name.clone(), message };
    let timing = profile(config)?.timing(hosts);
    timing.check().map_err(|error| wrong(error.to_string()))?;
    Ok(timing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pan_store::{Pace, Timing as StoreTiming};

    /// A leader whose call was lost with etcd's leader waits for the next one before it gives up.
    #[test]
    fn a_leader_bears_with_an_election_of_etcd() {
        let all = [
            (Profile::Lan, StoreTiming::LAN, Pace::LAN),
            (Profile::Shared, StoreTiming::SHARED, Pace::SHARED),
            (Profile::Wan, StoreTiming::WAN, Pace::WAN),
        ];
        for (profile, store, pace) in all {
            assert!(profile.timing(7).store_silence > pace.election * 2 + store.attempt, "{profile}");
        }
    }
}
