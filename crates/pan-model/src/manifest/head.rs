//! What a document says it is about, however wrong the rest of it may be.

use super::TEXT_MAX;
use super::parse::{options, split};
use super::tree::{Node, Tree};

/// The beginning of a document, unchecked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The kind in lower case; perhaps none that exists.
    pub kind: String,
    /// The partition, if the document names one.
    pub partition: Option<String>,
    /// The object's name.
    pub name: String,
}

/// The head of the document that a line (from 1) of a text lies in. `None` when the document cannot be read at all, or
/// names no kind or no object.
#[must_use]
pub fn head_at(text: &str, line: u64) -> Option<Head> {
    if text.len() > TEXT_MAX {
        return None;
    }
    let (_, part) = split(text).into_iter().rfind(|(before, _)| *before < line)?;
    let tree = serde_saphyr::from_str_with_options::<Tree>(part, options()).ok()?;
    let said = |key| match &tree.entry(key)?.value.node {
        Node::Scalar(text) => Some(text.clone()),
        Node::Null | Node::List(_) | Node::Map(_) => None,
    };
    Some(Head { kind: said("kind")?.to_lowercase(), partition: said("partition"), name: said("name")? })
}
