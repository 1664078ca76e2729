//! Metadata contexts: `NBD_OPT_LIST_META_CONTEXT` and `NBD_OPT_SET_META_CONTEXT`. There is one, `base:allocation`.

use super::answer::Answer;
use crate::catalog::{Catalog, ExportIndex, STRING_MAX};
use crate::cursor::Cursor;
use crate::numbers::{BASE_ALLOCATION, BASE_ALLOCATION_ID, rep};

/// Which of the two options it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    List,
    Set,
}

/// Whether a connection will speak of `base:allocation`, and of which export.
pub(super) type Selected = Option<ExportIndex>;

/// The reply, and what is selected from then on: a `Set` that fails leaves nothing selected.
pub(super) fn answer(purpose: Purpose, answer: Answer, data: &[u8], catalog: &Catalog) -> (Vec<u8>, Selected) {
    let Some((name, queries)) = parse(data) else {
        return (answer.error(rep::ERR_INVALID, "expected the name of an export and a list of queries"), None);
    };
    let Some((index, _)) = catalog.find(name) else {
        return (answer.error(rep::ERR_UNKNOWN, "there is no such export"), None);
    };
    if queries.iter().any(|query| !query.contains(':')) {
        return (answer.error(rep::ERR_INVALID, "a query begins with a namespace and a colon"), None);
    }
    let everything = purpose == Purpose::List && queries.is_empty();
    if !everything && !queries.iter().any(|query| matches(purpose, query)) {
        return (answer.ack(), None);
    }
    let (id, selected) = match purpose {
        Purpose::List => (0, None),
        Purpose::Set => (BASE_ALLOCATION_ID, Some(index)),
    };
    (answer.add(rep::META_CONTEXT, &[&id.to_be_bytes(), BASE_ALLOCATION.as_bytes()]).ack(), selected)
}

/// A namespace alone stands for all in it when listing, and for nothing when setting.
fn matches(purpose: Purpose, query: &str) -> bool {
    query == BASE_ALLOCATION || (purpose == Purpose::List && query == "base:")
}

fn parse(data: &[u8]) -> Option<(&str, Vec<&str>)> {
    let mut cursor = Cursor(data);
    let name = cursor.text()?;
    let count = cursor.u32()?;
    // Each takes at least its length of the data, so a count that lies ends this before it costs anything.
    let queries = (0..count).map(|_| cursor.text()).collect::<Option<Vec<_>>>()?;
    let fine = cursor.is_empty() && name.len() <= STRING_MAX && queries.iter().all(|query| query.len() <= STRING_MAX);
    fine.then_some((name, queries))
}
