//! Consents: give, renew, refuse, withdraw, read.
//!
//! Withdrawing loads neither purpose nor notice: nothing about them can stand in its way; nor does a corrupt row in the way
//! of withdrawing the others. A key is needed only for what is sealed, words and evidence: without them nobody waits
//! for one.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use portal_core::id::{ConsentId, EventId, Id, NoticeId, PurposeId, SubjectId};
use portal_core::{PageSize, Sensitive, Timestamp};
use portal_keys::KeysError;
use portal_ledger::feed;
use portal_mesh::caller::VIA;
use portal_mesh::policy::Action;
use portal_mesh::{Caller, EndUser, Permit, Via};
use portal_store::{ReadTx, StoreError};
use uuid::Uuid;

use super::records::{Decision, Record, Shown};
use super::together::Single;
use super::{Answer, App, Change, Done, KeyOf, Once};
use crate::domain::consent::{Act, Consent, Event, Evidence, Indication, Offer, Outcome};
use crate::domain::delegation::Delegation;
use crate::domain::language::Language;
use crate::domain::notice::Notice;
use crate::domain::past::When;
use crate::domain::purpose::Purpose;
use crate::domain::status::Status;
use crate::error::Error;
use crate::service::policy::{
    GetConsent, GiveConsent, ListConsentEvents, ListConsents, RefuseConsent, RenewConsent,
    WithdrawAllConsents, WithdrawConsent,
};
use crate::store::consents::Filter;
use crate::store::events::{EventsOf, StoredEvent};
use crate::store::leaves::EVENT;
use crate::store::{
    ConsentPosition, EventPosition, Page, Reading, Which, Writing, consents, events, notices, past, purposes,
    receipts,
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
    pub(crate) delegation: Option<Delegation>,
}

/// A withdrawal.
pub(crate) struct Withdraw {
    pub(crate) subject: SubjectId,
    pub(crate) purpose: PurposeId,
    pub(crate) method: Option<Indication>,
    pub(crate) reason: Option<Sensitive<String>>,
    pub(crate) evidence: Vec<Evidence>,
    pub(crate) delegation: Option<Delegation>,
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
    /// The event that brought it there, where it is told: its receipt has the same id.
    pub(crate) event: Option<EventId>,
}

/// An event of a list, and what came of it elsewhere.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) event: Event,
    /// Its place in the ledger, if it has one yet.
    pub(crate) position: Option<u64>,
    /// Whether it has a receipt, whose id is that of the event. Earlier versions issued none.
    pub(crate) has_receipt: bool,
}

impl Decide {
    fn record(self, decision: impl FnOnce(Shown, Option<Duration>) -> Decision) -> Record {
        let shown = Shown { notice: self.notice, language: self.language };
        Record {
            subject: self.subject,
            purpose: self.purpose,
            decision: decision(shown, self.valid_for),
            method: Some(self.method),
            evidence: self.evidence,
            event_at: None,
            delegation: self.delegation,
        }
    }
}

impl Withdraw {
    fn record(self) -> Record {
        Record {
            subject: self.subject,
            purpose: self.purpose,
            decision: Decision::Withdraw(self.reason),
            method: self.method,
            evidence: self.evidence,
            event_at: None,
            delegation: self.delegation,
        }
    }
}

impl Seen {
    /// What came of a decision.
    pub(super) fn after(outcome: &Outcome, at: Timestamp) -> Self {
        let event = match outcome {
            Outcome::Changed(_, event) => Some(event.id),
            Outcome::Unchanged(_) => None,
        };
        Self { consent: outcome.consent().clone(), at, event }
    }
}

impl App {
    pub(crate) async fn give(
        self: &Arc<Self>,
        permit: &Permit<GiveConsent>,
        command: Decide,
        once: Option<Once<Seen>>,
    ) -> Result<Answer<Seen>, Error> {
        self.asked(permit, command.record(Decision::Give), once).await
    }

    pub(crate) async fn renew(
        self: &Arc<Self>,
        permit: &Permit<RenewConsent>,
        command: Decide,
        once: Option<Once<Seen>>,
    ) -> Result<Answer<Seen>, Error> {
        self.asked(permit, command.record(Decision::Renew), once).await
    }

    pub(crate) async fn refuse(
        self: &Arc<Self>,
        permit: &Permit<RefuseConsent>,
        command: Decide,
        once: Option<Once<Seen>>,
    ) -> Result<Answer<Seen>, Error> {
        self.asked(permit, command.record(|shown, _| Decision::Refuse(shown)), once).await
    }

    pub(crate) async fn withdraw(
        self: &Arc<Self>,
        permit: &Permit<WithdrawConsent>,
        command: Withdraw,
        once: Option<Once<Seen>>,
    ) -> Result<Answer<Seen>, Error> {
        self.asked(permit, command.record(), once).await
    }

    async fn asked<A: Action>(
        self: &Arc<Self>,
        permit: &Permit<A>,
        record: Record,
        once: Option<Once<Seen>>,
    ) -> Result<Answer<Seen>, Error> {
        self.decide_together(Single { record, actor: actor(permit.caller()), once }).await
    }

    pub(crate) async fn withdraw_all(
        &self,
        permit: &Permit<WithdrawAllConsents>,
        subject: SubjectId,
        (reason, delegation): (Option<Sensitive<String>>, Option<Delegation>),
        once: Option<Once<Withdrawn>>,
    ) -> Result<Answer<Withdrawn>, Error> {
        let key = if reason.is_some() || delegation.is_some() { KeyOf::Needed } else { KeyOf::Known };
        let change = &self.change_of(subject, once.as_ref(), key).await?;
        let (reason, delegation, now) = (&reason, &delegation, change.now);
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
                    let outcome = outcome.by(delegation.clone());
                    if let Outcome::Changed(consent, event) = &outcome {
                        self.record(&tx, (consent, event), &[], change.key.as_ref()).await?;
                    }
                    withdrawn.consents.push(Seen::after(&outcome, now));
                }
                change.done(&tx, &self.replies, withdrawn).await
            })
            .await?;
        match &done {
            Done::Fresh(withdrawn) => {
                withdrawn.consents.iter().for_each(|seen| self.live.took(&seen.consent));
                withdrawn.consents.iter().for_each(|_| self.metrics.event(Status::Withdrawn));
                self.log.wake();
            }
            Done::Kept(..) => self.live.distrust(),
        }
        change.answer(&self.replies, done).await
    }

    /// The permit must be checked against the subject of what is returned.
    pub(crate) async fn consent(&self, _: &Permit<GetConsent>, id: ConsentId) -> Result<Seen, Error> {
        let at = self.clock.now();
        let consent = self.find(id).await?;
        Ok(Seen { consent, at, event: None })
    }

    /// What stood of a consent at an earlier time. The permit must have been checked against its subject.
    pub(crate) async fn past_consent(
        &self,
        _: &Permit<GetConsent>,
        seen: &Seen,
        when: When,
    ) -> Result<Seen, Error> {
        let id = seen.consent.facts().id;
        let find = |tx: ReadTx| async move { past::find(&self.seals.reading(&tx).await?, id, when).await };
        let then = self.database.read("get_past_consent", find).await?.ok_or(Error::ConsentNotFound)?;
        Ok(Seen { consent: then, at: when.decided, event: None })
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
        let items = page.items.into_iter().map(|consent| Seen { consent, at, event: None }).collect();
        Ok(Page { items, withheld: page.withheld, next: page.next })
    }

    /// One page of the consents of a subject as they stood at an earlier time.
    pub(crate) async fn past_consents(
        &self,
        _: &Permit<ListConsents>,
        (subject, filter, when): (SubjectId, Filter, When),
        after: Option<ConsentPosition>,
        size: PageSize,
    ) -> Result<Page<Seen, ConsentPosition>, Error> {
        let read = |tx: ReadTx| async move {
            past::page(&self.seals.reading(&tx).await?, (subject, filter), when, after, size).await
        };
        let page = self.database.read("list_past_consents", read).await?;
        let then = |consent| Seen { consent, at: when.decided, event: None };
        Ok(Page {
            items: page.items.into_iter().map(then).collect(),
            withheld: page.withheld,
            next: page.next,
        })
    }

    /// One page of history. A reason that was sealed under a key that is destroyed is lost to everybody: its event is
    /// listed without it.
    pub(crate) async fn consent_events(
        &self,
        _: &Permit<ListConsentEvents>,
        of: (EventsOf, Words),
        after: Option<EventPosition>,
        size: PageSize,
    ) -> Result<Page<Listed, EventPosition>, Error> {
        let (of, words) = of;
        let (page, links) = self
            .database
            .read("list_consent_events", |tx| async move {
                let reading = self.seals.reading(&tx).await?;
                let page = events::page(&reading, of, after, size).await?;
                let ids: Vec<_> = page.items.iter().map(|stored| stored.id().uuid()).collect();
                let links = Links::of(&tx, &reading, &ids).await?;
                Ok::<_, Error>((page, links))
            })
            .await?;
        let listed = |event: Event| links.with(event);
        if words == Words::Withheld {
            return page.try_map(|stored| Ok(Ok(listed(stored.unopened()))));
        }
        let subjects: BTreeSet<SubjectId> = page.items.iter().filter_map(StoredEvent::sealed_for).collect();
        let keys = self.keys.subjects(&Vec::from_iter(subjects)).await?;
        page.try_map(|stored| {
            let Some(subject) = stored.sealed_for() else { return Ok(Ok(listed(stored.unopened()))) };
            match keys.get(subject) {
                Ok(key) => Ok(stored.open(&self.seals, key).map(listed)),
                Err(KeysError::Erased(_)) => Ok(Ok(listed(stored.unopened()))),
                Err(KeysError::Corrupt { .. } | KeysError::Missing(_)) => Ok(Err(stored.without_key())),
                Err(error) => Err(error.into()),
            }
        })
    }

    pub(super) async fn standing(
        &self,
        tx: &Reading<'_>,
        (subject, purpose): (SubjectId, PurposeId),
        offer: &Offer<'_>,
        now: Timestamp,
    ) -> Result<Consent, Error> {
        let consent = consents::of(tx, subject, purpose).await?;
        Ok(consent.unwrap_or_else(|| {
            Consent::unknown(ConsentId::generate(now, &*self.entropy), subject, offer, now)
        }))
    }

    pub(super) fn act<A: Action>(
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
            event_at: None,
            now,
        }
    }

    pub(super) async fn save(
        &self,
        tx: &Writing<'_>,
        outcome: Outcome,
        evidence: &[Evidence],
        change: &Change<'_, Seen>,
    ) -> Result<Saved, Error> {
        let changed = if let Outcome::Changed(consent, event) = &outcome {
            self.record(tx, (consent, event), evidence, change.key.as_ref()).await?;
            Some(event.status)
        } else {
            None
        };
        let mut seen = Seen::after(&outcome, change.now);
        if changed.is_none() {
            seen.event = receipts::of_state(tx, &seen.consent).await?;
        }
        Ok((change.done(tx, &self.replies, seen).await?, changed))
    }

    /// The answer to a change that was committed; its event is counted.
    pub(super) async fn answer(
        &self,
        change: &Change<'_, Seen>,
        saved: Saved,
    ) -> Result<Answer<Seen>, Error> {
        let (done, changed) = saved;
        match &done {
            Done::Fresh(seen) => self.live.took(&seen.consent),
            // Perhaps another replica committed it.
            Done::Kept(..) => self.live.distrust(),
        }
        if let Some(status) = changed {
            self.metrics.event(status);
            self.log.wake();
        }
        change.answer(&self.replies, done).await
    }
}

/// Which of some events are in the ledger, and which have receipts.
pub(super) struct Links {
    positions: HashMap<Uuid, u64>,
    receipts: BTreeSet<Uuid>,
}

impl Links {
    pub(super) async fn of(tx: &ReadTx, reading: &Reading<'_>, events: &[Uuid]) -> Result<Self, StoreError> {
        let positions = feed::positions(tx, EVENT, events).await?;
        Ok(Self { positions, receipts: receipts::existing(reading, events).await? })
    }

    pub(super) fn with(&self, event: Event) -> Listed {
        let id = event.id.uuid();
        let position = self.positions.get(&id).copied();
        Listed { event, position, has_receipt: self.receipts.contains(&id) }
    }
}

/// What a transaction comes to, and the status after the event if there was one.
pub(super) type Saved = (Done<Seen>, Option<Status>);

/// Who made the call, as events name it.
pub(super) fn actor(caller: &Caller) -> String {
    match caller.user() {
        Some(EndUser { account, via: Via::Client(client, _), .. }) => format!("{account}{VIA}{client}"),
        Some(user) => user.account.to_string(),
        None => caller.key(),
    }
}

/// The purpose and notice that a command names.
pub(super) async fn shown(
    tx: &Reading<'_>,
    (purpose, notice): (PurposeId, NoticeId),
) -> Result<(Purpose, Notice), Error> {
    let purpose = purposes::find(tx, purpose, Which::Offered).await?.ok_or(Error::PurposeNotFound)?;
    let notice = notices::find(tx, notice, Which::Offered).await?.ok_or(Error::NoticeNotFound)?;
    Ok((purpose, notice))
}
