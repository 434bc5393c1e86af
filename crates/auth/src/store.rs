//! What is kept, and how it is found again. Functions take the transaction they run in; none decides anything.
//!
//! Promises:
//! - E-mail addresses are found by keyed hashes only, never by their text.
//! - What is personal is sealed under the key of its person, and opens in its own cell only. A repository is given the key:
//!   nothing here waits for one in a transaction, but for the [data migrations](moving).
//! - A row is checked against its digest whenever it is read, and gets a new one whenever it is written. While rows are
//!   being sealed (see [`moving`]) earlier versions of the service write rows without one: until that is committed
//!   the text in the clear is the truth, and digests are not looked at.

pub mod accounts;
pub mod authorizations;
pub mod ceremonies;
pub mod challenges;
pub mod client_sign_ins;
pub mod clients;
pub mod contacts;
pub mod contexts;
pub mod devices;
pub mod email_index;
pub mod factors;
pub mod failures;
pub mod grants;
pub mod live;
pub mod logout_notices;
pub mod mail_tokens;
pub mod moving;
pub mod outbox;
pub mod passkeys;
pub mod recovery_requests;
pub mod revocations;
pub mod scanned;
pub mod sessions;
pub mod signing_keys;
pub mod token_bindings;
pub mod token_pairs;
pub mod tombstones;

mod entity;
mod rows;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use portal_core::Entropy;
use portal_keys::{Keys, ServiceCells};
use portal_store::sealed::{RowDigests, Sealing};
use portal_store::{ReadTx, StoreError};
use portal_upkeep::migration::{Finality, Mode, ModeOf};

use crate::domain::HandleKey;
use crate::error::Error;

pub(crate) use entity::{
    account, account_contact, account_tombstone, authorization_code, authorization_request, client,
    client_approval, client_option, client_sign_in, client_token, device_authorization, factor, grant_token,
    logout_notice, mail, mail_token, mfa_challenge, passkey, passkey_ceremony, recovery_request, revocation,
    revocation_head, session, session_context, session_grant, sign_in_failure, signing_key, token_binding,
    token_pair,
};

/// What rows are sealed, opened, stamped and checked with.
#[derive(Clone)]
pub struct Seals {
    /// Seals and opens cells.
    pub sealing: Sealing,
    /// Makes and checks digests.
    pub digests: RowDigests,
    /// In which form rows are written.
    mode: Arc<ModeOf>,
}

impl Seals {
    /// For rows in the form that `migration` has got to.
    #[must_use]
    pub fn new(sealing: Sealing, digests: RowDigests, migration: &'static str, finality: &Finality) -> Self {
        Self { sealing, digests, mode: Arc::new(ModeOf::new(migration, finality.clone())) }
    }

    /// In which form rows are written.
    pub async fn mode(&self, tx: &ReadTx) -> Result<Mode, StoreError> {
        self.mode.get(tx).await
    }
}

/// What passkeys are found by, and what of them is sealed under keys of the service: it is read before anybody has proven
/// anything.
#[derive(Clone)]
pub struct Cells {
    /// What authenticators call them.
    pub credential_ids: ServiceCells,
    /// What ceremonies wait for.
    pub ceremonies: ServiceCells,
    /// Hashes by which they are found.
    pub handles: HandleKey,
}

impl Cells {
    /// Under the keys of the service; `entropy` must be fit for nonces.
    #[must_use]
    pub fn new(keys: &Keys, entropy: &Arc<dyn Entropy>) -> Self {
        let cells = |column| ServiceCells::new(keys, column, Arc::clone(entropy));
        Self {
            credential_ids: cells(passkeys::CREDENTIAL_ID),
            ceremonies: cells(ceremonies::STATE),
            handles: HandleKey::new(keys.service_secret()),
        }
    }
}

/// A page of a list.
pub struct Listed<T, P> {
    /// Its rows, those that are corrupt left out.
    pub rows: Vec<T>,
    /// How many were left out.
    pub withheld: usize,
    /// The place after which the next page begins; `None` if there is none.
    pub next: Option<P>,
}

impl<T, P> Listed<T, P> {
    /// Takes one row more than the `size` that was asked for as a sign of a next page. `place` says where a row stands,
    /// `read` reads it.
    fn new<M>(
        mut models: Vec<M>,
        size: usize,
        place: impl Fn(&M) -> P,
        read: impl Fn(M) -> Result<T, StoreError>,
    ) -> Result<Self, StoreError> {
        let more = models.len() > size;
        models.truncate(size);
        let next = models.last().filter(|_| more).map(place);
        let mut listed = Self { rows: Vec::with_capacity(models.len()), withheld: 0, next };
        for model in models {
            listed.add(read(model))?;
        }
        Ok(listed)
    }

    /// What was read of a page, and the place after which the next one begins.
    ///
    /// # Errors
    /// The first error that is not [`StoreError::Corrupt`].
    pub fn of(
        found: impl Iterator<Item = Result<T, StoreError>>,
        next: Option<P>,
    ) -> Result<Self, StoreError> {
        let mut listed = Self { rows: Vec::new(), withheld: 0, next };
        for row in found {
            listed.add(row)?;
        }
        Ok(listed)
    }

    /// Adds a row, or counts it if it is corrupt.
    fn add(&mut self, row: Result<T, StoreError>) -> Result<(), StoreError> {
        match row {
            Ok(row) => self.rows.push(row),
            Err(error @ StoreError::Corrupt { .. }) => {
                tracing::error!(%error, "a row was left out of a list");
                self.withheld += 1;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Opens the rows. Those that don't open are left out as well, and so are those for which there is nothing to open
    /// with, since their person was erased.
    ///
    /// # Errors
    /// What `open` returns, but for [`StoreError::Corrupt`].
    pub fn opened<U>(
        self,
        mut open: impl FnMut(T) -> Result<Option<U>, Error>,
    ) -> Result<Listed<U, P>, Error> {
        let mut opened =
            Listed { rows: Vec::with_capacity(self.rows.len()), withheld: self.withheld, next: self.next };
        for row in self.rows {
            match open(row) {
                Ok(Some(row)) => opened.rows.push(row),
                Ok(None) => opened.withheld += 1,
                Err(Error::Store(error)) => opened.add(Err(error))?,
                Err(error) => return Err(error),
            }
        }
        Ok(opened)
    }
}
