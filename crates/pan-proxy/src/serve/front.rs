//! Reads what is in front of a service says of the client, before TLS and HTTP.

use crate::proxied::{Ends, FIRST, LINE_MAX, SIGNATURE, one, two};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Reads a header of the PROXY protocol and not a byte more. Nothing if it does not say who the client is.
///
/// # Errors
/// What comes is no header, or ends.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Ends>> {
    let bad = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    let mut line = vec![0; FIRST];
    stream.read_exact(&mut line).await?;
    if line == SIGNATURE {
        let mut first = [0; 16];
        first[..FIRST].copy_from_slice(&SIGNATURE);
        stream.read_exact(&mut first[FIRST..]).await?;
        let two = two(&first).map_err(bad)?;
        let mut rest = vec![0; two.length];
        stream.read_exact(&mut rest).await?;
        return two.ends(&rest).map_err(bad);
    }
    // A line has no length: what comes after it is not the proxy's to read here.
    while !line.ends_with(b"\n") && line.len() < LINE_MAX && line.starts_with(b"PROXY ") {
        line.push(stream.read_u8().await?);
    }
    one(&line).map_err(bad)
}
