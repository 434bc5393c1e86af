//! Second factors: adding, proving, removing. Nobody but their owner gets here; whoever removes one has to prove one. Signed
//! tokens say whether there are any: those of before end when that may have changed.

use std::sync::Arc;
use std::time::Duration;

use portal_core::Timestamp;
use portal_core::id::{AccountId, FactorId, Id};
use portal_crypto::envelope::SubjectKey;
use portal_mesh::Permit;
use portal_mesh::policy::Action;
use portal_store::Tx;
use portal_upkeep::audit::Happened;

use super::sign_in::{failure, locking};
use super::{App, check_reach};
use crate::domain::{DisplayName, Factor, FactorKind, Failures, Profiled, Proof, RecoveryCode, Target, Totp};
use crate::error::Error;
use crate::service::policy::{
    ConfirmTotp, DeleteFactor, DisableTotp, EnrollTotp, ListFactors, RegenerateRecoveryCodes,
};
use crate::store::failures::AddressHash;

/// Why a proof was not taken.
pub(super) enum Unproven {
    /// So many were wrong that none is looked at for this long.
    Locked(Duration),
    /// It proves nothing.
    Wrong,
}

/// A new authenticator, with what is shown once.
pub struct Enrolled {
    /// The factor; its name is a person's.
    pub factor: Factor,
    /// Until when its first code is awaited.
    pub until: Timestamp,
    /// The secret, for typing.
    pub secret: String,
    /// The same as a picture says it.
    pub uri: String,
}

/// An authenticator that counts from now on.
pub struct Confirmed {
    /// The factor.
    pub factor: Factor,
    /// New recovery codes; none if there were some.
    pub codes: Vec<RecoveryCode>,
}

impl App {
    /// Makes an authenticator, which counts after its first code. It takes the place of one that waits.
    pub(crate) async fn enroll_totp(
        &self,
        permit: &Permit<EnrollTotp>,
        account: AccountId,
        name: DisplayName,
    ) -> Result<Enrolled, Error> {
        let (profiled, key) = self.owner(permit, account).await?;
        let (now, key) = (self.now(), &*key);
        let totp = Totp::generate(self.entropy.as_ref());
        let label = profiled.profile.as_ref().map_or("", |profile| profile.email.expose());
        let uri = totp.to_uri(&self.totp_issuer, label).ok_or(Error::TotpUri)?;
        let secret = totp.to_base32();
        let id = FactorId::generate(now, self.entropy.as_ref());
        let (factor, until) = Factor::totp((id, account), name, totp, now);
        let (new, actor) = (&factor, &*permit.caller().key());
        self.database
            .run_tx("enroll_totp", |tx| async move {
                let factors = self.factors.of_account(&tx, account, key).await?;
                let mut totps = factors.iter().filter(|factor| factor.kind() == FactorKind::Totp);
                if totps.clone().any(Factor::is_confirmed) {
                    return Err(Error::TotpOn);
                }
                if let Some(waiting) = totps.next() {
                    self.factors.delete(&tx, &[waiting.id]).await?;
                }
                self.factors.insert(&tx, new, key).await?;
                self.note(&tx, about("factor.enroll", actor, new), now).await
            })
            .await?;
        Ok(Enrolled { factor, until, secret, uri })
    }

    /// Lets an authenticator count, if `proof` is a code of it. The first factor of an account comes with recovery codes.
    pub(crate) async fn confirm_totp(
        &self,
        permit: &Permit<ConfirmTotp>,
        (account, id): (AccountId, FactorId),
        proof: &Proof,
    ) -> Result<Confirmed, Error> {
        let (_, key) = self.owner(permit, account).await?;
        let (now, key, actor) = (self.now(), &*key, &*permit.caller().key());
        let (codes, new_codes) = self.new_codes(account, now);
        let new_codes = &new_codes;
        let confirmed = self
            .database
            .run_tx("confirm_totp", |tx| async move {
                let factors = self.factors.of_account(&tx, account, key).await?;
                let waiting = factors.iter().find(|factor| factor.id == id && factor.is_pending(now));
                let waiting = waiting.cloned().ok_or(Error::NothingToConfirm)?;
                let factor = match self.proven(&tx, (account, key), (&[waiting], proof), now).await? {
                    Ok(factor) => factor.confirmed(now),
                    Err(unproven) => return Ok(Err(unproven)),
                };
                self.factors.update(&tx, &factor, key).await?;
                self.note(&tx, about("factor.confirm", actor, &factor), now).await?;
                self.revocations.append(&tx, &[Target::Account(account)], now).await?;
                let first = !factors.iter().any(|factor| factor.kind() == FactorKind::RecoveryCodes);
                if first {
                    self.factors.insert(&tx, new_codes, key).await?;
                    self.note(&tx, about("factor.confirm", actor, new_codes), now).await?;
                }
                Ok::<_, Error>(Ok((factor, first)))
            })
            .await?;
        self.feed.nudge();
        let (factor, first) = confirmed.map_err(|unproven| match unproven {
            Unproven::Locked(left) => Error::FactorLocked(left),
            Unproven::Wrong => Error::CodeWrong,
        })?;
        Ok(Confirmed { factor, codes: if first { codes } else { Vec::new() } })
    }

    /// Takes the authenticator away, and the recovery codes if nothing is left that they stand in for.
    pub(crate) async fn disable_totp(
        &self,
        permit: &Permit<DisableTotp>,
        account: AccountId,
        proof: &Proof,
    ) -> Result<(), Error> {
        let is_totp = |factor: &Factor| factor.kind() == FactorKind::Totp && factor.is_confirmed();
        self.remove(permit, (account, proof), is_totp).await
    }

    /// Takes a factor away; see [`Self::disable_totp`].
    pub(crate) async fn delete_factor(
        &self,
        permit: &Permit<DeleteFactor>,
        (account, id): (AccountId, FactorId),
        proof: &Proof,
    ) -> Result<(), Error> {
        self.remove(permit, (account, proof), |factor| factor.id == id && factor.is_confirmed()).await
    }

    /// Makes new recovery codes, and the old ones worthless.
    pub(crate) async fn regenerate_codes(
        &self,
        permit: &Permit<RegenerateRecoveryCodes>,
        account: AccountId,
        proof: &Proof,
    ) -> Result<Vec<RecoveryCode>, Error> {
        let (_, key) = self.owner(permit, account).await?;
        let (now, key, actor) = (self.now(), &*key, &*permit.caller().key());
        let (codes, factor) = self.new_codes(account, now);
        let new = &factor;
        let made = self
            .database
            .run_tx("regenerate_recovery_codes", |tx| async move {
                if let Err(unproven) = self.use_factor(&tx, (account, key), proof, now).await? {
                    return Ok(Err(unproven));
                }
                let factors = self.factors.of_account(&tx, account, key).await?;
                let old = factors.iter().filter(|factor| factor.kind() == FactorKind::RecoveryCodes);
                self.factors.delete(&tx, &old.map(|factor| factor.id).collect::<Vec<_>>()).await?;
                self.factors.insert(&tx, new, key).await?;
                self.note(&tx, about("factor.regenerate", actor, new), now).await?;
                Ok::<_, Error>(Ok(()))
            })
            .await?;
        made.map(|()| codes).map_err(Error::from)
    }

    /// `size` of the factors that count at most, oldest first, after `after`; and whether there are more.
    pub(crate) async fn list_factors(
        &self,
        permit: &Permit<ListFactors>,
        account: AccountId,
        (after, size): (Option<FactorId>, usize),
    ) -> Result<(Vec<Factor>, bool), Error> {
        let (_, key) = self.owner(permit, account).await?;
        let key = &*key;
        let list = |tx| async move { Ok::<_, Error>(self.factors.of_account(&tx, account, key).await?) };
        let mut factors = self.database.read("list_factors", list).await?;
        factors.retain(|factor| factor.is_confirmed() && after.is_none_or(|after| factor.id > after));
        let more = factors.len() > size;
        factors.truncate(size);
        Ok((factors, more))
    }

    /// Uses `proof` up on the factor of the account that it proves, and says of which kind that is. A wrong one is counted: the
    /// transaction must be committed.
    pub(super) async fn use_factor(
        &self,
        tx: &Tx,
        (account, key): (AccountId, &SubjectKey),
        proof: &Proof,
        now: Timestamp,
    ) -> Result<Result<FactorKind, Unproven>, Error> {
        let mut factors = self.factors.of_account(tx, account, key).await?;
        factors.retain(Factor::is_confirmed);
        if factors.is_empty() {
            return Err(Error::FactorNotFound);
        }
        if let Proof::Passkey(assertion) = proof {
            return self.use_passkey(tx, (account, key), assertion, now).await;
        }
        let used = match self.proven(tx, (account, key), (&factors, proof), now).await? {
            Ok(used) => used,
            Err(unproven) => return Ok(Err(unproven)),
        };
        self.factors.update(tx, &used, key).await?;
        Ok(Ok(used.kind()))
    }

    /// By what failures to prove a factor of this account are counted.
    pub(super) fn factor_hash(&self, account: AccountId) -> AddressHash {
        self.fingerprints.tag(&[b"factor\0".as_slice(), &account.bytes()].concat())
    }

    /// The one of `factors` that `proof` proves, as it is then; not stored yet. A wrong proof is counted.
    async fn proven(
        &self,
        tx: &Tx,
        (account, _): (AccountId, &SubjectKey),
        (factors, proof): (&[Factor], &Proof),
        now: Timestamp,
    ) -> Result<Result<Factor, Unproven>, Error> {
        let counted = &self.factor_hash(account);
        let before = self.failures.find(tx, counted).await?;
        if let Some(left) = before.and_then(|failures| failures.locked_at(now)) {
            return Ok(Err(Unproven::Locked(left)));
        }
        if let Some(used) = factors.iter().find_map(|factor| factor.proven(proof, &self.handles, now)) {
            if before.is_some() {
                self.failures.clear(tx, counted).await?;
            }
            return Ok(Ok(used));
        }
        let after = Failures::one_more(before, now);
        self.failures.put(tx, counted, (before.as_ref(), &after)).await?;
        let failed = failure("factor.prove", &format!("account/{account}"), Some(account), "FACTOR_REJECTED");
        self.note(tx, locking(failed, &after, now), now).await?;
        Ok(Err(Unproven::Wrong))
    }

    async fn remove<A: Action>(
        &self,
        permit: &Permit<A>,
        (account, proof): (AccountId, &Proof),
        which: impl Fn(&Factor) -> bool + Send + Sync,
    ) -> Result<(), Error> {
        let (_, key) = self.owner(permit, account).await?;
        let (now, key, actor, which) = (self.now(), &*key, &*permit.caller().key(), &which);
        let removed = self
            .database
            .run_tx("delete_factor", |tx| async move {
                let factors = self.factors.of_account(&tx, account, key).await?;
                let factor = factors.iter().find(|factor| which(factor)).ok_or(Error::FactorNotFound)?;
                if let Err(unproven) = self.use_factor(&tx, (account, key), proof, now).await? {
                    return Ok(Err(unproven));
                }
                let stays = |other: &&Factor| other.id != factor.id;
                let left: Vec<_> = factors.iter().filter(stays).collect();
                let stand_ins_only = left.iter().all(|factor| factor.kind() == FactorKind::RecoveryCodes);
                let gone = left.into_iter().filter(|_| stand_ins_only).chain([factor]);
                self.factors.delete(&tx, &gone.map(|factor| factor.id).collect::<Vec<_>>()).await?;
                self.note(&tx, about("factor.delete", actor, factor), now).await?;
                self.revocations.append(&tx, &[Target::Account(account)], now).await?;
                Ok::<_, Error>(Ok(()))
            })
            .await?;
        self.feed.nudge();
        removed.map_err(Error::from)
    }

    /// The account of whoever calls, and the key of its person.
    pub(super) async fn owner<A: Action>(
        &self,
        permit: &Permit<A>,
        account: AccountId,
    ) -> Result<(Profiled, Arc<SubjectKey>), Error> {
        check_reach(permit, account)?;
        let find = |tx| async move { self.accounts.find(&tx, account).await?.ok_or(Error::AccountNotFound) };
        let stored = self.database.read("find_owner", find).await?;
        let key = self.key_of(&stored).await?;
        Ok((self.accounts.profiled(&stored, Some(&key))?, key))
    }

    fn new_codes(&self, account: AccountId, now: Timestamp) -> (Vec<RecoveryCode>, Factor) {
        let codes = RecoveryCode::generate_all(self.entropy.as_ref());
        let hashes = codes.iter().map(|code| self.handles.recovery_code_hash(account, code)).collect();
        let id = FactorId::generate(now, self.entropy.as_ref());
        (codes, Factor::recovery_codes(id, account, hashes, now))
    }
}

impl From<Unproven> for Error {
    fn from(unproven: Unproven) -> Self {
        match unproven {
            Unproven::Locked(left) => Self::FactorLocked(left),
            Unproven::Wrong => Self::FactorRejected,
        }
    }
}

pub(super) fn about(what: &'static str, actor: &str, factor: &Factor) -> Happened {
    Happened::new(what, actor).on(factor.account).with("kind", factor.kind().name())
}
