//! Pages of figures that hosts of a laboratory show over HTTPS, read as a collector on one of these hosts would: in its
//! network and with its certificate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pan_api::ApiError;
use pan_api::hostclient::{HostClient, HostOptions, Timeouts, TlsMaterial};
use pan_linux::netns::Netns;
use pan_model::host_config::TlsFiles;
use pan_model::{Code, HostName};
use tokio::runtime::Builder;

use crate::config;
use crate::lab::Lab;
use crate::name::LabHost;

/// For a page of a host on the same machine; a busy one takes its time, and whoever asks asks again.
const TIMEOUTS: Timeouts = Timeouts { connect: Duration::from_secs(1), request: Duration::from_secs(2) };
/// A page of etcd's has 150 kB.
const BYTES_MAX: usize = 4 << 20;

/// Where a page is shown.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Whose page.
    pub(super) address: SocketAddr,
    /// The name in its certificate; its address where it has none.
    pub(super) peer: Option<HostName>,
}

/// Reads `/metrics` at a place from a host.
///
/// # Errors
/// What it met instead, in words.
pub(super) fn read(lab: &Lab, from: LabHost, place: &Place) -> Result<String, String> {
    let tls = config::home(lab.data(), from).join("etc").join("tls");
    let files = TlsFiles { ca: tls.join("ca.pem"), cert: tls.join("host.pem"), key: tls.join("host.key") };
    let material = TlsMaterial::read(&files).and_then(|material| material.client_config());
    let settings = material.map_err(|error| error.to_string())?;
    let options = HostOptions { bind: None, timeouts: TIMEOUTS };
    let netns = Netns::open(&lab.name().host_netns(from)).map_err(|error| error.to_string())?;
    // On a thread of its own in there: a socket belongs to the network it was made in.
    let asked = netns.run(move || {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
        let client = HostClient::new(Arc::clone(&settings), place.address, place.peer.as_ref(), options);
        runtime.block_on(text(&client)).map_err(|error| error.message)
    });
    asked.map_err(|error| error.to_string())?
}

async fn text(client: &HostClient) -> Result<String, ApiError> {
    let whole = async {
        let mut chunks = client.bytes("/metrics").await?;
        let mut page = Vec::new();
        while let Some(bytes) = chunks.next().await {
            page.extend_from_slice(&bytes?);
            if page.len() > BYTES_MAX {
                return Err(ApiError::new(Code::Internal, "the page does not end"));
            }
        }
        Ok(String::from_utf8_lossy(&page).into_owned())
    };
    let late = || ApiError::new(Code::HostUnreachable, "the page did not come in time");
    tokio::time::timeout(TIMEOUTS.connect + TIMEOUTS.request, whole).await.unwrap_or_else(|_| Err(late()))
}

/// The sum of a family's samples, whatever their labels; none if the page does not have it. It reads pages of any program in
/// Prometheus' text format, of which ours are stricter than most.
pub(super) fn sum(page: &str, family: &str) -> Option<f64> {
    let of_it = |line: &&str| line.strip_prefix(family).is_some_and(|rest| rest.starts_with([' ', '{']));
    page.lines().filter(of_it).filter_map(|line| line.rsplit_once(' ')?.1.parse().ok()).reduce(|all: f64, one: f64| all + one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_summed_and_not_mixed_up() {
        let page = "# HELP etcd_server_is_leader Whether or not this member is a leader. 1 if is, 0 otherwise.\n\
            # TYPE etcd_server_is_leader gauge\netcd_server_is_leader 1\netcd_server_is_learner 0\n\
            dropped_total{reason=\"a b\"} 3\ndropped_total{reason=\"c\"} 4\ndropped_total_of_all 9\nbytes 1.5e+06\n";
        assert_eq!(sum(page, "etcd_server_is_leader"), Some(1.0));
        assert_eq!(sum(page, "etcd_server_is_learner"), Some(0.0));
        assert_eq!(sum(page, "dropped_total"), Some(7.0));
        assert_eq!(sum(page, "bytes"), Some(1_500_000.0));
        assert_eq!(sum(page, "etcd_server"), None);
    }
}
