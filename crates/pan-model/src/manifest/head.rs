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

/// The heads of all documents of a text, in their order.
#[derive(Debug, Clone, Default)]
pub struct Heads(Vec<(u64, Option<Head>)>);

impl Heads {
    /// Reads the heads of a text; none of one that is too long to be read at all.
    #[must_use]
    pub fn of(text: &str) -> Self {
        if text.len() > TEXT_MAX {
            return Self::default();
        }
        Self(split(text).into_iter().map(|(before, part)| (before, head(part))).collect())
    }

    /// The head of the document that a line (from 1) lies in. `None` when the document cannot be read at all, or names no
    /// kind or no object.
    #[must_use]
    pub fn at(&self, line: u64) -> Option<&Head> {
        self.0.iter().rfind(|(before, _)| *before < line)?.1.as_ref()
    }
}

fn head(document: &str) -> Option<Head> {
    let tree = serde_saphyr::from_str_with_options::<Tree>(document, options()).ok()?;
    let said = |key| match &tree.entry(key)?.value.node {
        Node::Scalar(text) => Some(text.clone()),
        Node::Null | Node::List(_) | Node::Map(_) => None,
    };
    Some(Head { kind: said("kind")?.to_lowercase(), partition: said("partition"), name: said("name")? })
}
