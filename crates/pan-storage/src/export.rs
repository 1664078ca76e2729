//! Snapshots to be read from outside: their bytes, and which of them are data. Snapshots never change, so nobody is fenced for it.

use crate::keep::Open;
use bytes::Bytes;
use pan_api::ApiError;
use pan_api::hostmetrics::{Pages, Reading};
use pan_api::volume::{MAP_MAX, READ_MAX, SnapshotMap};
use pan_disk::{BLOCK, DiskError, Source, Span};
use pan_model::{Code, SnapshotId};
use std::sync::Arc;
use tokio::sync::watch;

/// What is asked for: `/internal/v1/snapshots/ID/data` or `…/map`, with `at` and `length` as query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Question {
    snapshot: SnapshotId,
    span: Span,
    map: bool,
}

/// The pages of the snapshots of whatever pool is open.
pub(crate) fn pages(open: watch::Receiver<Open>) -> Pages {
    Arc::new(move |path: &str, query: &str| {
        let question = question(path, query)?;
        let open = open.clone();
        let reading: Reading = Box::pin(async move {
            let question = question?;
            let read = tokio::task::spawn_blocking(move || answer(&open, question)).await;
            read.unwrap_or_else(|_| Err(ApiError::new(Code::Internal, "the role ends")))
        });
        Some(reading)
    })
}

/// `None`: another page.
fn question(path: &str, query: &str) -> Option<Result<Question, ApiError>> {
    let (id, what) = path.strip_prefix("/internal/v1/snapshots/")?.split_once('/')?;
    let (snapshot, map) = (SnapshotId(id.parse().ok()?), ["data", "map"].iter().position(|name| *name == what)? == 1);
    let number = |name: &str| {
        let given = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        given.and_then(|text| text.parse::<u64>().ok()).ok_or_else(|| ApiError::new(Code::Invalid, format!("{name}: expected a number")))
    };
    let span = || {
        let span = Span { offset: number("at")?, length: number("length")? };
        let most = if map { MAP_MAX } else { READ_MAX };
        let fits = span.length > 0 && span.length <= most && span.offset.checked_add(span.length).is_some();
        if !fits || !span.offset.is_multiple_of(BLOCK) || !span.length.is_multiple_of(BLOCK) {
            return Err(ApiError::new(Code::Invalid, format!("expected whole blocks of {BLOCK} bytes, and at most {most} bytes of them")));
        }
        Ok(Question { snapshot, span, map })
    };
    Some(span())
}

fn answer(open: &watch::Receiver<Open>, question: Question) -> Result<Bytes, ApiError> {
    let Question { snapshot, span, map } = question;
    let vault = open.borrow().clone().ok_or_else(|| ApiError::new(Code::State, "the pool cannot be used at present"))?;
    let source = Source::Snapshot(snapshot);
    if map {
        let stretches = vault.pool().stretches(source, span).map_err(|error| refuse(&error))?;
        let data = stretches.iter().filter(|stretch| stretch.data).map(|stretch| (stretch.span.offset, stretch.span.length)).collect();
        return Ok(serde_json::to_vec(&SnapshotMap { data }).unwrap_or_default().into());
    }
    let mut data = vec![0; usize::try_from(span.length).unwrap_or_default()];
    vault.pool().read(source, span.offset, &mut data).map_err(|error| refuse(&error))?;
    Ok(data.into())
}

fn refuse(error: &DiskError) -> ApiError {
    let code = match error {
        DiskError::NotFound(_) => Code::NotFound,
        DiskError::OutOfRange { .. } | DiskError::Unaligned(_) => Code::Invalid,
        // Everything else, one by one, so that a new one is thought about.
        DiskError::NoPool
        | DiskError::PoolExists(_)
        | DiskError::Layout(_)
        | DiskError::Version { .. }
        | DiskError::Damaged { .. }
        | DiskError::Rotten { .. }
        | DiskError::MapRotten { .. }
        | DiskError::Exists(_)
        | DiskError::Size(_)
        | DiskError::Shrink { .. }
        | DiskError::Past { .. }
        | DiskError::IntentsFull(_)
        | DiskError::TooMany(_)
        | DiskError::NotAbsent { .. }
        | DiskError::Full(_)
        | DiskError::Read { .. }
        | DiskError::Failed(_) => Code::Internal,
    };
    ApiError::new(code, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_blocks_of_a_snapshot_are_read() {
        let ask = |path: &str, query: &str| question(path, query).map(|asked| asked.map_err(|error| error.code));
        let page = "/internal/v1/snapshots/7/data";
        let good = Question { snapshot: SnapshotId(7), span: Span { offset: 8192, length: 4096 }, map: false };
        assert_eq!(ask(page, "at=8192&length=4096"), Some(Ok(good)));
        assert_eq!(ask("/internal/v1/snapshots/7/map", "length=4096&at=8192"), Some(Ok(Question { map: true, ..good })));
        for bad in [
            "",
            "at=0",
            "at=0&length=0",
            "at=1&length=4096",
            "at=0&length=5000",
            "at=0&length=99999999999",
            "at=18446744073709547520&length=4096",
        ] {
            assert_eq!(ask(page, bad), Some(Err(Code::Invalid)), "{bad}");
        }
        let all = format!("at=0&length={}", MAP_MAX + BLOCK);
        assert_eq!(ask("/internal/v1/snapshots/7/map", &all), Some(Err(Code::Invalid)));
        for other in ["/metrics", "/internal/v1/snapshots/7", "/internal/v1/snapshots/x/data", "/internal/v1/snapshots/7/dat"] {
            assert_eq!(ask(other, "at=0&length=4096"), None, "{other}");
        }
    }
}
