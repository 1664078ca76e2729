//! Simulated hosts: who they are, and how they make themselves known to the real controller, as real ones do. They
//! watch no desired state and report nothing: it is their heartbeats that are measured.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pan_api::ApiError;
use pan_api::hostclient::{HostClient, HostOptions, Timeouts};
use pan_api::keyfile::parse_key;
use pan_api::keys::{AskKeys, Keys};
use pan_api::pki::Authority;
use pan_api::report::{Hello, Offer};
use pan_api::tls::client_config;
use pan_member::frame::Key;
use pan_model::host::Role;
use pan_model::{ByteSize, Code, Cpu, HostName};
use tokio::task::JoinSet;

/// Most hosts: what has an address each in a laboratory.
pub const HOSTS_MAX: u16 = 10_000;

/// Hosts that make themselves known at the same time: a power cut's worth would only queue, at the controller or here.
const AT_ONCE: usize = 16;
/// A controller that admits thousands may take its time for one.
const TIMEOUTS: Timeouts = Timeouts { connect: Duration::from_secs(10), request: Duration::from_secs(60) };

/// One of them.
pub(super) struct Simulated {
    pub(super) name: HostName,
    /// Its own address, and those on the fabrics.
    addresses: [Ipv4Addr; 3],
    /// That of its heartbeats, once the controller gave it: it beats from then on.
    pub(super) key: OnceLock<Key>,
    /// Whether it was silenced.
    pub(super) silent: AtomicBool,
    /// When its last heartbeat was sent, in microseconds since 1970.
    pub(super) last_sent: AtomicI64,
}

/// Makes so many, with names and addresses that no host of a laboratory has. None of them is known yet.
pub(super) fn crowd(count: usize) -> Arc<[Simulated]> {
    let one = |number: usize| {
        let [_, _, c, d] = u32::try_from(number).expect("they are fewer than 2^16").to_be_bytes();
        Simulated {
            name: HostName::new(format!("sim{}", number + 1)).expect("letters and digits"),
            addresses: [200, 201, 202].map(|net| Ipv4Addr::new(10, net, 100 + c, d)),
            key: OnceLock::new(),
            silent: AtomicBool::new(false),
            last_sent: AtomicI64::new(0),
        }
    };
    (0..count).map(one).collect()
}

/// Where they make themselves known, and who vouches for them.
pub(super) struct Door {
    pub(super) controller: (HostName, SocketAddr),
    pub(super) authority: Authority,
}

/// Makes all of them known. `told` hears of each how many are. Ends early when `stop` becomes true.
///
/// # Errors
/// What the controller said to the first one that it refused.
pub(super) async fn register(crowd: &Arc<[Simulated]>, door: Door, told: &AtomicUsize, stop: &AtomicBool) -> Result<(), ApiError> {
    let door = Arc::new(door);
    let mut tasks = JoinSet::new();
    for number in 0..crowd.len() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        if tasks.len() >= AT_ONCE {
            ended(tasks.join_next().await, told)?;
        }
        let (crowd, door) = (crowd.clone(), door.clone());
        tasks.spawn(async move { enter(&crowd[number], &door).await });
    }
    while let Some(result) = tasks.join_next().await {
        ended(Some(result), told)?;
    }
    Ok(())
}

fn ended(result: Option<Result<Result<(), ApiError>, tokio::task::JoinError>>, told: &AtomicUsize) -> Result<(), ApiError> {
    match result {
        Some(Ok(result)) => result?,
        Some(Err(error)) => return Err(ApiError::new(Code::Internal, error.to_string())),
        None => return Ok(()),
    }
    told.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// Hello, then the keys, with a certificate of its own.
async fn enter(host: &Simulated, door: &Door) -> Result<(), ApiError> {
    let failed = |error: String| ApiError::new(Code::Internal, format!("host {}: {error}", host.name));
    let addresses = host.addresses.map(IpAddr::V4);
    let issued = door.authority.issue_host(&host.name, &[Role::Node], &addresses).map_err(|error| failed(error.to_string()))?;
    let tls = client_config(door.authority.cert_pem(), Some((&issued.cert_pem, &issued.key_pem)));
    let tls = tls.map_err(|error| failed(error.to_string()))?;
    let (name, address) = &door.controller;
    let client = HostClient::new(tls, *address, Some(name), HostOptions { bind: None, timeouts: TIMEOUTS });
    let hello = Hello {
        version: pan_api::WIRE_VERSION,
        host: host.name.clone(),
        roles: vec![Role::Node],
        software: env!("CARGO_PKG_VERSION").to_owned(),
        address: addresses[0],
        a: addresses[1],
        b: addresses[2],
        node: Some(Offer { cpu: Cpu(4000), memory: ByteSize(4 << 30), labels: Default::default() }),
        storage: None,
    };
    client.post::<_, ()>("/internal/v1/hello", &hello).await?;
    let ask = AskKeys { version: pan_api::WIRE_VERSION, host: host.name.clone(), have: None, wall: None };
    let keys: Keys = client.post("/internal/v1/keys", &ask).await?;
    let key = keys.own.first().and_then(|digits| parse_key(digits)).ok_or_else(|| failed("it got no key".into()))?;
    // It is asked for once.
    let _ = host.key.set(key);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_anothers_address_or_a_laboratory_hosts() {
        let crowd = crowd(2000);
        let all: std::collections::BTreeSet<_> = crowd.iter().map(|host| host.addresses).collect();
        assert_eq!(all.len(), 2000);
        assert!(crowd.iter().all(|host| host.addresses[0].octets()[2] >= 100));
        assert_eq!((crowd[0].name.as_str(), crowd[1999].name.as_str()), ("sim1", "sim2000"));
    }
}
