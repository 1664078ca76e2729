//! Loading rule sets through the `nft` program.

use std::io::{self, Write};
use std::process::{Command, Output, Stdio};

use crate::netns::{Netns, NetnsError};

/// Why a rule set was not loaded. The tables are then as they were.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// `nft` could not be started.
    #[error("start nft (package nftables)")]
    Start {
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The script could not be handed over, or the outcome not be read.
    #[error("talk to nft")]
    Talk {
        /// What failed.
        #[source]
        source: io::Error,
    },
    /// `nft` refused the script.
    #[error("nft refused the rule set{}: {stderr}", at_line(line))]
    Refused {
        /// What nft wrote, its own excerpts included.
        stderr: String,
        /// Number and text of the first line complained about, if nft named one.
        line: Option<(usize, String)>,
    },
    /// The namespace could not be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
}

fn at_line(line: &Option<(usize, String)>) -> String {
    match line {
        Some((number, text)) => format!(" at line {number} ({})", text.trim()),
        None => String::new(),
    }
}

/// Loads a script with `nft -f -` in `ns` or, if none is given, in the calling thread's namespace.
/// All of it takes effect, or nothing.
///
/// # Errors
/// `nft` is not there or refuses the script; see [`NftError::Refused`].
pub fn load(ns: Option<&Netns>, script: &str) -> Result<(), NftError> {
    let output = match ns {
        Some(ns) => ns.run(|| feed(script))??,
        None => feed(script)?,
    };
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let line = complained_line(&stderr).and_then(|number| Some((number, script.lines().nth(number - 1)?.to_owned())));
    Err(NftError::Refused { stderr, line })
}

fn feed(script: &str) -> Result<Output, NftError> {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| NftError::Start { source })?;
    let mut stdin = child.stdin.take().expect("stdin was asked to be a pipe");
    // nft reads to the end before it writes, so this cannot block against its stderr. If it dies
    // early its own message says more than the broken pipe.
    let written = match stdin.write_all(script.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    };
    drop(stdin);
    let output = child.wait_with_output().map_err(|source| NftError::Talk { source })?;
    written.map_err(|source| NftError::Talk { source })?;
    Ok(output)
}

/// nft begins a complaint with `FILE:LINE:COLUMNS: Error:`, FILE being `/dev/stdin` or `-`.
fn complained_line(stderr: &str) -> Option<usize> {
    stderr
        .lines()
        .filter(|line| line.contains("Error"))
        .find_map(|line| {
            let rest = line.strip_prefix("/dev/stdin:").or_else(|| line.strip_prefix("-:"))?;
            rest.split(':').next()?.parse().ok()
        })
        .filter(|number| *number > 0)
}

#[cfg(test)]
mod tests {
    use super::complained_line;

    #[test]
    fn line_number_of_a_complaint() {
        let stdin = "/dev/stdin:3:5-10: Error: syntax error, unexpected string\n  frob x\n  ^^^^";
        assert_eq!(complained_line(stdin), Some(3));
        assert_eq!(complained_line("-:12:1-2: Error: No such file"), Some(12));
        assert_eq!(complained_line("Error: Could not process rule"), None);
    }
}
