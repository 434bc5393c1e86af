//! People are asked again when their consent has ended, if `[renewal]` says so.
//!
//! The request is recorded in the transaction that records the end, so it is made once, by the one process that records
//! ends; whoever follows the changes puts it to the person. Nobody is asked whose keys were destroyed, about what is not
//! offered any more in the language of the last answer, or about what had ended already when it was told. A request that
//! nobody answers is not made again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use portal_core::id::{ConsentId, NoticeId, PurposeId};
use portal_keys::{KeysError, SubjectKeys};
use portal_store::StoreError;

use crate::domain::consent::{Act, Consent, Event, Offer, Outcome};
use crate::domain::language::Language;
use crate::domain::notice::Notice;
use crate::domain::purpose::Purpose;
use crate::store::decisions::Read;
use crate::store::{Reading, events, notices, purposes};

/// What those can be asked again whose consents have ended.
pub(super) struct Renewal {
    /// How long a request stands.
    stands: Duration,
    purposes: BTreeMap<PurposeId, Read<Purpose>>,
    notices: BTreeMap<NoticeId, Read<Notice>>,
    /// Of the last answer.
    languages: BTreeMap<ConsentId, Language>,
}

impl Renewal {
    /// For `ended`, whose end is not recorded yet.
    pub(super) async fn read(
        tx: &Reading<'_>,
        ended: &[Consent],
        stands: Duration,
    ) -> Result<Self, StoreError> {
        let facts = || ended.iter().map(Consent::facts);
        let purposes: BTreeSet<_> = facts().map(|facts| facts.purpose).collect();
        let notices: BTreeSet<_> = facts().map(|facts| facts.basis.notice).collect();
        let last: Vec<_> = facts().map(|facts| (facts.id, facts.version)).collect();
        Ok(Self {
            stands,
            purposes: purposes::offered(tx, &purposes).await?,
            notices: notices::offered(tx, &notices).await?,
            languages: events::languages(tx, &last).await?,
        })
    }

    /// The request that follows the end of `ended`, as which it is recorded; none if there is nothing to ask.
    pub(super) fn request(&self, ended: &Consent, act: Act) -> Option<(Consent, Box<Event>)> {
        let facts = ended.facts();
        let purpose = self.purposes.get(&facts.purpose)?.as_ref().ok()?;
        let notice = self.notices.get(&facts.basis.notice)?.as_ref().ok()?;
        let language = self.languages.get(&facts.id)?.clone();
        let offer = Offer::new(purpose, notice, language).ok()?;
        match ended.clone().request(&offer, Some(self.stands), act).ok()? {
            Outcome::Changed(consent, event) => Some((consent, event)),
            Outcome::Unchanged(_) => None,
        }
    }
}

/// Whether the person may be asked when `consent` ends: it was in force here, and they are not erased.
pub(super) fn may_ask(consent: &Consent, keys: &SubjectKeys) -> bool {
    let facts = consent.facts();
    let erased = matches!(keys.get(facts.subject), Err(KeysError::Erased(_)));
    !erased && facts.expires_at.is_some_and(|end| end > facts.recorded_at)
}
