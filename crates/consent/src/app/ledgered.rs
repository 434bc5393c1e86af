//! What the ledger of this service has: each change of a consent, each publication of a purpose or notice.
//!
//! Invariant: what is recorded here is appended in the same transaction, whoever records it; so [`App::record`] and
//! [`App::record_many`] are the only ways to a changed consent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portal_core::Timestamp;
use portal_core::id::{Id, NoticeId, PurposeId, SubjectId};
use portal_crypto::envelope::SubjectKey;
use portal_ledger::{Append, Commitment, Kind, Leaf, Salt};
use portal_receipt::payload;
use portal_store::Inserts;
use uuid::Uuid;

use super::App;
use crate::domain::consent::{Consent, Event, Evidence};
use crate::domain::subject::Details;
use crate::error::Error;
use crate::store::consents::Changed;
use crate::store::decisions::Read;
use crate::store::events::Appended;
use crate::store::leaves::{EVENT, NOTICE, PURPOSE};
use crate::store::subjects::StoredSubject;
use crate::store::{Writing, consents, receipts, subjects};

impl App {
    /// Records a change: the event with its evidence, the state after it, its receipt and its entry in the ledger. `key` is
    /// the subject's: needed if there is a reason or evidence.
    pub(super) async fn record(
        &self,
        tx: &Writing<'_>,
        (consent, event): (&Consent, &Event),
        evidence: &[Evidence],
        key: Option<&Arc<SubjectKey>>,
    ) -> Result<(), Error> {
        let changed =
            Changed { consent: consent.clone(), version: consent.facts().version.saturating_sub(1) };
        let appended = Appended { event: event.clone(), evidence, key };
        let subjects = match key {
            Some(_) => subjects::find_all(tx, &BTreeSet::from([event.subject])).await?,
            None => BTreeMap::new(),
        };
        let mut inserts = Inserts::of(tx.tx());
        self.record_many((tx, &mut inserts), (&[changed], &[appended]), subjects, event.recorded_at).await?;
        Ok(inserts.run(tx.tx()).await?)
    }

    /// As [`Self::record`], for many changes at once, in the order of the events. `subjects` are those that the events are
    /// about, as far as they are registered. All is done when `inserts` are run.
    pub(super) async fn record_many(
        &self,
        (tx, inserts): (&Writing<'_>, &mut Inserts),
        (changed, events): (&[Changed], &[Appended<'_>]),
        subjects: BTreeMap<SubjectId, Read<StoredSubject>>,
        now: Timestamp,
    ) -> Result<(), Error> {
        consents::append_many(tx, inserts, (changed, events)).await?;
        let of = events.iter().filter_map(|appended| Some((appended.event.subject, &**appended.key?)));
        let known = self.details_of(subjects, of)?;
        let (mut entries, mut payloads) =
            (Vec::with_capacity(events.len()), Vec::with_capacity(events.len()));
        for appended in events {
            let beside = (appended.evidence, known.get(&appended.event.subject));
            let (entry, payload) = self.entry(tx, &appended.event, beside).await?;
            entries.push(entry);
            payloads.push(payload);
        }
        receipts::append_many(tx, inserts, events, payloads)?;
        Ok(portal_ledger::append_many(inserts, &entries, now)?)
    }

    /// The entry of an event, and what its receipt says.
    async fn entry(
        &self,
        tx: &Writing<'_>,
        event: &Event,
        (evidence, known): (&[Evidence], Option<&Details>),
    ) -> Result<(Append, Vec<u8>), Error> {
        let salt = Salt::generate(&*self.entropy);
        let record = self.record_of(tx, event, (evidence, known)).await?;
        let content = payload::content(&record.fitted(payload::MAX_CONTENT));
        let commitment = Commitment::of(Leaf { kind: payload::KIND, content: &content }, &salt);
        let payload = payload::payload(content, salt.expose());
        Ok((Append { kind: EVENT, reference: event.id.uuid(), commitment }, payload))
    }
}

/// What becomes of the terms that subjects decide on.
pub(super) enum Publication<'a> {
    /// Whoever is shown this notice is shown what has this hash.
    Notice(NoticeId, u32, &'a [u8]),
    /// This revision of a purpose is in force.
    Purpose(PurposeId, u32),
    /// The purpose is out of use.
    PurposeArchived(PurposeId),
}

impl Publication<'_> {
    const fn kind(&self) -> (Kind, &'static str) {
        match self {
            Self::Notice(..) => (NOTICE, "consent.notice"),
            Self::Purpose(..) | Self::PurposeArchived(_) => (PURPOSE, "consent.purpose"),
        }
    }

    /// What is said of it, in one form only.
    fn content(&self) -> String {
        match self {
            Self::Notice(id, revision, hash) => {
                let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("{id} published {revision} {hash}")
            }
            Self::Purpose(id, revision) => format!("{id} published {revision}"),
            Self::PurposeArchived(id) => format!("{id} archived"),
        }
    }

    /// The entry. Everybody may know what it says, so it has no salt: 32 zero bytes. It refers to no row, but to itself.
    fn entry(&self) -> Append {
        let ((kind, leaf), content) = (self.kind(), self.content());
        let leaf = Leaf { kind: leaf, content: content.as_bytes() };
        let commitment = Commitment::of(leaf, &Salt::new([0; 32]));
        let [reference @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = *commitment.as_bytes();
        Append { kind, reference: Uuid::from_bytes(reference), commitment }
    }
}

/// Records it in the ledger, in the transaction that does it.
pub(super) async fn publish(tx: &Writing<'_>, of: &Publication<'_>, now: Timestamp) -> Result<(), Error> {
    Ok(portal_ledger::append(tx.tx(), of.entry(), now).await?)
}
