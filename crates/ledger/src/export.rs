//! A log as a file, and verifying it with nothing else: no database, no service, no network.
//!
//! Lines of JSON. The first one has the checkpoint and the keys that it was signed by, each other one a leaf, as
//! `ListEntries` shows it:
//! ```text
//! {"origin":"…","checkpoint":"<signed note>","keys":["<verifier key>","<verifier key>"]}
//! {"index":"0","leaf":"<base64>","leafHash":"<base64>"}
//! ```

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portal_crypto::checkpoint::{Checkpoint, CheckpointError, NoteKey};
use portal_crypto::hash::Sha256;
use portal_crypto::merkle::{CompactRange, leaf_hash};
use portal_crypto::pair::PairVerifyingKey;
use portal_crypto::suite::Suites;
use serde::{Deserialize, Serialize};

use crate::{Log, PublicEntry, Signed};

/// Faults that are told one by one; the others are counted.
const TOLD: usize = 1_000;

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Header {
    origin: String,
    checkpoint: String,
    keys: Vec<String>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Line {
    index: String,
    leaf: String,
    leaf_hash: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    append_time: Option<String>,
}

/// The file can't be verified at all.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unusable {
    /// Its first line is none.
    #[error("the first line is not that of an exported ledger")]
    Header,
    /// Its keys are none, or not those of the log that it names.
    #[error("the keys of the log are missing or malformed")]
    Keys,
}

/// Something in the file that is not what was signed. Lines are counted from 1.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ExportFault {
    /// The checkpoint is not one of this log.
    Checkpoint(CheckpointError),
    /// The line is no leaf.
    Malformed {
        /// Which line.
        line: u64,
    },
    /// Another leaf was to come here: one is missing, came twice, or they are out of order.
    OutOfOrder {
        /// Which line.
        line: u64,
        /// The leaf that was to come.
        expected: u64,
    },
    /// The hash is not that of the leaf.
    LeafChanged {
        /// Which leaf.
        index: u64,
    },
    /// There are fewer leaves, or more, than were signed.
    Size {
        /// Leaves in the file.
        leaves: u64,
        /// Leaves that were signed.
        signed: u64,
    },
    /// The leaves do not lead to the signed root.
    WrongRoot,
}

impl fmt::Display for ExportFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checkpoint(error) => write!(f, "line 1: {error}"),
            Self::Malformed { line } => write!(f, "line {line}: not a leaf"),
            Self::OutOfOrder { line, expected } => write!(f, "line {line}: leaf {expected} was to come here"),
            Self::LeafChanged { index } => write!(f, "leaf {index}: its hash is that of another leaf"),
            Self::Size { leaves, signed } => write!(f, "{leaves} leaves, and {signed} were signed"),
            Self::WrongRoot => f.write_str("the leaves do not lead to the root that was signed"),
        }
    }
}

/// Verifies a file, line by line, in constant memory.
pub struct Verifier {
    header: Header,
    key: PairVerifyingKey,
    range: CompactRange,
    line: u64,
    faults: Vec<ExportFault>,
    count: u64,
}

/// What verification found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExportVerified {
    /// The checkpoint, if it is one of the log.
    pub checkpoint: Option<Checkpoint>,
    /// How many leaves there are.
    pub leaves: u64,
    /// What is wrong; the first thousand.
    pub faults: Vec<ExportFault>,
    /// How many faults there are.
    pub count: u64,
}

impl Log {
    /// The first line of a file with the log as it is under `signed`.
    #[must_use]
    pub fn header(&self, signed: &Signed) -> String {
        let keys = self.note_keys().map(|key| key.verifier_key()).into();
        let header = Header { origin: self.origin().to_owned(), checkpoint: signed.note.clone(), keys };
        serde_json::to_string(&header).unwrap_or_default()
    }
}

/// The line of a leaf.
#[must_use]
pub fn line(entry: &PublicEntry) -> String {
    let line = Line {
        index: entry.position.to_string(),
        leaf: STANDARD.encode(entry.commitment.as_bytes()),
        leaf_hash: STANDARD.encode(entry.commitment.leaf_hash()),
        append_time: None,
    };
    serde_json::to_string(&line).unwrap_or_default()
}

impl Verifier {
    /// Begins with the first line. `keys` are the verifier keys of the log as somebody trusted has handed them over;
    /// without any, those in the file are believed, which proves that nothing was changed since it was signed by them.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn new(header: &str, keys: &[String]) -> Result<Self, Unusable> {
        let header: Header = serde_json::from_str(header).map_err(|_| Unusable::Header)?;
        let keys = if keys.is_empty() { &header.keys } else { keys };
        let (name, key) = NoteKey::parse_both(keys.iter().map(String::as_str)).ok_or(Unusable::Keys)?;
        if name != header.origin {
            return Err(Unusable::Keys);
        }
        let range = CompactRange::default();
        Ok(Self { header, key, range, line: 1, faults: Vec::new(), count: 0 })
    }

    /// Takes the next line.
    pub fn line(&mut self, text: &str) {
        self.line += 1;
        let Some((index, leaf, hash)) = parse(text) else {
            return self.add(ExportFault::Malformed { line: self.line });
        };
        let expected = self.range.size();
        if index != expected {
            self.add(ExportFault::OutOfOrder { line: self.line, expected });
        }
        let computed = leaf_hash(&leaf);
        if computed != hash {
            self.add(ExportFault::LeafChanged { index });
        }
        self.range.append(computed);
    }

    /// Ends: whether the leaves lead to what was signed.
    #[must_use]
    pub fn finish(mut self) -> ExportVerified {
        let Header { origin, checkpoint, .. } = &self.header;
        let verified = Checkpoint::verify(checkpoint, origin, &self.key, Suites::ALL);
        let head = self.range.head();
        let checkpoint = match verified {
            Err(error) => {
                self.add(ExportFault::Checkpoint(error));
                None
            }
            Ok(checkpoint) => {
                if checkpoint.head.size != head.size {
                    self.add(ExportFault::Size { leaves: head.size, signed: checkpoint.head.size });
                } else if checkpoint.head.root != head.root {
                    self.add(ExportFault::WrongRoot);
                }
                Some(checkpoint)
            }
        };
        let Self { faults, count, .. } = self;
        ExportVerified { checkpoint, leaves: head.size, faults, count }
    }

    fn add(&mut self, fault: ExportFault) {
        self.count += 1;
        if self.faults.len() < TOLD {
            self.faults.push(fault);
        }
    }
}

fn parse(text: &str) -> Option<(u64, Vec<u8>, Sha256)> {
    let line: Line = serde_json::from_str(text).ok()?;
    let hash = STANDARD.decode(line.leaf_hash).ok()?.try_into().ok()?;
    Some((line.index.parse().ok()?, STANDARD.decode(line.leaf).ok()?, hash))
}
