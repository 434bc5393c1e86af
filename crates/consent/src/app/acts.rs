//! What else happens to a consent than that its subject decides: requested, put off, revoked, invalidated.
//!
//! Ending a consent loads neither purpose nor notice, as withdrawing it does.

use std::time::Duration;

use portal_core::Sensitive;
use portal_core::id::{NoticeId, PurposeId, SubjectId};
use portal_mesh::Permit;
use portal_mesh::policy::Action;

use super::consents::{Seen, shown};
use super::{Answer, App, KeyOf, Once};
use crate::domain::consent::{Act, Consent, ConsentError, Evidence, Offer, Outcome};
use crate::domain::delegation::Delegation;
use crate::domain::language::Language;
use crate::error::Error;
use crate::service::policy::{DeferConsent, InvalidateConsent, RequestConsent, RevokeConsent};
use crate::store::consents;

/// A request to consent.
pub(crate) struct Ask {
    pub(crate) subject: SubjectId,
    pub(crate) purpose: PurposeId,
    pub(crate) notice: NoticeId,
    pub(crate) language: Language,
    pub(crate) valid_for: Option<Duration>,
}

/// A change of what stands, about which nothing else is asked.
pub(crate) struct Ending {
    pub(crate) subject: SubjectId,
    pub(crate) purpose: PurposeId,
    pub(crate) reason: Option<Sensitive<String>>,
    pub(crate) evidence: Vec<Evidence>,
    pub(crate) delegation: Option<Delegation>,
}

impl Ending {
    fn key(&self) -> KeyOf {
        let seals = self.reason.is_some() || !self.evidence.is_empty() || self.delegation.is_some();
        if seals { KeyOf::Needed } else { KeyOf::Known }
    }
}

/// One of the changes of [`Consent`].
type Change = fn(Consent, Act) -> Result<Outcome, ConsentError>;

impl App {
    pub(crate) async fn request(
        &self,
        permit: &Permit<RequestConsent>,
        command: Ask,
        once: Option<Once<Seen>>,
    ) -> Result<Answer<Seen>, Error> {
        let change = &self.change_of(command.subject, once.as_ref(), KeyOf::New).await?;
        let command = &command;
        let act = &self.act(permit, None, None, change.now);
        let saved = self
            .database
            .run_tx("request_consent", |tx| async move {
                let tx = self.seals.writing(&tx).await?;
                if let Some(kept) = change.kept(&tx).await? {
                    return Ok((kept, None));
                }
                let (purpose, notice) = shown(&tx, (command.purpose, command.notice)).await?;
                let offer = Offer::new(&purpose, &notice, command.language.clone())?;
                let about = (command.subject, command.purpose);
                let standing = self.standing(&tx, about, &offer, change.now).await?;
                let outcome = standing.request(&offer, command.valid_for, act.clone())?;
                self.save(&tx, outcome, &[], change).await
            })
            .await?;
        self.answer(change, saved).await
    }

    pub(crate) async fn defer(
        &self,
        permit: &Permit<DeferConsent>,
        command: Ending,
        once: Option<Once<Seen>>,
    ) -> Result<Answer<Seen>, Error> {
        self.close(("defer_consent", permit), Consent::defer, command, once).await
    }

    pub(crate) async fn revoke(
        &self,
        permit: &Permit<RevokeConsent>,
        command: Ending,
        once: Option<Once<Seen>>,
    ) -> Result<Answer<Seen>, Error> {
        self.close(("revoke_consent", permit), Consent::revoke, command, once).await
    }

    pub(crate) async fn invalidate(
        &self,
        permit: &Permit<InvalidateConsent>,
        command: Ending,
        once: Option<Once<Seen>>,
    ) -> Result<Answer<Seen>, Error> {
        self.close(("invalidate_consent", permit), Consent::invalidate, command, once).await
    }

    async fn close<A: Action>(
        &self,
        (name, permit): (&'static str, &Permit<A>),
        apply: Change,
        command: Ending,
        once: Option<Once<Seen>>,
    ) -> Result<Answer<Seen>, Error> {
        let change = &self.change_of(command.subject, once.as_ref(), command.key()).await?;
        let command = &command;
        let act = &self.act(permit, None, command.reason.clone(), change.now);
        let saved = self
            .database
            .run_tx(name, |tx| async move {
                let tx = self.seals.writing(&tx).await?;
                if let Some(kept) = change.kept(&tx).await? {
                    return Ok((kept, None));
                }
                let consent = consents::of(&tx, command.subject, command.purpose).await?;
                let consent = consent.ok_or(Error::ConsentNotFound)?;
                let outcome = apply(consent, act.clone())?.by(command.delegation.clone());
                self.save(&tx, outcome, &command.evidence, change).await
            })
            .await?;
        self.answer(change, saved).await
    }
}
