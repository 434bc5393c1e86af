//! The file of a keyring.
//!
//! ```json
//! {"version": 1,
//!  "roots": [{"id": "0198c3a4-7d1e-7cc3-98c4-dc0c0c07398f", "algorithm": "X-Wing", "use": "root", "state": "active",
//!             "created": 1763800000000000, "seed": "base64url of 32 bytes"}]}
//! ```
//! Times are microseconds since 1970; a retired key has `retired`, a destroyed one `destroyed` too and no `seed`. Sealed:
//!
//! ```json
//! {"version": 1,
//!  "passphrase": {"kdf": "Argon2id", "memory_kib": 65536, "passes": 3, "lanes": 1, "salt": "16 bytes"},
//!  "algorithm": "AES-256-GCM", "nonce": "12 bytes", "sealed": "the array of roots with its tag"}
//! ```
//! where the key is Argon2id (version 19) of the passphrase, and the associated data
//! `"portal/keyring/v1\0" | memory 4 | passes 4 | lanes 4 | salt 16`, big-endian.
//!
//! Seeds are read from where they stand in the input and written into a buffer that is large enough from the start: no
//! copy of them is left behind. What the parser has to say of the content is dropped, since it would quote it.

use portal_core::entropy::random_bytes;
use portal_core::id::{Id, RootId};
use portal_core::{Entropy, Sensitive, Timestamp};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Keyring, KeyringError, MAX_FILE, RootKey, Secret};
use crate::aead::{Aes256GcmKey, NONCE_LEN};
use crate::base64url;
use crate::inventory::{KeyInfo, KeyPurpose, KeyState};
use crate::key::KeyBytes;
use crate::password::Cost;
use crate::suite::Algorithm;

const VERSION: u32 = 1;
const SALT: usize = 16;
const KDF: &str = "Argon2id";
const LABEL: &[u8] = b"portal/keyring/v1\0";
/// More than the longest entry of a root key takes.
const MAX_ENTRY: usize = 512;

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct File<'a> {
    version: u32,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    roots: Option<Vec<Entry<'a>>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    passphrase: Option<Passphrase<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    algorithm: Option<&'a str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    sealed: Option<&'a str>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Passphrase<'a> {
    kdf: &'a str,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: &'a str,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Entry<'a> {
    id: &'a str,
    algorithm: &'a str,
    #[serde(rename = "use")]
    purpose: &'a str,
    state: &'a str,
    created: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retired: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    destroyed: Option<i64>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    seed: Option<&'a str>,
}

pub(super) fn parse(file: &[u8], passphrase: Option<&Sensitive<Vec<u8>>>) -> Result<Keyring, KeyringError> {
    if file.len() > MAX_FILE {
        return Err(KeyringError::TooLarge);
    }
    let file: File<'_> = serde_json::from_slice(file).map_err(|error| syntax(&error))?;
    if file.version != VERSION {
        return Err(KeyringError::Version);
    }
    let parts = (file.roots, file.passphrase, file.algorithm, file.nonce, file.sealed);
    match (parts, passphrase) {
        ((Some(roots), None, None, None, None), None) => read_roots(&roots),
        ((Some(_), None, None, None, None), Some(_)) => Err(KeyringError::NotSealed),
        ((None, Some(_), Some(_), Some(_), Some(_)), None) => Err(KeyringError::Sealed),
        ((None, Some(kdf), Some(algorithm), Some(nonce), Some(sealed)), Some(passphrase)) => {
            if algorithm != Algorithm::Aes256Gcm.name() {
                return Err(KeyringError::Unsupported);
            }
            let roots = kdf.open(passphrase, nonce, sealed)?;
            let roots: Vec<Entry<'_>> =
                serde_json::from_slice(roots.expose()).map_err(|error| syntax(&error))?;
            read_roots(&roots)
        }
        _ => Err(KeyringError::Syntax { line: 1, column: 1 }),
    }
}

pub(super) fn write(keyring: &Keyring) -> Sensitive<Vec<u8>> {
    let texts = Texts::of(keyring);
    let file = File {
        version: VERSION,
        roots: Some(texts.entries(keyring)),
        passphrase: None,
        algorithm: None,
        nonce: None,
        sealed: None,
    };
    json(&file, keyring)
}

pub(super) fn write_sealed(
    keyring: &Keyring,
    passphrase: &Sensitive<Vec<u8>>,
    cost: Cost,
    entropy: &dyn Entropy,
) -> Result<Vec<u8>, KeyringError> {
    let texts = Texts::of(keyring);
    let roots = json(&texts.entries(keyring), keyring);
    let (salt, nonce): ([u8; SALT], [u8; NONCE_LEN]) = (random_bytes(entropy), random_bytes(entropy));
    let mut sealed = Vec::new();
    key_of(passphrase, cost, &salt)?
        .seal(&nonce, &aad(cost, &salt), roots.expose(), &mut sealed)
        .map_err(|_| KeyringError::Library)?;
    let (memory_kib, passes, lanes) = cost.parts();
    let [salt, nonce, sealed] = [&salt[..], &nonce, &sealed].map(base64url::encode);
    let file = File {
        version: VERSION,
        roots: None,
        passphrase: Some(Passphrase { kdf: KDF, memory_kib, passes, lanes, salt: &salt }),
        algorithm: Some(Algorithm::Aes256Gcm.name()),
        nonce: Some(&nonce),
        sealed: Some(&sealed),
    };
    // No secret in it that is not sealed, so its buffer may grow as it likes.
    serde_json::to_vec(&file).map_err(|_| KeyringError::Library)
}

impl Passphrase<'_> {
    fn open(
        &self,
        passphrase: &Sensitive<Vec<u8>>,
        nonce: &str,
        sealed: &str,
    ) -> Result<Sensitive<Vec<u8>>, KeyringError> {
        if self.kdf != KDF {
            return Err(KeyringError::Unsupported);
        }
        let cost = Cost::new(self.memory_kib, self.passes, self.lanes).map_err(|_| KeyringError::Cost)?;
        let salt: [u8; SALT] = array(self.salt).ok_or(KeyringError::Value("salt"))?;
        let nonce = array(nonce).ok_or(KeyringError::Value("nonce"))?;
        let sealed = base64url::decode(sealed).ok_or(KeyringError::Value("sealed"))?;
        let key = key_of(passphrase, cost, &salt)?;
        key.open(&nonce, &aad(cost, &salt), &sealed).map_err(|_| KeyringError::WrongPassphrase)
    }
}

fn key_of(
    passphrase: &Sensitive<Vec<u8>>,
    cost: Cost,
    salt: &[u8; SALT],
) -> Result<Aes256GcmKey, KeyringError> {
    if passphrase.expose().is_empty() {
        return Err(KeyringError::EmptyPassphrase);
    }
    let derived = KeyBytes::filled(|out| cost.argon2id(passphrase.expose(), salt, out));
    Ok(Aes256GcmKey::new(derived.map_err(|_| KeyringError::Library)?.expose()))
}

fn aad(cost: Cost, salt: &[u8; SALT]) -> Vec<u8> {
    let (memory, passes, lanes) = cost.parts();
    [LABEL, &memory.to_be_bytes(), &passes.to_be_bytes(), &lanes.to_be_bytes(), salt].concat()
}

fn read_roots(entries: &[Entry<'_>]) -> Result<Keyring, KeyringError> {
    Keyring::of(entries.iter().map(read_root).collect::<Result<_, _>>()?)
}

fn read_root(entry: &Entry<'_>) -> Result<RootKey, KeyringError> {
    let id = RootId::parse(entry.id).ok().filter(|id| id.uuid().get_version_num() == 7);
    let id = id.filter(|id| id.to_string() == entry.id).ok_or(KeyringError::Value("id"))?;
    if (entry.algorithm, entry.purpose) != (Algorithm::XWing.name(), KeyPurpose::Root.name()) {
        return Err(KeyringError::Unsupported);
    }
    let mut info =
        KeyInfo::new(id, Algorithm::XWing, KeyPurpose::Root, Timestamp::from_micros(entry.created));
    if let Some(at) = entry.retired {
        info = info.retire(Timestamp::from_micros(at)).map_err(|_| KeyringError::RootState)?;
    }
    if let Some(at) = entry.destroyed {
        info = info.destroy(Timestamp::from_micros(at)).map_err(|_| KeyringError::RootState)?;
    }
    let state = KeyState::from_name(entry.state).ok_or(KeyringError::Value("state"))?;
    if state != info.state() || (state == KeyState::Destroyed) != entry.seed.is_none() {
        return Err(KeyringError::RootState);
    }
    let secret = entry.seed.map(read_secret).transpose()?;
    Ok(RootKey { info, secret })
}

fn read_secret(text: &str) -> Result<Secret, KeyringError> {
    let seed = KeyBytes::filled(|out| base64url::decode_into(text, out).ok_or(KeyringError::Value("seed")))?;
    Secret::new(seed).map_err(|_| KeyringError::Library)
}

/// The texts that entries borrow.
struct Texts(Vec<(String, Option<Zeroizing<String>>)>);

impl Texts {
    fn of(keyring: &Keyring) -> Self {
        let text = |root: &RootKey| {
            let seed = root.secret.as_ref().map(|secret| base64url::encode(secret.seed.expose()));
            (root.info.id().to_string(), seed.map(Zeroizing::new))
        };
        Self(keyring.roots.iter().map(text).collect())
    }

    fn entries(&self, keyring: &Keyring) -> Vec<Entry<'_>> {
        let texts = self.0.iter();
        texts.zip(&keyring.roots).map(|((id, seed), root)| entry(root, id, seed.as_deref())).collect()
    }
}

fn entry<'a>(root: &RootKey, id: &'a str, seed: Option<&'a String>) -> Entry<'a> {
    Entry {
        id,
        algorithm: root.info.algorithm().name(),
        purpose: root.info.purpose().name(),
        state: root.info.state().name(),
        created: root.info.created().as_micros(),
        retired: root.info.retired().map(Timestamp::as_micros),
        destroyed: root.info.destroyed().map(Timestamp::as_micros),
        seed: seed.map(String::as_str),
    }
}

/// The JSON of something that seeds stand in.
fn json(value: &impl Serialize, keyring: &Keyring) -> Sensitive<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity((keyring.roots.len() + 1) * MAX_ENTRY));
    // Writing to memory what has text as its only keys does not fail.
    let _ = serde_json::to_writer(&mut *out, value);
    Sensitive::new(std::mem::take(&mut *out))
}

fn syntax(error: &serde_json::Error) -> KeyringError {
    KeyringError::Syntax { line: error.line(), column: error.column() }
}

fn array<const N: usize>(text: &str) -> Option<[u8; N]> {
    base64url::decode(text)?.try_into().ok()
}
