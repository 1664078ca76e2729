//! What a server's things are called on its node. Names of partitions and servers hold no dot, so
//! `PARTITION.SERVER` is one server's and no other's.

use pan_model::{PartitionName, ServerKey, ServerName};

/// The server's identifier on the node: of its container, its folders and its log.
#[must_use]
pub fn id(key: &ServerKey) -> String {
    format!("{}.{}", key.partition, key.name)
}

/// The server an identifier belongs to; `None` if it is none.
#[must_use]
pub fn key_of(id: &str) -> Option<ServerKey> {
    let (partition, name) = id.split_once('.')?;
    Some(ServerKey { partition: PartitionName::new(partition).ok()?, name: ServerName::new(name).ok()? })
}

/// The server's network namespace, as `ip netns` shows it.
#[must_use]
pub fn netns(key: &ServerKey) -> String {
    format!("pan-{}", id(key))
}

/// The server's end of its cable, in its network namespace.
pub(crate) const DEVICE: &str = "eth0";

/// The host's end of the server's cable. Interface names have at most 15 characters, so this is a hash;
/// a keyed-strength one, because tenants choose the names that go into it.
#[must_use]
pub fn port(key: &ServerKey) -> String {
    let hash = blake3::hash(id(key).as_bytes());
    format!("ps{}", &hash.to_hex()[..12])
}

/// The control group of all servers within the host's. Of each there is one beneath it, by its identifier.
pub const CGROUPS: &str = "/panloom";

/// The server's control group within the host's.
#[must_use]
pub fn cgroup(key: &ServerKey) -> String {
    format!("{CGROUPS}/{}", id(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(partition: &str, name: &str) -> ServerKey {
        ServerKey { partition: partition.parse().unwrap(), name: name.parse().unwrap() }
    }

    #[test]
    fn names_fit_and_differ() {
        let (one, other) = (key("a-b", "c-1"), key("a", "b-c-1"));
        assert_ne!(netns(&one), netns(&other));
        assert_ne!(port(&one), port(&other));
        assert_eq!(port(&one).len(), 14);
        assert_eq!(key_of(&id(&one)), Some(one));
        let long = key(&"p".repeat(40), &"s".repeat(63));
        assert!(netns(&long).len() <= 255);
        assert_eq!(key_of("no-dot"), None);
    }
}
