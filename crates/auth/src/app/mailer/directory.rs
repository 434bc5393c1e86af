//! Mail as files: for one machine, where whoever runs Portal reads them.

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::Unsent;

/// A directory that only its owner may look into.
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Writes a file that is there as a whole or not at all.
    pub(super) async fn send(&self, id: Uuid, message: Vec<u8>) -> Result<(), Unsent> {
        let directory = self.0.clone();
        let written = tokio::task::spawn_blocking(move || write(&directory, id, &message));
        let written = written.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        written.map_err(|error| Unsent::NotWritten(error.kind()))
    }
}

fn write(directory: &Path, id: Uuid, message: &[u8]) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let (whole, part) = (directory.join(format!("{id}.eml")), directory.join(format!("{id}.part")));
    // One of a process that was stopped in the middle of it.
    match std::fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
    file.write_all(message)?;
    file.sync_all()?;
    std::fs::rename(part, whole)?;
    std::fs::File::open(directory)?.sync_all()
}
