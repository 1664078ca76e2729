//! One check of one server. Sockets are made inside the server's network namespace, where they stay;
//! the waiting is asynchronous.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use pan_linux::netns::Netns;
use pan_model::cluster::HealthSpec;
use tokio::net::{TcpSocket, TcpStream};

use super::http;
use crate::error::chain;
use crate::server::exec::{self, Container, Outcome};

/// What is checked.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The server's network namespace.
    pub netns: String,
    /// Its own address, on which clients reach it too.
    pub address: IpAddr,
    /// For checks that are programs.
    pub container: Container,
}

/// Makes the check of `spec`, within its time limit.
///
/// # Errors
/// What is wrong with the server, for people.
pub(crate) async fn probe(target: &Target, spec: &HealthSpec) -> Result<(), String> {
    if let Some(check) = &spec.exec {
        return run(target, &check.command, spec.timeout.0).await;
    }
    let limited = tokio::time::timeout(spec.timeout.0, over_tcp(target, spec)).await;
    limited.unwrap_or_else(|_| Err(format!("no answer within {}", spec.timeout)))
}

async fn over_tcp(target: &Target, spec: &HealthSpec) -> Result<(), String> {
    if let Some(check) = &spec.http {
        let stream = connect(target, check.port).await?;
        let host = SocketAddr::new(target.address, check.port).to_string();
        let status = http::status(stream, &host, &check.path).await;
        return match status {
            Ok(200..=399) => Ok(()),
            Ok(status) => Err(format!("GET {} on port {} said {status}", check.path, check.port)),
            Err(error) => Err(format!("GET {} on port {}: {error}", check.path, check.port)),
        };
    }
    match &spec.tcp {
        Some(check) => connect(target, check.port).await.map(drop),
        None => Ok(()),
    }
}

async fn connect(target: &Target, port: u16) -> Result<TcpStream, String> {
    let to = SocketAddr::new(target.address, port);
    let name = target.netns.clone();
    let made = tokio::task::spawn_blocking(move || -> Result<io::Result<TcpSocket>, _> {
        Netns::open(&name)?.run(|| match to {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        })
    });
    let socket = match made.await.map_err(|error| error.to_string())? {
        Ok(socket) => socket.map_err(|error| format!("make a socket: {error}"))?,
        Err(error) => return Err(chain(&error)),
    };
    socket.connect(to).await.map_err(|error| format!("connect to port {port}: {error}"))
}

async fn run(target: &Target, command: &[String], limit: Duration) -> Result<(), String> {
    let words = || command.join(" ");
    match exec::run(&target.container, command, limit).await {
        Ok(Outcome::Exit(0, _)) => Ok(()),
        Ok(Outcome::Exit(code, said)) if said.is_empty() => Err(format!("check {:?} ended with status {code}", words())),
        Ok(Outcome::Exit(code, said)) => Err(format!("check {:?} ended with status {code}: {said}", words())),
        Ok(Outcome::TooLong) => Err(format!("check {:?} did not end within {} ms", words(), limit.as_millis())),
        Ok(Outcome::Refused(why)) => Err(format!("check {:?}: {why}", words())),
        Err(error) => Err(format!("check {:?}: {error}", words())),
    }
}
