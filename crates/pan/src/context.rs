//! Contexts: which PANs the user speaks to, and with what. One file, `$XDG_CONFIG_HOME/pan/config.yaml`,
//! readable by its owner only.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Why the file of contexts could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// There is no place for it.
    #[error("neither XDG_CONFIG_HOME nor HOME is set, so there is no place for contexts; set PAN_URL, PAN_TOKEN and PAN_CA instead")]
    NoHome,
    /// A file refused.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file is not what it should be.
    #[error("{}: {message}", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and where.
        message: String,
    },
    /// There is no context of that name.
    #[error("there is no context {name}; there are: {known}")]
    Unknown {
        /// The name asked for.
        name: String,
        /// What there is.
        known: String,
    },
}

/// How to reach one PAN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// Its name.
    pub name: String,
    /// Such as `https://127.0.0.1:7070`.
    pub url: String,
    /// The user's token.
    pub token: String,
    /// The PAN's CA certificate: the PEM text, or the path of a file that holds it.
    pub ca: String,
    /// The partition meant where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<String>,
}

impl Context {
    /// The CA certificate's text.
    ///
    /// # Errors
    /// It is a path, and the file cannot be read.
    pub fn ca_pem(&self) -> Result<String, ContextError> {
        if self.ca.trim_start().starts_with("-----BEGIN") {
            return Ok(self.ca.clone());
        }
        let path = Path::new(&self.ca);
        fs::read_to_string(path).map_err(failed("read", path))
    }
}

/// All contexts of a user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contexts {
    /// The one that is used when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// Every context.
    #[serde(default)]
    pub contexts: Vec<Context>,
}

impl Contexts {
    /// Where they are kept.
    ///
    /// # Errors
    /// No home directory is known.
    pub fn path() -> Result<PathBuf, ContextError> {
        let set = |key: &str| std::env::var_os(key).filter(|value| !value.is_empty()).map(PathBuf::from);
        let base = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
        Ok(base.ok_or(ContextError::NoHome)?.join("pan").join("config.yaml"))
    }

    /// Reads them; none if there is no file.
    ///
    /// # Errors
    /// The file cannot be read or understood.
    pub fn load() -> Result<Self, ContextError> {
        Self::load_from(&Self::path()?)
    }

    fn load_from(path: &Path) -> Result<Self, ContextError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed("read", path)(error)),
        };
        serde_saphyr::from_str(&text).map_err(|error| ContextError::Content { path: path.to_path_buf(), message: error.to_string() })
    }

    /// Changes them, while no other program of the same user does. The file is readable by the owner only.
    ///
    /// # Errors
    /// The file cannot be read, understood or written, or what `change` said; then nothing was changed.
    pub fn change<T, E: From<ContextError>>(change: impl FnOnce(&mut Self) -> Result<T, E>) -> Result<T, E> {
        Self::change_in(&Self::path()?, change)
    }

    fn change_in<T, E: From<ContextError>>(path: &Path, change: impl FnOnce(&mut Self) -> Result<T, E>) -> Result<T, E> {
        let dir = path.parent().expect("the path ends in pan/config.yaml");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed("create", dir))?;
        // A file of its own: the other one is replaced by renaming. It is free again when it is closed.
        let lock = path.with_extension("lock");
        let held = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock);
        let held = held.map_err(failed("open", &lock))?;
        held.lock().map_err(failed("lock", &lock))?;
        let mut contexts = Self::load_from(path)?;
        let before = contexts.clone();
        let done = change(&mut contexts)?;
        if contexts != before {
            contexts.save_to(path)?;
        }
        Ok(done)
    }

    fn save_to(&self, path: &Path) -> Result<(), ContextError> {
        let text = serde_saphyr::to_string(self)
            .map_err(|error| ContextError::Content { path: path.to_path_buf(), message: error.to_string() })?;
        let fresh = path.with_extension(format!("new{}", std::process::id()));
        fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(failed("write", &fresh))?;
        fs::rename(&fresh, path).map_err(failed("write", path))
    }

    /// The context of that name.
    ///
    /// # Errors
    /// There is none.
    pub fn named(&self, name: &str) -> Result<&Context, ContextError> {
        self.contexts.iter().find(|context| context.name == name).ok_or_else(|| ContextError::Unknown {
            name: name.to_owned(),
            known: match self.contexts.as_slice() {
                [] => "none".to_owned(),
                some => some.iter().map(|context| context.name.as_str()).collect::<Vec<_>>().join(", "),
            },
        })
    }

    /// The current one, if one was chosen and is there.
    #[must_use]
    pub fn current(&self) -> Option<&Context> {
        let name = self.current.as_deref()?;
        self.contexts.iter().find(|context| context.name == name)
    }

    /// Adds a context, or replaces the one of that name.
    pub fn put(&mut self, context: Context) {
        self.contexts.retain(|one| one.name != context.name);
        self.contexts.push(context);
    }

    /// Removes the context of that name, if it is there.
    pub fn remove(&mut self, name: &str) {
        self.contexts.retain(|one| one.name != name);
        if self.current.as_deref() == Some(name) {
            self.current = None;
        }
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ContextError {
    let path = path.to_path_buf();
    move |source| ContextError::File { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn context(name: &str) -> Context {
        Context {
            name: name.into(),
            url: "https://127.0.0.1:7070".into(),
            token: "pan_admin_1".into(),
            ca: "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n".into(),
            partition: None,
        }
    }

    #[test]
    fn changes_made_at_once_are_all_made() {
        let dir = std::env::temp_dir().join(format!("pan-contexts-{}", std::process::id()));
        let path = dir.join("pan").join("config.yaml");
        std::thread::scope(|scope| {
            for number in 0..8 {
                let add = move |contexts: &mut Contexts| {
                    contexts.put(context(&format!("lab{number}")));
                    Ok::<_, ContextError>(())
                };
                let path = &path;
                scope.spawn(move || Contexts::change_in(path, add).unwrap());
            }
        });
        assert_eq!(Contexts::load_from(&path).unwrap().contexts.len(), 8);
        let refused = Contexts::change_in(&path, |contexts| {
            contexts.contexts.clear();
            Err::<(), _>(ContextError::NoHome)
        });
        assert!(refused.is_err() && Contexts::load_from(&path).unwrap().contexts.len() == 8);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn reads_back_what_it_wrote() {
        let dir = std::env::temp_dir().join(format!("pan-context-{}", std::process::id()));
        let path = dir.join("pan").join("config.yaml");
        assert_eq!(Contexts::load_from(&path).unwrap(), Contexts::default());
        let changed = Contexts::change_in(&path, |contexts| {
            contexts.put(context("local"));
            contexts.current = Some("local".into());
            Ok::<_, ContextError>(contexts.clone())
        });
        let mut contexts = Contexts::load_from(&path).unwrap();
        assert_eq!(changed.unwrap(), contexts);
        assert_eq!(contexts.contexts, [context("local")]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(contexts.named("x"), Err(ContextError::Unknown { .. })));
        contexts.remove("local");
        assert_eq!(contexts, Contexts::default());
        fs::remove_dir_all(&dir).unwrap();
    }
}
