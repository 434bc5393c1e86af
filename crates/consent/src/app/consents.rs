//! Consents: give, refuse, withdraw, read.
//!
//! Withdrawing loads neither purpose nor notice: nothing about them can stand in its way; nor does a corrupt row in the way
//! of withdrawing the others. A key is needed only for what is sealed, words and evidence: without them nobody waits
//! for one.

use std::collections::BTreeSet;
use std::time::Duration;

use portal_core::id::{ConsentId, EventId, Id, NoticeId, PurposeId, SubjectId};
use portal_core::{PageSize, Sensitive, Timestamp};
use portal_keys::KeysError;
use portal_mesh::policy::Action;
use portal_mesh::{Caller, Permit};

use super::{Answer, App, Change, Done, Once};
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
use crate::store::consents::Filter;
use crate::store::events::{EventsOf, StoredEvent};
use crate::store::{
    ConsentPosition, EventPosition, Page, Reading, Which, Writing, consents, events, notices, purposes,
};

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

/// What came of withdrawing everything.
#[derive(Clone, Debug)]
pub(crate) struct Withdrawn {
    pub(crate) consents: Vec<Seen>,
    /// Consents that were not withdrawn, because their rows are corrupt. No use of data is permitted by them either.
    pub(crate) withheld: usize,
}

/// Whether the subject's own words are among what is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Words {
    Shown,
    Withheld,
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
        let seals = !command.evidence.is_empty();
        let change = &self.change_of(command.subject, once.as_ref(), seals).await?;
        let command = &command;
        let act = &self.act(permit, Some(command.method), None, change.now);
        let saved = self
            .database
            .run_tx("give_consent", |tx| async move {
                let tx = self.seals.writing(&tx).await?;
                if let Some(kept) = change.kept(&tx).await? {
                    return Ok((kept, None));
                }
                let (purpose, notice) = shown(&tx, command).await?;
                let offer = Offer::new(&purpose, &notice, command.language.clone())?;
                let standing = self.standing(&tx, command, &offer, change.now).await?;
                let outcome = standing.give(&offer, command.valid_for, act.clone())?;
                self.save(&tx, outcome, &command.evidence, change).await
            })
            .await?;
        self.answer(change, saved).await
    }

    pub(crate) async fn refuse(
        &self,
        permit: &Permit<RefuseConsent>,
        command: Decide,
        once: Option<Once<Seen>>,
    ) -> Result<Answer<Seen>, Error> {
        let seals = !command.evidence.is_empty();
        let change = &self.change_of(command.subject, once.as_ref(), seals).await?;
        let command = &command;
        let act = &self.act(permit, Some(command.method), None, change.now);
        let saved = self
            .database
            .run_tx("refuse_consent", |tx| async move {
                let tx = self.seals.writing(&tx).await?;
                if let Some(kept) = change.kept(&tx).await? {
                    return Ok((kept, None));
                }
                let (purpose, notice) = shown(&tx, command).await?;
                let offer = Offer::new(&purpose, &notice, command.language.clone())?;
                let standing = self.standing(&tx, command, &offer, change.now).await?;
                let outcome = standing.refuse(&offer, act.clone())?;
                self.save(&tx, outcome, &command.evidence, change).await
            })
            .await?;
        self.answer(change, saved).await
    }

    pub(crate) async fn withdraw(
        &self,
        permit: &Permit<WithdrawConsent>,
        command: Withdraw,
        once: Option<Once<Seen>>,
    ) -> Result<Answer<Seen>, Error> {
        let seals = command.reason.is_some() || !command.evidence.is_empty();
        let change = &self.change_of(command.subject, once.as_ref(), seals).await?;
        let command = &command;
        let act = &self.act(permit, command.method, command.reason.clone(), change.now);
        let saved = self
            .database
            .run_tx("withdraw_consent", |tx| async move {
                let tx = self.seals.writing(&tx).await?;
                if let Some(kept) = change.kept(&tx).await? {
                    return Ok((kept, None));
                }
                let consent = consents::of(&tx, command.subject, command.purpose).await?;
                let consent = consent.ok_or(Error::ConsentNotFound)?;
                let outcome = consent.withdraw(act.clone())?;
                self.save(&tx, outcome, &command.evidence, change).await
            })
            .await?;
        self.answer(change, saved).await
    }

    pub(crate) async fn withdraw_all(
        &self,
        permit: &Permit<WithdrawAllConsents>,
        subject: SubjectId,
        reason: Option<Sensitive<String>>,
        once: Option<Once<Withdrawn>>,
    ) -> Result<Answer<Withdrawn>, Error> {
        let change = &self.change_of(subject, once.as_ref(), reason.is_some()).await?;
        let (reason, now) = (&reason, change.now);
        let done = self
            .database
            .run_tx("withdraw_all_consents", |tx| async move {
                let tx = self.seals.writing(&tx).await?;
                if let Some(kept) = change.kept(&tx).await? {
                    return Ok::<_, Error>(kept);
                }
                let (in_force, withheld) = consents::in_force(&tx, subject, now).await?;
                let mut withdrawn = Withdrawn { consents: Vec::with_capacity(in_force.len()), withheld };
                for consent in in_force {
                    let outcome = consent.withdraw(self.act(permit, None, reason.clone(), now))?;
                    if let Outcome::Changed(consent, event) = &outcome {
                        consents::append(&tx, consent, event, &[], change.key.as_ref()).await?;
                    }
                    withdrawn.consents.push(Seen { consent: outcome.consent().clone(), at: now });
                }
                change.done(&tx, &self.replies, withdrawn).await
            })
            .await?;
        let answer = change.answer(&self.replies, done).await?;
        if let Answer::Fresh(withdrawn) = &answer {
            withdrawn.consents.iter().for_each(|_| self.metrics.event(Status::Withdrawn));
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
            .read("get_consent", |tx| async move {
                let tx = self.seals.reading(&tx).await?;
                consents::find(&tx, id).await?.ok_or(Error::ConsentNotFound)
            })
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
            .read("list_consents", |tx| async move {
                let tx = self.seals.reading(&tx).await?;
                consents::page(&tx, filter, after, size, at).await
            })
            .await?;
        let items = page.items.into_iter().map(|consent| Seen { consent, at }).collect();
        Ok(Page { items, withheld: page.withheld, next: page.next })
    }

    /// One page of history. A reason that was sealed under a key that is destroyed is lost to everybody: its event is
    /// listed without it.
    pub(crate) async fn consent_events(
        &self,
        _: &Permit<ListConsentEvents>,
        of: (EventsOf, Words),
        after: Option<EventPosition>,
        size: PageSize,
    ) -> Result<Page<Event, EventPosition>, Error> {
        let (of, words) = of;
        let page = self
            .database
            .read("list_consent_events", |tx| async move {
                let tx = self.seals.reading(&tx).await?;
                Ok::<_, Error>(events::page(&tx, of, after, size).await?)
            })
            .await?;
        if words == Words::Withheld {
            return page.try_map(|stored| Ok(Ok(stored.unopened())));
        }
        let subjects: BTreeSet<SubjectId> = page.items.iter().filter_map(StoredEvent::sealed_for).collect();
        let keys = self.keys.subjects(&Vec::from_iter(subjects)).await?;
        page.try_map(|stored| {
            let Some(subject) = stored.sealed_for() else { return Ok(Ok(stored.unopened())) };
            match keys.get(subject) {
                Ok(key) => Ok(stored.open(&self.seals, key)),
                Err(KeysError::Erased(_)) => Ok(Ok(stored.unopened())),
                Err(KeysError::Corrupt { .. } | KeysError::Missing(_)) => Ok(Err(stored.without_key())),
                Err(error) => Err(error.into()),
            }
        })
    }

    async fn standing(
        &self,
        tx: &Reading<'_>,
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

    async fn save(
        &self,
        tx: &Writing<'_>,
        outcome: Outcome,
        evidence: &[Evidence],
        change: &Change<'_, Seen>,
    ) -> Result<Saved, Error> {
        let changed = if let Outcome::Changed(consent, event) = &outcome {
            consents::append(tx, consent, event, evidence, change.key.as_ref()).await?;
            Some(event.status)
        } else {
            None
        };
        let seen = Seen { consent: outcome.consent().clone(), at: change.now };
        Ok((change.done(tx, &self.replies, seen).await?, changed))
    }

    /// The answer to a change that was committed; its event is counted.
    async fn answer(&self, change: &Change<'_, Seen>, saved: Saved) -> Result<Answer<Seen>, Error> {
        let (done, changed) = saved;
        if let Some(status) = changed {
            self.metrics.event(status);
        }
        change.answer(&self.replies, done).await
    }
}

/// What a transaction comes to, and the status after the event if there was one.
type Saved = (Done<Seen>, Option<Status>);

/// Who made the call, as events name it.
fn actor(caller: &Caller) -> String {
    caller.user().map_or_else(|| caller.key(), |user| user.account.to_string())
}

/// The purpose and notice that the command names.
async fn shown(tx: &Reading<'_>, command: &Decide) -> Result<(Purpose, Notice), Error> {
    let purpose = purposes::find(tx, command.purpose, Which::Offered).await?.ok_or(Error::PurposeNotFound)?;
    let notice = notices::find(tx, command.notice, Which::Offered).await?.ok_or(Error::NoticeNotFound)?;
    Ok((purpose, notice))
}
