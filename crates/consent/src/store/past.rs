//! Consents as they stood at an earlier time: read from their events, all of which are checked.

use portal_core::id::{ConsentId, Id, SubjectId};
use portal_core::{PageSize, Timestamp};
use portal_store::StoreError;
use sea_orm::entity::prelude::*;

use crate::domain::consent::Consent;
use crate::domain::past::When;
use crate::store::consents::{Filter, read};
use crate::store::decisions::history;
use crate::store::entity::consent;
use crate::store::{ConsentPosition, Page, Reading, sound};

/// The consent as it stood at `when`, if anything had been decided by then.
pub(crate) async fn find(tx: &Reading<'_>, id: ConsentId, when: When) -> Result<Option<Consent>, StoreError> {
    Ok(Consent::past(&history(tx, id, when.decided).await?, when))
}

/// One page of the consents of `subject` as they stood at `when`, the change that was the latest then first. A corrupt
/// consent does not say where it would be listed: it is counted on the first page.
pub(crate) async fn page(
    tx: &Reading<'_>,
    (subject, filter): (SubjectId, Filter),
    when: When,
    after: Option<ConsentPosition>,
    size: PageSize,
) -> Result<Page<Consent, ConsentPosition>, StoreError> {
    let purpose = filter.purpose.map(|purpose| consent::Column::PurposeId.eq(purpose.uuid()));
    let models = consent::Entity::find()
        .filter(consent::Column::SubjectId.eq(subject.uuid()))
        .filter(sea_orm::Condition::all().add_option(purpose))
        .all(tx.conn())
        .await?;
    let (mut found, mut corrupt) = (Vec::with_capacity(models.len()), 0);
    // One history at a time is held.
    for model in &models {
        let then = match read(tx, model) {
            Ok(consent) => find(tx, consent.facts().id, when).await,
            Err(error) => Err(error),
        };
        match sound(then)? {
            Some(then) => found.extend(then),
            None => corrupt += 1,
        }
    }
    found.retain(|consent| filter.status.is_none_or(|status| consent.status_at(when.decided) == status));
    found.retain(|consent| after.is_none_or(|after| order(&position(consent)) < order(&after)));
    found.sort_unstable_by_key(|consent| std::cmp::Reverse(order(&position(consent))));
    found.truncate(usize::try_from(size.get()).map_or(usize::MAX, |size| size.saturating_add(1)));
    let mut page = Page::cut(found, size.get(), position, Ok)?;
    page.withheld += if after.is_none() { corrupt } else { 0 };
    Ok(page)
}

fn position(consent: &Consent) -> ConsentPosition {
    ConsentPosition { recorded_at: consent.facts().recorded_at, id: consent.facts().id }
}

const fn order(position: &ConsentPosition) -> (Timestamp, ConsentId) {
    (position.recorded_at, position.id)
}
