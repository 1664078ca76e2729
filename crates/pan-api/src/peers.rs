//! The other hosts of a desired state. A controller of thousands tells each of them of all others: it keeps one list, and
//! each host's desired state is that list without the host itself.

use crate::desired::Peer;
use pan_model::HostName;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::sync::Arc;

/// A list of hosts, without one of them.
#[derive(Clone, Default)]
pub struct Peers {
    all: Arc<Vec<Peer>>,
    /// Who is left out.
    but: Option<HostName>,
}

impl Peers {
    /// Those of a shared list but for one.
    #[must_use]
    pub fn shared(all: Arc<Vec<Peer>>, but: HostName) -> Self {
        Self { all, but: Some(but) }
    }

    /// The peers.
    pub fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.all.iter().filter(|peer| self.but.as_ref() != Some(&peer.host))
    }
}

impl From<Vec<Peer>> for Peers {
    fn from(all: Vec<Peer>) -> Self {
        Self { all: Arc::new(all), but: None }
    }
}

impl PartialEq for Peers {
    fn eq(&self, other: &Self) -> bool {
        (Arc::ptr_eq(&self.all, &other.all) && self.but == other.but) || self.iter().eq(other.iter())
    }
}

impl Eq for Peers {}

impl fmt::Debug for Peers {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.iter()).finish()
    }
}

impl Serialize for Peers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Peers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(name: &str) -> Peer {
        Peer { host: name.parse().unwrap(), address: "10.200.0.1".parse().unwrap(), a: None, b: None }
    }

    #[test]
    fn a_shared_list_without_one_is_what_the_others_are() {
        let all = Arc::new(vec![peer("n1"), peer("n2"), peer("n3")]);
        let of = |name: &str| Peers::shared(all.clone(), name.parse().unwrap());
        let plain = Peers::from(vec![peer("n1"), peer("n3")]);
        assert_eq!(of("n2"), plain);
        assert_ne!(of("n1"), plain);
        let text = serde_json::to_string(&of("n2")).unwrap();
        assert_eq!(text, serde_json::to_string(&vec![peer("n1"), peer("n3")]).unwrap());
        assert_eq!(serde_json::from_str::<Peers>(&text).unwrap(), plain);
        assert_eq!(format!("{:?}", of("n2")), format!("{plain:?}"));
    }
}
