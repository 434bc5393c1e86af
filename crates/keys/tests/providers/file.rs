//! The keyring file.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use portal_crypto::inventory::KeyState;
use portal_crypto::wrapped::WrappedKey;
use portal_keys::KeysConfig;
use tempfile::TempDir;

use crate::contract::{self, CONTEXT, config, create, failure, new_key, open, write_secret};

struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("root-keys.json")
    }

    fn config(&self) -> KeysConfig {
        at(&self.file(), None)
    }

    fn with_passphrase(&self, passphrase: &str) -> KeysConfig {
        let path = self.directory.path().join("passphrase");
        write_secret(&path, &format!("{passphrase}\n"));
        at(&self.file(), Some(&path))
    }

    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn at(file: &Path, passphrase: Option<&Path>) -> KeysConfig {
    let passphrase = passphrase.map(|path| format!("passphrase_file = {path:?}")).unwrap_or_default();
    config(&format!("provider = 'file'\nroot_key_file = {file:?}\n{passphrase}"))
}

#[tokio::test]
async fn it_is_a_provider() {
    contract::holds(&Place::new().config()).await;
}

#[tokio::test]
async fn with_a_passphrase_the_file_alone_is_no_use() {
    let place = Place::new();
    let sealed = place.with_passphrase("correct horse battery staple");
    let provider = create(&sealed).await.unwrap();
    let key = new_key();
    let wrapped = provider.wrap(&CONTEXT, &key).await.unwrap();
    provider.rotate_root().await.unwrap();
    assert!(provider.unwrap(&CONTEXT, &wrapped).await.unwrap().same_as(&key));
    let text = std::fs::read_to_string(place.file()).unwrap();
    assert!(text.contains("Argon2id") && !text.contains("seed"), "{text}");

    let told = |error: portal_keys::ProviderError| error.to_string();
    let without = open(&place.config()).await.err().unwrap();
    assert_eq!(told(without), "keys.passphrase_file: the keyring is sealed: it needs a passphrase");
    let wrong = open(&place.with_passphrase("correct horse battery")).await.err().unwrap();
    assert_eq!(wrong.name(), "denied");
    assert!(!format!("{wrong:?}").contains("horse"));
    assert_eq!(
        failure(provider.unwrap(&CONTEXT, &wrapped).await),
        "denied",
        "it reads the passphrase each time"
    );

    let plain = Place::new();
    create(&plain.config()).await.unwrap();
    let needless = open(&plain.with_passphrase("x")).await.err().unwrap();
    assert_eq!(told(needless), "keys.passphrase_file: a passphrase was given, but the keyring is not sealed");
}

#[tokio::test]
async fn a_file_that_others_may_read_is_refused() {
    let place = Place::new();
    let provider = create(&place.config()).await.unwrap();
    let wrapped = provider.wrap(&CONTEXT, &new_key()).await.unwrap();
    let mode = |mode| std::fs::set_permissions(place.file(), Permissions::from_mode(mode)).unwrap();
    assert_eq!(std::fs::metadata(place.file()).unwrap().permissions().mode() & 0o7777, 0o600);
    for open_to_others in [0o640, 0o604, 0o620, 0o644] {
        mode(open_to_others);
        let told = open(&place.config()).await.err().unwrap().to_string();
        assert!(told.contains(&format!("has mode 0{open_to_others:o}: must be 0600 or stricter")), "{told}");
        assert_eq!(failure(provider.unwrap(&CONTEXT, &wrapped).await), "misconfigured");
        assert_eq!(failure(provider.rotate_root().await), "misconfigured");
        assert_eq!(failure(create(&place.config()).await), "misconfigured");
    }
    mode(0o400);
    provider.unwrap(&CONTEXT, &wrapped).await.unwrap();
    provider.rotate_root().await.unwrap();
    let passphrase = place.with_passphrase("x");
    std::fs::set_permissions(place.directory.path().join("passphrase"), Permissions::from_mode(0o640))
        .unwrap();
    assert_eq!(failure(open(&passphrase).await), "misconfigured");
}

#[test]
fn a_file_is_made_once() {
    use portal_core::{SystemClock, SystemEntropy};
    let place = Place::new();
    let make = || portal_keys::provider::file::create(&place.file(), None, &SystemClock, &SystemEntropy);
    let root = make().unwrap();
    let text = std::fs::read_to_string(place.file()).unwrap();
    assert_eq!(make().unwrap(), root);
    assert_eq!(std::fs::read_to_string(place.file()).unwrap(), text);
    let nowhere = place.directory.path().join("missing/root-keys.json");
    let told = portal_keys::provider::file::create(&nowhere, None, &SystemClock, &SystemEntropy).unwrap_err();
    assert_eq!(told.to_string(), "keys.root_key_file: names a directory that is not there");
}

#[tokio::test]
async fn what_is_no_keyring_is_refused() {
    let place = Place::new();
    create(&place.config()).await.unwrap();
    let good = std::fs::read_to_string(place.file()).unwrap();
    let seed = good.split("\"seed\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    for bad in [
        String::new(),
        "{}".to_owned(),
        good[..good.len() - 2].to_owned(),
        good.replace("X-Wing", "ML-KEM-768"),
        good.replace("\"active\"", "\"retired\""),
        good.replace(&seed, &seed[1..]),
        good.replace("\"version\":1", "\"version\":2"),
    ] {
        write_secret(&place.file(), &bad);
        let error = open(&place.config()).await.err().unwrap();
        assert_eq!(error.name(), "misconfigured", "{bad}");
        assert!(!format!("{error} {error:?}").contains(&seed[1..]), "{error:?}");
        assert_eq!(failure(create(&place.config()).await), "misconfigured");
        assert_eq!(std::fs::read_to_string(place.file()).unwrap(), bad, "it is left as it is");
    }
}

#[tokio::test]
async fn a_file_that_goes_away_is_missing_and_counts_again_when_it_is_back() {
    let place = Place::new();
    let provider = create(&place.config()).await.unwrap();
    let key = new_key();
    let wrapped = provider.wrap(&CONTEXT, &key).await.unwrap();
    let away = place.directory.path().join("away");
    std::fs::rename(place.file(), &away).unwrap();
    assert_eq!(failure(provider.unwrap(&CONTEXT, &wrapped).await), "key_missing");
    assert_eq!(failure(provider.wrap(&CONTEXT, &key).await), "key_missing");
    assert_eq!(failure(provider.rotate_root().await), "key_missing");
    assert!(!place.file().exists(), "only who creates makes a new one");
    std::fs::rename(&away, place.file()).unwrap();
    assert!(provider.unwrap(&CONTEXT, &wrapped).await.unwrap().same_as(&key));
}

#[tokio::test]
async fn of_changes_at_once_none_is_lost() {
    let place = Place::new();
    let (one, other) = (create(&place.config()).await.unwrap(), open(&place.config()).await.unwrap());
    let mut made = vec![one.active_root().await.unwrap()];
    for _ in 0..10 {
        let (first, second) = tokio::join!(one.rotate_root(), other.rotate_root());
        made.extend([first.unwrap(), second.unwrap()]);
    }
    let roots = one.roots().await.unwrap();
    let mut ids: Vec<_> = roots.iter().map(|root| *root.id()).collect();
    ids.sort();
    made.sort();
    assert_eq!(ids, made);
    assert_eq!(roots.iter().filter(|root| root.state() == KeyState::Active).count(), 1);
    assert_eq!(place.files(), ["root-keys.json"]);
}

#[tokio::test]
async fn behind_a_link_the_file_is_changed_and_the_link_stays() {
    let place = Place::new();
    create(&place.config()).await.unwrap();
    let link = place.directory.path().join("link");
    symlink("root-keys.json", &link).unwrap();
    let provider = open(&at(&link, None)).await.unwrap();
    let root = provider.rotate_root().await.unwrap();
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(open(&place.config()).await.unwrap().active_root().await.unwrap(), root);
}

#[tokio::test]
async fn a_directory_that_can_not_be_written_loses_nothing() {
    let place = Place::new();
    let provider = create(&place.config()).await.unwrap();
    let key = new_key();
    let wrapped = provider.wrap(&CONTEXT, &key).await.unwrap();
    // Where the new file would be written stands something that can't be taken away, even by root.
    let in_the_way = place.directory.path().join("root-keys.json.new");
    std::fs::create_dir(&in_the_way).unwrap();
    assert_eq!(failure(provider.rotate_root().await), "unreachable");
    assert_eq!(provider.active_root().await.unwrap(), wrapped.root);
    std::fs::remove_dir(&in_the_way).unwrap();
    provider.rotate_root().await.unwrap();
    assert!(provider.unwrap(&CONTEXT, &wrapped).await.unwrap().same_as(&key));
}

const ROTATING: &str = "PORTAL_TEST_ROTATING_FILE";

/// Not a test of its own: what [`a_process_that_is_killed_leaves_one_keyring_or_the_other`] kills.
#[tokio::test]
async fn rotates_until_it_is_killed() {
    let Some(file) = std::env::var_os(ROTATING) else { return };
    let config = at(Path::new(&file), None);
    loop {
        let provider = open(&config).await.unwrap();
        let root = provider.rotate_root().await.unwrap();
        let wrapped = provider.wrap(&CONTEXT, &new_key()).await.unwrap();
        println!("wrapped {root} {}", wrapped.root);
    }
}

#[tokio::test]
async fn a_process_that_is_killed_leaves_one_keyring_or_the_other() {
    let place = Place::new();
    let mut seen = Vec::new();
    for _ in 0..7 {
        create(&place.config()).await.unwrap();
        let mut rotating = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "file::rotates_until_it_is_killed", "--nocapture"])
            .env(ROTATING, place.file())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let lines = std::io::BufRead::lines(std::io::BufReader::new(rotating.stdout.take().unwrap()));
        // After a different number of rotations each time, and wherever in the next one it then is.
        let reached =
            lines.map_while(Result::ok).filter(|line| line.starts_with("wrapped")).nth(seen.len() % 7);
        rotating.kill().unwrap();
        rotating.wait().unwrap();
        seen.push(reached.expect("it rotates"));
        let provider = open(&place.config()).await.unwrap();
        let key = new_key();
        let wrapped: WrappedKey = provider.wrap(&CONTEXT, &key).await.unwrap();
        provider.rotate_root().await.unwrap();
        assert!(provider.unwrap(&CONTEXT, &wrapped).await.unwrap().same_as(&key));
        assert_eq!(place.files(), ["root-keys.json"], "what was left over is cleared away");
        std::fs::remove_file(place.file()).unwrap();
    }
}
