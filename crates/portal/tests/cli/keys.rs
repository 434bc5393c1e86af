//! `portal keys`: what each command says and does, beside a running process and without one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Up, portal, run};

const SERVICES: [&str; 3] = ["auth", "consent", "valuation"];

/// Runs `portal keys ACTION --service SERVICE` on the data directory.
fn keys(data: &Path, service: &str, action: &[&str]) -> (i32, String, String) {
    run(portal().arg("keys").args(action).args(["--service", service, "--data-dir"]).arg(data))
}

fn done(data: &Path, service: &str, action: &[&str]) -> String {
    let (code, stdout, stderr) = keys(data, service, action);
    assert_eq!(code, 0, "{service} {action:?}: {stdout}{stderr}");
    stdout
}

/// A row of `portal keys list`.
#[derive(Debug)]
struct Listed {
    id: String,
    used_for: String,
    state: String,
    wraps: u64,
}

fn list(data: &Path, service: &str) -> Vec<Listed> {
    let text = done(data, service, &["list"]);
    let rows = text.lines().skip(2).map(|line| {
        let cells: Vec<_> = line.split_ascii_whitespace().map(str::to_owned).collect();
        let [id, used_for, _algorithm, state, wraps, _made] = <[String; 6]>::try_from(cells).unwrap();
        Listed { id, used_for, state, wraps: wraps.parse().unwrap() }
    });
    rows.collect()
}

/// The ids of keys for a use, in a state.
fn ids(rows: &[Listed], used_for: &str, state: &str) -> Vec<String> {
    let found = rows.iter().filter(|row| row.used_for == used_for && row.state == state);
    found.map(|row| row.id.clone()).collect()
}

#[test]
fn a_root_key_is_made_once_and_only_its_owner_reads_it() {
    let directory = tempfile::tempdir().unwrap();
    let create = |name: &str, more: &[&str]| {
        run(portal().args(["keys", "create-root", "--out"]).arg(directory.path().join(name)).args(more))
    };
    let (code, first, _) = create("root.json", &[]);
    assert_eq!(code, 0);
    let file = directory.path().join("root.json");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let keyring = fs::read(&file).unwrap();
    let (code, again, _) = create("root.json", &[]);
    assert_eq!((code, &again), (0, &first), "the same key is told again");
    assert_eq!(fs::read(&file).unwrap(), keyring, "and nothing else is made");

    let passphrase = directory.path().join("passphrase");
    fs::write(&passphrase, "correct horse battery staple\n").unwrap();
    fs::set_permissions(&passphrase, fs::Permissions::from_mode(0o644)).unwrap();
    let sealed = &["--passphrase-file", passphrase.to_str().unwrap()];
    let (code, _, stderr) = create("sealed.json", sealed);
    assert_eq!(code, 1, "a passphrase that everybody reads: {stderr}");
    assert!(!directory.path().join("sealed.json").exists());
    fs::set_permissions(&passphrase, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(create("sealed.json", sealed).0, 0);
    let (code, _, stderr) = create("sealed.json", &[]);
    assert_eq!(code, 1, "without its passphrase it does not open");
    assert!(!stderr.contains("correct horse"), "{stderr}");
    assert_eq!(create("nowhere/root.json", &[]).0, 1);
}

#[test]
fn keys_are_listed_without_themselves() {
    let data = tempfile::tempdir().unwrap();
    let up = Up::start(data.path());
    for service in SERVICES {
        let rows = list(data.path(), service);
        let epochs = ids(&rows, "epoch", "active");
        assert_eq!((ids(&rows, "root", "active").len(), epochs.len()), (1, 1), "{rows:?}");
        assert!(rows.len() > 4, "the service's own keys are missing: {rows:?}");
        let keyring = fs::read_to_string(data.path().join(format!("root-keys/{service}.json"))).unwrap();
        let text = done(data.path(), service, &["list", "--cyclonedx"]);
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["bomFormat"], "CycloneDX");
        assert!(text.contains(&epochs[0]));
        // Whatever stands in the keyring and is long enough to be a key.
        for secret in keyring.split('"').filter(|word| word.len() >= 40 && !word.contains('-')) {
            assert!(!text.contains(secret), "key material is listed");
        }
    }
    assert_eq!(up.end(Signal::TERM).0, Some(0));
}

#[test]
fn an_epoch_lives_from_its_rotation_to_its_destruction_while_everybody_works() {
    let data = tempfile::tempdir().unwrap();
    let up = Up::start(data.path());
    let password = fs::read_to_string(data.path().join("operator-password")).unwrap();
    let password = password.trim();
    let data = data.path();
    let before = list(data, "auth");
    let first = ids(&before, "epoch", "active");
    let wrapped = before.iter().find(|row| row.id == first[0]).unwrap().wraps;
    assert!(wrapped > 0, "the operator's key is under the first epoch: {before:?}");

    done(data, "auth", &["rotate"]);
    let rotated = list(data, "auth");
    assert_eq!(ids(&rotated, "epoch", "retired"), first);
    let (code, _, stderr) = keys(data, "auth", &["destroy", "--key", &first[0]]);
    assert_eq!(code, 1, "an epoch with keys under it is destroyed");
    assert!(stderr.contains("still wrapped"), "{stderr}");
    done(data, "auth", &["rewrap"]);
    let second = ids(&rotated, "epoch", "active");
    let moved = list(data, "auth");
    assert_eq!(moved.iter().find(|row| row.id == second[0]).unwrap().wraps, wrapped, "{moved:?}");
    done(data, "auth", &["destroy", "--key", &first[0]]);
    assert_eq!(ids(&list(data, "auth"), "epoch", "destroyed"), first);
    assert_eq!(keys(data, "auth", &["destroy", "--key", &first[0]]).0, 1, "twice");

    // All in one, for the active one.
    done(data, "auth", &["retire"]);
    let retired = list(data, "auth");
    assert_eq!(ids(&retired, "epoch", "retired"), second);
    assert_eq!(retired.iter().find(|row| row.id == second[0]).unwrap().wraps, 0, "{retired:?}");
    assert_eq!(keys(data, "auth", &["retire", "--key", "no such key"]).0, 1);

    let root = ids(&retired, "root", "active");
    done(data, "auth", &["rotate", "--root"]);
    let rooted = list(data, "auth");
    assert_eq!(ids(&rooted, "root", "retired"), root);
    assert_ne!(ids(&rooted, "root", "active"), root);
    done(data, "auth", &["destroy", "--key", &root[0]]);
    assert!(up.signs_in(password));
    assert_eq!(up.end(Signal::TERM).0, Some(0));
    let up = Up::start(data);
    assert!(up.signs_in(password), "with a root key, an epoch and wrapped keys that are all new");
    assert_eq!(up.end(Signal::INT).0, Some(0));
}

#[test]
fn an_erasure_is_stated_and_said_again() {
    let data = tempfile::tempdir().unwrap();
    let up = Up::launch(&mut portal(), data.path(), &["--demo"]);
    let password = fs::read_to_string(data.path().join("demo-passwords")).unwrap();
    let session = up.session("anna@portal.local", &password).unwrap();
    let subject = session["subjectId"].as_str().unwrap().to_owned();
    let data = data.path();
    let statement = data.join("statement");
    let erase = |file: &Path| {
        keys(data, "auth", &["erase", "--subject", &subject, "--statement", file.to_str().unwrap()])
    };
    fs::write(&statement, "of somebody else").unwrap();
    assert_eq!(erase(&statement).0, 1, "a file is overwritten");
    assert_eq!(fs::read_to_string(&statement).unwrap(), "of somebody else");
    assert!(up.sign_in("anna@portal.local", &password).is_some(), "and something is erased already");
    assert_eq!(erase(&data.join("no/such/directory")).0, 1);
    assert!(up.sign_in("anna@portal.local", &password).is_some(), "what can't be stated is erased");

    let first = data.join("first");
    let (code, stdout, stderr) = erase(&first);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("entry 1 of the shred ledger"), "{stdout}");
    assert_eq!(fs::metadata(&first).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fs::metadata(&first).unwrap().len() > 3_309, "there is no signature in the statement");
    let second = data.join("second");
    let (code, again, _) = erase(&second);
    assert_eq!(code, 0);
    assert_eq!(
        again.replace("second", "first"),
        stdout,
        "the same erasure is told another way when it is asked for again"
    );
    let replayed = done(data, "auth", &["replay-shreds"]);
    assert!(replayed.starts_with("1 entries; 0 keys"), "{replayed}");
    assert_eq!(up.end(Signal::TERM).0, Some(0));
}
