//! Images from a real registry, from registries that misbehave, and from layouts.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use pan_model::{ByteSize, Span};
use serde_json::{Value, json};

use super::*;

#[path = "../../../tests/registry/mod.rs"]
mod registry;

use registry::{LAYER, LAYER_GZIP, Registry, archive, layout};

mod room;
mod turns;

struct Rig {
    dir: tempfile::TempDir,
    images: Images,
}

impl Rig {
    fn new(change: impl FnOnce(&mut ImagesConfig)) -> Self {
        Self::with(STALL_MAX, change)
    }

    fn with(stall: Duration, change: impl FnOnce(&mut ImagesConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["state/images", "run", "layouts", "registry"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let mut config = ImagesConfig {
            registries: vec!["http://127.0.0.1:*".parse().unwrap()],
            layouts: Some(dir.path().join("layouts")),
            free_min: ByteSize(1 << 20),
            patience: Span::millis(30_000),
            ..ImagesConfig::default()
        };
        change(&mut config);
        let rules = Rules::listing(&config.registries);
        let store = Store::new(Paths::at(dir.path().join("run"), dir.path().join("state")));
        let (unpacking, hidden) = (Arc::new(Semaphore::new(UNPACKING_MAX)), Hidden::only(vec![dir.path().join("layouts/secret")]));
        let images = Images(Arc::new(Inner {
            disk: Disk::new(store.folder(), config.free_min.0),
            config,
            store,
            hidden,
            unpacking,
            fetching: Arc::new(Semaphore::new(FETCHING_MAX)),
            leftover: Mutex::default(),
            rules,
            stall,
            jobs: Mutex::default(),
        }));
        Self { dir, images }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    async fn ready(&self, vni: u32, image: &str) -> Ready {
        self.images.ready(vni, &image.parse().unwrap()).await.unwrap().unwrap()
    }

    #[track_caller]
    fn refused(&self, outcome: Result<Option<Ready>, String>, words: &str) {
        let why = outcome.expect_err(words);
        assert!(why.contains(words), "expected {words:?} in {why:?}");
        let folder = self.dir.path().to_string_lossy();
        assert!(!why.contains(&*folder), "it tells of the host: {why}");
    }

    async fn try_ready(&self, vni: u32, image: &str) -> Result<Option<Ready>, String> {
        self.images.ready(vni, &image.parse().unwrap()).await
    }

    /// Whatever is of partitions' images, but names.
    fn kept(&self) -> Vec<String> {
        let mut found = Vec::new();
        for partition in super::super::store::names(&self.at("state/images")).unwrap() {
            let names = super::super::store::names(&self.at("state/images").join(&partition)).unwrap();
            found.extend(names.into_iter().filter(|name| name != "refs").map(|name| format!("{partition}/{name}")));
        }
        found.sort();
        found
    }
}

/// A layer with these files. A target makes a link.
fn layer(files: &[(&str, &str)]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match content.strip_prefix("-> ") {
            Some(target) => symlink(target, path).unwrap(),
            None => fs::write(path, content).unwrap(),
        }
    }
    archive(dir.path(), &["--owner=0", "--group=0"])
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut child = std::process::Command::new("gzip")
        .arg("-c")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&bytes).unwrap());
    let done = child.wait_with_output().unwrap();
    writer.join().unwrap();
    done.stdout
}

fn web() -> Vec<(&'static str, Vec<u8>)> {
    let below = layer(&[("etc/passwd", "www:x:33:34::/:\n"), ("old/a", "1"), ("bin/tool", "tool"), ("lib", "-> usr/lib")]);
    let above = layer(&[(".wh.old", ""), ("bin/new", "new")]);
    vec![(LAYER_GZIP, gzip(&below)), (LAYER, above)]
}

fn config() -> Value {
    json!({"User": "www", "Env": ["A=1"], "Entrypoint": ["/bin/tool"], "Cmd": ["-x"], "WorkingDir": "/srv"})
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_comes_from_a_registry_and_stays_with_its_partition() {
    let rig = Rig::new(|_| {});
    let registry = Registry::start(&rig.at("registry"));
    let digest = registry.push("shop/web", "v1", &web(), &config());
    let (by_tag, by_digest) =
        (format!("oci:127.0.0.1:{}/shop/web:v1", registry.port), format!("oci:127.0.0.1:{}/shop/web@{digest}", registry.port));

    let ready = rig.ready(7, &by_tag).await;
    assert_eq!(fs::read_to_string(ready.root.join("bin/new")).unwrap(), "new");
    assert_eq!(fs::read_link(ready.root.join("lib")).unwrap(), Path::new("usr/lib"));
    assert!(!ready.root.join("old").exists());
    assert_eq!((ready.defaults.command.join(" ").as_str(), ready.defaults.folder.as_str()), ("/bin/tool -x", "/srv"));
    assert_eq!((ready.user.uid, ready.user.gid), (33, 34));
    assert_eq!(rig.ready(7, &by_digest).await, ready, "the same image by another name");
    assert_eq!(rig.kept().len(), 1);

    // A tag is looked up once.
    let newer = registry.push("shop/web", "v1", &[(LAYER, layer(&[("newer", "")]))], &json!({}));
    assert_eq!(rig.ready(7, &by_tag).await, ready);
    assert!(rig.ready(8, &by_tag).await.root.join("newer").exists());
    assert!(newer != digest);

    let wrong = format!("oci:127.0.0.1:{}/shop/web@sha256:{}", registry.port, "0".repeat(64));
    rig.refused(rig.try_ready(7, &wrong).await, "it has no such image, or does not show it to everybody (404)");
    rig.refused(rig.try_ready(7, &format!("oci:127.0.0.1:{}/none:1", registry.port)).await, "(404)");

    let port = registry.port;
    drop(registry);
    assert_eq!(rig.ready(7, &by_digest).await, ready, "from here, without the registry");
    // Another partition learns nothing of what this one has.
    rig.refused(rig.try_ready(9, &by_digest).await, &format!("no answer from registry 127.0.0.1:{port}: connection refused"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_proves_who_it_is() {
    let authority = pan_api::pki::Authority::create().unwrap();
    let issued = authority.issue_host(&"registry".parse().unwrap(), &[], &["127.0.0.1".parse().unwrap()]).unwrap();
    let rig = Rig::new(|config| config.registries = vec!["127.0.0.1:*".parse().unwrap()]);
    let (certificate, key, trusted) = (rig.at("registry/cert.pem"), rig.at("registry/key.pem"), rig.at("authorities.pem"));
    fs::write(&certificate, &issued.cert_pem).unwrap();
    fs::write(&key, &issued.key_pem).unwrap();
    let digest = Registry::start(&rig.at("registry")).push("x", "1", &[(LAYER, layer(&[("x", "1")]))], &json!({}));
    let tls = format!(", tls: {{certificate: {}, key: {}}}", certificate.display(), key.display());
    let registry = Registry::start_with(&rig.at("registry"), &tls);
    let image = format!("oci:127.0.0.1:{}/x@{digest}", registry.port);
    let ask = |authorities: PathBuf, listed: &str| {
        let rules = vec![listed.parse().unwrap()];
        Rig::new(|config| (config.registries, config.authorities) = (rules, authorities))
    };
    rig.refused(ask(rig.at("none.pem"), "127.0.0.1:*").try_ready(7, &image).await, "no certificates here to check it by");
    fs::write(&trusted, pan_api::pki::Authority::create().unwrap().cert_pem()).unwrap();
    rig.refused(ask(trusted.clone(), "127.0.0.1:*").try_ready(7, &image).await, "invalid peer certificate");
    fs::write(&trusted, authority.cert_pem()).unwrap();
    assert!(ask(trusted.clone(), "127.0.0.1:*").try_ready(7, &image).await.unwrap().is_some());
    // Listed without TLS: then it is spoken to without.
    rig.refused(ask(trusted, "http://127.0.0.1:*").try_ready(7, &image).await, "refuses: status 400");
}

/// A registry that answers each path as it is told, on a port of its own.
fn answering(answer: impl Fn(&str) -> Option<Vec<u8>> + Send + Sync + 'static) -> u16 {
    hearing(move |asked| answer(asked.split(' ').nth(1).unwrap_or_default()))
}

/// One that looks at all that is asked.
fn hearing(answer: impl Fn(&str) -> Option<Vec<u8>> + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer) = (stream.unwrap(), answer.clone());
            std::thread::spawn(move || {
                let mut asked = [0; 4096];
                let count = stream.read(&mut asked).unwrap_or(0);
                let asked = String::from_utf8_lossy(&asked[..count]).into_owned();
                match answer(&asked) {
                    Some(bytes) => drop(stream.write_all(&bytes)),
                    // Says nothing, and holds the line until the other end gives up.
                    None => drop(stream.read(&mut [0; 1])),
                }
            });
        }
    });
    port
}

fn http(status: &str, heads: &str, body: &[u8]) -> Option<Vec<u8>> {
    let head = format!("HTTP/1.1 {status}\r\n{heads}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    Some([head.as_bytes(), body].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_listed_is_not_asked_by_whatever_way() {
    let rig = Rig::new(|_| {});
    rig.refused(rig.try_ready(7, "oci:evil.example/x:1").await, "registry evil.example is not among those that may be used here");
    for (status, heads) in [
        ("307 Moved", "Location: https://evil.example/x\r\n"),
        ("302 Moved", "Location: http://169.254.169.254/latest\r\n"),
        ("401 No", "WWW-Authenticate: Bearer realm=\"http://169.254.169.254/token\"\r\n"),
        ("401 No", "WWW-Authenticate: Bearer realm=\"http://localhost:1/token\"\r\n"),
    ] {
        let port = answering(move |_| http(status, heads, b""));
        rig.refused(rig.try_ready(7, &format!("oci:127.0.0.1:{port}/x:1")).await, "is not among those that may be used here");
    }
    let port = answering(|path| http("307 Moved", &format!("Location: {path}x\r\n"), b""));
    rig.refused(rig.try_ready(7, &format!("oci:127.0.0.1:{port}/x:1")).await, "sends on and on");
    // A listed name at an address that is not.
    let rig = Rig::new(|config| config.registries = vec!["http://localhost:*".parse().unwrap()]);
    rig.refused(rig.try_ready(7, "oci:localhost:1/x:1").await, "is at an address that may not be used from here");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_fetched_for_everybody() {
    let rig = Rig::new(|_| {});
    let (manifest, layer_bytes, text) = image(&layer(&[("x", "1")]));
    let port = answering(move |path| match path {
        _ if path.starts_with("/token?service=me&scope=repository%3Ax%3Apull") => http("200 OK", "", br#"{"token": "secret"}"#),
        _ if path.starts_with("/v2/x/manifests/") => http("200 OK", "", &manifest),
        _ if path.ends_with(&registry::digest(&text)) => http("200 OK", "", &text),
        _ => http("200 OK", "", &layer_bytes),
    });
    // The first answer of a registry that wants tokens.
    let asking = answering(move |path| match path {
        "/v2/x/manifests/1" => {
            http("401 No", &format!("WWW-Authenticate: Bearer realm=\"http://127.0.0.1:{port}/token\",service=\"me\"\r\n"), b"")
        }
        _ => http("200 OK", "", b""),
    });
    // It goes on asking, which is an end and no loop.
    rig.refused(rig.try_ready(7, &format!("oci:127.0.0.1:{asking}/x:1")).await, "not to somebody without a name (401)");
    assert_eq!(fs::read_to_string(rig.ready(7, &format!("oci:127.0.0.1:{port}/x:1")).await.root.join("x")).unwrap(), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_too_old_is_fetched_anew() {
    let rig = Rig::new(|_| {});
    let (manifest, layer_bytes, text) = image(&layer(&[("x", "1")]));
    // Each token is good for one question.
    let (given, good) = (std::sync::atomic::AtomicU64::new(0), Mutex::new(String::new()));
    let listening = hearing(move |asked| {
        let path = asked.split(' ').nth(1).unwrap_or_default();
        if path.starts_with("/token") {
            let token = format!("token-{}", given.fetch_add(1, std::sync::atomic::Ordering::SeqCst));
            good.lock().unwrap().clone_from(&token);
            return http("200 OK", "", json!({"token": token}).to_string().as_bytes());
        }
        let token = std::mem::take(&mut *good.lock().unwrap());
        match path {
            _ if token.is_empty() || !asked.to_ascii_lowercase().contains(&format!("authorization: bearer {token}")) => {
                let host = asked.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
                let heads = format!("WWW-Authenticate: Bearer realm=\"http://{host}/token\"\r\n");
                http("401 No", &heads, b"")
            }
            _ if path.contains("/manifests/") => http("200 OK", "", &manifest),
            _ if path.ends_with(&registry::digest(&text)) => http("200 OK", "", &text),
            _ => http("200 OK", "", &layer_bytes),
        }
    });
    assert_eq!(fs::read_to_string(rig.ready(7, &format!("oci:127.0.0.1:{listening}/x:1")).await.root.join("x")).unwrap(), "1");
}

/// Manifest, layer and configuration of an image with one layer.
fn image(layer: &[u8]) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let text = json!({"config": {}}).to_string().into_bytes();
    (registry::manifest(&[("", text.clone()), (LAYER, layer.to_vec())]), layer.to_vec(), text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_says_nothing_holds_up_its_own_partition_only() {
    let rig = Rig::with(Duration::from_secs(20), |config| config.patience = Span::millis(3000));
    let silent = answering(|_| None);
    let registry = Registry::start(&rig.at("registry"));
    let digest = registry.push("x", "1", &[(LAYER, layer(&[("x", "1")]))], &json!({}));
    let good: Image = format!("oci:127.0.0.1:{}/x@{digest}", registry.port).parse().unwrap();
    // More partitions than could ever be at work at the same time.
    let stuck: Vec<_> = (100..130)
        .map(|vni| {
            let images = rig.images.clone();
            tokio::spawn(async move { images.ready(vni, &format!("oci:127.0.0.1:{silent}/x:1").parse().unwrap()).await })
        })
        .collect();
    assert!(rig.images.ready(7, &good).await.unwrap().is_some());
    assert!(stuck.iter().all(|stuck| !stuck.is_finished()));
    for stuck in stuck {
        rig.refused(stuck.await.unwrap(), "it was not there after 3s");
    }
    // One that stalls is given up sooner.
    let rig = Rig::with(Duration::from_millis(300), |_| {});
    rig.refused(rig.try_ready(7, &format!("oci:127.0.0.1:{silent}/x:1")).await, "sent nothing for 0s");
    assert!(rig.images.0.lock().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_is_what_was_named_and_fits_or_nothing_stays() {
    let rig = Rig::new(|config| (config.image_max, config.partition_max) = (ByteSize(1 << 20), ByteSize(3 << 20)));
    let asked = |port: u16, version: &str| format!("oci:127.0.0.1:{port}/x{version}");
    let serve = |manifest: Vec<u8>, blobs: Vec<Vec<u8>>| {
        answering(move |path| match blobs.iter().find(|blob| path.ends_with(&registry::digest(blob))) {
            _ if path.contains("/manifests/") => http("200 OK", "", &manifest),
            Some(blob) => http("200 OK", "", blob),
            None => http("200 OK", "", &b"other bytes"[..]),
        })
    };
    // A manifest that is another one.
    let (manifest, bytes, text) = image(&layer(&[("x", "1")]));
    let port = serve(manifest.clone(), vec![bytes.clone(), text.clone()]);
    let wrong = format!("@sha256:{}", "1".repeat(64));
    rig.refused(rig.try_ready(7, &asked(port, &wrong)).await, "the image was changed, or the digest is wrong");
    // A layer that is another one, of the same size or not.
    let other = layer(&[("x", "2")]);
    assert_eq!(other.len(), bytes.len());
    let changed = answering({
        let (manifest, text) = (manifest.clone(), text.clone());
        move |path| match path {
            _ if path.contains("/manifests/") => http("200 OK", "", &manifest),
            _ if path.ends_with(&registry::digest(&text)) => http("200 OK", "", &text),
            _ => http("200 OK", "", &other),
        }
    });
    rig.refused(rig.try_ready(7, &asked(changed, ":1")).await, "what came has the digest");
    let port = serve(manifest, vec![text]);
    rig.refused(rig.try_ready(7, &asked(port, ":1")).await, "another size than its manifest says");
    // Too large, unpacked and packed.
    let zeros = "0".repeat(1 << 20);
    for kind in [LAYER, LAYER_GZIP] {
        let bytes = layer(&[("zeros", &zeros)]);
        let bytes = if kind == LAYER_GZIP { gzip(&bytes) } else { bytes };
        let text = json!({"config": {}}).to_string().into_bytes();
        let manifest = registry::manifest(&[("", text.clone()), (kind, bytes.clone())]);
        let port = serve(manifest, vec![bytes, text]);
        rig.refused(rig.try_ready(7, &asked(port, ":1")).await, "it has more than");
    }
    // Not what it says it is.
    let (text, junk) = (json!({"config": {}}).to_string().into_bytes(), b"junk that is no archive".to_vec());
    for kind in [LAYER, LAYER_GZIP, "application/vnd.oci.image.layer.v1.tar+zstd"] {
        let port = serve(registry::manifest(&[("", text.clone()), (kind, junk.clone())]), vec![junk.clone(), text.clone()]);
        rig.refused(rig.try_ready(7, &asked(port, ":1")).await, "archive");
    }
    assert!(rig.kept().is_empty(), "{:?}", rig.kept());
    assert!(rig.at("state/images/7").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_layer_touches_nothing_outside() {
    let rig = Rig::new(|_| {});
    let outside = rig.at("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    let text = json!({"config": {}}).to_string().into_bytes();
    let named = |name: &str| {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("x"), "mine").unwrap();
        archive(dir.path(), &[&format!("--transform=s,^\\./x,{name},"), "--absolute-names"])
    };
    for (second, words) in [(named("out/secret"), "cannot make \"out\""), (named("../../../../outside/secret"), "leads out of a folder")] {
        let link = layer(&[("out", &format!("-> {}", outside.display()))]);
        let manifest = registry::manifest(&[("", text.clone()), (LAYER, link.clone()), (LAYER, second.clone())]);
        let blobs = [text.clone(), link, second];
        let port = answering(move |path| match blobs.iter().find(|blob| path.ends_with(&registry::digest(blob))) {
            Some(blob) => http("200 OK", "", blob),
            None => http("200 OK", "", &manifest),
        });
        rig.refused(rig.try_ready(7, &format!("oci:127.0.0.1:{port}/x:1")).await, words);
    }
    assert_eq!(fs::read_to_string(outside.join("secret")).unwrap(), "secret");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert!(rig.kept().is_empty(), "{:?}", rig.kept());
}

#[tokio::test(flavor = "multi_thread")]
async fn layouts_are_folders_and_archives_beneath_one_folder() {
    let rig = Rig::new(|_| {});
    let digest = layout(&rig.at("layouts/web"), "v1", &web(), &config());
    fs::write(rig.at("layouts/web.tar"), archive(&rig.at("layouts/web"), &[])).unwrap();
    for name in ["web", "web:v1", &format!("web@{digest}"), "web.tar:v1", &format!("{}/web", rig.at("layouts").display())] {
        let ready = rig.ready(7, &format!("oci-layout:{name}")).await;
        assert_eq!(fs::read_to_string(ready.root.join("bin/new")).unwrap(), "new", "{name}");
    }
    assert_eq!(rig.kept(), [format!("7/sha256-{}", digest.strip_prefix("sha256:").unwrap())]);
    assert!(rig.ready(8, "oci-layout:web.tar").await.root.starts_with(rig.at("state/images/8")));
    rig.refused(rig.try_ready(7, "oci-layout:web:v2").await, "no image in it has that tag");

    layout(&rig.at("secret"), "v1", &web(), &config());
    layout(&rig.at("layouts/secret/web"), "v1", &web(), &config());
    symlink(rig.at("secret"), rig.at("layouts/link")).unwrap();
    nix::unistd::mkfifo(&rig.at("layouts/pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    fs::create_dir(rig.at("layouts/piped")).unwrap();
    nix::unistd::mkfifo(&rig.at("layouts/piped/index.json"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    for path in ["link", "none", "pipe", "piped", "secret/web", "/etc", "/etc/passwd"] {
        rig.refused(rig.try_ready(7, &format!("oci-layout:{path}")).await, "OCI layout ");
    }
    let rig = Rig::new(|config| config.layouts = None);
    rig.refused(rig.try_ready(7, "oci-layout:web").await, "node.images.layouts");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_has_a_bound_and_what_is_not_used_makes_room() {
    let rig = Rig::new(|config| config.partition_max = ByteSize(2 << 20));
    let files = |n: usize| layer(&[("data", &n.to_string().repeat(700 << 10))]);
    for n in 0..3 {
        layout(&rig.at(&format!("layouts/{n}")), "v", &[(LAYER, files(n))], &json!({}));
    }
    let first = rig.ready(7, "oci-layout:0").await;
    let second = rig.ready(7, "oci-layout:1").await;
    // Both were wanted a moment ago: somebody may be about to start with them.
    rig.refused(rig.try_ready(7, "oci-layout:2").await, "the images that this partition uses may take 2097152 bytes together");
    rig.ready(8, "oci-layout:2").await;
    let long_ago = SystemTime::now() - Duration::from_secs(7200);
    let age = |ready: &Ready| {
        let note = ready.root.parent().unwrap().join("image.json");
        fs::File::options().append(true).open(note).unwrap().set_modified(long_ago).unwrap();
    };
    age(&first);
    rig.ready(7, "oci-layout:2").await;
    assert!(!first.root.exists() && second.root.exists());
    // The name is looked up anew.
    age(&second);
    assert_eq!(fs::metadata(rig.ready(7, "oci-layout:0").await.root.join("data")).unwrap().len(), 700 << 10);
    // A disk that is nearly full.
    let rig = Rig::new(|config| config.free_min = ByteSize(u64::MAX / 2));
    layout(&rig.at("layouts/0"), "v", &[(LAYER, files(0))], &json!({}));
    rig.refused(rig.try_ready(7, "oci-layout:0").await, "there is no room for it where the server is to run");
}

#[tokio::test(flavor = "multi_thread")]
async fn sweeping_takes_what_nobody_uses_and_what_is_half_made() {
    use crate::server::record::{Bound, Cable, Record, Stage};
    let rig = Rig::new(|_| {});
    for n in ["0", "1"] {
        layout(&rig.at(&format!("layouts/{n}")), "v", &[(LAYER, layer(&[("data", n)]))], &json!({}));
    }
    let store = &rig.images.0.store;
    let (used, unused) = (rig.ready(7, "oci-layout:0").await, rig.ready(7, "oci-layout:1").await);
    let elsewhere = rig.ready(8, "oci-layout:0").await;
    let order = pan_api::desired::ServerOrder { image: "oci-layout:0".parse().unwrap(), ..crate::testing::order("acme", "web-1") };
    let cable = Cable { vni: 7, mtu: 1430, subnets: vec![], gateways: vec![] };
    let bound = Bound { order, cable, restarts: 0, ends: 0, steps: vec![] };
    Record::new(bound, Stage::Releasing).write(&rig.at("run/servers/acme.web-1/state.json")).unwrap();
    symlink("/etc", unused.root.join("link")).unwrap();
    fs::create_dir_all(rig.at("state/images/7/0000.new/root/x")).unwrap();
    fs::create_dir_all(rig.at("state/images/7/sha256-00.gone/root")).unwrap();
    for ready in [&used, &unused, &elsewhere] {
        let note = ready.root.parent().unwrap().join("image.json");
        fs::File::options().append(true).open(note).unwrap().set_modified(SystemTime::now() - Duration::from_secs(90_000)).unwrap();
    }
    // After a boot: nothing but what was left half made.
    sweep::unfinished(&sweep::leftover(store).unwrap()).unwrap();
    assert_eq!(rig.kept().len(), 3, "{:?}", rig.kept());
    sweep::unused(store, Duration::from_secs(86_400), SystemTime::now()).unwrap();
    assert_eq!(rig.kept().len(), 3, "an agent that has just started knows of no use yet");
    sweep::unused(store, Duration::from_secs(86_400), SystemTime::UNIX_EPOCH).unwrap();
    assert!(used.root.exists() && !unused.root.exists() && !elsewhere.root.exists());
    assert!(!rig.at("state/images/8").exists());
    assert!(Path::new("/etc/passwd").exists());
    // Names that no server has are forgotten when they are too many, and those of servers never.
    let refs = rig.at("state/images/7/refs");
    let of_the_server = super::super::store::names(&refs).unwrap();
    for n in 0..1000 {
        fs::write(refs.join(format!("{n:064}")), fs::read(refs.join(&of_the_server[0])).unwrap()).unwrap();
    }
    for name in super::super::store::names(&refs).unwrap() {
        let file = fs::File::options().append(true).open(refs.join(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(7200)).unwrap();
    }
    rig.ready(7, "oci-layout:1").await;
    let left = super::super::store::names(&refs).unwrap();
    assert!(left.len() == 2 && left.contains(&of_the_server[0]), "{left:?}");
    // Use is noted, and keeps.
    let before = fs::metadata(used.root.parent().unwrap().join("image.json")).unwrap().mtime();
    rig.ready(7, "oci-layout:0").await;
    assert!(fs::metadata(used.root.parent().unwrap().join("image.json")).unwrap().mtime() > before);
}
