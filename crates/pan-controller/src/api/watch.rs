//! Streams of changes: newline-delimited JSON, what is there first, then what differs from view to view.
//!
//! A slow reader skips views, never changes: each line is the difference to what it was sent last.

use super::answer;
use super::call::Call;
use super::scope::Scope;
use crate::handle::Principal;
use crate::metrics::Stream;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use pan_api::event::{Change, ChangeKind};
use serde::Serialize;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::iter::Peekable;
use std::time::Duration;
use tokio::sync::watch::{Receiver, error::RecvError};

/// How often a line, if only a blank one, is sent: tells both sides early that the other is gone.
pub const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// A line of a stream.
pub fn line<T: Serialize + ?Sized>(out: &mut Vec<u8>, object: &T) {
    out.extend_from_slice(&answer::bytes_of(object));
    out.push(b'\n');
}

/// A change as a line.
pub fn change_line<T: Serialize>(out: &mut Vec<u8>, kind: ChangeKind, object: &T) {
    line(out, &Change { kind, object });
}

/// Streams the changes of the objects that `select` finds.
pub fn objects<K, T>(call: Call<Principal>, select: impl Fn(&Scope) -> BTreeMap<K, T> + Send + 'static) -> Response
where
    K: Ord + Send + 'static,
    T: Serialize + PartialEq + Send + 'static,
{
    let mut before = BTreeMap::new();
    views(call, move |scope| {
        let now = select(scope);
        let lines = difference(&before, &now);
        before = now;
        lines
    })
}

/// Streams what `step` makes of each new view.
pub fn views(call: Call<Principal>, mut step: impl FnMut(&Scope) -> Vec<u8> + Send + 'static) -> Response {
    let (changes, counted) = (call.handle().changes(), call.handle().metrics.stream());
    let mut over = false;
    follow(changes, counted, move |news| {
        // A view is made for a caller only if it still may see one.
        if over || !call.is_good() {
            return None;
        }
        if let Err(old) = call.is_fresh() {
            // Whoever waits here for something waits at the wrong place; the status is long sent.
            over = true;
            let mut out = Vec::new();
            line(&mut out, &old);
            return Some(out);
        }
        Some(news.map_or_else(Vec::new, |_| step(&call.scope())))
    })
}

/// Streams what `step` makes of a watched value: at once, and then of each newer one. It is asked each [`KEEP_ALIVE`] whatever happens, with `None`
/// where there is nothing newer; the stream ends when it says `None`.
pub fn follow<V: Send + Sync + 'static>(
    changes: Receiver<V>,
    counted: Stream,
    step: impl FnMut(Option<&mut Receiver<V>>) -> Option<Vec<u8>> + Send + 'static,
) -> Response {
    let state = Some((changes, step, counted, false));
    let lines = stream::unfold(state, |state| async move {
        let (mut changes, mut step, counted, begun) = state?;
        let woken = if begun { tokio::time::timeout(KEEP_ALIVE, changes.changed()).await } else { Ok(Ok::<(), RecvError>(())) };
        let mut out = match woken {
            Ok(Ok(())) => {
                // Marked as seen before it is read, so that nothing newer is missed.
                changes.mark_unchanged();
                step(Some(&mut changes))?
            }
            Ok(Err(_)) => return None,
            Err(_) => step(None)?,
        };
        if out.is_empty() {
            out.push(b'\n');
        }
        Some((Ok::<_, Infallible>(Bytes::from(out)), Some((changes, step, counted, true))))
    });
    answer::stream(answer::LINES, lines)
}

/// The lines that turn `before` into `now`, in the order of the keys.
fn difference<K: Ord, T: Serialize + PartialEq>(before: &BTreeMap<K, T>, now: &BTreeMap<K, T>) -> Vec<u8> {
    let mut out = Vec::new();
    let (mut old, mut new) = (before.iter().peekable(), now.iter().peekable());
    loop {
        match order(&mut old, &mut new) {
            None => return out,
            Some(Ordering::Less) => change_line(&mut out, ChangeKind::Deleted, &old.next().expect("peeked").1),
            Some(Ordering::Greater) => change_line(&mut out, ChangeKind::Added, &new.next().expect("peeked").1),
            Some(Ordering::Equal) => {
                let (was, is) = (old.next().expect("peeked").1, new.next().expect("peeked").1);
                if was != is {
                    change_line(&mut out, ChangeKind::Modified, &is);
                }
            }
        }
    }
}

/// Which of two sorted sequences goes on first.
fn order<'a, K: Ord + 'a, T: 'a>(
    old: &mut Peekable<impl Iterator<Item = (&'a K, &'a T)>>,
    new: &mut Peekable<impl Iterator<Item = (&'a K, &'a T)>>,
) -> Option<Ordering> {
    match (old.peek(), new.peek()) {
        (None, None) => None,
        (Some(_), None) => Some(Ordering::Less),
        (None, Some(_)) => Some(Ordering::Greater),
        (Some((old, _)), Some((new, _))) => Some(old.cmp(new)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(before: &[(u8, u8)], now: &[(u8, u8)], lines: &str) {
        let map = |pairs: &[(u8, u8)]| pairs.iter().copied().collect::<BTreeMap<_, _>>();
        assert_eq!(String::from_utf8(difference(&map(before), &map(now))).unwrap(), lines);
    }

    #[test]
    fn a_difference_names_each_change_once() {
        check(&[], &[], "");
        check(&[(1, 1)], &[(1, 1)], "");
        check(&[], &[(1, 5)], "{\"type\":\"added\",\"object\":5}\n");
        check(&[(1, 5)], &[(1, 6)], "{\"type\":\"modified\",\"object\":6}\n");
        check(&[(1, 1), (3, 3)], &[(2, 2), (3, 3)], "{\"type\":\"deleted\",\"object\":1}\n{\"type\":\"added\",\"object\":2}\n");
    }
}
