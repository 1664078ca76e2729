//! The host's certificate is renewed by the host itself, long before it ends, over the connection that it still opens.
//!
//! Every role process may do it; a lock makes one of them. The others, and this one's own servers and clients, see the
//! file change ([`LiveTls`]). The key stays the same, so that one file is replaced and nothing can be half done.

use super::path::Controller;
use crate::ApiError;
use crate::WIRE_VERSION;
use crate::file::replace;
use crate::join::{Renew, Renewed};
use crate::pki::{CLOCKS_APART_MAX, Requested};
use crate::tls::{LiveTls, certificates, validity};
use pan_model::host_config::TlsFiles;
use pan_model::{Code, HostName};
use std::fs::OpenOptions;
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::time::Duration;

/// Bounds of the pause between two looks: an hour is nothing to a certificate of days, and a second enough for one of
/// seconds, which only tests have.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
/// Longest pause after a failure: a PAN that was down for a while must not wait for an hour to get its certificates.
const AGAIN_MAX: Duration = Duration::from_secs(60);

/// What is to be done about a certificate now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing; look again after this time.
    Wait(Duration),
    /// Renew it; if that fails, try again after this time.
    Renew { again: Duration },
}

/// What is to be done about a certificate of this life, in seconds since 1970: renewed when a third of it is left.
pub(super) fn step((begins, ends): (i64, i64), now: i64) -> Step {
    // It was made to begin earlier than it was issued.
    let issued = begins.saturating_add(i64::try_from(CLOCKS_APART_MAX.as_secs()).unwrap_or(0)).min(ends);
    let seconds = |number: i64| Duration::from_secs(u64::try_from(number).unwrap_or(0));
    let left = ends.saturating_sub(now);
    let due = ends.saturating_sub(issued) / 3;
    match left > due {
        true => Step::Wait(seconds((left - due) / 2).clamp(PAUSES.0, PAUSES.1)),
        false => Step::Renew { again: seconds(left / 20).clamp(PAUSES.0, AGAIN_MAX) },
    }
}

/// Looks after the certificate for ever.
pub(super) async fn keep(host: HostName, files: TlsFiles, tls: Arc<LiveTls>, controllers: Vec<Arc<Controller>>) {
    loop {
        let pause = match look(&files) {
            Ok(Step::Wait(pause)) => pause,
            Ok(Step::Renew { again }) => {
                if let Err(error) = renew(&host, &files, &tls, &controllers).await {
                    tracing::warn!("the host's certificate is not renewed yet: {error}");
                }
                again
            }
            Err(error) => {
                tracing::warn!("the host's certificate cannot be looked at: {error}");
                AGAIN_MAX
            }
        };
        tokio::time::sleep(pause).await;
    }
}

fn look(files: &TlsFiles) -> io::Result<Step> {
    let strange = |error: crate::tls::TlsError| io::Error::new(ErrorKind::InvalidData, error.to_string());
    let text = std::fs::read_to_string(&files.cert)?;
    let life = certificates(&text).and_then(|all| validity(&all[0])).map_err(strange)?;
    Ok(step(life, jiff::Timestamp::now().as_second()))
}

async fn renew(host: &HostName, files: &TlsFiles, tls: &LiveTls, controllers: &[Arc<Controller>]) -> Result<(), ApiError> {
    let local = |error: io::Error| ApiError::new(Code::Internal, format!("{}: {error}", files.cert.display()));
    let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(files.cert.with_extension("lock"));
    let lock = lock.map_err(local)?;
    if lock.try_lock().is_err() {
        return Ok(());
    }
    // Another role may have been faster.
    if matches!(look(files).map_err(local)?, Step::Wait(_)) {
        return Ok(());
    }
    let requested = Requested::of(host, Some(tls.key_pem())).map_err(|error| ApiError::new(Code::Internal, error.to_string()))?;
    let ask = Renew { version: WIRE_VERSION, host: host.clone(), request: requested.request_pem };
    let mut failure = ApiError::new(Code::HostUnreachable, "no controller is known");
    for controller in controllers {
        match controller.ask("/internal/v1/renew", &ask).await {
            Ok(Renewed { cert }) => {
                // Shown first: what does not fit the key must not be on the disk.
                tls.show(&cert).map_err(|error| ApiError::new(Code::Internal, error.to_string()))?;
                replace(&files.cert, cert.as_bytes()).map_err(local)?;
                tracing::info!(ends = tls.ends(), "the host's certificate was renewed");
                return Ok(());
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_when_a_third_of_its_life_is_left() {
        const HOUR: i64 = 3600;
        const DAY: i64 = 24 * HOUR;
        let seconds = Duration::from_secs;
        let month = (1_000_000 - HOUR, 1_000_000 + 30 * DAY);
        assert_eq!(step(month, 1_000_000), Step::Wait(seconds(3600)));
        assert_eq!(step(month, 1_000_000 + 20 * DAY - 600), Step::Wait(seconds(300)));
        assert_eq!(step(month, 1_000_000 + 20 * DAY), Step::Renew { again: seconds(60) });
        assert_eq!(step(month, 1_000_000 + 31 * DAY), Step::Renew { again: seconds(1) });
        let short = (1_000_000 - HOUR, 1_000_030);
        assert_eq!(step(short, 1_000_000), Step::Wait(seconds(10)));
        assert_eq!(step(short, 1_000_019), Step::Wait(seconds(1)));
        assert_eq!(step(short, 1_000_020), Step::Renew { again: seconds(1) });
    }
}
