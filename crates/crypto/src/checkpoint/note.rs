//! C2SP signed notes (c2sp.org/signed-note): a text and lines of signatures.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::MAX_NOTE;
use crate::hash::sha256;
use crate::pair::PairVerifyingKey;

const ED25519: &[u8] = &[0x01];
const ML_DSA_65: &[u8] = b"\xffportal.ml-dsa-65.v1";
const DASH: &str = "\u{2014} ";

/// A key that signs notes: its name, what kind it is, and itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NoteKey {
    name: String,
    id: [u8; 4],
    /// The type and the public key.
    bytes: Vec<u8>,
}

/// A line of a note.
pub(super) struct Signature<'a> {
    name: &'a str,
    id: [u8; 4],
    pub(super) bytes: Vec<u8>,
}

impl NoteKey {
    /// Both halves of `key` as keys called `name`.
    #[must_use]
    pub fn both(name: &str, key: &PairVerifyingKey) -> [Self; 2] {
        [
            Self::new(name, ED25519, key.ed25519().as_bytes()),
            Self::new(name, ML_DSA_65, key.ml_dsa_65().as_bytes()),
        ]
    }

    fn new(name: &str, of: &[u8], public: &[u8]) -> Self {
        let bytes = [of, public].concat();
        let [id @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] =
            sha256(&[name.as_bytes(), b"\n", &bytes].concat());
        Self { name: name.to_owned(), id, bytes }
    }

    /// The id: eight hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> String {
        self.id.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The key as it is handed to verifiers: `name+id+base64(type | public key)`.
    #[must_use]
    pub fn verifier_key(&self) -> String {
        format!("{}+{}+{}", self.name, self.id(), STANDARD.encode(&self.bytes))
    }

    /// Both halves of a log's key from its verifier keys, which must be of one name and in any order.
    #[must_use]
    pub fn parse_both<'a>(keys: impl IntoIterator<Item = &'a str>) -> Option<(String, PairVerifyingKey)> {
        let keys: Vec<Self> = keys.into_iter().map(Self::parse).collect::<Option<_>>()?;
        let half = |of: &[u8]| keys.iter().find_map(|key| key.bytes.strip_prefix(of));
        let pair = [half(ED25519)?, half(ML_DSA_65)?].concat();
        let pair = PairVerifyingKey::from_bytes(&pair).ok()?;
        let name = keys.first().map(|key| key.name.clone())?;
        let mut expected = Self::both(&name, &pair).into_iter();
        (keys.len() == 2 && expected.all(|key| keys.contains(&key))).then_some((name, pair))
    }

    fn parse(text: &str) -> Option<Self> {
        let (name, rest) = text.split_once('+')?;
        let (_, encoded) = rest.split_once('+')?;
        let key = Self::new(name, &[], &STANDARD.decode(encoded).ok()?);
        (is_name(name) && key.verifier_key() == text).then_some(key)
    }

    /// The line of a note with a signature by this key.
    pub(super) fn line(&self, signature: &[u8]) -> String {
        format!("{DASH}{} {}\n", self.name, STANDARD.encode([&self.id, signature].concat()))
    }
}

impl Signature<'_> {
    pub(super) fn is_by(&self, key: &NoteKey) -> bool {
        self.name == key.name && self.id == key.id
    }
}

/// The ids of the keys that have signed `note`, in its order; empty if it is not a note.
#[must_use]
pub fn key_ids(note: &str) -> Vec<String> {
    let signatures = split(note).map(|(_, signatures)| signatures).unwrap_or_default();
    signatures.iter().map(|line| line.id.iter().map(|byte| format!("{byte:02x}")).collect()).collect()
}

/// Whether `name` can be the name of a key.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

/// The text of a note, its last line break included, and its signatures.
pub(super) fn split(note: &str) -> Option<(&str, Vec<Signature<'_>>)> {
    if note.len() > MAX_NOTE || note.chars().any(|c| c < ' ' && c != '\n') {
        return None;
    }
    let end = note.rfind("\n\n")? + 1;
    let (text, signatures) = note.split_at_checked(end)?;
    let lines = signatures.strip_prefix('\n')?.strip_suffix('\n')?.split('\n');
    lines.map(signature).collect::<Option<Vec<_>>>().map(|signatures| (text, signatures))
}

fn signature(line: &str) -> Option<Signature<'_>> {
    let (name, encoded) = line.strip_prefix(DASH)?.split_once(' ')?;
    let bytes = STANDARD.decode(encoded).ok()?;
    let (id, bytes) = bytes.split_first_chunk()?;
    (is_name(name) && !bytes.is_empty()).then(|| Signature { name, id: *id, bytes: bytes.to_vec() })
}
