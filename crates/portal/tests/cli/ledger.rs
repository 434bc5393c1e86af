//! `portal ledger` and `portal verify ledger`: what the demonstration has recorded, in its database and as a file.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::data::execute;
use super::harness::{Up, portal, run};

/// A data directory whose ledger of consent has a checkpoint over entries, and the keys that `GetLedgerKeys` gave.
fn filled(data: &Path) -> String {
    let up = Up::launch(&mut portal(), data, &["--demo"]);
    let mut checkpoint = Value::Null;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) {
        checkpoint = up.read("/v1/consent/ledger/checkpoint", "");
        if checkpoint["treeSize"].as_str().is_some_and(|size| size != "0") {
            break;
        }
    }
    let note = checkpoint["signedNote"].as_str().unwrap();
    assert!(note.starts_with("portal.local/consent\n"), "{note}");
    let proof = up.read("/v1/consent/ledger/inclusionProof?leafIndex=0", "");
    assert!(proof["hashes"].is_array() && proof["rootHash"].is_string(), "{proof}");
    let keys = up.read("/v1/consent/ledger/keys", "").to_string();
    assert_eq!(up.end(Signal::TERM).0, Some(0));
    keys
}

fn verify(arguments: &[&str], data: &Path) -> (i32, String) {
    let (code, out, err) =
        run(portal().args(["verify", "ledger"]).args(arguments).arg("--data-dir").arg(data));
    (code, format!("{out}{err}"))
}

#[test]
fn a_ledger_is_verified_in_its_database_and_as_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let keys = folder.path().join("keys.json");
    fs::write(&keys, filled(&data)).unwrap();
    let file = folder.path().join("consent.ledger");
    let (code, out, err) = run(portal()
        .args(["ledger", "export", "--service", "consent", "--out"])
        .arg(&file)
        .arg("--data-dir")
        .arg(&data));
    assert_eq!(code, 0, "{out}{err}");
    let from = ["--from", file.to_str().unwrap()];
    let with_keys = [from[0], from[1], "--keys", keys.to_str().unwrap()];
    let (code, said) = verify(&with_keys, &data);
    assert!(code == 0 && said.starts_with("valid: ") && !said.contains("compare"), "{said}");
    let (code, said) = verify(&from, &data);
    assert!(code == 0 && said.contains("compare them"), "{said}");
    for service in ["auth", "consent", "valuation"] {
        let (code, said) = verify(&["--service", service], &data);
        assert!(code == 0 && said.starts_with("valid: "), "{service}: {said}");
    }

    let lines = fs::read_to_string(&file).unwrap();
    let mut lines: Vec<&str> = lines.lines().collect();
    assert!(lines.len() > 3, "{lines:?}");
    lines.remove(2);
    fs::write(&file, lines.join("\n")).unwrap();
    let (code, said) = verify(&with_keys, &data);
    assert!(
        code == 1 && said.contains("line 3: leaf 1 was to come here") && said.contains("INVALID"),
        "{said}"
    );
    fs::write(&file, "nothing of ours").unwrap();
    assert_eq!(verify(&from, &data).0, 2);
    assert_eq!(verify(&["--from", "/nowhere/at/all"], &data).0, 2);
    assert_eq!(verify(&[], &data).0, 2);

    let swap = "UPDATE ledger_entry SET commitment = (SELECT commitment FROM ledger_entry WHERE position = 2) \
                WHERE position = 1";
    execute(&data.join("consent.db"), swap);
    let (code, said) = verify(&["--service", "consent"], &data);
    assert!(code == 1 && said.contains("ledger_entry, position 1: not the entry that was signed"), "{said}");
    assert!(!said.contains("position 2:"), "{said}");
}

/// Puts the database of consent in the place of the one that is there: the file and its log, which may hold its newest rows.
fn copy(from: &Path, to: &Path) {
    for file in ["consent.db", "consent.db-wal", "consent.db-shm"] {
        drop(fs::remove_file(to.join(file)));
        if file != "consent.db-shm" && from.join(file).exists() {
            fs::copy(from.join(file), to.join(file)).unwrap();
        }
    }
}

/// A database that is older than its newest checkpoint: nothing is done without being told twice, and then the service begins
/// a log with another name.
#[test]
fn a_log_that_was_set_back_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let kept = folder.path().join("kept");
    fs::create_dir(&kept).unwrap();
    assert_eq!(Up::launch(&mut portal(), &data, &[]).end(Signal::TERM).0, Some(0));
    copy(&data, &kept);
    filled(&data);
    let begin_anew = |more: &[&str]| {
        let begin = ["ledger", "begin-anew", "--service", "consent"];
        let (code, out, err) = run(portal().args(begin).args(more).arg("--data-dir").arg(&data));
        (code, format!("{out}{err}"))
    };
    let (code, said) = begin_anew(&["--yes"]);
    assert!(code == 1 && said.contains("portal.local/consent continues its newest checkpoint"), "{said}");
    copy(&kept, &data);
    let (code, said) = verify(&["--service", "consent"], &data);
    assert!(code == 1 && said.contains("were signed"), "{said}");
    let (code, said) = begin_anew(&[]);
    assert!(
        code == 1 && said.contains("is lost, and stays lost") && said.contains("nothing was done"),
        "{said}"
    );
    let (code, said) = begin_anew(&["--yes"]);
    assert!(code == 0 && said.contains("portal.local/consent has ended with"), "{said}");

    let up = Up::launch(&mut portal(), &data, &[]);
    let begun = Instant::now();
    let mut checkpoint = Value::Null;
    while begun.elapsed() < Duration::from_secs(60) && !checkpoint["signedNote"].is_string() {
        checkpoint = up.read("/v1/consent/ledger/checkpoint", "");
    }
    assert!(
        checkpoint["signedNote"].as_str().unwrap().starts_with("portal.local/consent/2\n"),
        "{checkpoint}"
    );
    assert_eq!(up.end(Signal::TERM).0, Some(0));
    let (code, said) = verify(&["--service", "consent"], &data);
    assert!(
        code == 0 && said.contains("log 1 has ended with") && said.contains("portal.local/consent/2"),
        "{said}"
    );
}
