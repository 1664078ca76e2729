//! Whether a caller may make one more request.

use super::dispatch::App;
use crate::core::rates::{Asker, PARTITION, TooMany};
use crate::handle::{Principal, View};
use pan_api::ApiError;
use pan_model::{Code, PartitionName};
use std::num::NonZeroU32;
use std::sync::PoisonError;

/// Counts a request. The administrator that the PAN was made with is never refused: whoever mends a PAN must get in, whatever asks beside it.
///
/// # Errors
/// `TooMany`, which speaks of the caller's own token and partition.
pub fn admit(app: &App, view: &View, who: &Principal) -> Result<(), ApiError> {
    let Some(token) = who.token else { return Ok(()) };
    let partition = who.partition.as_ref().map(|name| (name, allowed(view, name)));
    let now = crate::owner::now().boot;
    let admitted = app.rates.lock().unwrap_or_else(PoisonError::into_inner).admit(now, Asker { token, partition });
    let Err(too_many) = admitted else { return Ok(()) };
    let (whose, rate) = match (too_many, &who.partition) {
        (TooMany::Partition(rate), Some(partition)) => (format!("partition {partition}"), rate),
        (TooMany::Partition(rate), None) | (TooMany::Token(rate), _) => ("this token".to_owned(), rate),
    };
    app.handle.metrics.limited(matches!(too_many, TooMany::Token(_)));
    let text = format!("{whose} makes more requests than the {rate} a second that it may: ask again in a second");
    Err(ApiError::new(Code::TooMany, text))
}

fn allowed(view: &View, partition: &PartitionName) -> NonZeroU32 {
    let quota = view.partitions.get(partition).and_then(|partition| partition.spec.quota.as_ref());
    quota.and_then(|quota| quota.requests).unwrap_or(PARTITION)
}
