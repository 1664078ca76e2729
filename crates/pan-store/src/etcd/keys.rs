//! Keys of the store and keys of etcd: the latter have a prefix in front.

/// The prefix that separates this store from whatever else is kept in the same etcd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Namespace(String);

/// A key under the namespace is not text, so it is not one of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("key {key:?} is not one of this store: expected text that starts with {prefix:?}")]
pub(super) struct ForeignKey {
    key: String,
    prefix: String,
}

impl Namespace {
    pub(super) fn new(prefix: String) -> Self {
        Self(prefix)
    }

    /// The key in etcd.
    pub(super) fn key(&self, key: &str) -> Vec<u8> {
        [self.0.as_bytes(), key.as_bytes()].concat()
    }

    /// The first key that starts with `prefix`, and the first after all of them.
    pub(super) fn range(&self, prefix: &str) -> (Vec<u8>, Vec<u8>) {
        let first = self.key(prefix);
        let end = after_prefix(&first);
        // etcd has no empty key, but takes one zero byte for the first of all keys.
        (if first.is_empty() { vec![0] } else { first }, end)
    }

    /// The key as the store's users know it.
    pub(super) fn strip(&self, key: Vec<u8>) -> Result<String, ForeignKey> {
        let foreign = |key: &[u8]| ForeignKey { key: String::from_utf8_lossy(key).into_owned(), prefix: self.0.clone() };
        let text = String::from_utf8(key).map_err(|error| foreign(error.as_bytes()))?;
        match text.strip_prefix(&self.0) {
            Some(key) => Ok(key.to_owned()),
            None => Err(foreign(text.as_bytes())),
        }
    }
}

/// The end of the range of all keys that start with `prefix`, as etcd wants it: one zero byte for no end.
fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return end;
        }
    }
    vec![0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_ends_after_the_last_key_with_the_prefix() {
        for (prefix, end) in [("a", &b"b"[..]), ("p/", b"p0"), ("", b"\0")] {
            assert_eq!(Namespace::new(String::new()).range(prefix).1, end);
        }
        assert_eq!(after_prefix(&[b'a', 0xff]), b"b");
        assert_eq!(after_prefix(&[0xff, 0xff]), [0]);
        assert_eq!(Namespace::new(String::new()).range("").0, [0]);
        assert_eq!(Namespace::new("x/".to_owned()).range("k"), (b"x/k".to_vec(), b"x/l".to_vec()));
    }

    #[test]
    fn only_own_keys_are_stripped() {
        let namespace = Namespace::new("x/".to_owned());
        assert_eq!(namespace.strip(namespace.key("ü")).unwrap(), "ü");
        let error = namespace.strip(b"y/k".to_vec()).unwrap_err();
        assert_eq!(error.to_string(), r#"key "y/k" is not one of this store: expected text that starts with "x/""#);
        assert!(namespace.strip(vec![b'x', b'/', 0xff]).is_err());
    }
}
