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

#[tokio::test]
async fn whoever_was_there_before_can_ask_what_is_left_while_it_ends() {
    let origin = Origin::start("a").await;
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control");
    let proxy = Proxy::start(Settings { threads: Some(1), ..Settings::default() }).unwrap();
    let running = tokio::spawn(control::run(proxy, control::Socket::bind(&socket).unwrap(), std::future::pending(), LONG));
    let mut wanted = spec(&[origin.address], "", "");
    let port = nobody().await;
    wanted.services[0].listen = vec![port];
    assert_eq!(control::ask(&socket, &Ask::Apply(wanted)).await.unwrap(), Answer::Applied);
    let mut held = tokio::net::TcpStream::connect(port).await.unwrap();
    held.write_all(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    until("it is at the server", || origin.seen().len() == 1).await;
    let mut stream = BufReader::new(UnixStream::connect(&socket).await.unwrap());
    let mut say = async |question: &[u8]| {
        stream.write_all(question).await.unwrap();
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        line
    };
    assert!(say(b"\"counts\"\n").await.contains(r#""inFlight":1"#));
    let path = socket.clone();
    let ending = tokio::spawn(async move { control::ask(&path, &Ask::Drain(Span::millis(60_000))).await });
    until("its name is free", || !socket.exists()).await;
    assert!(say(b"\"counts\"\n").await.contains(r#""inFlight":1"#));
    assert_eq!(say(b"{\"apply\": {\"services\": []}}\n").await, "{\"refused\":\"it ends\"}\n");
    origin.release();
    assert_eq!(body(&rest(&mut held).await), "a");
    assert_eq!(ending.await.unwrap().unwrap(), Answer::Drained(0));
    drop(stream);
    running.await.unwrap().unwrap();
}
