//! All that is wrong with one document: it is read again and again, each time without what was found wrong until then.

use super::check::check;
use super::mask::Mask;
use super::tree::{Node, Spot, Tree};
use super::{Object, Problem};
use crate::Code;
use serde_saphyr::Error;
use std::collections::BTreeSet;

/// Wrong values of one document that are named at once: more are corrected one after the other anyway.
pub(super) const WRONG_MAX: usize = 20;
/// A value that is needed and was found wrong costs another reading, which finds nothing.
const READINGS_MAX: usize = 2 * WRONG_MAX;

/// A document that cannot be read as it is.
pub(super) struct Again<'a> {
    /// As it was written.
    pub(super) tree: &'a Tree,
    /// What comes before it in its text.
    pub(super) first_line: u64,
    /// Bytes that may still be read again; each reading takes `size`.
    pub(super) left: &'a mut usize,
    /// Of the document.
    pub(super) size: usize,
    /// Makes a problem of an error.
    pub(super) problem: &'a dyn Fn(&Error) -> Problem,
    /// Makes a problem of what is wrong at a place.
    pub(super) at: &'a dyn Fn(Code, Spot, String) -> Problem,
}

impl Again<'_> {
    /// Everything found wrong, in the order of the text, beginning with `first`. `read` passes over what it is told.
    pub(super) fn all(mut self, first: Error, read: impl Fn(&Mask) -> Result<Object, Error>) -> Vec<Problem> {
        let (mut mask, mut error, mut found) = (Mask::default(), first, Vec::new());
        let mut misspelt = BTreeSet::new();
        for _ in 0..READINGS_MAX {
            let path = self.path(&error, &mask);
            let problem = (self.problem)(&error);
            let follows = path.as_ref().is_some_and(|path| self.follows(&error, path, &mask) || misspelt.contains(path));
            if !follows && !found.contains(&problem) {
                found.push(problem);
            }
            // What is missing where a field is unknown is that one under its right name.
            if let (Error::SerdeUnknownField { .. }, Some([whole @ .., _])) = (error.without_snippet(), path.as_deref()) {
                misspelt.insert(whole.to_vec());
            }
            // Without its spec nothing is left of a document.
            let passed = path.is_some_and(|path| path.len() > 1 && mask.add(&path));
            if !passed || found.len() >= WRONG_MAX || !self.pays() {
                break;
            }
            match read(&mask) {
                Ok(object) => {
                    found.extend(self.rest(&object, &mask));
                    break;
                }
                Err(next) => error = next,
            }
        }
        found.sort_by_key(|problem| (problem.place.line, problem.place.column));
        if found.len() > WRONG_MAX {
            found.truncate(WRONG_MAX);
        }
        found
    }

    fn pays(&mut self) -> bool {
        let left = self.left.checked_sub(self.size);
        *self.left = left.unwrap_or(*self.left);
        left.is_some()
    }

    fn spot(&self, error: &Error) -> Option<Spot> {
        let spot = Spot::of(error.without_snippet().location()?);
        Some(Spot { line: spot.line + self.first_line, ..spot })
    }

    /// Which value an error is about; where it is that already, what it lies in.
    fn path(&self, error: &Error, mask: &Mask) -> Option<Vec<usize>> {
        let spot = self.spot(error)?;
        let (mut value, mut key, mut whole) = (None, None, None);
        self.tree.visit(&mut Vec::new(), &mut |path, key_spot, tree| {
            match tree.node {
                Node::Scalar(_) | Node::Null if tree.spot == spot => value = Some(path.to_vec()),
                Node::List(_) | Node::Map(_) if tree.spot == spot => whole = Some(path.to_vec()),
                Node::Scalar(_) | Node::Null | Node::List(_) | Node::Map(_) => {}
            }
            if key_spot == Some(spot) {
                key = Some(path.to_vec());
            }
        });
        let path = match error.without_snippet() {
            // It is told at the last field that is there.
            Error::SerdeMissingField { .. } => key.map(|mut path| {
                path.pop();
                path
            }),
            _ => value.or(key),
        };
        let mut path = path.or(whole)?;
        while !path.is_empty() && mask.has(&path) {
            path.pop();
        }
        Some(path)
    }

    /// Whether an error only follows from what is passed over.
    fn follows(&self, error: &Error, path: &[usize], mask: &Mask) -> bool {
        match error.without_snippet() {
            Error::SerdeMissingField { field, .. } => self.tree.at(path).is_some_and(|map| map.entry(field).is_some()),
            _ => mask.touches(path),
        }
    }

    /// What is wrong with those values that could be read, as far as nothing that is passed over has to do with it.
    fn rest(&self, object: &Object, mask: &Mask) -> Vec<Problem> {
        let found = check(object).into_iter();
        let apart = found.filter(|(_, path, _)| self.tree.resolve(path, mask).is_some_and(|path| !mask.touches(&path)));
        apart.map(|(code, path, message)| (self.at)(code, self.tree.locate(&path), message)).collect()
    }
}
