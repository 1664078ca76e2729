//! Frames that a host puts on the fabrics for one server, counted on the lab's side of its cables: whatever the host
//! believes of itself, nothing of it reaches anybody uncounted.

use std::io;
use std::process::Command;

use pan_linux::netns::Netns;
use pan_linux::nft;
use pan_linux::rtnl::Mac;
use serde_json::Value;

use crate::address::Net;
use crate::error::LabError;
use crate::lab::Lab;
use crate::name::LabHost;

/// Before the rules that cut links, so that what those drop is counted as well.
const PRIORITY: i32 = -310;

/// A count that goes on until this value is dropped.
#[derive(Debug)]
pub(crate) struct FrameCount {
    lab: Netns,
    table: String,
}

impl FrameCount {
    /// Begins to count what `host` sends over partitions' networks with `mac` as its sender.
    pub(crate) fn begin(lab: &Lab, host: LabHost, mac: Mac) -> Result<Self, LabError> {
        let netns = Netns::open(&lab.name().netns()).map_err(LabError::kernel(step()))?;
        let count = Self { lab: netns, table: format!("pan_frames_{host}") };
        nft::load(Some(&count.lab), &rules(&count.table, host, mac)).map_err(LabError::kernel(step()))?;
        Ok(count)
    }

    /// Frames so far.
    pub(crate) fn read(&self) -> Result<u64, LabError> {
        let asked = self.lab.run(|| Command::new("nft").args(["-j", "list", "counter", "bridge", &self.table, "sent"]).output());
        let output = asked.map_err(LabError::kernel(step()))?.map_err(LabError::kernel(step()))?;
        let said = || String::from_utf8_lossy(if output.status.success() { &output.stdout } else { &output.stderr }).into_owned();
        packets(&output.stdout).ok_or_else(|| LabError::kernel(step())(io::Error::other(said())))
    }
}

impl Drop for FrameCount {
    fn drop(&mut self) {
        // It is gone with the lab at the latest.
        let _ = nft::load(Some(&self.lab), &format!("delete table bridge {}\n", self.table));
    }
}

fn step() -> &'static str {
    "count frames"
}

/// The sender of the frame inside a VXLAN datagram (RFC 7348) comes after 8 bytes of UDP, 8 of VXLAN and the inner receiver.
fn rules(table: &str, host: LabHost, mac: Mac) -> String {
    let ports = Net::FABRICS.map(|net| format!("\"{}\"", host.port_on(net))).join(", ");
    let sender: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "table bridge {table}\n\
         delete table bridge {table}\n\
         table bridge {table} {{\n  counter sent {{ }}\n  chain in {{\n    \
         type filter hook prerouting priority {PRIORITY}; policy accept;\n    \
         iifname {{ {ports} }} ether type ip udp dport 4789 @th,176,48 0x{sender} counter name sent\n  }}\n}}\n"
    )
}

fn packets(json: &[u8]) -> Option<u64> {
    let answer: Value = serde_json::from_slice(json).ok()?;
    answer["nftables"].as_array()?.iter().find_map(|entry| entry["counter"]["packets"].as_u64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_of_one_host_and_one_sender() {
        let rules = rules("t", "n2".parse().unwrap(), [2, 0x70, 10, 0, 0, 11]);
        assert!(
            rules.contains("iifname { \"n2-fa\", \"n2-fb\" } ether type ip udp dport 4789 @th,176,48 0x02700a00000b counter"),
            "{rules}"
        );
    }

    #[test]
    fn the_count_is_found() {
        let answer = br#"{"nftables": [{"metainfo": {"version": "1.0.6"}},
            {"counter": {"family": "bridge", "name": "sent", "table": "t", "handle": 1, "packets": 7, "bytes": 900}}]}"#;
        assert_eq!(packets(answer), Some(7));
        assert_eq!(packets(b"{\"nftables\": []}"), None);
        assert_eq!(packets(b""), None);
    }
}
