//! One suite of the tests or checks: runs it, shows its progress, keeps its log, counts its results.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::Problems;

/// No suite may take longer; a hang must not look like patience.
const LONGEST: &str = "1500";

/// How much of a failed suite's log is shown; all of it is in the file.
const SHOWN_LINES: usize = 200;

/// How much of a failed test's words is repeated at the end.
const REPEATED_LINES: usize = 12;

/// The results of one or more suites.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
    /// What failed, and its first words, for whoever sees the end of the output only.
    pub findings: Vec<String>,
}

impl Tally {
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.findings.extend(other.findings);
    }

    /// Prints it; where something failed, what that was.
    pub fn say(&self) {
        if !self.findings.is_empty() {
            println!("what failed:\n{}", self.findings.join("\n"));
        }
        println!("{} skipped", self.skipped);
        println!("{} passed, {} failed", self.passed, self.failed);
    }

    /// Counts what a line of libtest's output says; `SKIP:` is how this project's tests say it.
    fn count(&mut self, line: &str) {
        if line.trim_start().starts_with("SKIP:") {
            self.skipped += 1;
        }
        // A run of the simulator that broke nothing is a test that passed.
        if let Some(runs) = line.strip_prefix("held: ").and_then(|rest| rest.split(' ').next()?.parse::<usize>().ok()) {
            self.passed += runs;
        }
        let Some(result) = line.strip_prefix("test result: ") else { return };
        let number = |word: &str| {
            let before = result.split(word).next().unwrap_or_default().trim_end();
            before.rsplit([' ', ';']).next().and_then(|number| number.parse::<usize>().ok()).unwrap_or(0)
        };
        self.passed += number("passed");
        self.failed += number("failed");
    }
}

/// Runs a check of our own.
pub fn check(name: &str, run: impl FnOnce() -> Problems) -> Tally {
    println!("== {name}");
    let start = Instant::now();
    let problems = run();
    for problem in &problems {
        println!("{problem}");
    }
    say_time(name, start.elapsed());
    let findings = problems.iter().map(|problem| format!("{name}: {problem}")).collect();
    Tally { failed: usize::from(!problems.is_empty()), findings, ..Tally::default() }
}

/// A command that is a suite.
#[derive(Debug)]
pub struct Suite<'a> {
    pub name: &'a str,
    pub program: &'a str,
    pub arguments: Vec<String>,
    pub environment: &'a [(&'a str, &'a str)],
}

impl Suite<'_> {
    /// Runs it in the workspace at `root`. A failure that no test result tells of counts as one.
    pub fn run(&self, root: &Path) -> Tally {
        println!("== {}: {} {}", self.name, self.program, self.arguments.join(" "));
        let start = Instant::now();
        let tally = self.try_run(root).unwrap_or_else(|problem| {
            println!("{problem}");
            Tally { failed: 1, findings: vec![format!("{}: {problem}", self.name)], ..Tally::default() }
        });
        say_time(self.name, start.elapsed());
        tally
    }

    fn try_run(&self, root: &Path) -> Result<Tally, String> {
        let (mut file, log) = self.open_log(root).map_err(|error| format!("cannot keep a log: {error}"))?;
        let mut command = Command::new("timeout");
        command.args(["--kill-after=10", LONGEST, self.program]).args(&self.arguments).current_dir(root);
        command.envs(self.environment.iter().copied()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("cannot run {}: {error}", self.program))?;
        let lines = merge(child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        let (mut tally, mut kept) = (Tally::default(), Vec::new());
        for line in lines {
            tally.count(&line);
            if is_progress(&line) {
                println!("{line}");
            }
            // A full disk must not hide the tests' own results.
            let _ = writeln!(file, "{line}");
            kept.push(line);
        }
        let status = child.wait().map_err(|error| format!("cannot wait for {}: {error}", self.program))?;
        if !status.success() {
            tally.failed = tally.failed.max(1);
            println!("{}", kept[kept.len().saturating_sub(SHOWN_LINES)..].join("\n"));
            let failed = format!("{} failed ({status}); the whole log is {}", self.name, log.display());
            println!("{failed}");
            tally.findings = findings(&kept);
            tally.findings.push(failed);
        }
        Ok(tally)
    }

    fn open_log(&self, root: &Path) -> io::Result<(File, PathBuf)> {
        let directory = root.join("target/ci");
        std::fs::create_dir_all(&directory)?;
        let log = directory.join(format!("{}.log", self.name));
        Ok((File::create(&log)?, log))
    }
}

/// Both streams as one, line by line, as they come.
fn merge(stdout: impl Read + Send + 'static, stderr: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    // Bounded: a suite that prints faster than we show has to wait.
    let (sender, lines) = mpsc::sync_channel(1024);
    let other = sender.clone();
    std::thread::spawn(move || forward(stdout, &sender));
    std::thread::spawn(move || forward(stderr, &other));
    lines
}

fn forward(stream: impl Read, lines: &mpsc::SyncSender<String>) {
    for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
        if lines.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
            return;
        }
    }
}

/// The tests that failed, each in one line with its first words, so that neither is shown without the other; and runs of the simulator that broke something.
fn findings(lines: &[String]) -> Vec<String> {
    let failed = |line: &&String| line.starts_with("test ") && line.ends_with(" ... FAILED");
    let mut found = Vec::new();
    for line in lines.iter().filter(failed) {
        let name = line.trim_start_matches("test ").trim_end_matches(" ... FAILED");
        let words = lines.iter().skip_while(|line| **line != format!("---- {name} stdout ----")).skip(1);
        let words = words.take_while(|line| *line != "stack backtrace:" && !line.starts_with("---- "));
        let words: Vec<&str> = words.filter(|line| !line.is_empty()).take(REPEATED_LINES).map(String::as_str).collect();
        found.push(format!("{line}: {}", words.join(" | ")));
    }
    let told = |line: &&String| ["replay it: ", "seed "].iter().any(|word| line.starts_with(word));
    found.extend(lines.iter().filter(told).cloned());
    if found.is_empty() {
        // Whatever it was, its last words are the best that there is.
        found.extend(lines[lines.len().saturating_sub(REPEATED_LINES)..].iter().map(|line| format!("  {line}")));
    }
    found
}

/// What is worth showing while a suite runs well.
fn is_progress(line: &str) -> bool {
    let start = line.trim_start();
    ["test ", "seed", "coverage: ", "replay it: ", "Running ", "SKIP:", "Compiling pan", "Checking pan", "Finished "]
        .iter()
        .any(|word| start.starts_with(word))
}

fn say_time(name: &str, took: Duration) {
    println!("suite {name}: {:.1} s", took.as_secs_f64());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted() {
        let output = "\
            test a ... ok\n\
            SKIP: needs root\n\
            test result: ok. 19 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s\n\
            test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.01s\n";
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally.count(line));
        assert_eq!(tally, Tally { passed: 22, failed: 2, skipped: 1, ..Tally::default() });
    }

    #[test]
    fn what_failed_is_found_with_its_first_words() {
        let output = "\
            test a ... ok\n\
            test b ... FAILED\n\
            failures:\n\
            ---- b stdout ----\n\
            \n\
            thread 'b' panicked at c.rs:1:1:\n\
            no\n\
            stack backtrace:\n\
            0: main\n\
            seed 7: I3 is violated at 25.005 s\n";
        let lines: Vec<String> = output.lines().map(str::to_owned).collect();
        let found = findings(&lines);
        assert_eq!(found, ["test b ... FAILED: thread 'b' panicked at c.rs:1:1: | no", "seed 7: I3 is violated at 25.005 s"]);
    }

    /// Its output must hold nothing that a suite running this test would count.
    fn run_shell(name: &str, script: &str) -> (Tally, String) {
        let root = std::env::temp_dir().join(format!("xtask-suite-{}", std::process::id()));
        let arguments = vec!["-c".to_owned(), script.to_owned()];
        let tally = Suite { name, program: "sh", arguments, environment: &[("WORD", "out")] }.run(&root);
        let log = std::fs::read_to_string(root.join(format!("target/ci/{name}.log"))).unwrap();
        std::fs::remove_dir_all(root).unwrap();
        (tally, log)
    }

    #[test]
    fn a_suite_keeps_both_streams_and_counts_its_own_failure() {
        let (fine, log) = run_shell("fine", "echo $WORD; echo err >&2");
        assert_eq!(fine, Tally::default());
        assert!(["out\nerr\n", "err\nout\n"].contains(&log.as_str()), "{log:?}");
        let (crashed, _) = run_shell("crashed", "kill -9 $$");
        assert_eq!((crashed.failed, crashed.findings.len()), (1, 1), "{crashed:?}");
    }
}
