//! Files that hold a secret: refused if others could have read or changed them.

use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use zeroize::Zeroizing;

use super::{Cause, ProviderError};

/// No secret of ours is longer.
const MOST: u64 = 1024 * 1024;

/// Who may have access besides the owner.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Access {
    /// Nobody: it belongs to the user we run as and has mode 0600 or stricter. Or the system gave it to our group: it
    /// belongs to root and has mode 0640 or stricter, as Secrets of Kubernetes do.
    Ours,
    /// The group may read: mode 0640 or stricter. For what another program writes for us.
    #[cfg_attr(
        not(feature = "vault"),
        allow(dead_code, reason = "only the token of Vault is written by another")
    )]
    Group,
}

/// What is in the file at `path`, which `key` of the configuration names.
///
/// # Errors
/// [`ProviderError::Denied`] if we may not read it, [`ProviderError::Misconfigured`] if it is not there or others may
/// read it, [`ProviderError::Unreachable`] if reading fails.
pub(super) fn read(
    path: &Path,
    key: &'static str,
    access: Access,
) -> Result<Zeroizing<Vec<u8>>, ProviderError> {
    let failed = |source: std::io::Error| {
        let kind = source.kind();
        let cause = Some(Cause::File { path: path.to_owned(), source });
        match kind {
            ErrorKind::NotFound => ProviderError::Misconfigured {
                key,
                problem: "names a file that is not there".to_owned(),
                cause,
            },
            ErrorKind::PermissionDenied => ProviderError::Denied { cause },
            _ => ProviderError::Unreachable { cause },
        }
    };
    // Of the open file, not of the path: that could name another one by now.
    let mut file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    check(&metadata, access)
        .map_err(|problem| ProviderError::misconfigured(key, format!("{} {problem}", path.display())))?;
    // Room for all of it from the start: a buffer that grows leaves copies behind.
    let length = usize::try_from(metadata.len()).unwrap_or_default();
    let mut bytes = Zeroizing::new(vec![0; length]);
    file.read_exact(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// The first line of the file, without the line break.
///
/// # Errors
/// As [`read`], and [`ProviderError::Misconfigured`] if there is nothing on it.
pub(super) fn first_line(
    path: &Path,
    key: &'static str,
    access: Access,
) -> Result<Zeroizing<Vec<u8>>, ProviderError> {
    let bytes = read(path, key, access)?;
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        return Err(ProviderError::misconfigured(key, format!("{} is empty", path.display())));
    }
    Ok(Zeroizing::new(line.to_vec()))
}

fn check(metadata: &Metadata, access: Access) -> Result<(), String> {
    if !metadata.is_file() {
        return Err("is not a file".to_owned());
    }
    if metadata.len() > MOST {
        return Err(format!("has {} bytes: must have at most {MOST}", metadata.len()));
    }
    let us = rustix::process::geteuid().as_raw();
    permitted(metadata.uid(), us, metadata.mode() & 0o7777, access)
}

/// Whether a file of `owner` with `mode` is closed to all whom `access` does not name.
fn permitted(owner: u32, us: u32, mode: u32, access: Access) -> Result<(), String> {
    let (allowed, name) = match access {
        Access::Ours if owner == us => (0o600, "0600"),
        Access::Ours if owner != 0 => {
            return Err(format!(
                "belongs to user {owner}: must belong to user {us}, as whom this runs, or to root"
            ));
        }
        Access::Ours | Access::Group => (0o640, "0640"),
    };
    if mode & !allowed != 0 {
        return Err(format!("has mode {mode:04o}: must be {name} or stricter"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "secret\r\nmore").unwrap();
        std::fs::set_permissions(file.path(), Permissions::from_mode(mode)).unwrap();
        file
    }

    fn problem(path: &Path, access: Access) -> Option<String> {
        first_line(path, "key", access).err().map(|error| error.to_string())
    }

    #[test]
    fn the_first_line_is_read() {
        assert_eq!(*first_line(file(0o600).path(), "key", Access::Ours).unwrap(), b"secret");
        assert_eq!(*read(file(0o400).path(), "key", Access::Ours).unwrap(), b"secret\r\nmore");
    }

    #[test]
    fn what_others_may_read_or_write_is_refused() {
        for mode in [0o604, 0o640, 0o620, 0o660, 0o644, 0o666, 0o601, 0o700, 0o4600] {
            let file = file(mode);
            let told = problem(file.path(), Access::Ours).unwrap();
            assert!(told.ends_with(&format!("has mode {mode:04o}: must be 0600 or stricter")), "{told}");
            assert!(told.starts_with("keys.key: ") && !told.contains("secret"), "{told}");
        }
        for mode in [0o600, 0o400, 0o640, 0o440] {
            assert_eq!(problem(file(mode).path(), Access::Group), None, "{mode:o}");
        }
        for mode in [0o644, 0o660, 0o604] {
            assert!(problem(file(mode).path(), Access::Group).is_some(), "{mode:o}");
        }
    }

    #[test]
    fn a_file_of_ours_or_of_root_for_our_group() {
        const ROOT: u32 = 0;
        const US: u32 = 1000;
        const OTHER: u32 = 1001;
        let check = |owner, us, mode, access, expect| {
            assert_eq!(permitted(owner, us, mode, access).is_ok(), expect, "{owner} {us} {mode:o}");
        };
        for (owner, us, mode, expect) in [
            (US, US, 0o600, true),
            (US, US, 0o640, false),
            (ROOT, US, 0o440, true),
            (ROOT, US, 0o640, true),
            (ROOT, US, 0o660, false),
            (ROOT, US, 0o444, false),
            (ROOT, ROOT, 0o600, true),
            (ROOT, ROOT, 0o640, false),
            (OTHER, US, 0o600, false),
            (OTHER, US, 0o640, false),
            (OTHER, ROOT, 0o600, false),
        ] {
            check(owner, us, mode, Access::Ours, expect);
        }
        check(OTHER, US, 0o640, Access::Group, true);
        check(OTHER, US, 0o644, Access::Group, false);
    }

    #[test]
    fn what_is_no_file_or_not_there_is_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), Permissions::from_mode(0o600)).unwrap();
        assert!(problem(directory.path(), Access::Ours).unwrap().ends_with("is not a file"));
        let missing = read(&directory.path().join("missing"), "key", Access::Ours).unwrap_err();
        assert_eq!(missing.to_string(), "keys.key: names a file that is not there");
        let empty = tempfile::NamedTempFile::new().unwrap();
        assert!(problem(empty.path(), Access::Ours).unwrap().ends_with("is empty"));
    }
}
