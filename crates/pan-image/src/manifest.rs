//! Indexes and manifests: which image, which layers. Read from bytes whose digest was compared before.

use pan_model::image::{Digest, Version};
use serde::Deserialize;

use crate::Refusal;
use crate::compression::Compression;

/// Longest index or manifest, as registries bound them.
pub const DOCUMENT_MAX: u64 = 4 << 20;
/// Layers of one image: twice what builders make.
pub const LAYERS_MAX: usize = 256;
/// What is asked of a registry.
pub const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";
/// The annotation by which an image is found in a layout.
const NAME: &str = "org.opencontainers.image.ref.name";
const OS: &str = "linux";

/// Something by its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// What its bytes must hash to.
    pub digest: Digest,
    /// How many they are.
    pub size: u64,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Its configuration.
    pub config: Blob,
    /// Its layers, the lowest first.
    pub layers: Vec<(Blob, Compression)>,
}

/// A document that a registry gives for a tag or digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// An image.
    Image(Manifest),
    /// A list of them.
    Index(Index),
}

/// Images of which one is for this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index(Vec<Listed>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Listed {
    blob: Blob,
    platform: Option<(String, String)>,
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: u32,
    config: Option<RawBlob>,
    layers: Option<Vec<RawBlob>>,
    manifests: Option<Vec<RawBlob>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawBlob {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<RawPlatform>,
    annotations: Option<std::collections::BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct RawPlatform {
    architecture: String,
    os: String,
}

/// Reads an index or a manifest.
///
/// # Errors
/// [`Refusal`]: it is neither, or both.
pub fn read(bytes: &[u8]) -> Result<Document, Refusal> {
    let wrong = |message: &str| Refusal::document("manifest", message);
    if bytes.len() as u64 > DOCUMENT_MAX {
        return Err(Refusal::TooMuch { what: "bytes in its manifest", most: DOCUMENT_MAX });
    }
    let raw: Raw = serde_json::from_slice(bytes).map_err(|error| wrong(&error.to_string()))?;
    if raw.schema_version != 2 {
        return Err(wrong(&format!("expected schemaVersion 2, found {}", raw.schema_version)));
    }
    match raw {
        // One that is both would be another image to whoever reads it the other way (CVE-2021-41190).
        Raw { config: Some(config), layers: Some(layers), manifests: None, .. } => image(&config, &layers).map(Document::Image),
        Raw { config: None, layers: None, manifests: Some(manifests), .. } => index(manifests).map(Document::Index),
        _ => Err(wrong("expected either config and layers, or manifests")),
    }
}

fn image(config: &RawBlob, layers: &[RawBlob]) -> Result<Manifest, Refusal> {
    if layers.len() > LAYERS_MAX {
        return Err(Refusal::TooMuch { what: "layers", most: LAYERS_MAX as u64 });
    }
    let layers = layers.iter().map(|layer| Ok((blob(layer)?, compression(&layer.media_type)?))).collect::<Result<_, Refusal>>()?;
    Ok(Manifest { config: blob(config)?, layers })
}

fn index(manifests: Vec<RawBlob>) -> Result<Index, Refusal> {
    let listed = |raw: RawBlob| {
        let blob = blob(&raw)?;
        let name = raw.annotations.and_then(|mut all| all.remove(NAME));
        Ok(Listed { blob, platform: raw.platform.map(|platform| (platform.os, platform.architecture)), name })
    };
    Ok(Index(manifests.into_iter().map(listed).collect::<Result<_, Refusal>>()?))
}

fn blob(raw: &RawBlob) -> Result<Blob, Refusal> {
    let digest = raw.digest.parse().map_err(|error: String| Refusal::document("manifest", &error))?;
    Ok(Blob { digest, size: raw.size })
}

fn compression(media_type: &str) -> Result<Compression, Refusal> {
    let layer =
        media_type.starts_with("application/vnd.oci.image.layer.") || media_type.starts_with("application/vnd.docker.image.rootfs.");
    match media_type.rsplit(['.', '+']).next() {
        Some("gzip") if layer => Ok(Compression::Gzip),
        Some("zstd") if layer => Ok(Compression::Zstd),
        Some("tar") if layer => Ok(Compression::None),
        _ => Err(Refusal::document("manifest", &format!("a layer of type {media_type:?}: expected a tar archive, plain, gzip or zstd"))),
    }
}

impl Index {
    /// The one for this machine.
    ///
    /// # Errors
    /// There is none.
    pub fn pick(&self, architecture: &str) -> Result<&Blob, Refusal> {
        let fits = |listed: &&Listed| listed.platform.as_ref().is_some_and(|(os, found)| os == OS && found == architecture);
        let only = || self.0.first().filter(|listed| self.0.len() == 1 && listed.platform.is_none());
        let found = self.0.iter().find(fits).or_else(only);
        found.map(|listed| &listed.blob).ok_or_else(|| Refusal::NoPlatform { os: OS, architecture: architecture.to_owned() })
    }

    /// The one of a layout that was asked for: its name or digest, or whatever is for this machine.
    ///
    /// # Errors
    /// There is none.
    pub fn named(&self, version: Option<&Version>, architecture: &str) -> Result<&Blob, Refusal> {
        let found = match version {
            None => return self.pick(architecture),
            Some(Version::Digest(digest)) => self.0.iter().find(|listed| listed.blob.digest == *digest),
            Some(Version::Tag(tag)) => self.0.iter().find(|listed| listed.name.as_ref() == Some(tag)),
        };
        found.map(|listed| &listed.blob).ok_or_else(|| Refusal::document("index", "no image in it has that tag or digest"))
    }
}

/// This machine's processor in the words of images, which are Go's.
#[must_use]
pub fn architecture(rust: &str) -> &str {
    match rust {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn digest(byte: &str) -> String {
        format!("sha256:{}", byte.repeat(32))
    }

    fn parse(value: &Value) -> Result<Document, String> {
        read(value.to_string().as_bytes()).map_err(|error| error.to_string())
    }

    fn layer(kind: &str) -> Value {
        json!({"mediaType": kind, "digest": digest("02"), "size": 7})
    }

    fn manifest(layers: Vec<Value>) -> Value {
        json!({"schemaVersion": 2, "config": {"digest": digest("01"), "size": 5}, "layers": layers})
    }

    #[test]
    fn layers_are_packed_as_their_types_say() {
        for (kind, packed) in [
            ("application/vnd.oci.image.layer.v1.tar", Compression::None),
            ("application/vnd.oci.image.layer.v1.tar+gzip", Compression::Gzip),
            ("application/vnd.oci.image.layer.v1.tar+zstd", Compression::Zstd),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", Compression::Gzip),
            ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Compression::Gzip),
        ] {
            let Ok(Document::Image(found)) = parse(&manifest(vec![layer(kind)])) else { panic!("{kind}") };
            assert_eq!(found.layers[0].1, packed, "{kind}");
            assert_eq!((found.config.size, found.layers[0].0.size), (5, 7));
        }
        for kind in ["", "text/plain", "application/vnd.oci.image.layer.v1.tar+xz", "evil+gzip"] {
            assert!(parse(&manifest(vec![layer(kind)])).unwrap_err().contains("expected a tar archive"), "{kind}");
        }
        let many = vec![layer("application/vnd.oci.image.layer.v1.tar"); LAYERS_MAX + 1];
        assert_eq!(parse(&manifest(many)).unwrap_err(), "it has more than 256 layers");
    }

    #[test]
    fn an_index_leads_to_the_image_of_this_machine() {
        let of = |byte: &str, os: &str, architecture: &str, name: &str| json!({"digest": digest(byte), "size": 1, "platform": {"os": os, "architecture": architecture}, "annotations": {NAME: name}});
        let all = json!({"schemaVersion": 2, "manifests": [of("01", "windows", "amd64", "w"), of("02", "linux", "arm64", "a"), of("03", "linux", "amd64", "v1")]});
        let Ok(Document::Index(index)) = parse(&all) else { panic!("an index") };
        assert_eq!(index.pick("amd64").unwrap().digest.to_string(), digest("03"));
        assert_eq!(index.pick("riscv64").unwrap_err().to_string(), "it has no variant for linux/riscv64");
        let named = |version: &str| index.named(Some(&Version::Tag(version.into())), "amd64").map(|blob| blob.digest.to_string());
        assert_eq!(named("a").unwrap(), digest("02"));
        assert!(named("b").unwrap_err().to_string().contains("no image in it has that tag"));
        let one = Version::Digest(digest("01").parse().unwrap());
        assert_eq!(index.named(Some(&one), "amd64").unwrap().digest.to_string(), digest("01"));
        let Ok(Document::Index(single)) = parse(&json!({"schemaVersion": 2, "manifests": [{"digest": digest("07"), "size": 1}]})) else {
            panic!("an index")
        };
        assert_eq!(single.named(None, "amd64").unwrap().digest.to_string(), digest("07"));
    }

    #[test]
    fn what_is_no_manifest_or_two_things_at_once_is_refused() {
        let mut both = manifest(vec![]);
        both["manifests"] = json!([]);
        for (bad, words) in [
            (both, "expected either"),
            (json!({"schemaVersion": 2}), "expected either"),
            (json!({"schemaVersion": 1, "config": null}), "schemaVersion 2"),
            (json!([]), "manifest is not as it should be"),
            (json!({"schemaVersion": 2, "config": {"digest": "sha512:00", "size": 1}, "layers": []}), "not a digest"),
            (json!({"schemaVersion": 2, "config": {"digest": digest("01"), "size": -1}, "layers": []}), "manifest is not as it should be"),
        ] {
            let error = parse(&bad).unwrap_err();
            assert!(error.contains(words), "{bad}: {error}");
        }
    }
}
