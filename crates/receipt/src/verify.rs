//! Verifying a receipt, step by step: what was checked, whether it passed, and what was found, in a sentence.

use portal_crypto::cose::receipt::{self, Included, ReceiptError};
use portal_crypto::cose::{self, CoseError, Expect, Key};
use portal_crypto::hash::Sha256;
use portal_crypto::suite::{Algorithm, Suites};

use crate::payload;
use crate::record::Record;
use crate::sign::CONTENT_TYPE;

/// What is to be verified.
#[derive(Clone, Copy, Debug)]
pub struct Proof<'a> {
    /// The signed receipt; it may have its receipt of inclusion inside.
    pub cose: &'a [u8],
    /// The receipt of inclusion, if it comes by itself.
    pub inclusion: Option<&'a [u8]>,
}

/// A step, in their order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// It is a receipt in its one encoding.
    Decode,
    /// The key it names is known.
    Key,
    /// It is signed by that key.
    Signature,
    /// What is signed is a record.
    Content,
    /// The record is a leaf of a tree.
    Inclusion,
    /// The tree is one that the ledger has signed.
    Checkpoint,
}

/// The outcome of a step.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// Which step.
    pub step: Step,
    /// Whether it passed.
    pub passed: bool,
    /// What was found, in a sentence without personal data.
    pub detail: String,
}

/// The outcome of a verification.
#[derive(Clone, Debug)]
pub struct Report {
    /// The steps that were done. What depends on a step that failed is not.
    pub findings: Vec<Finding>,
    /// What the receipt says, if it is signed and is a record.
    pub record: Option<Record>,
    /// Where it is in the ledger, if that was proven.
    pub included: Option<Included>,
}

/// Verifies a receipt with the keys of the ledger alone. Without a receipt of inclusion its place is not checked.
#[must_use]
pub fn verify(proof: &Proof<'_>, keys: &[Key], suites: Suites) -> Report {
    let mut report = Report { findings: Vec::new(), record: None, included: None };
    if let Some((leaf, inclusion)) = report.signed(proof, keys, suites)
        && let Some(inclusion) = inclusion
    {
        report.included = report.place(&inclusion, &leaf, keys, suites);
    }
    report
}

impl Step {
    /// The name, as `VerificationStep` has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Content => "content",
            Self::Inclusion => "inclusion",
            Self::Checkpoint => "checkpoint",
        }
    }
}

impl Report {
    /// Whether every step that was done passed. A receipt whose signature was not reached had a step that failed.
    #[must_use]
    pub fn valid(&self) -> bool {
        !self.findings.is_empty() && self.findings.iter().all(|finding| finding.passed)
    }

    fn passed(&mut self, step: Step, detail: impl Into<String>) {
        self.findings.push(Finding { step, passed: true, detail: detail.into() });
    }

    fn failed(&mut self, step: Step, detail: impl Into<String>) {
        self.findings.push(Finding { step, passed: false, detail: detail.into() });
    }

    /// The steps up to the content: the hash of its leaf, and the receipt of inclusion if there is one.
    fn signed(
        &mut self,
        proof: &Proof<'_>,
        keys: &[Key],
        suites: Suites,
    ) -> Option<(Sha256, Option<Vec<u8>>)> {
        let (object, inside) = match receipt::split(proof.cose) {
            Ok(parts) => parts,
            Err(error) => {
                self.failed(Step::Decode, sentence("This is not a receipt", &error));
                return None;
            }
        };
        let beside = proof.inclusion.map(<[u8]>::to_vec);
        if inside.is_some() && beside.is_some() && inside != beside {
            self.failed(Step::Decode, "It comes with a proof of inclusion and has another one inside.");
            return None;
        }
        // Ed25519 signs checkpoints beside ML-DSA-65, but no receipt.
        let keys: Vec<Key> =
            keys.iter().filter(|key| key.algorithm() == Algorithm::MlDsa65).cloned().collect();
        let expect = Expect { content_type: Some(CONTENT_TYPE), keys: &keys, external_aad: &[], suites };
        let payload = self.payload(cose::verify1(&object, &expect))?;
        self.content(&payload).map(|leaf| (leaf, inside.or(beside)))
    }

    /// Tells decoding, key and signature apart.
    fn payload(&mut self, outcome: Result<Vec<u8>, CoseError>) -> Option<Vec<u8>> {
        let decoded = "It is a COSE_Sign1 in its one encoding.";
        let known = "It is signed by a key of the ledger, with ML-DSA-65.";
        match outcome {
            Ok(payload) => {
                self.passed(Step::Decode, decoded);
                self.passed(Step::Key, known);
                self.passed(Step::Signature, "The signature is one of this content by this key.");
                Some(payload)
            }
            Err(error @ (CoseError::UnknownKey | CoseError::WrongAlgorithm | CoseError::Disabled(_))) => {
                self.passed(Step::Decode, decoded);
                self.failed(Step::Key, sentence("None of the keys is the one it names", &error));
                None
            }
            Err(CoseError::BadSignature) => {
                self.passed(Step::Decode, decoded);
                self.passed(Step::Key, "It names a key of the ledger, one of ML-DSA-65.");
                self.failed(
                    Step::Signature,
                    "The signature is not one of this content: something was changed after it was signed.",
                );
                None
            }
            Err(error) => {
                self.failed(Step::Decode, sentence("This is not a receipt", &error));
                None
            }
        }
    }

    fn content(&mut self, payload: &[u8]) -> Option<Sha256> {
        let read = payload::decode(payload).and_then(|read| Ok((read.record, payload::leaf_hash(payload)?)));
        match read {
            Ok((record, leaf)) => {
                let detail = format!(
                    "It is the record of event {} of a consent: {}.",
                    record.event.sequence,
                    record.event.status.term()
                );
                self.passed(Step::Content, detail);
                self.record = Some(record);
                Some(leaf)
            }
            Err(error) => {
                self.failed(Step::Content, sentence("What is signed is no record", &error));
                None
            }
        }
    }

    fn place(&mut self, inclusion: &[u8], leaf: &Sha256, keys: &[Key], suites: Suites) -> Option<Included> {
        let receipt = match receipt::read(inclusion) {
            Ok(receipt) => receipt,
            Err(error) => {
                self.failed(Step::Inclusion, sentence("This is no receipt of inclusion", &error));
                return None;
            }
        };
        let place = receipt.inclusion();
        let leads = format!(
            "The path leads from the record, entry {}, to the root of a tree of {} entries.",
            place.leaf_index, place.tree_size
        );
        match receipt.verify(leaf, keys, suites) {
            Ok(included) => {
                self.passed(Step::Inclusion, leads);
                self.passed(Step::Checkpoint, "A key of the ledger has signed this root.");
                Some(included)
            }
            Err(ReceiptError::Path(error)) => {
                self.failed(Step::Inclusion, sentence("The path is none of this tree", &error));
                None
            }
            Err(ReceiptError::Object(CoseError::BadSignature)) => {
                self.passed(Step::Inclusion, leads);
                self.failed(
                    Step::Checkpoint,
                    "The ledger has signed another root: the record, its place or the path was changed.",
                );
                None
            }
            Err(ReceiptError::Object(error)) => {
                self.passed(Step::Inclusion, leads);
                self.failed(Step::Checkpoint, sentence("The root is signed by none of the keys", &error));
                None
            }
        }
    }
}

/// `what`, because of `error`.
fn sentence(what: &str, error: &dyn std::error::Error) -> String {
    format!("{what}: {error}.")
}
