//! Root keys in a file on this machine: a keyring (`portal_crypto::keyring`), sealed by a passphrase if there is one.
//!
//! Promise: a file that others than us could read or write is refused; a change is on the disk, whole, before anything
//! is wrapped by it, or the file is as it was; of two changes at once none is lost.
//!
//! Invariant: the file is read for each call, so what another process changed counts at once, and no root key stays in
//! memory between calls.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portal_core::id::RootId;
use portal_core::{Clock, Entropy, Sensitive};
use portal_crypto::inventory::KeyInfo;
use portal_crypto::key::KeyBytes;
use portal_crypto::keyring::{Keyring, KeyringError, RootError, RotationError};
use portal_crypto::password::Cost;
use portal_crypto::suite::Suites;
use portal_crypto::wrapped::{KeyContext, WrappedKey};

use super::blocking::Gate;
use super::secret_file::{self, Access};
use super::{Cause, ProviderError};

const KEY: &str = "root_key_file";

/// Makes the keyring file at `path`, with one root key, if it is not there: sealed if there is a file with a passphrase.
/// Returns the id of the active root key. Blocks for as long as the passphrase costs.
///
/// # Errors
/// Any [`ProviderError`] but those of a server or token.
pub fn create(
    path: &Path,
    passphrase_file: Option<&Path>,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> Result<RootId, ProviderError> {
    let passphrase_file = passphrase_file.map(Path::to_owned);
    Settings { root_key_file: path.to_owned(), passphrase_file, suites: Suites::ALL }.create(clock, entropy)
}

/// What stands in the configuration.
pub(super) struct Settings {
    pub(super) root_key_file: PathBuf,
    pub(super) passphrase_file: Option<PathBuf>,
    pub(super) suites: Suites,
}

/// A keyring file.
pub(super) struct Keyfile {
    shared: Arc<Shared>,
    gate: Gate,
}

struct Shared {
    settings: Settings,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Keyfile {
    pub(super) fn new(settings: Settings, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { shared: Arc::new(Shared { settings, clock, entropy }), gate: Gate::new() }
    }

    pub(super) async fn roots(&self) -> Result<Vec<KeyInfo<RootId>>, ProviderError> {
        let newest_first = |keyring: &Keyring| {
            let mut roots: Vec<_> = keyring.inventory().cloned().collect();
            roots.reverse();
            roots
        };
        self.run(move |shared| Ok(newest_first(&shared.settings.read()?))).await
    }

    pub(super) async fn wrap(
        &self,
        context: KeyContext,
        key: &KeyBytes,
    ) -> Result<WrappedKey, ProviderError> {
        // The work may outlive the caller's copy.
        let key = KeyBytes::copy_of(key.expose()).ok_or(ProviderError::Refused { cause: None })?;
        self.run(move |shared| {
            let settings = &shared.settings;
            settings.read()?.wrap(&context, &key, settings.suites).map_err(not_usable)
        })
        .await
    }

    pub(super) async fn unwrap(
        &self,
        context: KeyContext,
        wrapped: WrappedKey,
    ) -> Result<KeyBytes, ProviderError> {
        self.run(move |shared| {
            let settings = &shared.settings;
            settings.read()?.unwrap(&context, &wrapped, settings.suites).map_err(not_usable)
        })
        .await
    }

    /// Makes the file, with one root key, if it is not there.
    pub(super) async fn create(&self) -> Result<RootId, ProviderError> {
        self.run(|shared| shared.settings.create(&*shared.clock, &*shared.entropy)).await
    }

    pub(super) async fn rotate(&self) -> Result<RootId, ProviderError> {
        self.change(|keyring, shared| keyring.rotate(shared.clock.now(), &*shared.entropy)).await
    }

    pub(super) async fn destroy(&self, id: RootId) -> Result<(), ProviderError> {
        self.change(move |keyring, shared| keyring.destroy(id, shared.clock.now())).await
    }

    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Keyring, &Shared) -> Result<T, RotationError> + Send + 'static,
    ) -> Result<T, ProviderError> {
        self.run(move |shared| {
            let _lock = shared.settings.lock()?;
            let mut keyring = shared.settings.read()?;
            let changed = change(&mut keyring, shared).map_err(not_changed)?;
            shared.settings.write(&keyring, &*shared.entropy)?;
            Ok(changed)
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, ProviderError> + Send + 'static,
    ) -> Result<T, ProviderError> {
        let shared = Arc::clone(&self.shared);
        self.gate.run(move || work(&shared)).await
    }
}

impl Settings {
    fn create(&self, clock: &dyn Clock, entropy: &dyn Entropy) -> Result<RootId, ProviderError> {
        let _lock = self.lock()?;
        if self.exists()? {
            return Ok(self.read()?.active());
        }
        let keyring = Keyring::generate(clock.now(), entropy).map_err(|error| not_changed(error.into()))?;
        self.write(&keyring, entropy)?;
        Ok(keyring.active())
    }

    fn read(&self) -> Result<Keyring, ProviderError> {
        let path = &self.root_key_file;
        let file = secret_file::read(path, KEY, Access::Ours).map_err(|error| match error {
            // No file is no key: the one thing that is made when it is missing.
            ProviderError::Misconfigured { cause: Some(Cause::File { path, source }), .. }
                if source.kind() == ErrorKind::NotFound =>
            {
                ProviderError::KeyMissing { cause: Some(Cause::File { path, source }) }
            }
            error => error,
        })?;
        Keyring::parse(&file, self.passphrase()?.as_ref()).map_err(not_opened)
    }

    fn passphrase(&self) -> Result<Option<Sensitive<Vec<u8>>>, ProviderError> {
        let Some(path) = &self.passphrase_file else { return Ok(None) };
        let mut line = secret_file::first_line(path, "passphrase_file", Access::Ours)?;
        Ok(Some(Sensitive::new(std::mem::take(&mut *line))))
    }

    fn exists(&self) -> Result<bool, ProviderError> {
        let path = &self.root_key_file;
        path.try_exists().map_err(|source| not_written(path, source))
    }

    fn directory(&self) -> &Path {
        let parent = self.root_key_file.parent();
        parent.filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// Held by whoever changes the file: the directory's, since the file itself is replaced.
    fn lock(&self) -> Result<File, ProviderError> {
        let directory = self.directory();
        let locked = File::open(directory).and_then(|file| file.lock().map(|()| file));
        locked.map_err(|source| not_written(directory, source))
    }

    /// Puts `keyring` in the place of the file. After a crash at any moment the place holds one or the other, whole.
    fn write(&self, keyring: &Keyring, entropy: &dyn Entropy) -> Result<(), ProviderError> {
        let contents = match self.passphrase()? {
            None => keyring.to_file(),
            Some(passphrase) => {
                let sealed = keyring.to_sealed_file(&passphrase, Cost::KEY_FILE, entropy);
                Sensitive::new(sealed.map_err(not_opened)?)
            }
        };
        // Behind a link, the file is replaced, not the link.
        let path = &self.root_key_file;
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        let new = beside(&target);
        replace(&target, &new, contents.expose()).map_err(|source| {
            // What could not be put in place is no use to anybody, and holds keys.
            let _ = fs::remove_file(&new);
            not_written(&target, source)
        })
    }
}

fn beside(target: &Path) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    target.with_file_name(name)
}

fn replace(target: &Path, new: &Path, contents: &[u8]) -> std::io::Result<()> {
    match fs::remove_file(new) {
        // Left by a process that was killed while it held the lock that we hold now.
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    file.write_all(contents)?;
    file.sync_all()?;
    fs::rename(new, target)?;
    let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

fn not_written(path: &Path, source: std::io::Error) -> ProviderError {
    let kind = source.kind();
    let cause = Some(Cause::File { path: path.to_owned(), source });
    match kind {
        ErrorKind::NotFound => {
            let problem = "names a directory that is not there".to_owned();
            ProviderError::Misconfigured { key: KEY, problem, cause }
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => ProviderError::Denied { cause },
        _ => ProviderError::Unreachable { cause },
    }
}

fn not_opened(error: KeyringError) -> ProviderError {
    let cause = Some(Cause::Keyring(error));
    let key = match error {
        KeyringError::WrongPassphrase => return ProviderError::Denied { cause },
        KeyringError::EmptyPassphrase | KeyringError::NotSealed | KeyringError::Sealed => "passphrase_file",
        KeyringError::Library => return ProviderError::Unreachable { cause },
        KeyringError::Cost
        | KeyringError::DuplicateId
        | KeyringError::NotOneActive
        | KeyringError::RootState
        | KeyringError::Syntax { .. }
        | KeyringError::TooLarge
        | KeyringError::Unsupported
        | KeyringError::Value(_)
        | KeyringError::Version => KEY,
    };
    ProviderError::Misconfigured { key, problem: error.to_string(), cause: None }
}

fn not_usable(error: RootError) -> ProviderError {
    let cause = Some(Cause::Root(error));
    match error {
        RootError::Algorithm(_) | RootError::Refused => ProviderError::Refused { cause },
        RootError::Destroyed | RootError::Missing => ProviderError::KeyMissing { cause },
        RootError::Disabled(_) => ProviderError::KeyDisabled { cause },
        RootError::Library => ProviderError::Unreachable { cause },
    }
}

fn not_changed(error: RotationError) -> ProviderError {
    match error {
        RotationError::Missing => ProviderError::KeyMissing { cause: None },
        RotationError::Library(_) => ProviderError::Unreachable { cause: None },
        RotationError::Full | RotationError::Transition(_) => {
            ProviderError::misconfigured(KEY, error.to_string())
        }
    }
}
