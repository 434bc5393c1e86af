//! Destroying somebody's keys, and doing so again after a backup was put back.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use portal_core::id::SubjectId;
use portal_upkeep::erasure::ErasureError;

use crate::output;
use crate::services::Opened;

pub async fn erase(opened: &Opened, subject: SubjectId, statement: &Path) -> anyhow::Result<()> {
    let describe = || format!("can't write {}", statement.display());
    let service = opened.keys.scope().service;
    match opened.erasures().check().await {
        Err(error @ ErasureError::Unsealed { .. }) => {
            let first = "portal migrate data start, then portal migrate data commit";
            return Err(anyhow::Error::from(error).context(format!("first {first} --service {service}")));
        }
        checked => checked?,
    }
    // Before anything is destroyed: what can't be stated is not done.
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(statement).with_context(describe)?;
    let erased = match opened.erasures().erase(subject).await {
        Ok(erased) => erased,
        Err(error) => {
            fs::remove_file(statement).with_context(describe)?;
            return Err(error.into());
        }
    };
    file.write_all(&erased.keys.document).and_then(|()| file.sync_all()).with_context(describe)?;
    let stated = erased.keys.statement;
    output::line(&format!(
        "{} keys of {subject} are destroyed since {}: entry {} of the shred ledger, stated in {}",
        stated.keys,
        stated.at,
        stated.position,
        statement.display()
    ));
    output::line("no row of theirs is found by an index any more");
    output::line(&format!(
        "the last backup of the key database that has them is gone by {}",
        stated.backups_gone
    ));
    Ok(())
}

pub async fn replay(opened: &Opened) -> anyhow::Result<()> {
    let (replayed, indexes) = opened.erasures().replay().await?;
    output::line(&format!(
        "{} entries; {} keys of {} people had come back and are destroyed again",
        replayed.entries, replayed.keys, replayed.subjects
    ));
    output::line(&format!("{indexes} rows of erased people were found by an index until now"));
    Ok(())
}
