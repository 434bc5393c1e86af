//! `portal verify`: files in, an answer and an exit code out.

use std::fs;
use std::path::{Path, PathBuf};

use portal_core::Timestamp;
use portal_core::id::Id;
use portal_crypto::cose::{Key, SigningKey, receipt};
use portal_crypto::merkle::TreeHead;
use portal_crypto::pair::PairSigningKey;
use portal_receipt::record::{Event, IndicatedBy, Notice, Purpose, Record, Status, Subject};
use portal_receipt::{payload, sign};

use super::harness::{portal, run};

fn pair(seed: u8) -> PairSigningKey {
    PairSigningKey::from_seed(&[seed; 64]).unwrap()
}

fn record() -> Record {
    Record {
        id: Id::from_bytes([1; 16]),
        consent: Id::from_bytes([2; 16]),
        keeper: "portal.local/consent".to_owned(),
        subject: Subject { id: Id::from_bytes([3; 16]), categories: vec![], jurisdictions: vec![] },
        event: Event {
            sequence: 1,
            previous: Status::Unknown,
            status: Status::Given,
            event_at: Timestamp::from_seconds(1_795_305_600),
            recorded_at: Timestamp::from_seconds(1_795_305_600),
            expires_at: None,
            indication: None,
            indicated_by: IndicatedBy::Subject,
            recorded_by: None,
        },
        notice: Notice { id: Id::from_bytes([4; 16]), revision: 1, language: None, content_hash: None },
        purpose: Purpose {
            id: Id::from_bytes([5; 16]),
            revision: 1,
            content_hash: None,
            abridged: false,
            terms: None,
        },
        parties: vec![],
        delegation: None,
        evidence: vec![],
    }
}

/// A receipt alone, and with its proof of being the only entry of a ledger.
fn issued() -> (Vec<u8>, Vec<u8>) {
    let pair = pair(1);
    let bytes = payload::payload(payload::content(&record()), &[9; 32]);
    let cose = sign(&bytes, pair.ml_dsa_65()).unwrap();
    let root = TreeHead::of(&[payload::leaf_hash(&bytes).unwrap()]).root;
    let place = receipt::Inclusion { tree_size: 1, leaf_index: 0, path: vec![] };
    let inclusion = receipt::issue(&place, &root, SigningKey::MlDsa65(pair.ml_dsa_65())).unwrap();
    let whole = receipt::embed(&cose, &inclusion).unwrap();
    (cose, whole)
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn keys(&self, seed: u8) -> PathBuf {
        let keys = Key::both(pair(seed).verifying_key()).map(|key| key.to_cose_key());
        self.file(&format!("keys-{seed}"), &[vec![0x82], keys.concat()].concat())
    }
}

fn verify(file: &Path, keys: &Path) -> (i32, String, String) {
    run(portal().args(["verify", "receipt"]).arg(file).arg("--keys").arg(keys))
}

#[test]
fn a_receipt_is_valid_or_told_where_not() {
    let folder = Folder::new();
    let (cose, whole) = issued();
    let keys = folder.keys(1);
    let (code, out, err) = verify(&folder.file("whole", &whole), &keys);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(out.lines().filter(|line| line.starts_with("ok ")).count(), 6, "{out}");
    assert!(out.contains("its event is in the ledger"), "{out}");
    let (code, out, _) = verify(&folder.file("alone", &cose), &keys);
    assert_eq!(code, 0);
    assert!(out.contains("which was not checked"), "{out}");

    let mut changed = whole.clone();
    let at = changed.len() - 10;
    changed[at] ^= 1;
    let (code, out, _) = verify(&folder.file("changed", &changed), &keys);
    assert_eq!(code, 1);
    assert!(out.contains("FAIL  signature") && out.contains("NOT valid"), "{out}");
    let (code, out, _) = verify(&folder.file("whole", &whole), &folder.keys(2));
    assert_eq!(code, 1);
    assert!(out.contains("FAIL  key"), "{out}");
}

#[test]
fn files_that_cant_be_used_exit_2() {
    let folder = Folder::new();
    let (cose, _) = issued();
    let (receipt, keys) = (folder.file("receipt", &cose), folder.keys(1));
    let missing = folder.0.path().join("missing");
    let text = folder.file("text", b"text");
    let long = folder.file("long", &vec![0xd2; (1 << 20) + 1]);
    for (file, keys) in
        [(&missing, &keys), (&text, &keys), (&long, &keys), (&receipt, &missing), (&receipt, &text)]
    {
        let (code, out, err) = verify(file, keys);
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        assert!(err.starts_with("portal: "), "{err}");
    }
}
