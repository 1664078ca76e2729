//! People with tokens: what they run, and what they are told.

use super::{json, str_of, text};
use pan_lab::harness::TestLab;
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Output};

/// Somebody elsewhere, who has nothing but what it is given.
pub struct Person {
    pub home: PathBuf,
    pub url: String,
}

impl Person {
    pub fn new(lab: &TestLab, name: &str) -> Self {
        let home = lab.data().join(name);
        std::fs::create_dir_all(&home).unwrap();
        let command = lab.pan_command(&[]).unwrap();
        let url = command.get_envs().find_map(|(name, value)| value.filter(|_| name == "PAN_URL")).unwrap();
        Self { home, url: url.to_str().unwrap().to_owned() }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pan"));
        command.args(arguments).env_clear().env("XDG_CONFIG_HOME", &self.home).env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    }

    pub fn runs(&self, code: i32, arguments: &[&str]) -> String {
        let (found, said) = self.says(arguments);
        assert_eq!(found, Some(code), "pan {arguments:?}: {said}");
        said
    }

    /// Runs `pan`; gives its exit code and everything it printed.
    pub fn says(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let Output { status, stdout, stderr } = self.command(arguments).output().unwrap();
        (status.code(), format!("{}{}", text(&stdout), text(&stderr)))
    }

    /// Logs in with a token that the administrator makes.
    pub fn gets(&self, lab: &TestLab, token: &[&str]) -> Value {
        let made = json(lab, &[&["token", "create"], token].concat());
        let file = self.home.join("token");
        std::fs::write(&file, str_of(&made, "token")).unwrap();
        let login = ["login", &self.url, "--fingerprint", str_of(&made, "authority"), "--token-file", file.to_str().unwrap()];
        let said = self.runs(0, &login);
        assert!(said.contains(token[1]), "{said}");
        made
    }
}
