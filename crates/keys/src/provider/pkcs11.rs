//! Root keys in a PKCS#11 token: an HSM, a smart card, SoftHSM.
//!
//! Promise: the root keys are AES-256 keys that are sensitive and can't be extracted; a token that says otherwise is
//! refused. All have the configured label; the id of each (`CKA_ID`, 16 bytes) is its [`RootId`], a UUIDv7, so that the
//! newest, which is the active one, is known without any state outside the token.
//!
//! `wrapped = nonce 12 ‖ ciphertext 32 ‖ tag 16`, by `CKM_AES_GCM` with the context as additional data.
//!
//! Invariants: no key is tried but the one that is named; whatever a call fails with, a session or token that is gone
//! is looked for again once before the failure counts.
//!
//! | module | holds |
//! |---|---|
//! | `library` | the token's shared library, once per process; sessions |

mod library;

use std::cmp::Reverse;
use std::ffi::c_ulong;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cryptoki::context::Function;
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use portal_core::entropy::random_bytes;
use portal_core::id::{Id, RootId};
use portal_core::{Clock, Entropy, Timestamp};
use portal_crypto::inventory::KeyInfo;
use portal_crypto::key::KeyBytes;
use portal_crypto::suite::Algorithm;
use portal_crypto::wrapped::{KeyContext, WrappedKey};
use zeroize::Zeroizing;

use self::library::{Connection, Failure, Write};
use super::{Cause, ProviderError, lives};

const NONCE: usize = 12;
const TAG: usize = 16;
const TAG_BITS: c_ulong = 128;
const KEY: usize = 32;
const KEY_BYTES: c_ulong = 32;

/// What stands in the configuration.
pub(super) struct Settings {
    pub(super) module: PathBuf,
    pub(super) token_label: String,
    pub(super) pin_file: PathBuf,
    pub(super) key_label: String,
}

/// A token, with this provider's session to it.
pub(super) struct Token {
    connection: Arc<Connection>,
    key_label: Arc<str>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Token {
    pub(super) fn new(settings: Settings, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        let key_label = settings.key_label.as_str().into();
        Self { connection: Arc::new(Connection::new(settings)), key_label, clock, entropy }
    }

    pub(super) async fn roots(&self) -> Result<Vec<KeyInfo<RootId>>, ProviderError> {
        let label = Arc::clone(&self.key_label);
        let found = self.call(Write::No, move |session| roots(session, &label)).await?;
        lives(found.into_iter().filter_map(|(id, _)| Some((id, made(id)?))))
    }

    pub(super) async fn wrap(
        &self,
        context: KeyContext,
        key: &KeyBytes,
    ) -> Result<WrappedKey, ProviderError> {
        // The call may outlive the caller's copy.
        let key = KeyBytes::copy_of(key.expose()).ok_or(MALFORMED)?;
        let label = Arc::clone(&self.key_label);
        let nonce: [u8; NONCE] = random_bytes(&*self.entropy);
        self.call(Write::No, move |session| {
            let (root, handle) = roots(session, &label)?.into_iter().next().ok_or(NO_ROOT)?;
            let aad = context.to_bytes(root);
            let mut iv = nonce;
            let mechanism = Mechanism::AesGcm(gcm(&mut iv, &aad)?);
            let sealed = session.encrypt(&mechanism, handle, key.expose())?;
            if sealed.len() != KEY + TAG {
                return Err(incapable("its AES-GCM does not append a tag of 16 bytes").into());
            }
            let bytes = [nonce.as_slice(), &sealed].concat();
            Ok(WrappedKey { algorithm: Algorithm::ProviderWrap, root, bytes })
        })
        .await
    }

    pub(super) async fn unwrap(
        &self,
        context: KeyContext,
        wrapped: WrappedKey,
    ) -> Result<KeyBytes, ProviderError> {
        let label = Arc::clone(&self.key_label);
        let WrappedKey { root, bytes, .. } = wrapped;
        self.call(Write::No, move |session| {
            let handle = find(session, &label, root)?;
            let (nonce, sealed) = bytes.split_first_chunk::<NONCE>().ok_or(MALFORMED)?;
            if sealed.len() != KEY + TAG {
                return Err(MALFORMED.into());
            }
            let (mut iv, aad) = (*nonce, context.to_bytes(root));
            let mechanism = Mechanism::AesGcm(gcm(&mut iv, &aad)?);
            let key = Zeroizing::new(session.decrypt(&mechanism, handle, sealed)?);
            KeyBytes::copy_of(&key).ok_or(MALFORMED.into())
        })
        .await
    }

    /// Makes a root key that is newer than all there are; with `only_first`, only if there is none.
    pub(super) async fn add_root(&self, only_first: bool) -> Result<RootId, ProviderError> {
        let label = Arc::clone(&self.key_label);
        let (clock, entropy) = (Arc::clone(&self.clock), Arc::clone(&self.entropy));
        self.call(Write::Yes, move |session| {
            let newest = roots(session, &label)?.into_iter().next().map(|(root, _)| root);
            match newest {
                Some(root) if only_first => Ok(root),
                newest => {
                    let id = next_root_id(newest, clock.now(), &*entropy);
                    session.generate_key(&Mechanism::AesKeyGen, &template(&label, id))?;
                    Ok(id)
                }
            }
        })
        .await
    }

    pub(super) async fn destroy_root(&self, id: RootId) -> Result<(), ProviderError> {
        let label = Arc::clone(&self.key_label);
        self.call(Write::Yes, move |session| {
            let handle = find(session, &label, id)?;
            Ok(session.destroy_object(handle)?)
        })
        .await
    }

    async fn call<T: Send + 'static>(
        &self,
        write: Write,
        work: impl Fn(&Session) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, ProviderError> {
        let connection = Arc::clone(&self.connection);
        self.connection.gate().run(move || connection.call(write, work)).await
    }
}

const NO_ROOT: ProviderError = ProviderError::KeyMissing { cause: None };
const MALFORMED: ProviderError = ProviderError::Refused { cause: None };

fn incapable(problem: &str) -> ProviderError {
    ProviderError::misconfigured("pkcs11_module", format!("the token can't be used: {problem}"))
}

fn gcm<'a>(nonce: &'a mut [u8; NONCE], aad: &'a [u8]) -> Result<GcmParams<'a>, Error> {
    GcmParams::new(nonce, aad, TAG_BITS.into())
}

/// The root keys, newest first: the active one, then those retired.
fn roots(session: &Session, label: &str) -> Result<Vec<(RootId, ObjectHandle)>, Failure> {
    let mut roots = Vec::new();
    for handle in session.find_objects(&named(label))? {
        roots.push((checked_id(session, handle)?, handle));
    }
    roots.sort_by_key(|(id, _)| Reverse(*id));
    if roots.windows(2).any(|pair| matches!(pair, [(a, _), (b, _)] if a == b)) {
        return Err(wrong_key("two root keys have the same id").into());
    }
    Ok(roots)
}

fn find(session: &Session, label: &str, id: RootId) -> Result<ObjectHandle, Failure> {
    let mut wanted = named(label);
    wanted.push(Attribute::Id(id.bytes().to_vec()));
    match session.find_objects(&wanted)?.as_slice() {
        [] => Err(NO_ROOT.into()),
        [handle] => Ok(*handle),
        _ => Err(wrong_key("two root keys have the same id").into()),
    }
}

fn named(label: &str) -> Vec<Attribute> {
    let label = Attribute::Label(label.as_bytes().to_vec());
    vec![Attribute::Class(ObjectClass::SECRET_KEY), Attribute::KeyType(KeyType::AES), label]
}

/// What a new root key is. What may not be done with it is said too: tokens differ in their defaults.
fn template(label: &str, id: RootId) -> Vec<Attribute> {
    let mut template = named(label);
    template.extend([
        Attribute::Id(id.bytes().to_vec()),
        Attribute::ValueLen(KEY_BYTES.into()),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
        Attribute::Wrap(false),
        Attribute::Unwrap(false),
    ]);
    template
}

/// The id of a key that is what a root key must be.
fn checked_id(session: &Session, key: ObjectHandle) -> Result<RootId, Failure> {
    let wanted =
        [AttributeType::Id, AttributeType::Sensitive, AttributeType::Extractable, AttributeType::ValueLen];
    let (mut id, mut sensitive, mut extractable, mut length) = (None, false, true, None);
    for attribute in session.get_attributes(key, &wanted)? {
        match attribute {
            Attribute::Id(bytes) => id = <[u8; 16]>::try_from(bytes).ok(),
            Attribute::Sensitive(is) => sensitive = is,
            Attribute::Extractable(is) => extractable = is,
            Attribute::ValueLen(value) => length = usize::try_from(*value).ok(),
            _ => {}
        }
    }
    if !sensitive || extractable {
        return Err(wrong_key("a root key must be sensitive and not extractable").into());
    }
    if length != Some(KEY) {
        return Err(wrong_key("a root key must have 32 bytes").into());
    }
    let id = id.map(RootId::from_bytes).filter(|id| made(*id).is_some());
    id.ok_or_else(|| wrong_key("the id of a root key must be a UUID of version 7, 16 bytes").into())
}

fn wrong_key(problem: &str) -> ProviderError {
    ProviderError::misconfigured("pkcs11_key_label", problem)
}

/// An id for a new root key: a UUIDv7, later than that of the newest there is even if the clock was set back.
fn next_root_id(newest: Option<RootId>, now: Timestamp, entropy: &dyn Entropy) -> RootId {
    let after_newest = newest.and_then(made).map(|made| made.plus(Duration::from_millis(1)));
    RootId::generate(after_newest.map_or(now, |after| after.max(now)), entropy)
}

/// When the key with this id was made, if the id says so.
fn made(id: RootId) -> Option<Timestamp> {
    let (seconds, nanos) = id.uuid().get_timestamp()?.to_unix();
    let seconds = Timestamp::from_seconds(i64::try_from(seconds).ok()?);
    Some(seconds.plus(Duration::from_nanos(nanos.into())))
}

/// What a failure means while the token is there and the session is logged in.
fn meaning(error: Error) -> ProviderError {
    let Error::Pkcs11(code, function) = error else {
        return incapable_because(error);
    };
    let cause = Some(Cause::Token(Box::new(error)));
    match code {
        RvError::PinExpired
        | RvError::PinIncorrect
        | RvError::PinInvalid
        | RvError::PinLenRange
        | RvError::PinLocked
        | RvError::UserNotLoggedIn
        | RvError::UserPinNotInitialized => ProviderError::Denied { cause },
        RvError::ActionProhibited | RvError::KeyFunctionNotPermitted => ProviderError::KeyDisabled { cause },
        RvError::KeyHandleInvalid | RvError::ObjectHandleInvalid => ProviderError::KeyMissing { cause },
        RvError::EncryptedDataInvalid | RvError::EncryptedDataLenRange => ProviderError::Refused { cause },
        // Some say no more than this of a tag that does not match.
        RvError::GeneralError | RvError::FunctionFailed if matches!(function, Function::Decrypt) => {
            ProviderError::Refused { cause }
        }
        RvError::AttributeReadOnly
        | RvError::AttributeTypeInvalid
        | RvError::AttributeValueInvalid
        | RvError::FunctionNotSupported
        | RvError::KeySizeRange
        | RvError::MechanismInvalid
        | RvError::MechanismParamInvalid
        | RvError::TemplateIncomplete
        | RvError::TemplateInconsistent
        | RvError::TokenWriteProtected => incapable_because(Error::Pkcs11(code, function)),
        _ => ProviderError::Unreachable { cause },
    }
}

fn incapable_because(error: Error) -> ProviderError {
    let problem = match error {
        Error::LibraryLoading(_) | Error::MissingSymbol(_) | Error::NullFunctionPointer => {
            "is no PKCS#11 library that can be loaded"
        }
        _ => "the token can't do what is needed: AES-256 keys of its own and CKM_AES_GCM",
    };
    ProviderError::Misconfigured {
        key: "pkcs11_module",
        problem: problem.to_owned(),
        cause: Some(Cause::Token(Box::new(error))),
    }
}
