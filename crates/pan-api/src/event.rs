//! Events and changes as the API streams them.

pub use pan_model::event::{Event, Severity};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One line of a watch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "{T}Change")]
pub struct Change<T> {
    /// What happened to the object.
    #[serde(rename = "type")]
    pub kind: ChangeKind,
    /// The object after it (before it, when deleted).
    pub object: T,
}

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// Is there; the first lines of every watch.
    Added,
    /// Changed.
    Modified,
    /// Is gone.
    Deleted,
}
