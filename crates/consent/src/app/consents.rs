//! Consents: give, refuse, withdraw, read.
//!
//! Withdrawing loads neither purpose nor notice: nothing about them can stand in its way.

use std::time::Duration;

use portal_core::id::{ConsentId, EventId, Id, NoticeId, PurposeId, SubjectId};
use portal_core::{PageSize, Sensitive, Timestamp};
use portal_mesh::policy::Action;
use portal_mesh::{Caller, Permit};
use portal_store::Tx;

use super::{Answer, App, Once, answer, replay};
use crate::domain::consent::{Act, Consent, Event, Evidence, Indication, Offer, Outcome};
use crate::domain::language::Language;
use crate::domain::notice::Notice;
use crate::domain::purpose::Purpose;
use crate::domain::status::Status;
use crate::error::Error;
use crate::service::policy::{
    GetConsent, GiveConsent, ListConsentEvents, ListConsents, RefuseConsent, WithdrawAllConsents,
    WithdrawConsent,
};
use crate::store::consents::{EventsOf, Filter};
use crate::store::{ConsentPosition, EventPosition, Page, Which, consents, notices, purposes};

/// A decision under a notice.
pub(crate) struct Decide {
    pub(crate) subject: SubjectId,
    pub(crate) purpose: PurposeId,
    pub(crate) notice: NoticeId,
    pub(crate) language: Language,
    pub(crate) method: Indication,
    pub(crate) evidence: Vec<Evidence>,
    pub(crate) valid_for: Option<Duration>,
}

/// A withdrawal.
pub(crate) struct Withdraw {
    pub(crate) subject: SubjectId,
    pub(crate) purpose: PurposeId,
    pub(crate) method: Option<Indication>,
    pub(crate) reason: Option<Sensitive<String>>,
    pub(crate) evidence: Vec<Evidence>,
}

/// A consent as it is at a time.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) consent: Consent,
    pub(crate) at: Timestamp,
}

impl App {
    pub(crate) async fn give(
        &self,
        permit: &Permit<GiveConsent>,
        command: Decide,
        once: Option<Once<Seen>>,
    ) -> Result<Answer<Seen>, Error> {
        let now = self.clock.now();
        let (command, once) = (&command, once.as_ref());
        let act = &self.act(permit, Some(command.method), None, now);
        let answer = self
            .database
            .run_tx("give_consent", |tx| async move {
                if let Some(answer) = replay(&tx, once, now).await? {
                    return Ok((answer, None));
                }
                let (purpose, notice) = shown(&tx, command).await?;
                let offer = Offer::new(&purpose, &notice, command.language.clone())?;
                let standing = self.standing(&tx, command, &offer, now).await?;
                let outcome = standing.give(&offer, command.valid_for, act.clone())?;
                save(&tx, outcome, &command.evidence, once, now).await
            })
            .await;
        self.count(answer)
    }

    pub(crate) async fn refuse(
        &self,
        permit: &Permit<RefuseConsent>,
        command: Decide,
        once: Option<Once<Seen>>,
    ) -> Result<Answer<Seen>, Error> {
        let now = self.clock.now();
        let (command, once) = (&command, once.as_ref());
        let act = &self.act(permit, Some(command.method), None, now);
        let answer = self
            .database
            .run_tx("refuse_consent", |tx| async move {
                if let Some(answer) = replay(&tx, once, now).await? {
                    return Ok((answer, None));
                }
                let (purpose, notice) = shown(&tx, command).await?;
                let offer = Offer::new(&purpose, &notice, command.language.clone())?;
                let standing = self.standing(&tx, command, &offer, now).await?;
                let outcome = standing.refuse(&offer, act.clone())?;
                save(&tx, outcome, &command.evidence, once, now).await
            })
            .await;
        self.count(answer)
    }

    pub(crate) async fn withdraw(
        &self,
        permit: &Permit<WithdrawConsent>,
        command: Withdraw,
        once: Option<Once<Seen>>,
    ) -> Result<Answer<Seen>, Error> {
        let now = self.clock.now();
        let (command, once) = (&command, once.as_ref());
        let act = &self.act(permit, command.method, command.reason.clone(), now);
        let answer = self
            .database
            .run_tx("withdraw_consent", |tx| async move {
                if let Some(answer) = replay(&tx, once, now).await? {
                    return Ok((answer, None));
                }
                let consent = consents::of(&tx, command.subject, command.purpose).await?;
                let consent = consent.ok_or(Error::ConsentNotFound)?;
                let outcome = consent.withdraw(act.clone())?;
                save(&tx, outcome, &command.evidence, once, now).await
            })
            .await;
        self.count(answer)
    }

    pub(crate) async fn withdraw_all(
        &self,
        permit: &Permit<WithdrawAllConsents>,
        subject: SubjectId,
        reason: Option<Sensitive<String>>,
        once: Option<Once<Vec<Seen>>>,
    ) -> Result<Answer<Vec<Seen>>, Error> {
        let now = self.clock.now();
        let (reason, once) = (&reason, once.as_ref());
        let answer = self
            .database
            .run_tx("withdraw_all_consents", |tx| async move {
                if let Some(answer) = replay(&tx, once, now).await? {
                    return Ok::<_, Error>(answer);
                }
                let mut withdrawn = Vec::new();
                for consent in consents::in_force(&tx, subject, now).await? {
                    let outcome = consent.withdraw(self.act(permit, None, reason.clone(), now))?;
                    if let Outcome::Changed(consent, event) = &outcome {
                        consents::append(&tx, consent, event, &[]).await?;
                    }
                    withdrawn.push(Seen { consent: outcome.consent().clone(), at: now });
                }
                answer(&tx, once, withdrawn, now).await
            })
            .await?;
        if let Answer::Fresh(withdrawn) = &answer {
            withdrawn.iter().for_each(|_| self.metrics.event(Status::Withdrawn));
        }
        Ok(answer)
    }

    /// The permit must be checked against the subject of what is returned.
    pub(crate) async fn consent(&self, _: &Permit<GetConsent>, id: ConsentId) -> Result<Seen, Error> {
        let at = self.clock.now();
        let consent = self.find(id).await?;
        Ok(Seen { consent, at })
    }

    /// Whose consent `id` is: to check the permit with before its history is read.
    pub(crate) async fn subject_of(
        &self,
        _: &Permit<ListConsentEvents>,
        id: ConsentId,
    ) -> Result<SubjectId, Error> {
        Ok(self.find(id).await?.facts().subject)
    }

    async fn find(&self, id: ConsentId) -> Result<Consent, Error> {
        self.database
            .read(
                "get_consent",
                |tx| async move { consents::find(&tx, id).await?.ok_or(Error::ConsentNotFound) },
            )
            .await
    }

    pub(crate) async fn consents(
        &self,
        _: &Permit<ListConsents>,
        filter: Filter,
        after: Option<ConsentPosition>,
        size: PageSize,
    ) -> Result<Page<Seen, ConsentPosition>, Error> {
        let at = self.clock.now();
        let page = self
            .database
            .read("list_consents", |tx| async move { consents::page(&tx, filter, after, size, at).await })
            .await?;
        let items = page.items.into_iter().map(|consent| Seen { consent, at }).collect();
        Ok(Page { items, next: page.next })
    }

    pub(crate) async fn consent_events(
        &self,
        _: &Permit<ListConsentEvents>,
        of: EventsOf,
        after: Option<EventPosition>,
        size: PageSize,
    ) -> Result<Page<Event, EventPosition>, Error> {
        self.database
            .read(
                "list_consent_events",
                |tx| async move { Ok(consents::events(&tx, of, after, size).await?) },
            )
            .await
    }

    async fn standing(
        &self,
        tx: &Tx,
        command: &Decide,
        offer: &Offer<'_>,
        now: Timestamp,
    ) -> Result<Consent, Error> {
        let consent = consents::of(tx, command.subject, command.purpose).await?;
        Ok(consent.unwrap_or_else(|| {
            Consent::unknown(ConsentId::generate(now, &*self.entropy), command.subject, offer, now)
        }))
    }

    fn act<A: Action>(
        &self,
        permit: &Permit<A>,
        method: Option<Indication>,
        reason: Option<Sensitive<String>>,
        now: Timestamp,
    ) -> Act {
        Act {
            event: EventId::generate(now, &*self.entropy),
            actor: actor(permit.caller()),
            method,
            reason,
            now,
        }
    }

    /// Counts the event of a change that was committed.
    fn count(&self, answer: Result<(Answer<Seen>, Option<Status>), Error>) -> Result<Answer<Seen>, Error> {
        let (answer, changed) = answer?;
        if let Some(status) = changed {
            self.metrics.event(status);
        }
        Ok(answer)
    }
}

/// Who made the call, as events name it.
fn actor(caller: &Caller) -> String {
    caller.user().map_or_else(|| caller.key(), |user| user.account.to_string())
}

/// The purpose and notice that the command names.
async fn shown(tx: &Tx, command: &Decide) -> Result<(Purpose, Notice), Error> {
    let purpose = purposes::find(tx, command.purpose, Which::Offered).await?.ok_or(Error::PurposeNotFound)?;
    let notice = notices::find(tx, command.notice, Which::Offered).await?.ok_or(Error::NoticeNotFound)?;
    Ok((purpose, notice))
}

async fn save(
    tx: &Tx,
    outcome: Outcome,
    evidence: &[Evidence],
    once: Option<&Once<Seen>>,
    now: Timestamp,
) -> Result<(Answer<Seen>, Option<Status>), Error> {
    let changed = if let Outcome::Changed(consent, event) = &outcome {
        consents::append(tx, consent, event, evidence).await?;
        Some(event.status)
    } else {
        None
    };
    let seen = Seen { consent: outcome.consent().clone(), at: now };
    Ok((answer(tx, once, seen, now).await?, changed))
}
