//! The files of this repository, for the tests that hold them to its rules.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// A file that git tracks, or would after `git add`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct File {
    /// From the root, with `/`.
    pub path: String,
    /// Its text; empty if it is not UTF-8.
    pub text: String,
}

impl File {
    /// The file `path` with `text`.
    #[must_use]
    pub fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// The text without its unit tests and without comments, line by line: what is compiled into a product.
    pub fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let comment = |line: &str| line.trim_start().starts_with("//");
        (1..).zip(self.production()).filter(move |(_, line)| !comment(line))
    }

    /// The lines before its unit tests, which stand last; none if the whole file is tests.
    pub fn production(&self) -> impl Iterator<Item = &str> {
        let tests = self.path.ends_with("/tests.rs") || self.path.contains("/tests/");
        let text = if tests { "" } else { self.text.as_str() };
        text.lines().take_while(|line| *line != "#[cfg(test)]")
    }

    /// Whether it is Rust that we wrote.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.path.ends_with(".rs") && !self.path.contains("/gen/")
    }
}

/// The root of the repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file of the repository.
///
/// # Errors
/// If git does not answer.
pub fn files() -> Result<Vec<File>> {
    let listed = output("git", &["ls-files", "-z", "--cached", "--others", "--exclude-standard"])?;
    let mut files = Vec::new();
    for path in listed.split('\0').filter(|path| !path.is_empty()) {
        // A file that was deleted and not yet committed is still listed.
        if let Ok(bytes) = std::fs::read(root().join(path)) {
            files.push(File { path: path.to_owned(), text: String::from_utf8(bytes).unwrap_or_default() });
        }
    }
    ensure!(!files.is_empty(), "git lists no files: the rules are about a checkout");
    Ok(files)
}

/// What `program` prints, run at the root.
///
/// # Errors
/// If it can't be run, fails or prints what is not UTF-8.
pub fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).current_dir(root()).output();
    let output = output.with_context(|| format!("{program} can't be run"))?;
    let failure = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {arguments:?}: {failure}");
    Ok(String::from_utf8(output.stdout)?)
}
