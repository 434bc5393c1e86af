//! What an integrity scan checks of each table: digests, sealed cells, and values that no version of the service writes.

mod clients;

use std::sync::Arc;

use async_trait::async_trait;
use portal_core::Entropy;
use portal_core::id::{Id, SubjectId};
use portal_crypto::envelope::SubjectKey;
use portal_keys::{Keys, KeysError, SubjectKeys};
use portal_store::sealed::DigestedRow;
use portal_store::{Corruption, ReadTx, StoreError};
use portal_upkeep::page::{Page, key_of};
use portal_upkeep::scan::{Checked, ScanError, ScannedTable};
use sea_orm::prelude::Uuid;
use sea_orm::{EntityTrait, PaginatorTrait};

mod mail;

use super::accounts::Accounts;
use super::ceremonies::Ceremonies;
use super::challenges::Challenges;
use super::contexts::Contexts;
use super::factors::Factors;
use super::failures::SignInFailures;
use super::passkeys::Passkeys;
use super::revocations::Revocations;
use super::sessions::Sessions;
use super::signing_keys::SigningKeys;
use super::token_pairs::TokenPairs;
use super::{
    Cells, Seals, account, factor, mfa_challenge, passkey, passkey_ceremony, revocation, rows, session,
    session_context, sign_in_failure, signing_key, token_pair,
};

/// The tables, with rows that are sealed and checked with `seals`.
#[must_use]
pub fn tables(
    keys: &Keys,
    seals: &Seals,
    signing: &SigningKeys,
    entropy: &Arc<dyn Entropy>,
    cells: &Cells,
) -> Vec<Arc<dyn ScannedTable>> {
    let mut tables: Vec<Arc<dyn ScannedTable>> = vec![
        Arc::new(ScanAccounts {
            keys: keys.clone(),
            accounts: Accounts::new(seals.clone()),
            seals: seals.clone(),
        }),
        Arc::new(ScanSessions {
            keys: keys.clone(),
            sessions: Sessions::new(seals.clone()),
            seals: seals.clone(),
        }),
        Arc::new(ScanTokenPairs { pairs: TokenPairs::new(seals.clone()), seals: seals.clone() }),
        Arc::new(ScanFailures(SignInFailures::new(seals.digests.clone()))),
        Arc::new(ScanFactors { keys: keys.clone(), factors: Factors::new(seals, cells) }),
        Arc::new(ScanPasskeys { keys: keys.clone(), passkeys: Passkeys::new(seals, cells) }),
        Arc::new(ScanCeremonies(Ceremonies::new(seals, cells))),
        Arc::new(ScanChallenges {
            keys: keys.clone(),
            challenges: Challenges::new(seals.sealing.clone(), seals.digests.clone()),
        }),
        Arc::new(ScanContexts {
            keys: keys.clone(),
            contexts: Contexts::new(seals.sealing.clone(), seals.digests.clone()),
        }),
        Arc::new(ScanSigningKeys(signing.clone())),
        Arc::new(ScanRevocations { revocations: Revocations::new(seals.clone()), seals: seals.clone() }),
    ];
    tables.extend(clients::tables(&seals.digests));
    tables.extend(mail::tables(keys, seals, entropy));
    tables
}

struct ScanAccounts {
    keys: Keys,
    accounts: Accounts,
    seals: Seals,
}

struct ScanSessions {
    keys: Keys,
    sessions: Sessions,
    seals: Seals,
}

struct ScanTokenPairs {
    pairs: TokenPairs,
    seals: Seals,
}

struct ScanFactors {
    keys: Keys,
    factors: Factors,
}

struct ScanPasskeys {
    keys: Keys,
    passkeys: Passkeys,
}

struct ScanCeremonies(Ceremonies);

struct ScanChallenges {
    keys: Keys,
    challenges: Challenges,
}

struct ScanContexts {
    keys: Keys,
    contexts: Contexts,
}

struct ScanFailures(SignInFailures);

struct ScanSigningKeys(SigningKeys);

struct ScanRevocations {
    revocations: Revocations,
    seals: Seals,
}

async fn count<E: EntityTrait<Model: Send + Sync>>(tx: &ReadTx) -> Result<u64, ScanError> {
    Ok(E::find().count(tx.conn()).await.map_err(StoreError::from)?)
}

/// The rows of a page in the order of `key`, and what the engine is told of them.
async fn read<E: EntityTrait>(
    tx: &ReadTx,
    page: &Page,
    key: E::Column,
) -> Result<(Vec<E::Model>, Checked), ScanError> {
    let rows = page.of(E::find(), &[key]).all(tx.conn()).await.map_err(StoreError::from)?;
    let checked = Checked::of(page, rows.len(), rows.last().map(|row| key_of(row, &[key])));
    Ok((rows, checked))
}

/// What is left to be checked of a row whose person's key is `key`: nothing if they were erased.
fn with_key(
    keys: &SubjectKeys,
    subject: Uuid,
    missing: impl Fn() -> StoreError,
    open: impl Fn(&SubjectKey) -> Result<(), StoreError>,
) -> Result<Result<(), StoreError>, KeysError> {
    match keys.get(SubjectId::from_uuid(subject)) {
        Ok(key) => Ok(open(key)),
        Err(KeysError::Erased(_)) => Ok(Ok(())),
        Err(KeysError::Missing(_) | KeysError::Corrupt { .. }) => Ok(Err(missing())),
        Err(error) => Err(error),
    }
}

#[async_trait]
impl ScannedTable for ScanAccounts {
    fn table(&self) -> &'static str {
        "account"
    }

    async fn count(&self, tx: &ReadTx) -> Result<u64, ScanError> {
        count::<account::Entity>(tx).await
    }

    async fn check_page(&self, tx: &ReadTx, page: &Page) -> Result<Checked, ScanError> {
        let mode = self.seals.mode(tx).await?;
        let (models, mut checked) = read::<account::Entity>(tx, page, account::Column::Id).await?;
        let sealed = models.iter().filter(|model| model.email.is_empty());
        let subjects: Vec<_> = sealed.map(|model| SubjectId::from_uuid(model.subject_id)).collect();
        let keys = self.keys.subjects(&subjects).await?;
        for model in models {
            let (id, subject) = (model.id, model.subject_id);
            let read = self.accounts.checked(model, mode);
            let read = read.and_then(|stored| Accounts::password_is_readable(&stored).map(|()| stored));
            let opened = match read {
                Ok(stored) if stored.is_sealed() => {
                    let missing = || rows::corrupt("account", "sealed_email", &id, Corruption::KeyMissing);
                    let open = |key: &_| self.accounts.open(&stored, Some(key)).map(drop);
                    match with_key(&keys, subject, missing, open) {
                        Ok(opened) => opened,
                        Err(error) => {
                            checked.note_key(error)?;
                            continue;
                        }
                    }
                }
                Ok(stored) => self.accounts.open(&stored, None).map(drop),
                Err(error) => Err(error),
            };
            checked.note(opened)?;
        }
        Ok(checked)
    }
}

#[async_trait]
impl ScannedTable for ScanSessions {
    fn table(&self) -> &'static str {
        "session"
    }

    async fn count(&self, tx: &ReadTx) -> Result<u64, ScanError> {
        count::<session::Entity>(tx).await
    }

    async fn check_page(&self, tx: &ReadTx, page: &Page) -> Result<Checked, ScanError> {
        let mode = self.seals.mode(tx).await?;
        let (models, mut checked) = read::<session::Entity>(tx, page, session::Column::Id).await?;
        let subjects: Vec<_> =
            models.iter().filter_map(|model| model.subject_id).map(SubjectId::from_uuid).collect();
        let keys = self.keys.subjects(&subjects).await?;
        for model in models {
            let (id, subject) = (model.id, model.subject_id.unwrap_or_default());
            let opened = match self.sessions.checked(model, mode) {
                Ok(stored) if stored.is_sealed() => {
                    let missing =
                        || rows::corrupt("session", "sealed_device_name", &id, Corruption::KeyMissing);
                    let open = |key: &_| self.sessions.open(&stored, Some(key)).map(drop);
                    match with_key(&keys, subject, missing, open) {
                        Ok(opened) => opened,
                        Err(error) => {
                            checked.note_key(error)?;
                            continue;
                        }
                    }
                }
                Ok(_) => Ok(()),
                Err(error) => Err(error),
            };
            checked.note(opened)?;
        }
        Ok(checked)
    }
}

#[async_trait]
impl ScannedTable for ScanTokenPairs {
    fn table(&self) -> &'static str {
        "token_pair"
    }

    async fn count(&self, tx: &ReadTx) -> Result<u64, ScanError> {
        count::<token_pair::Entity>(tx).await
    }

    async fn check_page(&self, tx: &ReadTx, page: &Page) -> Result<Checked, ScanError> {
        let mode = self.seals.mode(tx).await?;
        let (models, mut checked) =
            read::<token_pair::Entity>(tx, page, token_pair::Column::RefreshHash).await?;
        for model in models {
            checked.note(self.pairs.checked(model, mode))?;
        }
        Ok(checked)
    }
}

#[async_trait]
impl ScannedTable for ScanFailures {
    fn table(&self) -> &'static str {
        "sign_in_failure"
    }

    async fn count(&self, tx: &ReadTx) -> Result<u64, ScanError> {
        count::<sign_in_failure::Entity>(tx).await
    }

    async fn check_page(&self, tx: &ReadTx, page: &Page) -> Result<Checked, ScanError> {
        let key = sign_in_failure::Column::AddressHash;
        let (models, mut checked) = read::<sign_in_failure::Entity>(tx, page, key).await?;
        for model in &models {
            checked.note(self.0.checked(model).map(drop))?;
        }
        Ok(checked)
    }
}

#[async_trait]
impl ScannedTable for ScanSigningKeys {
    fn table(&self) -> &'static str {
        "signing_key"
    }

    async fn count(&self, tx: &ReadTx) -> Result<u64, ScanError> {
        count::<signing_key::Entity>(tx).await
    }

    async fn check_page(&self, tx: &ReadTx, page: &Page) -> Result<Checked, ScanError> {
        let (models, mut checked) = read::<signing_key::Entity>(tx, page, signing_key::Column::KeyId).await?;
        for model in models {
            let opened = self.0.checked(model).and_then(|found| self.0.seed(&found).map(drop));
            checked.note(opened)?;
        }
        Ok(checked)
    }
}

#[async_trait]
impl ScannedTable for ScanRevocations {
    fn table(&self) -> &'static str {
        "revocation"
    }

    async fn count(&self, tx: &ReadTx) -> Result<u64, ScanError> {
        count::<revocation::Entity>(tx).await
    }

    async fn check_page(&self, tx: &ReadTx, page: &Page) -> Result<Checked, ScanError> {
        let mode = self.seals.mode(tx).await?;
        let (models, mut checked) =
            read::<revocation::Entity>(tx, page, revocation::Column::Position).await?;
        for model in &models {
            checked.note(self.revocations.checked(model, mode))?;
        }
        Ok(checked)
    }
}

/// Checks the rows of a page each of which has a cell under the key of a person. `subject` says whose; `missing` is told of a
/// row whose key is gone without an erasure; `open` reads all of it.
async fn check_sealed<M: Send + Sync>(
    keys: &Keys,
    (models, mut checked): (Vec<M>, Checked),
    subject: impl Fn(&M) -> Uuid + Send,
    missing: impl Fn(&M) -> StoreError + Send,
    open: impl Fn(&M, &SubjectKey) -> Result<(), StoreError> + Send,
) -> Result<Checked, ScanError> {
    let subjects: Vec<_> = models.iter().map(|model| SubjectId::from_uuid(subject(model))).collect();
    let keys = keys.subjects(&subjects).await?;
    for model in &models {
        match with_key(&keys, subject(model), || missing(model), |key| open(model, key)) {
            Ok(opened) => checked.note(opened)?,
            Err(error) => checked.note_key(error)?,
        }
    }
    Ok(checked)
}

#[async_trait]
impl ScannedTable for ScanFactors {
    fn table(&self) -> &'static str {
        "factor"
    }

    async fn count(&self, tx: &ReadTx) -> Result<u64, ScanError> {
        count::<factor::Entity>(tx).await
    }

    async fn check_page(&self, tx: &ReadTx, page: &Page) -> Result<Checked, ScanError> {
        let page = read::<factor::Entity>(tx, page, factor::Column::Id).await?;
        let missing = |model: &factor::Model| {
            rows::corrupt("factor", "sealed_secret", &model.id, Corruption::KeyMissing)
        };
        let open = |model: &factor::Model, key: &SubjectKey| self.factors.open(model, key).map(drop);
        check_sealed(&self.keys, page, |model| model.subject_id, missing, open).await
    }
}

#[async_trait]
impl ScannedTable for ScanPasskeys {
    fn table(&self) -> &'static str {
        "passkey"
    }

    async fn count(&self, tx: &ReadTx) -> Result<u64, ScanError> {
        count::<passkey::Entity>(tx).await
    }

    async fn check_page(&self, tx: &ReadTx, page: &Page) -> Result<Checked, ScanError> {
        let page = read::<passkey::Entity>(tx, page, passkey::Column::Id).await?;
        let missing = |model: &passkey::Model| {
            rows::corrupt("passkey", "sealed_credential", &model.id, Corruption::KeyMissing)
        };
        let open = |model: &passkey::Model, key: &SubjectKey| self.passkeys.open_row(model, key).map(drop);
        check_sealed(&self.keys, page, |model| model.subject_id, missing, open).await
    }
}

#[async_trait]
impl ScannedTable for ScanCeremonies {
    fn table(&self) -> &'static str {
        "passkey_ceremony"
    }

    async fn count(&self, tx: &ReadTx) -> Result<u64, ScanError> {
        count::<passkey_ceremony::Entity>(tx).await
    }

    async fn check_page(&self, tx: &ReadTx, page: &Page) -> Result<Checked, ScanError> {
        let key = passkey_ceremony::Column::CeremonyHash;
        let (models, mut checked) = read::<passkey_ceremony::Entity>(tx, page, key).await?;
        for model in &models {
            checked.note(self.0.open(model).map(drop))?;
        }
        Ok(checked)
    }
}

#[async_trait]
impl ScannedTable for ScanChallenges {
    fn table(&self) -> &'static str {
        "mfa_challenge"
    }

    async fn count(&self, tx: &ReadTx) -> Result<u64, ScanError> {
        count::<mfa_challenge::Entity>(tx).await
    }

    async fn check_page(&self, tx: &ReadTx, page: &Page) -> Result<Checked, ScanError> {
        let page = read::<mfa_challenge::Entity>(tx, page, mfa_challenge::Column::ChallengeHash).await?;
        let missing = |model: &mfa_challenge::Model| {
            let row = Uuid::from_bytes(model.row().id);
            rows::corrupt("mfa_challenge", "sealed_device_name", &row, Corruption::KeyMissing)
        };
        let open = |model: &mfa_challenge::Model, key: &SubjectKey| {
            self.challenges.open(&self.challenges.checked(model.clone())?, key).map(drop)
        };
        check_sealed(&self.keys, page, |model| model.subject_id, missing, open).await
    }
}

#[async_trait]
impl ScannedTable for ScanContexts {
    fn table(&self) -> &'static str {
        "session_context"
    }

    async fn count(&self, tx: &ReadTx) -> Result<u64, ScanError> {
        count::<session_context::Entity>(tx).await
    }

    async fn check_page(&self, tx: &ReadTx, page: &Page) -> Result<Checked, ScanError> {
        let page = read::<session_context::Entity>(tx, page, session_context::Column::SessionId).await?;
        let missing = |model: &session_context::Model| {
            let row = &model.session_id;
            rows::corrupt("session_context", "sealed_last_network", row, Corruption::KeyMissing)
        };
        let open = |model: &session_context::Model, key: &SubjectKey| {
            self.contexts.open(&self.contexts.checked(model.clone())?, key).map(drop)
        };
        check_sealed(&self.keys, page, |model| model.subject_id, missing, open).await
    }
}
