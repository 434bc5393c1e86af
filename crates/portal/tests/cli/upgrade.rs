//! A data directory of an earlier version: it starts and answers as it is, its secrets get sealed, its rows too.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Up, portal, run};

const PERSON: &str = "earlier.person@example.org";
const ACCOUNT: &str = "01a202a8-1f3d-70a4-82e2-714a919e0b4e";
const SUBJECT: &str = "01a202a8-1f3d-7aac-b732-c6640ab9f544";
const PASSWORD: &str = "correct horse battery";
const OPERATOR: &str = "the first operator";
/// What stood in the rows in the clear, by service.
const CLEAR: [(&str, &[&[u8]]); 3] = [
    ("auth", &[b"earlier.person", b"Earlier Person", b"Earlier Device"]),
    ("consent", &[b"Earlier Reason", b"Earlier Evidence"]),
    // 1234.5678 and -9876.543.
    ("valuation", &[&[0x2b, 0x52, 0x9a, 0x44, 0x2c, 0x52, 0x1a, 0xc6]]),
];

/// A copy of what the earlier version left, with the operator's password in a file beside it.
fn earlier() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    copy(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/earlier")), directory.path());
    fs::write(directory.path().join("given-password"), OPERATOR).unwrap();
    directory
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
            fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}

fn start(data: &Path) -> Up {
    Up::start_with(portal().env("PORTAL_OPERATOR_PASSWORD_FILE", data.join("given-password")), data)
}

/// Everything that can be read of what the earlier version wrote.
fn answers(up: &Up) -> String {
    let person = up.sign_in(PERSON, PASSWORD).expect("the person signs in with the password of before");
    let controller = up.sign_in("controller@example.org", PASSWORD).unwrap();
    assert!(up.signs_in(OPERATOR), "the operator signs in with the password of before");
    let mut account = up.read(&format!("/v1/accounts/{ACCOUNT}"), &person);
    assert_eq!(
        (account["email"].as_str(), account["displayName"].as_str()),
        (Some(PERSON), Some("Earlier Person"))
    );
    let sessions = up.read(&format!("/v1/accounts/{ACCOUNT}/sessions?pageSize=100"), &person);
    let devices = sessions["sessions"].as_array().unwrap().iter();
    assert!(devices.filter(|session| session["deviceName"] == "Earlier Device").count() == 1, "{sessions}");
    // Signing in may change these.
    for changes in ["etag", "updateTime"] {
        account[changes].take();
    }
    let consents = up.read(&format!("/v1/subjects/{SUBJECT}/consents"), &person);
    let consent = consents["consents"][0]["consentId"].as_str().unwrap().to_owned();
    let events = up.read(&format!("/v1/consents/{consent}/events"), &person);
    let purposes = up.read("/v1/purposes", &controller);
    let valuations = up.read("/v1/valuations", &controller);
    let values = values(up, &controller, valuations["valuations"][0]["valuationId"].as_str().unwrap());
    let all = [account, consents, events, purposes, valuations, values];
    let text = all.map(|answer| answer.to_string()).join("\n");
    for expected in ["Earlier Person", "Earlier Reason", "VALUATION_STATE_SUCCEEDED"] {
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
    text
}

fn values(up: &Up, controller: &str, valuation: &str) -> Value {
    up.read(&format!("/v1/valuations/{valuation}/recordValues"), controller)
}

/// Values the records of before once more, and compares what they are worth: their numbers can be read.
fn records_are_valued_as_before(up: &Up) {
    let controller = &up.sign_in("controller@example.org", PASSWORD).unwrap();
    let worth = |valuation: &str| -> Vec<(Value, Value)> {
        let answer = values(up, controller, valuation);
        let rows = answer["recordValues"].as_array().unwrap().iter();
        let mut rows: Vec<_> = rows.map(|row| (row["recordId"].clone(), row["value"].clone())).collect();
        rows.sort_by_key(|(record, _)| record.to_string());
        rows
    };
    let first = up.read("/v1/valuations", controller)["valuations"][0].clone();
    let dataset = first["datasetId"].as_str().unwrap();
    let again = serde_json::json!({
        "datasetId": dataset, "method": "METHOD_KNN_SHAPLEY", "parameters": {"k": 1},
    });
    let operation = up.post(&format!("/v1/datasets/{dataset}:value"), controller, &again);
    let id =
        operation["metadata"]["valuationId"].as_str().unwrap_or_else(|| panic!("{operation}")).to_owned();
    loop {
        let state = up.read(&format!("/v1/valuations/{id}"), controller)["state"].to_string();
        assert!(!state.contains("FAILED"), "{state}");
        if state.contains("SUCCEEDED") {
            break;
        }
    }
    let before = worth(first["valuationId"].as_str().unwrap());
    assert_eq!(before.len(), 6);
    assert_eq!(worth(&id), before);
}

fn migrate(data: &Path, service: &str, action: &str) -> String {
    let (code, stdout, stderr) =
        run(portal().args(["migrate", "data", action, "--service", service, "--data-dir"]).arg(data));
    assert_eq!(code, 0, "{service} {action}: {stdout}{stderr}");
    stdout
}

fn state(data: &Path, service: &str) -> String {
    let status = migrate(data, service, "status");
    status.lines().nth(1).unwrap().split_ascii_whitespace().nth(1).unwrap().to_owned()
}

/// Rows that the migration's step has done.
fn done(data: &Path, service: &str) -> u64 {
    let status = migrate(data, service, "status");
    let cells: Vec<_> = status.lines().nth(1).unwrap().split_ascii_whitespace().collect();
    cells[2].split_once('/').unwrap().0.parse().unwrap()
}

/// Whether any file of the service's database has `text` in it.
fn stands_in_the_clear(data: &Path, service: &str, text: &[u8]) -> bool {
    let files = fs::read_dir(data).unwrap().map(|entry| entry.unwrap());
    let mut files =
        files.filter(|file| file.file_name().to_string_lossy().starts_with(&format!("{service}.db")));
    files.any(|file| {
        let bytes = fs::read(file.path()).unwrap();
        bytes.windows(text.len()).any(|window| window == text)
    })
}

#[test]
fn it_starts_and_answers_and_its_secrets_are_sealed() {
    let data = earlier();
    let secrets: Vec<_> = CLEAR
        .map(|(service, _)| (service, fs::read(data.path().join("secrets").join(service)).unwrap()))
        .into();
    let up = start(data.path());
    let before = answers(&up);
    assert!(!data.path().join("secrets").exists(), "the plain secrets are still there");
    for (service, secret) in &secrets {
        let keys = fs::read(data.path().join(format!("{service}.keys.db"))).unwrap();
        assert!(!keys.windows(secret.len()).any(|window| window == secret), "{service}: sealed in name only");
    }
    assert_eq!(up.end(Signal::TERM).0, Some(0));

    // Killed after the secret was sealed and before the file was deleted: the next start deletes it.
    fs::create_dir(data.path().join("secrets")).unwrap();
    for (service, secret) in &secrets {
        fs::write(data.path().join("secrets").join(service), secret).unwrap();
    }
    let up = start(data.path());
    assert_eq!(answers(&up), before);
    assert!(!data.path().join("secrets").exists());
    drop(up);

    // Another secret is never taken in its place, and never deleted.
    fs::create_dir(data.path().join("secrets")).unwrap();
    let file = data.path().join("secrets/consent");
    fs::write(&file, "5a".repeat(32)).unwrap();
    let mut up = portal();
    up.args(["up", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir"])
        .arg(data.path());
    up.env("PORTAL_OPERATOR_PASSWORD_FILE", data.path().join("given-password"));
    let (code, _, stderr) = run(&mut up);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("secrets/consent") && !stderr.contains("5a5a"), "{stderr}");
    assert!(file.exists(), "a secret that is sealed nowhere is deleted");
}

#[test]
fn a_keyring_that_is_lost_is_not_replaced() {
    let data = earlier();
    assert_eq!(start(data.path()).end(Signal::TERM).0, Some(0));
    let keyring = data.path().join("root-keys/consent.json");
    fs::rename(&keyring, data.path().join("kept")).unwrap();
    let mut up = portal();
    up.args(["up", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir"])
        .arg(data.path());
    let (code, _, stderr) = run(&mut up);
    assert_eq!(code, 1);
    assert!(stderr.contains("consent.json is missing"), "{stderr}");
    assert!(!keyring.exists());
    fs::rename(data.path().join("kept"), &keyring).unwrap();
    answers(&start(data.path()));
}

#[test]
fn its_rows_are_sealed_while_it_is_stopped_and_put_back_and_sealed_for_good() {
    let data = earlier();
    let up = start(data.path());
    let before = answers(&up);
    assert_eq!(up.end(Signal::TERM).0, Some(0));
    for (service, clear) in CLEAR {
        assert_eq!(state(data.path(), service), "pending");
        let plan = run(portal()
            .args(["migrate", "data", "start", "--plan", "--service", service, "--data-dir"])
            .arg(data.path()));
        assert!(plan.0 == 0 && plan.1.contains(" rows"), "{plan:?}");
        assert_eq!(state(data.path(), service), "pending", "a plan starts it");
        migrate(data.path(), service, "start");
        assert_eq!(state(data.path(), service), "done");
        migrate(data.path(), service, "verify");
        migrate(data.path(), service, "rollback");
        assert_eq!(state(data.path(), service), "rolled_back");
        for text in clear {
            assert!(stands_in_the_clear(data.path(), service, text), "{service}: {text:?} is not put back");
        }
    }
    let up = start(data.path());
    assert_eq!(answers(&up), before, "after the roll-back");
    assert_eq!(up.end(Signal::TERM).0, Some(0));
    for (service, _) in CLEAR {
        migrate(data.path(), service, "start");
    }
    let up = start(data.path());
    assert_eq!(answers(&up), before, "with both forms");
    assert_eq!(up.end(Signal::TERM).0, Some(0));
    for (service, _) in CLEAR {
        migrate(data.path(), service, "commit");
        assert_eq!(state(data.path(), service), "committed");
    }
    let up = start(data.path());
    assert_eq!(answers(&up), before, "with the sealed form alone");
    records_are_valued_as_before(&up);
    assert_eq!(up.end(Signal::TERM).0, Some(0));
    for (service, clear) in CLEAR {
        for text in clear {
            assert!(
                !stands_in_the_clear(data.path(), service, text),
                "{service}: {text:?} is still in a file"
            );
        }
    }
}

/// What was not done is told as that: a commit of what is not done yet, and the erasure of somebody of whom something
/// stands in the clear.
#[test]
fn what_can_not_be_done_yet_is_refused() {
    let data = earlier();
    assert_eq!(start(data.path()).end(Signal::TERM).0, Some(0));
    let statement = data.path().join("statement");
    let subject = "01975bd0-0000-7000-8000-000000000001";
    for (service, _) in CLEAR {
        let (code, _, stderr) = run(portal()
            .args(["migrate", "data", "commit", "--service", service, "--data-dir"])
            .arg(data.path()));
        assert!(code == 1 && stderr.contains("is not done"), "{service}: {code} {stderr}");
        let erase = ["keys", "erase", "--subject", subject, "--service", service, "--data-dir"];
        let (code, _, stderr) = run(portal().args(erase).arg(data.path()).arg("--statement").arg(&statement));
        assert!(code == 1 && stderr.contains("portal migrate data commit"), "{service}: {code} {stderr}");
        assert!(!statement.exists(), "{service} states what it has not done");
    }
}

#[test]
fn its_rows_are_sealed_while_it_runs() {
    let data = earlier();
    let up = start(data.path());
    let before = answers(&up);
    for (service, _) in CLEAR {
        migrate(data.path(), service, "start");
        assert_eq!(state(data.path(), service), "done");
    }
    assert_eq!(answers(&up), before);
    assert_eq!(up.end(Signal::TERM).0, Some(0));
}

/// The services are killed with -9 in the middle of their own migrations, again and again; each start goes on where the
/// last one was, and everything is read as before.
#[test]
fn its_rows_are_sealed_by_services_that_are_killed() {
    let data = earlier();
    let up = start(data.path());
    let before = answers(&up);
    assert_eq!(up.end(Signal::TERM).0, Some(0));
    let mut killed = 0;
    for (service, _) in CLEAR {
        let slowly = ["migrate", "data", "start", "--max-rows-per-second", "2", "--service", service];
        let mut steering = portal();
        let steering = steering.args(slowly).arg("--data-dir").arg(data.path());
        let child = steering.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        while matches!(state(data.path(), service).as_str(), "pending" | "planned") {}
        kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
        child.wait_with_output().unwrap();
        // Each time somebody else has to wait for the end of the lease: the third one may go on to the end.
        for last in [false, false, true] {
            let (up, begun) = (start(data.path()), done(data.path(), service));
            while state(data.path(), service) != "done" && (last || done(data.path(), service) == begun) {}
            killed += u32::from(state(data.path(), service) != "done");
            up.end(Signal::KILL);
        }
        assert_eq!(state(data.path(), service), "done");
    }
    assert!(killed > 3, "it was done after {killed} kills");
    let up = start(data.path());
    assert_eq!(answers(&up), before, "with both forms");
    assert_eq!(up.end(Signal::TERM).0, Some(0));
    for (service, _) in CLEAR {
        migrate(data.path(), service, "commit");
    }
    let up = start(data.path());
    assert_eq!(answers(&up), before, "with the sealed form alone");
    records_are_valued_as_before(&up);
}

#[test]
fn a_migration_that_is_interrupted_goes_on_where_it_was() {
    let data = earlier();
    assert_eq!(start(data.path()).end(Signal::TERM).0, Some(0));
    let mut slow = portal();
    slow.args(["migrate", "data", "start", "--max-rows-per-second", "1", "--service", "auth", "--data-dir"]);
    let child = slow.arg(data.path()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let moved = || done(data.path(), "auth");
    while moved() == 0 {}
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(String::from_utf8_lossy(&ended.stderr).contains("goes on where it was"), "{ended:?}");
    assert_eq!(state(data.path(), "auth"), "running");
    let before = moved();
    migrate(data.path(), "auth", "pause");
    assert_eq!((state(data.path(), "auth").as_str(), moved()), ("paused", before));
    let (code, stdout, stderr) = run(portal()
        .args(["migrate", "data", "start", "--max-rows-per-second", "0", "--service", "auth", "--data-dir"])
        .arg(data.path()));
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert_eq!(state(data.path(), "auth"), "done");
    assert!(moved() > before);
    answers(&start(data.path()));
}
