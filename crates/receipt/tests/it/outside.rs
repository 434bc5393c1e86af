//! The same receipts, verified by programs that share no code with this one: the Python script of `docs/`, the module of the
//! console.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::verifying::{issued, pair};

/// The answers of GetReceipt and GetLedgerKeys.
fn answers() -> (Value, Value) {
    let (cose, inclusion) = issued();
    let pair = pair(1);
    let receipt = json!({"cose": STANDARD.encode(cose), "inclusion": STANDARD.encode(inclusion)});
    let keys = json!({"origin": "portal.local/consent", "keys": [
        {
            "algorithm": "LEDGER_KEY_ALGORITHM_ED25519",
            "publicKey": STANDARD.encode(pair.verifying_key().ed25519().as_bytes()),
        },
        {
            "algorithm": "LEDGER_KEY_ALGORITHM_ML_DSA_65",
            "publicKey": STANDARD.encode(pair.verifying_key().ml_dsa_65().as_bytes()),
        },
    ]});
    (receipt, keys)
}

/// `receipt` with a bit of the byte at `at` of `member` changed; from the end if negative.
fn bent(receipt: &Value, member: &str, at: isize) -> Value {
    let mut bytes = STANDARD.decode(receipt[member].as_str().unwrap()).unwrap();
    let at = usize::try_from(at).unwrap_or_else(|_| bytes.len() - at.unsigned_abs());
    bytes[at] ^= 1;
    let mut receipt = receipt.clone();
    receipt[member] = Value::from(STANDARD.encode(bytes));
    receipt
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Runs a verifier on a receipt and keys: whether it takes it, and what it says.
type Verifier = dyn Fn(&Path, &Path) -> Command;

fn run(verifier: &Verifier, receipt: &Value, keys: &Value) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &Value| {
        let path = folder.path().join(name);
        std::fs::write(&path, content.to_string()).unwrap();
        path
    };
    let output = verifier(&file("receipt.json", receipt), &file("keys.json", keys)).output().unwrap();
    let told = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(told).unwrap())
}

/// Whether `probe` succeeds; if the environment variable `PORTAL_REQUIRE_ALL` is `1`, it must.
fn installed(mut probe: Command, what: &str) -> bool {
    let there = probe.output().is_ok_and(|output| output.status.success());
    #[expect(clippy::disallowed_methods, reason = "a switch of the tests")]
    let required = std::env::var("PORTAL_REQUIRE_ALL").is_ok_and(|value| value == "1");
    assert!(there || !required, "PORTAL_REQUIRE_ALL=1, but {what} is not installed");
    there
}

fn agrees(verifier: &Verifier) {
    let (receipt, keys) = answers();
    let (valid, told) = run(verifier, &receipt, &keys);
    assert!(valid, "{told}");
    assert!(told.contains("entry 4 of a ledger of 9"), "{told}");
    let mut young = receipt.clone();
    young["inclusion"] = Value::from("");
    let (valid, told) = run(verifier, &young, &keys);
    assert!(valid && told.contains("without a proof"), "{told}");
    // In content and signature of the one, in path and signature of the other.
    for (member, at) in [("cose", 200), ("cose", -1), ("inclusion", 120), ("inclusion", -1)] {
        let (valid, told) = run(verifier, &bent(&receipt, member, at), &keys);
        assert!(!valid && told.contains("NOT valid"), "{member} {at}: {told}");
    }
    let mut foreign = keys;
    let theirs = pair(3);
    foreign["keys"][1]["publicKey"] =
        Value::from(STANDARD.encode(theirs.verifying_key().ml_dsa_65().as_bytes()));
    let (valid, told) = run(verifier, &receipt, &foreign);
    assert!(!valid && told.contains("none of the keys"), "{told}");
}

#[test]
fn the_python_script_agrees() {
    let script = std::fs::read_to_string(root().join("docs/verify-receipt.py")).unwrap();
    assert!(script.lines().count() <= 60, "short enough to be read");
    let mut probe = Command::new("python3");
    probe.args(["-c", "import cbor2, dilithium_py.ml_dsa"]);
    if installed(probe, "Python with cbor2 and dilithium-py") {
        agrees(&|receipt, keys| {
            let mut command = Command::new("python3");
            command.arg(root().join("docs/verify-receipt.py")).args([receipt, keys]);
            command
        });
    }
}

#[test]
fn the_console_agrees() {
    let script = root().join("tests/interop/receipt/verify.mjs");
    let mut probe = Command::new("node");
    probe.current_dir(root().join("web"));
    probe.args(["--input-type=module", "--eval", "import '@noble/post-quantum/ml-dsa.js'"]);
    if installed(probe, "Node with the packages of web/") {
        agrees(&move |receipt, keys| {
            let mut command = Command::new("node");
            command.arg(&script).args([receipt, keys]);
            command
        });
    }
}
