//! `portal keys`: what each command says and does, beside a running process and without one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use portal_core::id::{Id, SubjectId};
use portal_crypto::pair::PairVerifyingKey;
use portal_keys::ErasureStatement;
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

#[test]
fn a_blind_index_key_is_replaced_and_destroyed_while_everybody_works() {
    let data = tempfile::tempdir().unwrap();
    let up = Up::start(data.path());
    let password = fs::read_to_string(data.path().join("operator-password")).unwrap();
    let password = password.trim();
    let data = data.path();
    let key = |generation: u32| format!("blind-index/account.email/{generation}");
    assert_eq!(ids(&list(data, "auth"), "blind-index", "active"), [key(1)]);
    assert_eq!(keys(data, "auth", &["destroy", "--key", &key(1)]).0, 1, "an active key is destroyed");
    for (service, column) in [("auth", "account.phone"), ("consent", "account.email")] {
        let (code, _, stderr) = keys(data, service, &["rotate", "--index", column]);
        assert!(code == 1 && stderr.contains("no blind index"), "{service} {column}: {code} {stderr}");
    }
    assert_eq!(keys(data, "auth", &["rotate", "--root", "--index", "account.email"]).0, 2);
    done(data, "auth", &["rotate", "--index", "account.email"]);
    assert!(up.signs_in(password), "found by the key before, or by the new one already");
    done(data, "auth", &["retire", "--key", &key(1)]);
    done(data, "auth", &["destroy", "--key", &key(1)]);
    assert!(up.signs_in(password), "found by the new key");
    assert_eq!(up.end(Signal::TERM).0, Some(0));

    // Nobody is running who would index the rows anew.
    done(data, "auth", &["rotate", "--index", "account.email"]);
    let (code, _, stderr) = keys(data, "auth", &["destroy", "--key", &key(2)]);
    assert!(code == 1 && stderr.contains("rows are still found by the key"), "{code} {stderr}");
    done(data, "auth", &["retire", "--key", &key(2)]);
    done(data, "auth", &["destroy", "--key", &key(2)]);
    let rows = list(data, "auth");
    assert_eq!(ids(&rows, "blind-index", "active"), [key(3)]);
    assert_eq!(ids(&rows, "blind-index", "destroyed"), [key(2), key(1)]);
    let up = Up::start(data);
    assert!(up.signs_in(password));
    assert_eq!(up.end(Signal::TERM).0, Some(0));
}

/// The pair in a JWK set, as somebody reads it who has nothing of Portal's.
fn pair(jwks: &str) -> PairVerifyingKey {
    let set: Value = serde_json::from_str(jwks).unwrap();
    let bytes = |value: &Value| {
        let digit = |symbol: u8| match symbol {
            b'A'..=b'Z' => symbol - b'A',
            b'a'..=b'z' => symbol - b'a' + 26,
            b'0'..=b'9' => symbol - b'0' + 52,
            b'-' => 62,
            _ => 63,
        };
        let symbols: Vec<_> = value.as_str().unwrap().bytes().map(digit).collect();
        let mut bytes = Vec::new();
        for group in symbols.chunks(4) {
            let bits = group.iter().fold(0_u32, |bits, symbol| bits << 6 | u32::from(*symbol));
            let bits = bits << (6 * (4 - group.len()));
            bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
        }
        bytes
    };
    let keys = set["keys"].as_array().unwrap();
    PairVerifyingKey::from_bytes(&[bytes(&keys[0]["x"]), bytes(&keys[1]["pub"])].concat()).unwrap()
}

#[test]
fn who_was_erased_stays_so_when_the_keys_are_put_back() {
    let data = tempfile::tempdir().unwrap();
    let up = Up::launch(&mut portal(), data.path(), &["--demo"]);
    let password = fs::read_to_string(data.path().join("demo-passwords")).unwrap();
    let session = up.session("anna@portal.local", &password).unwrap();
    let subject = session["subjectId"].as_str().unwrap().to_owned();
    let data = data.path();
    assert_eq!(up.end(Signal::TERM).0, Some(0));
    let (database, backup) = (data.join("auth.keys.db"), data.join("backup"));
    fs::copy(&database, &backup).unwrap();
    let (statement, copy) = (data.join("statement"), data.join("shreds"));
    let copy_text = copy.to_str().unwrap();
    done(data, "auth", &["erase", "--subject", &subject, "--statement", statement.to_str().unwrap()]);
    let exported = done(data, "auth", &["export-shreds", "--out", copy_text]);
    assert!(exported.starts_with("1 entries"), "{exported}");
    assert!(!fs::read_to_string(&copy).unwrap().contains(&subject), "the copy names the erased");

    let stated = fs::read(&statement).unwrap();
    let jwks = done(data, "auth", &["statement-key"]);
    let stated = ErasureStatement::verify(&stated, &pair(&jwks)).unwrap();
    assert_eq!(stated.subject.to_string(), subject);
    assert_ne!(stated.subject, SubjectId::from_bytes([0; 16]));
    let others = done(data, "consent", &["statement-key"]);
    assert!(ErasureStatement::verify(&fs::read(&statement).unwrap(), &pair(&others)).is_err());

    fs::copy(&backup, &database).unwrap();
    for gone in ["auth.keys.db-wal", "auth.keys.db-shm"] {
        drop(fs::remove_file(data.join(gone)));
    }
    // Of another service, and one that somebody has changed.
    assert_eq!(keys(data, "consent", &["import-shreds", copy_text]).0, 2);
    let text = fs::read_to_string(&copy).unwrap();
    fs::write(&copy, text.replace("\"keys\":1", "\"keys\":2")).unwrap();
    let (code, _, stderr) = keys(data, "auth", &["import-shreds", copy_text]);
    assert!(code == 1 && stderr.contains("is corrupt"), "{code} {stderr}");
    fs::write(&copy, text).unwrap();
    let imported = done(data, "auth", &["import-shreds", copy_text]);
    assert!(imported.starts_with("1 entries were added"), "{imported}");
    assert!(imported.contains("1 keys of 1 people had come back"), "{imported}");
    let again = done(data, "auth", &["import-shreds", copy_text]);
    assert!(again.starts_with("0 entries were added") && again.contains("0 keys of 0 people"), "{again}");
    let up = Up::start(data);
    assert!(up.sign_in("anna@portal.local", &password).is_none());
    assert_eq!(up.end(Signal::TERM).0, Some(0));
}
