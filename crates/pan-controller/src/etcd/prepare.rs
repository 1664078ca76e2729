//! Before etcd is started: what it was is found out, noted, and replaced if it was lost.

use super::note::{self, Note, Step};
use super::{Cluster, EtcdError, arguments, own, urls};
use pan_api::tls::LiveTls;
use pan_member::Profile;
use pan_model::host_config::{ETCD_CLIENT_PORT, ETCD_PEER_PORT, EtcdConfig};
use pan_store::{ReplaceError, Replacement, replace};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// Pause before the others are asked again to replace this member: they wait for each other for five seconds.
const AGAIN: Duration = Duration::from_secs(1);
/// How often is told what it waits for.
const TOLD: Duration = Duration::from_secs(30);
/// How often is looked whether etcd has got its data.
const LOOK: Duration = Duration::from_millis(20);

/// Everything is in order to start etcd.
#[derive(Debug)]
pub struct Prepared {
    /// With these arguments.
    pub arguments: Vec<OsString>,
    /// It is its first start: [`etcd_witness`] has to see that it has an identity from then on.
    pub is_first: bool,
}

/// Finds out what this member was. If it lost its data, waits until the others put a new member in its place.
///
/// # Errors
/// [`EtcdError`]: the configuration contradicts itself, or nothing can be known or noted.
pub async fn etcd_prepare(config: &EtcdConfig) -> Result<Prepared, EtcdError> {
    let (data, path) = (&config.data_dir, note::path(&config.data_dir));
    let has_data = note::has_data(data).map_err(failed("look into", data))?;
    let found = note::read(&path).map_err(failed("read", &path))?;
    let step = note::decide(has_data, found);
    let noted = match step {
        Step::Resume | Step::Replace => Note::Member,
        Step::First => Note::Began,
    };
    if noted != found {
        note::write(&path, noted).map_err(failed("write", &path))?;
    }
    let cluster = match step {
        Step::Resume | Step::First => Cluster::Configured,
        Step::Replace => {
            set_aside(data).map_err(failed("set aside what is left in", data))?;
            Cluster::Joined(replaced(config).await?)
        }
    };
    Ok(Prepared { arguments: arguments(config, &cluster)?, is_first: step == Step::First })
}

/// Watches the process `etcd` from beside it until it has data, and notes that from then on it is a member. Returns when it is noted
/// or the process is gone.
///
/// # Errors
/// [`EtcdError`]: it cannot be noted.
pub fn etcd_witness(config: &EtcdConfig, etcd: u32) -> Result<(), EtcdError> {
    let (data, path) = (&config.data_dir, note::path(&config.data_dir));
    loop {
        let lives = std::os::unix::process::parent_id() == etcd;
        if note::has_data(data).map_err(failed("look into", data))? {
            return note::write(&path, Note::Member).map_err(failed("write", &path));
        }
        if !lives {
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> EtcdError {
    move |source| EtcdError::State { action, path: path.to_owned(), source }
}

/// A database without a log is not to be taken for the new member's.
fn set_aside(data: &Path) -> io::Result<()> {
    let (left, aside) = (data.join("member"), data.join("member.lost"));
    if !left.try_exists()? {
        return Ok(());
    }
    match fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => fs::rename(left, aside),
    }
}

async fn replaced(config: &EtcdConfig) -> Result<Vec<Vec<String>>, EtcdError> {
    let others = config.members.iter().filter(|member| member.name != config.name);
    // Valid, as they are made of addresses.
    let others = others.flat_map(|member| urls(member, ETCD_CLIENT_PORT)).filter_map(|url| url.parse().ok()).collect();
    let replacement = Replacement {
        others,
        tls: LiveTls::open(&config.tls)?.client_config()?,
        timing: match config.profile.parse()? {
            Profile::Lan => pan_store::Timing::LAN,
            Profile::Shared => pan_store::Timing::SHARED,
            Profile::Wan => pan_store::Timing::WAN,
        },
        peer_urls: urls(own(config)?, ETCD_PEER_PORT),
    };
    let mut told: Option<Instant> = None;
    loop {
        let error = match replace(&replacement).await {
            Ok(members) => {
                tracing::warn!("this member of etcd lost its data: a new one is in its place and copies from the others");
                return Ok(members);
            }
            Err(error @ ReplaceError::Alone) => return Err(error.into()),
            Err(error) => error,
        };
        if told.is_none_or(|told| told.elapsed() >= TOLD) {
            told = Some(Instant::now());
            let cause = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
            let data = config.data_dir.display();
            tracing::error!(
                "this member of etcd has lost its data ({data}) and does not vote; it is replaced by a new one as soon as a majority \
                 of the members runs without it. Start the others, or bring back its data and start it again. Now: {error}{cause}"
            );
        }
        tokio::time::sleep(AGAIN).await;
    }
}
