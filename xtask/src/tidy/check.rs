//! The check itself: files through rules through exceptions.

use std::path::Path;

use super::{allow, files, rules};
use crate::Problems;

/// Looks at every file of the project.
pub fn check(root: &Path) -> Problems {
    let files = match files::find(root) {
        Ok(files) => files,
        Err(error) => return vec![format!("cannot read the project: {error}")],
    };
    let findings = files.iter().flat_map(rules::judge).collect();
    match std::fs::read_to_string(root.join(allow::FILE)) {
        Ok(list) => allow::apply(&list, findings),
        Err(error) => vec![format!("{}: {error}", allow::FILE)],
    }
}
