//! The controller as it is seen from outside: its own numbers, and what the kernel says its process costs.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pan_api::ApiError;
use pan_api::hostclient::{HostClient, HostOptions};
use pan_api::metrics::{Sample, read};
use pan_api::tls::TlsMaterial;
use pan_linux::netns::Netns;
use pan_model::host_config::CONTROLLER_PORT;
use pan_model::{Code, HostName};
use tokio::runtime::{Builder, Runtime};

use super::super::error::BenchError;
use crate::error::LabError;
use crate::lab::Lab;
use crate::name::LabHost;

/// One controller.
pub(super) struct Watched {
    runtime: Runtime,
    client: Arc<HostClient>,
    net: Netns,
    pid: i32,
}

/// What its process had used when it was looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Used {
    at: Instant,
    cpu: Duration,
    /// Resident, bytes.
    pub(super) memory: u64,
}

impl Used {
    /// Processor time per time since an earlier look, in percent of one core.
    pub(super) fn percent_since(&self, earlier: &Self) -> f64 {
        100.0 * self.cpu.saturating_sub(earlier.cpu).as_secs_f64() / self.at.duration_since(earlier.at).as_secs_f64().max(1e-9)
    }
}

impl Watched {
    /// The controller of a laboratory, asked from `net` with its own certificate: only controllers may ask.
    pub(super) fn of(lab: &Lab, host: LabHost, address: IpAddr, net: &Netns) -> Result<Self, BenchError> {
        let files = lab.data().join("hosts").join(host.to_string()).join("etc/tls");
        let text = |name: &str| {
            let path = files.join(name);
            std::fs::read_to_string(&path).map_err(|error| BenchError::Lab(LabError::file("read", &path)(error)))
        };
        let tls = TlsMaterial { ca_pem: text("ca.pem")?, cert_pem: text("host.pem")?, key_pem: text("host.key")? };
        let tls = tls.client_config().map_err(|error| BenchError::Surprise(error.to_string()))?;
        let name = HostName::new(host.to_string()).map_err(|error| BenchError::Surprise(error.to_string()))?;
        let client = HostClient::new(tls, (address, CONTROLLER_PORT).into(), Some(&name), HostOptions::default());
        let runtime = Builder::new_current_thread().enable_all().build();
        Ok(Self {
            runtime: runtime.map_err(|source| BenchError::System { action: "start a runtime", source })?,
            client: Arc::new(client),
            net: net.try_clone().map_err(LabError::kernel("enter the laboratory's network"))?,
            pid: process(lab, host)?,
        })
    }

    /// Its metrics now.
    pub(super) fn page(&self) -> Result<Vec<Sample>, ApiError> {
        let asked = self.net.run(|| self.runtime.block_on(page(&self.client)));
        asked.unwrap_or_else(|error| Err(ApiError::new(Code::Internal, error.to_string())))
    }

    /// What its process has used so far.
    pub(super) fn used(&self) -> Result<Used, BenchError> {
        let read = |file: &str| {
            std::fs::read_to_string(format!("/proc/{}/{file}", self.pid))
                .map_err(|source| BenchError::System { action: "see what the controller uses; its process is gone", source })
        };
        let at = Instant::now();
        let cpu = cpu(&read("stat")?).ok_or_else(|| BenchError::Surprise("/proc/PID/stat cannot be read".into()))?;
        let memory = memory(&read("status")?).ok_or_else(|| BenchError::Surprise("/proc/PID/status cannot be read".into()))?;
        Ok(Used { at, cpu, memory })
    }
}

async fn page(client: &HostClient) -> Result<Vec<Sample>, ApiError> {
    let mut chunks = client.bytes("/metrics").await?;
    let mut text = Vec::new();
    while let Some(chunk) = chunks.next().await {
        text.extend_from_slice(&chunk?);
    }
    read(&String::from_utf8_lossy(&text)).map_err(|error| ApiError::new(Code::Internal, error))
}

/// The sum over all label values of a metric, or of those with one of them.
pub(super) fn sum(samples: &[Sample], name: &str, label: Option<(&str, &str)>) -> f64 {
    let fits = |sample: &&Sample| label.is_none_or(|(key, value)| sample.labels.get(key).is_some_and(|found| found == value));
    samples.iter().filter(|sample| sample.name == name).filter(fits).map(|sample| sample.number).sum()
}

/// The process of the role, not that which keeps it running.
fn process(lab: &Lab, host: LabHost) -> Result<i32, BenchError> {
    let all = lab.hosts()?.into_iter().find(|view| view.name == host).map(|view| view.pids).unwrap_or_default();
    let is_it = |pid: &i32| {
        let line = std::fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).nth(1) == Some(b"controller")
    };
    all.into_iter().find(is_it).ok_or_else(|| BenchError::Surprise(format!("no process of host {host} is its controller")))
}

/// User and system time of proc_pid_stat(5): fields 14 and 15, counted from behind the name, which may contain anything.
fn cpu(stat: &str) -> Option<Duration> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    // USER_HZ, which is 100 on every architecture that this is built for.
    Some(Duration::from_millis(ticks * 10))
}

/// VmRSS of proc_pid_status(5), in bytes.
fn memory(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_read() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 9 0 0 0 250 17 0 0 20 0 5 0 100 1 1 1";
        assert_eq!(cpu(stat), Some(Duration::from_millis(2670)));
        assert_eq!(cpu("7 (x) S 1"), None);
        assert_eq!(memory("Name:\tpan\nVmRSS:\t   1536 kB\n"), Some(1536 * 1024));
        assert_eq!(memory("Name:\tpan\n"), None);
        let own = std::fs::read_to_string("/proc/self/stat").unwrap();
        assert!(cpu(&own).is_some());
    }
}
