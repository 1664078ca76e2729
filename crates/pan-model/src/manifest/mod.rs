//! Manifests: YAML texts with any number of documents, read strictly into objects, with a place for every refusal.
//!
//! [`parse`] checks all that can be known from the texts alone. References to other objects, capacity and
//! circles of `after` are for whoever knows the world.

mod again;
mod check;
mod document;
mod head;
mod mask;
mod parse;
mod policy;
mod service;
#[cfg(test)]
mod tests;
mod tree;
mod web;

pub use check::SERVERS_MAX;
pub use document::{API, Document, Object, Place, Problem};
pub use head::{Head, Heads};
pub use parse::{DOCUMENTS_MAX, PROBLEMS_MAX, TEXT_MAX, parse};
