//! Signs the rights to write volumes, on their way to the hosts that have them. The decisions know no keys: they leave the place
//! of the capability empty.

use pan_api::capability::{Capability, Mode, SigningKey};
use pan_api::desired::Desired;
use pan_api::keyfile::hex;
use pan_api::volume::Claim;
use pan_model::{HostName, Lineage, Session, VolumeEpoch, VolumeId};
use std::collections::BTreeMap;

/// Signs for one host after the other, and remembers what it signed: desired states are made anew all the time, and a thousand
/// signatures take 20 ms.
pub(crate) struct Sealer {
    root: [u8; 32],
    period: u64,
    key: SigningKey,
    kept: BTreeMap<(HostName, VolumeId), Sealed>,
}

/// What was signed, and the outcome.
struct Sealed {
    right: (Lineage, VolumeEpoch, Session),
    capability: String,
    /// Since the last sweep.
    used: bool,
}

impl Sealer {
    pub fn new(root: [u8; 32]) -> Self {
        Self { root, period: 0, key: SigningKey::of_period(&root, 0), kept: BTreeMap::new() }
    }

    /// Signs with the key of another period from now on.
    pub fn turn(&mut self, period: u64) {
        if self.period != period {
            *self = Self { root: self.root, period, key: SigningKey::of_period(&self.root, period), kept: BTreeMap::new() };
        }
    }

    /// Completes what one host is told.
    pub fn complete(&mut self, desired: &mut Desired) {
        let host = desired.host.clone();
        let volumes = desired.servers.iter_mut().flat_map(|server| &mut server.volumes);
        for (volume, claim) in volumes.filter_map(|order| Some((order.volume, order.claim.as_mut()?))) {
            self.seal(&host, volume, claim);
        }
    }

    /// Puts the capability of its writer into a claim.
    pub fn seal(&mut self, host: &HostName, volume: VolumeId, claim: &mut Claim) {
        let record = &claim.record;
        let right = (record.lineage, record.epoch, record.session);
        let at = (host.clone(), volume);
        if self.kept.get(&at).is_none_or(|kept| kept.right != right) {
            let (lineage, epoch, session) = right;
            let capability = Capability { volume, lineage, epoch, session, mode: Mode::Write, host: host.clone() };
            self.kept.insert(at.clone(), Sealed { right, capability: hex(&self.key.seal(&capability)), used: true });
        }
        if let Some(kept) = self.kept.get_mut(&at) {
            kept.used = true;
            claim.capability.clone_from(&kept.capability);
        }
    }

    /// Forgets what was not asked for since the last time.
    pub fn sweep(&mut self) {
        self.kept.retain(|_, kept| std::mem::take(&mut kept.used));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pan_api::capability::CapabilityKeys;
    use pan_api::keyfile::parse_key;
    use pan_model::mirror::Record;
    use std::collections::{BTreeMap, BTreeSet};

    const ROOT: [u8; 32] = [3; 32];

    fn claim(epoch: u64) -> Claim {
        let record = Record {
            lineage: Lineage(1),
            adopts: None,
            epoch: VolumeEpoch(epoch),
            session: Session(epoch + 10),
            in_sync: BTreeSet::new(),
            out: BTreeMap::new(),
            had: [].into(),
            changes: 1,
        };
        Claim { record, members: Vec::new(), capability: String::new(), snapshots: Vec::new() }
    }

    fn bytes(digits: &str) -> Vec<u8> {
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn a_claim_is_sealed_for_its_writer_on_its_host() {
        let (host, other): (HostName, HostName) = ("n1".parse().unwrap(), "n2".parse().unwrap());
        let mut sealer = Sealer::new(ROOT);
        sealer.turn(4);
        let keys = CapabilityKeys::new(vec![parse_key(&SigningKey::of_period(&ROOT, 4).public()).unwrap()]);
        for epoch in [1, 1, 2] {
            let mut sealed = claim(epoch);
            sealer.seal(&host, VolumeId(7), &mut sealed);
            let opened = keys.open(&bytes(&sealed.capability), &host).unwrap();
            assert_eq!((opened.volume, opened.epoch, opened.session), (VolumeId(7), VolumeEpoch(epoch), Session(epoch + 10)));
            assert!(keys.open(&bytes(&sealed.capability), &other).is_err());
        }
        let mut later = claim(2);
        sealer.turn(5);
        sealer.seal(&host, VolumeId(7), &mut later);
        assert!(keys.open(&bytes(&later.capability), &host).is_err(), "signed with the next period's key");
        assert_eq!(sealer.kept.len(), 1);
        sealer.sweep();
        sealer.sweep();
        assert!(sealer.kept.is_empty());
    }
}
