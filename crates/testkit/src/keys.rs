//! Keys for a service in a test: the real hierarchy, with its root in a file.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use portal_core::SystemEntropy;
use portal_crypto::keyring::Keyring;
use portal_keys::KeysConfig;
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::START;
use crate::database::Keeper;

/// The key databases beside one test database, by the names of their services.
#[derive(Default)]
pub(crate) struct KeyDatabases(Mutex<Made>);

#[derive(Default)]
struct Made {
    /// The root keys, where there is no directory for them yet.
    directory: Option<TempDir>,
    sections: HashMap<String, String>,
}

impl KeyDatabases {
    pub(crate) async fn of(&self, name: &str, keeper: &Keeper) -> KeysConfig {
        toml::from_str(&self.section(name, keeper).await).unwrap()
    }

    pub(crate) async fn section(&self, name: &str, keeper: &Keeper) -> String {
        let mut made = self.0.lock().await;
        if !made.sections.contains_key(name) {
            let directory =
                made.directory.get_or_insert_with(|| TempDir::with_prefix("portal-keys-").unwrap());
            let root = root_key(directory.path(), name);
            let url = match keeper {
                Keeper::Directory(beside) => {
                    format!("sqlite:{}", beside.path().join(format!("{name}-keys.db")).display())
                }
                Keeper::Server(server) => server.fresh_url().await,
            };
            let section = format!("provider = \"file\"\nroot_key_file = {root:?}\ndatabase_url = {url:?}\n");
            made.sections.insert(name.to_owned(), section);
        }
        made.sections[name].clone()
    }
}

/// A file with a new root key.
fn root_key(directory: &Path, name: &str) -> PathBuf {
    let path = directory.join(format!("{name}-root-keys.json"));
    let keyring = Keyring::generate(START, &SystemEntropy).unwrap();
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap();
    std::io::Write::write_all(&mut &file, keyring.to_file().expose()).unwrap();
    path
}
