//! A proxy that is told what to do by a socket.

use super::rig::*;
use pan_model::Span;
use pan_proxy::serve::control::{self, Answer, Ask};
use pan_proxy::{Proxy, Settings};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

#[tokio::test]
async fn a_process_is_told_by_its_socket_and_ends_when_asked() {
    let origin = Origin::start("a").await;
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control");
    // As an earlier process left it.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let proxy = Proxy::start(Settings { threads: Some(1), ..Settings::default() }).unwrap();
    let bound = control::Socket::bind(&socket).unwrap();
    let running = tokio::spawn(control::run(proxy, bound, std::future::pending(), LONG));
    until("it listens", || std::os::unix::net::UnixStream::connect(&socket).is_ok()).await;
    let mut wanted = spec(&[origin.address], "", "");
    let port = nobody().await;
    wanted.services[0].listen = vec![port];
    assert_eq!(control::ask(&socket, &Ask::Apply(wanted.clone())).await.unwrap(), Answer::Applied);
    assert_eq!(body(&get(port, "/").await), "a");
    wanted.services[0].routes[0].cluster = None;
    let Answer::Refused(why) = control::ask(&socket, &Ask::Apply(wanted)).await.unwrap() else { panic!("it has no cluster") };
    assert_eq!(why, "services[0].routes[0].cluster: a route wants a cluster or a redirect");
    let Answer::Counts(counts) = control::ask(&socket, &Ask::Counts).await.unwrap() else { panic!("it counts") };
    assert_eq!(counts[0].statuses[2], 1);
    // A line that is no question is answered, and the next is read.
    let mut stream = BufReader::new(UnixStream::connect(&socket).await.unwrap());
    stream.write_all(b"{\"apply\": {\"servces\": []}}\n\"counts\"\n").await.unwrap();
    let (mut first, mut second) = (String::new(), String::new());
    stream.read_line(&mut first).await.unwrap();
    stream.read_line(&mut second).await.unwrap();
    assert!(first.contains("refused") && first.contains("servces") && second.starts_with("{\"counts\":"), "{first}{second}");
    drop(stream);
    assert_eq!(control::ask(&socket, &Ask::Drain(Span::millis(5_000))).await.unwrap(), Answer::Drained(0));
    running.await.unwrap().unwrap();
    assert!(!socket.exists() && std::net::TcpStream::connect(port).is_err());
}
