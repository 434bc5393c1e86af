//! The key files of an earlier system: raw bytes, and the private one for its owner alone.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use portal_core::Sensitive;

use crate::kem::{InvalidPrivateKey, PRIVATE_KEY_LEN};
use crate::open::LegacyOpen;
use crate::verify::{InvalidVerifyKey, LegacyVerify, PUBLIC_KEY_LEN};

/// Why a key file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// Others than its owner may read or write it.
    #[error("{} may be used by others than its owner (mode {mode:03o}): set it to 600", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It can't be read.
    #[error("{} can't be read", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It is no private key.
    #[error("{} is no private key of Kyber-768", path.display())]
    Private {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: InvalidPrivateKey,
    },
    /// It is no public key.
    #[error("{} is no public key of Dilithium3", path.display())]
    Public {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: InvalidVerifyKey,
    },
}

/// The private key of Kyber-768 in the file at `path`.
///
/// # Errors
/// [`KeyFileError`], if others may use the file too.
pub fn private(path: &Path) -> Result<LegacyOpen, KeyFileError> {
    let io = |source| KeyFileError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    // Of the file that is open, not of whatever has its name by then.
    let mode = file.metadata().map_err(io)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Exposed { path: path.to_owned(), mode });
    }
    let bytes = Sensitive::new(bounded(&file, PRIVATE_KEY_LEN).map_err(io)?);
    LegacyOpen::from_bytes(bytes.expose())
        .map_err(|source| KeyFileError::Private { path: path.to_owned(), source })
}

/// The public key of Dilithium3 in the file at `path`.
///
/// # Errors
/// [`KeyFileError`].
pub fn public(path: &Path) -> Result<LegacyVerify, KeyFileError> {
    let io = |source| KeyFileError::Io { path: path.to_owned(), source };
    let bytes = File::open(path).and_then(|file| bounded(&file, PUBLIC_KEY_LEN)).map_err(io)?;
    LegacyVerify::from_bytes(&bytes).map_err(|source| KeyFileError::Public { path: path.to_owned(), source })
}

/// What is in `file`, but not much more than `expected` of it; read into one buffer that is never moved.
fn bounded(file: &File, expected: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(2 * expected);
    file.take(expected as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs::{self, Permissions};

    use super::*;
    use crate::kat;

    #[test]
    fn a_private_key_is_its_owners_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kyber768.private");
        let case = kat::kyber768().remove(0);
        fs::write(&path, case.bytes("sk")).unwrap();
        for mode in [0o640, 0o604, 0o660, 0o610, 0o644, 0o777, 0o601] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let refused = private(&path).err().unwrap();
            assert!(matches!(refused, KeyFileError::Exposed { mode: told, .. } if told == mode), "{refused}");
        }
        for mode in [0o600, 0o400] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(private(&path).ok().unwrap().id(), crate::KeyId::of(&case.bytes("pk")));
        }
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, [case.bytes("sk"), vec![0; 9_000]].concat()).unwrap();
        let refused = private(&path).err().unwrap();
        let long = InvalidPrivateKey::Length(PRIVATE_KEY_LEN + 1);
        assert!(matches!(refused, KeyFileError::Private { source, .. } if source == long));
        assert!(matches!(private(&directory.path().join("none")), Err(KeyFileError::Io { .. })));
    }

    #[test]
    fn a_public_key_is_anybodys() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dilithium3.public");
        let case = kat::dilithium3().remove(0);
        fs::write(&path, case.bytes("pk")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert_eq!(public(&path).ok().unwrap().id(), crate::KeyId::of(&case.bytes("pk")));
        fs::write(&path, case.bytes("sk")).unwrap();
        assert!(matches!(public(&path), Err(KeyFileError::Public { .. })));
        assert!(matches!(public(&directory.path().join("none")), Err(KeyFileError::Io { .. })));
    }
}
