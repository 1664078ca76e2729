//! Where a server's root file system comes from, and the names of images.
//!
//! Grammar of names, tags and digests: the OCI distribution specification 1.1, "Pulling manifests"
//! (<https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md>).

use crate::registry::split_host;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// Longest name of a repository, with its registry: what registries agree on.
const NAME_MAX: usize = 255;
/// Longest tag, by the specification.
const TAG_MAX: usize = 128;
/// Longest path of a layout; far below what the kernel takes.
const PATH_MAX: usize = 1024;
/// SHA-256 in hexadecimal digits.
const HEX: usize = 64;

/// Where a server's root file system comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Image {
    /// The node's own root, read-only.
    Host,
    /// A directory on every node, read-only.
    Dir(String),
    /// An image of a registry.
    Oci(Reference),
    /// An image of an OCI layout below the folder that the node's configuration names.
    Layout(Layout),
}

/// An image of a registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// `HOST` or `HOST:PORT`.
    pub registry: String,
    /// The repository, such as `shop/web`.
    pub name: String,
    /// Which of its images.
    pub version: Version,
}

/// An image of an OCI layout: a folder or a tar archive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Layout {
    /// Absolute, or relative to the folder of layouts; without `..`.
    pub path: String,
    /// Which of its images; without, it must have only one.
    pub version: Option<Version>,
}

/// Which image of a repository or layout.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Whatever has this tag when it is looked up.
    Tag(String),
    /// This one and no other.
    Digest(Digest),
}

/// SHA-256 of what something consists of.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest(String);

impl Digest {
    /// Of a hash.
    #[must_use]
    pub fn of(hash: &[u8; 32]) -> Self {
        Self(hash.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Its 64 hexadecimal digits.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.0
    }
}

impl FromStr for Digest {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("sha256:") {
            Some(hex) if hex.len() == HEX && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) => Ok(Self(hex.to_owned())),
            _ => Err(format!("{} is not a digest: expected sha256: and 64 digits of 0-9 and a-f", quoted(text))),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Reference {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            format!("{} is not an image of a registry: {why}; expected REGISTRY/NAME:TAG or REGISTRY/NAME@sha256:…", quoted(text))
        };
        let (registry, rest) = text.split_once('/').ok_or_else(|| wrong("it names no registry"))?;
        if !is_registry(registry) {
            return Err(wrong("it does not begin with a registry's host name or address, such as registry.example or 192.0.2.1:5000"));
        }
        let (name, version) = versioned(rest)?;
        if registry.len() + name.len() > NAME_MAX {
            return Err(wrong("its name is too long"));
        }
        if !name.split('/').all(is_name) {
            return Err(wrong("its name must be of lower case letters, digits and single '.', '_' or '-' between them"));
        }
        let version = version.unwrap_or_else(|| Version::Tag("latest".into()));
        Ok(Self { registry: registry.to_owned(), name: name.to_owned(), version })
    }
}

impl FromStr for Layout {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (path, version) = versioned(text)?;
        let plain = !path.is_empty() && path.len() <= PATH_MAX && !path.bytes().any(|byte| byte < b' ' || byte == 0x7f);
        if !plain || path.split('/').any(|part| part == "..") {
            return Err(format!(
                "{} is not the path of an OCI layout: expected PATH, PATH:TAG or PATH@sha256:… without '..'",
                quoted(text)
            ));
        }
        Ok(Self { path: path.to_owned(), version })
    }
}

/// What is before a tag or digest, and that.
fn versioned(text: &str) -> Result<(&str, Option<Version>), String> {
    if let Some((before, digest)) = text.split_once('@') {
        // A tag beside a digest says nothing more.
        let (name, _) = tagged(before)?;
        return Ok((name, Some(Version::Digest(digest.parse()?))));
    }
    let (name, tag) = tagged(text)?;
    Ok((name, tag.map(Version::Tag)))
}

fn tagged(text: &str) -> Result<(&str, Option<String>), String> {
    let Some((name, tag)) = text.rsplit_once(':') else { return Ok((text, None)) };
    let first = tag.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let rest = tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if !first || !rest || tag.len() > TAG_MAX {
        return Err(format!("{} is not a tag: expected at most {TAG_MAX} letters, digits, '_', '.' or '-'", quoted(tag)));
    }
    Ok((name, Some(tag.to_owned())))
}

/// A host's name or address with or without a port. One word alone would be a part of a name: registries have a dot, a port, or are
/// `localhost`.
fn is_registry(text: &str) -> bool {
    let (host, port) = split_host(text);
    let is_v6 = text.starts_with('[');
    let letters = |label: &str| label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let label = |label: &str| !label.is_empty() && letters(label) && !label.starts_with('-');
    let host_fits = if is_v6 {
        host.parse::<Ipv6Addr>().is_ok() && (port.is_some() || text.ends_with(']'))
    } else {
        host.split('.').all(label) && (port.is_some() || host.contains('.') || host == "localhost")
    };
    host_fits && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

fn is_name(part: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = |byte: Option<u8>| byte.is_some_and(alphanumeric);
    let known = part.bytes().all(|byte| alphanumeric(byte) || matches!(byte, b'.' | b'_' | b'-'));
    let pairs = part
        .as_bytes()
        .windows(2)
        .all(|pair| !matches!(pair, [b'.', b'.' | b'_' | b'-'] | [b'_' | b'-', b'.'] | [b'_', b'-'] | [b'-', b'_']));
    known && pairs && !part.contains("___") && ends(part.bytes().next()) && ends(part.bytes().last())
}

/// A text as it was given, not at any length.
fn quoted(text: &str) -> String {
    format!("{:?}", text.chars().take(NAME_MAX).collect::<String>())
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => write!(f, ":{tag}"),
            Self::Digest(digest) => write!(f, "@{digest}"),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.registry, self.name, self.version)
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        self.version.iter().try_for_each(|version| fmt::Display::fmt(version, f))
    }
}

impl Image {
    /// Whether the image says itself what its program is, where the cluster does not.
    #[must_use]
    pub const fn has_command(&self) -> bool {
        match self {
            Self::Oci(_) | Self::Layout(_) => true,
            Self::Host | Self::Dir(_) => false,
        }
    }
}

impl FromStr for Image {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "host" => Ok(Self::Host),
            Some(("dir", path)) if path.starts_with('/') && !path.split('/').any(|part| part == "..") => Ok(Self::Dir(path.to_owned())),
            Some(("dir", path)) => Err(format!("image dir:{path}: expected an absolute path without '..'")),
            Some(("oci", reference)) => Ok(Self::Oci(reference.parse()?)),
            Some(("oci-layout", layout)) => Ok(Self::Layout(layout.parse()?)),
            // As other tools write it.
            _ if text.split_once('/').is_some_and(|(registry, _)| is_registry(registry)) => Ok(Self::Oci(text.parse()?)),
            _ => Err(format!("{} is not an image: expected host, dir:/PATH, oci:REGISTRY/NAME:TAG or oci-layout:PATH", quoted(text))),
        }
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Dir(path) => write!(f, "dir:{path}"),
            Self::Oci(reference) => write!(f, "oci:{reference}"),
            Self::Layout(layout) => write!(f, "oci-layout:{layout}"),
        }
    }
}

impl Serialize for Image {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Image {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Image {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Image".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "host, dir:/PATH, oci:REGISTRY/NAME:TAG, oci:REGISTRY/NAME@sha256:…, or oci-layout:PATH with :TAG or @sha256:… if it holds several"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(text: &str, shown: &str) {
        assert_eq!(text.parse::<Image>().map(|image| image.to_string()).as_deref(), Ok(shown), "{text}");
        assert_eq!(shown.parse::<Image>(), text.parse(), "{shown}");
    }

    fn refused(text: &str, words: &str) {
        let error = text.parse::<Image>().expect_err(text);
        assert!(error.contains(words), "{text}: {error}");
    }

    #[test]
    fn images_are_read_as_they_are_written() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for text in
            ["host", "dir:/srv/x", "oci:r.example/a/b-c__d.e:v1.0", "oci:127.0.0.1:5000/x:1", "oci:[::1]:5000/x:1", "oci:localhost/x:y"]
        {
            same(text, text);
        }
        same("127.0.0.1:5000/x:1", "oci:127.0.0.1:5000/x:1");
        same("r.example/x", "oci:r.example/x:latest");
        same(&format!("oci:r.example/x:v1@{digest}"), &format!("oci:r.example/x@{digest}"));
        for text in ["oci-layout:/srv/web.tar", "oci-layout:shop/web:v1", &format!("oci-layout:web@{digest}")] {
            same(text, text);
        }
    }

    #[test]
    fn other_texts_are_refused_with_what_was_expected() {
        refused("disk", "is not an image: expected host");
        refused("nginx:1", "is not an image");
        refused("oci:nginx", "it names no registry");
        refused("oci:library/nginx", "it does not begin with a registry");
        refused("oci:r.example:0/x", "it does not begin with a registry");
        refused("oci:-r.example/x", "it does not begin with a registry");
        refused("oci:[::1]x/x", "it does not begin with a registry");
        refused("oci:[::1/x", "it does not begin with a registry");
        for name in ["X", "", "a//b", "a..b", "a/../b", "-a", "a-", "a._b", "a___b"] {
            refused(&format!("oci:r.example/{name}:1"), "lower case letters");
        }
        refused(&format!("oci:r.example/{}:1", "a".repeat(250)), "too long");
        refused("oci:r.example/x:-1", "is not a tag");
        refused(&format!("oci:r.example/x:{}", "a".repeat(129)), "is not a tag");
        refused("oci:r.example/x@sha512:00", "is not a digest");
        refused(&format!("oci:r.example/x@sha256:{}", "A".repeat(64)), "is not a digest");
        refused("oci-layout:", "without '..'");
        refused("oci-layout:a/../b", "without '..'");
    }
}
