//! What an image says of the program to run. All of it is a default: what the cluster says goes before.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Refusal;

/// Words of a command, and variables: more than anybody writes by hand.
const WORDS_MAX: usize = 1024;
/// All of either together, in bytes: a quarter of what the kernel takes for both by default, execve(2).
const BYTES_MAX: usize = 512 << 10;
const OS: &str = "linux";
/// Folders of the kernel's: `/proc/self/fd`, and `/dev/fd` that leads there, hold what whoever starts the program has open, which may be
/// folders of the node (CVE-2024-21626).
const KERNELS: [&str; 2] = ["/proc", "/dev"];

/// What an image says of the program to run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    /// Program and arguments; may be none.
    pub command: Vec<String>,
    /// Environment, in its order.
    pub env: Vec<(String, String)>,
    /// Who runs it, as the image writes it.
    pub user: String,
    /// Where; absolute.
    pub folder: String,
}

#[derive(Deserialize)]
struct Raw {
    architecture: Option<String>,
    os: Option<String>,
    config: Option<RawConfig>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RawConfig {
    user: Option<String>,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
}

/// Reads a configuration.
///
/// # Errors
/// [`Refusal`]: it is none, too much, or of an image for other machines.
pub fn read(bytes: &[u8], architecture: &str) -> Result<Defaults, Refusal> {
    let wrong = |message: &str| Refusal::document("configuration", message);
    let raw: Raw = serde_json::from_slice(bytes).map_err(|error| wrong(&error.to_string()))?;
    let other = raw.architecture.is_some_and(|found| !found.is_empty() && found != architecture)
        || raw.os.is_some_and(|os| !os.is_empty() && os != OS);
    if other {
        return Err(Refusal::NoPlatform { os: OS, architecture: architecture.to_owned() });
    }
    let RawConfig { user, env, entrypoint, cmd, working_dir } = raw.config.unwrap_or_default();
    let command = [entrypoint.unwrap_or_default(), cmd.unwrap_or_default()].concat();
    bounded(&command, "words in its command")?;
    let env = env.unwrap_or_default();
    bounded(&env, "environment variables")?;
    let env = env.iter().filter_map(|line| line.split_once('=')).filter(|(name, _)| !name.is_empty());
    let folder = working_dir.filter(|folder| !folder.is_empty()).unwrap_or_else(|| "/".into());
    if !folder.starts_with('/')
        || folder.len() > crate::path::PATH_MAX
        || folder.contains('\0')
        || folder.split('/').any(|part| part == "..")
    {
        return Err(wrong("its WorkingDir is not an absolute path without '..'"));
    }
    if let Some(mine) = KERNELS.iter().find(|mine| Path::new(&folder).starts_with(mine)) {
        return Err(wrong(&format!("its WorkingDir lies in {mine}, where no program's folder is")));
    }
    Ok(Defaults {
        command,
        env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        user: user.unwrap_or_default(),
        folder,
    })
}

fn bounded(words: &[String], what: &'static str) -> Result<(), Refusal> {
    if words.len() > WORDS_MAX {
        return Err(Refusal::TooMuch { what, most: WORDS_MAX as u64 });
    }
    if words.iter().map(String::len).sum::<usize>() > BYTES_MAX {
        return Err(Refusal::TooMuch { what: "bytes in its command or environment", most: BYTES_MAX as u64 });
    }
    if words.iter().any(|word| word.contains('\0')) {
        return Err(Refusal::document("configuration", "a NUL character in its command or environment"));
    }
    Ok(())
}

/// The environment of a server: the image's, and over it what is given, the later over the earlier.
#[must_use]
pub fn environment<'a>(image: &'a [(String, String)], given: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<(String, String)> {
    let all = image.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(given);
    let merged: BTreeMap<&str, &str> = all.collect();
    merged.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn parse(config: &Value) -> Result<Defaults, String> {
        read(json!({"architecture": "amd64", "os": "linux", "config": config}).to_string().as_bytes(), "amd64")
            .map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_read_and_missing_ones_are_plain() {
        let plain = Defaults { folder: "/".into(), ..Defaults::default() };
        assert_eq!(parse(&json!({})), Ok(plain.clone()));
        assert_eq!(parse(&Value::Null), Ok(plain.clone()));
        assert_eq!(parse(&json!({"Env": null, "Cmd": null, "Entrypoint": null, "User": "", "WorkingDir": ""})), Ok(plain));
        let found =
            parse(&json!({"Env": ["A=1", "B=x=y", "C", "=z"], "Entrypoint": ["/run"], "Cmd": ["-x"], "User": "www", "WorkingDir": "/srv"}))
                .unwrap();
        assert_eq!(found.command, ["/run", "-x"]);
        assert_eq!(found.env, [("A".to_owned(), "1".to_owned()), ("B".into(), "x=y".into())]);
        assert_eq!((found.user.as_str(), found.folder.as_str()), ("www", "/srv"));
    }

    #[test]
    fn what_is_too_much_or_for_other_machines_is_refused() {
        assert!(parse(&json!({"Cmd": vec!["x"; WORDS_MAX + 1]})).unwrap_err().contains("words in its command"));
        assert!(parse(&json!({"Env": ["A=".to_owned() + &"x".repeat(BYTES_MAX)]})).unwrap_err().contains("bytes in its command"));
        assert!(parse(&json!({"Cmd": ["a\0b"]})).unwrap_err().contains("NUL"));
        for folder in ["srv", "/a/../b"] {
            assert!(parse(&json!({"WorkingDir": folder})).unwrap_err().contains("WorkingDir"), "{folder}");
        }
        for folder in ["/proc/self/fd/7", "//proc/./self/cwd", "/./proc", "/dev/fd/7"] {
            assert!(parse(&json!({"WorkingDir": folder})).unwrap_err().contains("where no program's folder is"), "{folder}");
        }
        assert!(parse(&json!({"WorkingDir": "/process/proc"})).is_ok());
        let arm = read(br#"{"architecture": "arm64"}"#, "amd64").unwrap_err();
        assert_eq!(arm.to_string(), "it has no variant for linux/amd64");
    }

    #[test]
    fn the_later_word_on_a_variable_counts() {
        let image = [("A".to_owned(), "1".to_owned()), ("B".into(), "1".into()), ("A".into(), "2".into())];
        let merged = environment(&image, [("B", "3"), ("C", "4"), ("C", "5")].into_iter());
        let flat: Vec<String> = merged.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(flat, ["A=2", "B=3", "C=5"]);
    }
}
