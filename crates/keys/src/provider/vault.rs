//! Root keys in the Transit engine of OpenBao or HashiCorp Vault.
//!
//! Promise: the root key never leaves the server, and a key that is exportable, derived, or of another kind than
//! `aes256-gcm96` is refused. The versions of the Transit key are the root keys; the latest is the active one. The id
//! of a version is `SHA-256("portal/transit-root/v1" ‖ 0 ‖ name ‖ version 8)`, cut to 16 bytes.
//!
//! `wrapped = "vault:v" ‖ version ‖ ":" ‖ base64`, as the server made it, with the context as `associated_data`.
//!
//! Invariants: the key is looked up before each wrap, since a server may make a missing key by itself; the version is
//! named in the call and checked in the answer; the token is read from its file again when the server denies, and is
//! wiped with the client it was given to. What the HTTP library holds in its buffers is not ours to wipe.
//!
//! | module | holds |
//! |---|---|
//! | `client` | the connection: TLS, token |
//! | `meaning` | what an answer that is no success means |

mod client;
mod meaning;

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portal_core::Timestamp;
use portal_core::id::{Id, RootId};
use portal_crypto::hash::sha256;
use portal_crypto::inventory::KeyInfo;
use portal_crypto::key::KeyBytes;
use portal_crypto::suite::Algorithm;
use portal_crypto::wrapped::{KeyContext, WrappedKey};
use vaultrs::api::transit::KeyType;
use vaultrs::api::transit::requests::{
    CreateKeyRequest, DecryptDataRequest, EncryptDataRequest, UpdateKeyConfigurationRequest,
};
use vaultrs::api::transit::responses::{ReadKeyData, ReadKeyResponse};
use vaultrs::transit::{data, key};
use zeroize::Zeroizing;

use self::client::Client;
use super::{ProviderError, lives};

/// The shortest body of a ciphertext: nonce 12, key 32, tag 16.
const BODY: usize = 12 + 32 + 16;
const ID_LABEL: &[u8] = b"portal/transit-root/v1\0";

/// What stands in the configuration.
pub(super) struct Settings {
    pub(super) address: String,
    pub(super) token_file: PathBuf,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) mount: String,
    pub(super) key: String,
}

/// A Transit key.
pub(super) struct Transit {
    client: Client,
    mount: String,
    key: String,
}

impl Transit {
    pub(super) fn new(settings: Settings) -> Result<Self, ProviderError> {
        let client = Client::new(&settings.address, settings.token_file, settings.ca_file.as_deref())?;
        Ok(Self { client, mount: settings.mount, key: settings.key })
    }

    pub(super) async fn roots(&self) -> Result<Vec<KeyInfo<RootId>>, ProviderError> {
        let versions = self.versions().await?;
        lives(versions.into_iter().map(|(version, created)| (self.root_id(version), created)))
    }

    pub(super) async fn wrap(
        &self,
        context: &KeyContext,
        key: &KeyBytes,
    ) -> Result<WrappedKey, ProviderError> {
        let version = self.latest().await?;
        let root = self.root_id(version);
        let mut options = EncryptDataRequest::builder();
        options.associated_data(STANDARD.encode(context.to_bytes(root))).key_version(version);
        let plaintext = Zeroizing::new(STANDARD.encode(key.expose()));
        let answer = self
            .client
            .call(|vault| {
                let (mut options, plaintext) = (options.clone(), &plaintext);
                async move {
                    data::encrypt(vault.client(), &self.mount, &self.key, plaintext, Some(&mut options)).await
                }
            })
            .await?;
        let bytes = answer.ciphertext.into_bytes();
        if parse(&bytes) != Some(version) {
            return Err(client::not_vault());
        }
        Ok(WrappedKey { algorithm: Algorithm::ProviderWrap, root, bytes })
    }

    pub(super) async fn unwrap(
        &self,
        context: &KeyContext,
        wrapped: &WrappedKey,
    ) -> Result<KeyBytes, ProviderError> {
        let refused = || ProviderError::Refused { cause: None };
        let version = parse(&wrapped.bytes).ok_or_else(refused)?;
        if self.root_id(version) != wrapped.root {
            let known = self.roots().await?.iter().any(|root| *root.id() == wrapped.root);
            return Err(if known { refused() } else { ProviderError::KeyMissing { cause: None } });
        }
        let ciphertext = std::str::from_utf8(&wrapped.bytes).map_err(|_| refused())?;
        let mut options = DecryptDataRequest::builder();
        options.associated_data(STANDARD.encode(context.to_bytes(wrapped.root)));
        let answer = self
            .client
            .call(|vault| {
                let mut options = options.clone();
                async move {
                    data::decrypt(vault.client(), &self.mount, &self.key, ciphertext, Some(&mut options))
                        .await
                }
            })
            .await?;
        let plaintext = Zeroizing::new(answer.plaintext);
        let key = Zeroizing::new(STANDARD.decode(plaintext.as_bytes()).map_err(|_| client::not_vault())?);
        KeyBytes::copy_of(&key).ok_or_else(refused)
    }

    /// Makes the key if the server has none of this name. Returns the id of the active version.
    pub(super) async fn create(&self) -> Result<RootId, ProviderError> {
        match self.latest().await {
            Err(ProviderError::KeyMissing { .. }) => {}
            outcome => return outcome.map(|version| self.root_id(version)),
        }
        let mut options = CreateKeyRequest::builder();
        options.key_type(KeyType::Aes256Gcm96).exportable(false).allow_plaintext_backup(false);
        self.client
            .call(|vault| {
                let mut options = options.clone();
                async move { key::create(vault.client(), &self.mount, &self.key, Some(&mut options)).await }
            })
            .await?;
        Ok(self.root_id(self.latest().await?))
    }

    pub(super) async fn rotate(&self) -> Result<RootId, ProviderError> {
        // A key that is missing would be answered like a mount that is.
        self.latest().await?;
        self.client
            .call(|vault| async move { key::rotate(vault.client(), &self.mount, &self.key).await })
            .await?;
        Ok(self.root_id(self.latest().await?))
    }

    /// Destroys the oldest version: the server can only take away all up to one.
    pub(super) async fn destroy(&self, id: RootId) -> Result<(), ProviderError> {
        let versions = self.versions().await?;
        let oldest =
            versions.last().map(|(version, _)| *version).filter(|oldest| self.root_id(*oldest) == id);
        let Some(oldest) = oldest else {
            let known = versions.iter().any(|(version, _)| self.root_id(*version) == id);
            return Err(match known {
                true => ProviderError::misconfigured("vault_key", "only the oldest version can be destroyed"),
                false => ProviderError::KeyMissing { cause: None },
            });
        };
        let mut options = UpdateKeyConfigurationRequest::builder();
        options.min_decryption_version(oldest + 1).min_encryption_version(oldest + 1);
        self.client
            .call(|vault| {
                let mut options = options.clone();
                async move { key::update(vault.client(), &self.mount, &self.key, Some(&mut options)).await }
            })
            .await?;
        self.client
            .call(|vault| async move { key::trim(vault.client(), &self.mount, &self.key, oldest + 1).await })
            .await
    }

    async fn latest(&self) -> Result<u64, ProviderError> {
        let versions = self.versions().await?;
        versions.first().map(|(version, _)| *version).ok_or(ProviderError::KeyMissing { cause: None })
    }

    /// The versions that may decrypt, newest first, with when they were made.
    async fn versions(&self) -> Result<Vec<(u64, Timestamp)>, ProviderError> {
        let answer = self
            .client
            .call(|vault| async move { key::read(vault.client(), &self.mount, &self.key).await })
            .await?;
        if let Some(problem) = unfit(&answer) {
            return Err(ProviderError::misconfigured("vault_key", format!("the key {problem}")));
        }
        let ReadKeyData::Symmetric(versions) = answer.keys else {
            return Err(client::not_vault());
        };
        let entry = |(version, created): (String, u64)| {
            Some((version.parse().ok()?, Timestamp::from_seconds(i64::try_from(created).ok()?)))
        };
        let versions: Option<Vec<(u64, Timestamp)>> = versions.into_iter().map(entry).collect();
        let mut versions = versions.ok_or_else(client::not_vault)?;
        versions.sort_unstable_by(|a, b| b.cmp(a));
        Ok(versions)
    }

    fn root_id(&self, version: u64) -> RootId {
        let digest = sha256(&[ID_LABEL, self.key.as_bytes(), &version.to_be_bytes()].concat());
        let mut id = [0; 16];
        id.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        RootId::from_bytes(id)
    }
}

/// What is wrong with a key that may not be a root key.
fn unfit(key: &ReadKeyResponse) -> Option<&'static str> {
    if !matches!(key.key_type, KeyType::Aes256Gcm96) {
        return Some("must be of type aes256-gcm96");
    }
    if key.exportable || key.allow_plaintext_backup {
        return Some("must be neither exportable nor allow a plaintext backup");
    }
    key.derived.then_some("must not be derived")
}

/// The version in a ciphertext that is written as servers write it: one spelling for each value.
fn parse(ciphertext: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(ciphertext).ok()?;
    let (version, body) = text.strip_prefix("vault:v")?.split_once(':')?;
    let canonical = version.starts_with(|c: char| matches!(c, '1'..='9'))
        && version.bytes().all(|digit| digit.is_ascii_digit());
    let whole = STANDARD.decode(body).is_ok_and(|body| body.len() == BODY);
    version.parse().ok().filter(|_| canonical && whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ciphertext_has_one_spelling() {
        let body = STANDARD.encode([7; BODY]);
        let check = |text: String, expect: Option<u64>| assert_eq!(parse(text.as_bytes()), expect, "{text}");
        check(format!("vault:v1:{body}"), Some(1));
        check(format!("vault:v120:{body}"), Some(120));
        for prefix in ["vault:v0", "vault:v01", "vault:v+1", "vault:v", "vault:1", "Vault:v1", "bao:v1", ""] {
            check(format!("{prefix}:{body}"), None);
        }
        check(format!("vault:v1:{body}\n"), None);
        check(format!("vault:v1:\n{body}"), None);
        check(format!("vault:v1:{}", STANDARD.encode([7; BODY - 1])), None);
        check(format!("vault:v1:{}", STANDARD.encode([7; BODY + 3])), None);
        check("vault:v99999999999999999999:".to_owned() + &body, None);
    }
}
