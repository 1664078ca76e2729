//! Golden scenarios: `scenarios/NAME.txt` is played, the answers must equal `NAME.expected`.
//! `UPDATE_GOLDEN=1` rewrites the expected files; read the difference before committing it.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod dialogue;

use std::path::Path;

#[test]
fn scenarios_answer_as_expected() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut paths: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|kind| kind == "txt"));
    paths.sort();
    assert!(!paths.is_empty(), "no scenario in {}", folder.display());
    let mut wrong = Vec::new();
    for path in paths {
        let answers = dialogue::play(&std::fs::read_to_string(&path).unwrap());
        let golden = path.with_extension("expected");
        if update {
            std::fs::write(&golden, &answers).unwrap();
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != answers {
            eprintln!("{} answers:\n{answers}", path.display());
            wrong.push(golden);
        }
    }
    assert!(wrong.is_empty(), "differs from {wrong:?}; UPDATE_GOLDEN=1 rewrites them");
}
