//! Files that are written whole or not at all, and secrets that only their owner reads.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;

/// Who may read a file.
#[derive(Clone, Copy, Debug)]
pub enum Readers {
    Everybody,
    Owner,
}

/// Writes `text` to `path` so that a reader sees the old file or the new one, never a part, also after a power cut.
pub fn write(path: &Path, text: &str, readers: Readers) -> anyhow::Result<()> {
    let describe = || format!("can't write {}", path.display());
    let directory = path.parent().with_context(describe)?;
    fs::create_dir_all(directory).with_context(describe)?;
    let temporary = path.with_extension("new");
    let mode = match readers {
        Readers::Everybody => 0o644,
        Readers::Owner => 0o600,
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&temporary)
        .with_context(describe)?;
    file.write_all(text.as_bytes()).with_context(describe)?;
    file.sync_all().with_context(describe)?;
    fs::rename(&temporary, path).with_context(describe)?;
    fs::File::open(directory).and_then(|directory| directory.sync_all()).with_context(describe)
}

/// Reads a text file, if it is there.
pub fn read(path: &Path) -> anyhow::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("can't read {}", path.display())),
    }
}

/// Deletes a file for good, also after a power cut, and its directory if that is empty then. Says whether it was there.
pub fn remove(path: &Path) -> std::io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    }
    if let Some(directory) = path.parent() {
        fs::File::open(directory)?.sync_all()?;
        match fs::remove_dir(directory) {
            Err(error) if error.kind() != ErrorKind::DirectoryNotEmpty => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(true)
}
