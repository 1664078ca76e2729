//! TLS: which certificate is shown, for which version, and that a new one needs no restart.

use super::rig::*;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

struct Identity {
    cert: String,
    key: String,
    der: rustls_pki_types::CertificateDer<'static>,
}

fn identity(name: &str) -> Identity {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    Identity { cert: made.cert.pem(), key: made.signing_key.serialize_pem(), der: made.cert.der().clone() }
}

fn tls(identities: &[(&Identity, &str)]) -> String {
    let one =
        |(identity, host): &(&Identity, &str)| serde_json::json!({"hosts": [host], "cert": identity.cert, "key": identity.key}).to_string();
    format!(r#", "tls": [{}]"#, identities.iter().map(one).collect::<Vec<_>>().join(","))
}

/// Connects and trusts only this identity.
async fn connect(address: SocketAddr, name: &str, trusted: &Identity, alpn: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.der.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(name.to_owned()).unwrap(), stream).await
}

async fn ask(mut stream: TlsStream<TcpStream>) -> String {
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(LONG, stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn the_certificate_is_the_one_of_the_name() {
    let origin = Origin::start("a").await;
    let (shop, wild) = (identity("shop.example"), identity("*.wild.example"));
    let running = run(&spec(&[origin.address], &tls(&[(&shop, "shop.example"), (&wild, "*.wild.example")]), ""));
    for (name, trusted) in [("shop.example", &shop), ("a.wild.example", &wild)] {
        let stream = connect(running.address, name, trusted, b"http/1.1").await.unwrap();
        assert_eq!(body(&ask(stream).await), "a", "{name}");
    }
    assert!(connect(running.address, "shop.example", &wild, b"http/1.1").await.is_err());
    assert_eq!(origin.seen()[0].headers["x-forwarded-proto"], "https");
    let stream = connect(running.address, "shop.example", &shop, b"h2").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(connection);
    let request = hyper::Request::get("https://shop.example/").body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_new_certificate_is_shown_from_the_next_connection_on() {
    let origin = Origin::start("a").await;
    let (old, new) = (identity("shop.example"), identity("shop.example"));
    let running = run(&spec(&[origin.address], &tls(&[(&old, "shop.example")]), ""));
    let open = connect(running.address, "shop.example", &old, b"http/1.1").await.unwrap();
    running.proxy.apply(&spec(&[origin.address], &tls(&[(&new, "shop.example")]), "")).unwrap();
    assert_eq!(body(&ask(open).await), "a", "who is connected stays connected");
    assert!(connect(running.address, "shop.example", &old, b"http/1.1").await.is_err());
    let stream = connect(running.address, "shop.example", &new, b"http/1.1").await.unwrap();
    assert_eq!(body(&ask(stream).await), "a");
    // A key of another certificate changes nothing.
    let mixed = Identity { key: old.key.clone(), ..identity("shop.example") };
    let error = running.proxy.apply(&spec(&[origin.address], &tls(&[(&mixed, "shop.example")]), "")).unwrap_err();
    assert!(error.to_string().starts_with("services[0].tls[0].key: "), "{error}");
    assert!(connect(running.address, "shop.example", &new, b"http/1.1").await.is_ok());
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_given_up() {
    let origin = Origin::start("a").await;
    let shop = identity("shop.example");
    let more = format!(r#"{}, "timeouts": {{"head": "200ms"}}"#, tls(&[(&shop, "shop.example")]));
    let running = run(&spec(&[origin.address], &more, ""));
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(b"\x16\x03\x01").await.unwrap();
    assert_eq!(rest(&mut stream).await, "");
}
