//! Starting, following and cancelling valuations, and reading their values.

use std::num::NonZeroU32;

use portal_core::id::{AccountId, DatasetId, Id, SubjectId, ValuationId};
use portal_core::{Invalid, Timestamp};
use portal_mesh::Permit;
use portal_mesh::policy::Action;

use super::once::Once;
use super::{App, account, happened};
use crate::domain::dataset::{Dataset, Split};
use crate::domain::outcome::{RecordValue, SubjectValue};
use crate::domain::valuation::{Extremes, Method, Progress, State, Summary, Valuation};
use crate::error::Error;
use crate::service::policy::{GetSubjectValue, ListRecordValues, ListSubjectValues, StartValuation};
use crate::store::results::{Found, Valued, Window};
use crate::store::{Listed, Reading, datasets, results, valuations};

/// Neighbours if the caller does not say.
const DEFAULT_K: u32 = 5;
/// Values read at once to find the one at an end, if the first does not open.
const NEXT_ENDS: u64 = 100;

impl App {
    /// Asks for a valuation of one of the caller's datasets as it is now, with `k` neighbours.
    pub async fn start_valuation(
        &self,
        permit: &Permit<StartValuation>,
        (dataset, k): (DatasetId, Option<NonZeroU32>),
        once: Once<Valuation>,
    ) -> Result<Vec<u8>, Error> {
        let (owner, now) = (account(permit)?, self.clock.now());
        let id = ValuationId::generate(now, self.entropy.as_ref());
        let happened = &happened("valuation.start", permit.caller().key(), owner).to(id);
        let once = &once;
        let reply = self
            .database
            .run_tx("start_valuation", |tx| async move {
                let writing = &self.seals.writing(&tx).await?;
                let start = async {
                    let dataset = datasets::find(writing, dataset, owner).await?;
                    let valuation = valuation_of(&dataset.ok_or(Error::DatasetNotFound)?, id, k, now)?;
                    valuations::insert(writing, &valuation).await?;
                    let of = happened.clone().with("dataset", valuation.dataset);
                    let of = of.with("revision", valuation.dataset_revision).with("k", valuation.method.k);
                    self.note(writing, of, now).await?;
                    Ok(valuation)
                };
                once.run((&self.replies, &self.requests), writing, now, start).await
            })
            .await?;
        self.signals.changed.send_replace(());
        Ok(reply)
    }

    /// One of the caller's valuations.
    pub async fn valuation<A: Action>(
        &self,
        permit: &Permit<A>,
        id: ValuationId,
    ) -> Result<Valuation, Error> {
        self.with_extremes(self.progress(permit, id).await?).await
    }

    /// One of the caller's valuations, without what takes the keys of people.
    pub async fn progress<A: Action>(&self, permit: &Permit<A>, id: ValuationId) -> Result<Valuation, Error> {
        let owner = account(permit)?;
        let read = self.database.read("get_valuation", |tx| async move {
            owned(&self.seals.reading(&tx).await?, id, owner).await
        });
        read.await
    }

    /// The caller's valuations, newest first.
    pub async fn valuations<A: Action>(
        &self,
        permit: &Permit<A>,
        (dataset, state): (Option<DatasetId>, Option<State>),
        (after, limit): (Option<ValuationId>, u32),
    ) -> Result<Vec<Listed<ValuationId, Valuation>>, Error> {
        let filter = &valuations::Filter { owner: account(permit)?, dataset, state };
        let mut listed: Vec<Listed<ValuationId, Valuation>> = self
            .database
            .read("list_valuations", |tx| async move {
                let reading = self.seals.reading(&tx).await?;
                Ok::<_, Error>(valuations::list(&reading, filter, after, limit.into()).await?)
            })
            .await?;
        for (_, valuation) in &mut listed {
            if let Some(found) = valuation.take() {
                *valuation = Some(self.with_extremes(found).await?);
            }
        }
        Ok(listed)
    }

    /// `valuation` with its smallest and largest value, which are looked up where they are sealed: of the records whose
    /// people were not erased.
    async fn with_extremes(&self, valuation: Valuation) -> Result<Valuation, Error> {
        let Some(summary) = valuation.summary.filter(|summary| summary.extremes.is_none()) else {
            return Ok(valuation);
        };
        let (min, max) = (self.extreme(valuation.id, true).await?, self.extreme(valuation.id, false).await?);
        let extremes = min.zip(max).map(|(min, max)| Extremes { min, max });
        Ok(Valuation { summary: Some(Summary { extremes, ..summary }), ..valuation })
    }

    /// The value at one end of a valuation; `None` if everybody in it was erased.
    async fn extreme(&self, id: ValuationId, lowest_first: bool) -> Result<Option<f64>, Error> {
        let mut window = Window { lowest_first, after: None, subject: None, limit: 1 };
        loop {
            let at = &window;
            let find = |tx| async move {
                let reading = self.seals.reading(&tx).await?;
                Ok::<_, Error>(results::records(&reading, id, at).await?)
            };
            let opened = self.opened(self.database.read("find_extreme_value", find).await?).await?;
            let Some((last, _)) = opened.last() else { return Ok(None) };
            window = Window { after: Some(*last), limit: NEXT_ENDS, ..window };
            for (_, value) in opened {
                if let Some(value) = results::seen(value)? {
                    return Ok(Some(value.standing.value));
                }
            }
        }
    }

    /// Cancels one of the caller's valuations. From then on it can't get values; its worker stops soon after.
    pub async fn cancel_valuation<A: Action>(
        &self,
        permit: &Permit<A>,
        id: ValuationId,
        once: Once<Valuation>,
    ) -> Result<Vec<u8>, Error> {
        let (owner, now, once) = (account(permit)?, self.clock.now(), &once);
        let happened = &happened("valuation.cancel", permit.caller().key(), owner).to(id);
        let reply = self
            .database
            .run_tx("cancel_valuation", |tx| async move {
                let writing = &self.seals.writing(&tx).await?;
                let cancel = async {
                    owned(writing, id, owner).await?;
                    if valuations::cancel(writing, id, now).await? {
                        self.note(writing, happened.clone(), now).await?;
                    }
                    owned(writing, id, owner).await
                };
                once.run((&self.replies, &self.requests), writing, now, cancel).await
            })
            .await?;
        self.signals.cancelled.notify_waiters();
        self.signals.changed.send_replace(());
        Ok(reply)
    }

    /// Values of the records of one of the caller's valuations, with their positions.
    pub async fn record_values(
        &self,
        permit: &Permit<ListRecordValues>,
        id: ValuationId,
        window: Window,
    ) -> Result<Vec<Listed<i64, RecordValue>>, Error> {
        let (owner, window) = (account(permit)?, &window);
        let found: Found<_> = self
            .database
            .read("list_record_values", |tx| async move {
                let reading = self.seals.reading(&tx).await?;
                succeeded(&owned(&reading, id, owner).await?)?;
                Ok::<_, Error>(results::records(&reading, id, window).await?)
            })
            .await?;
        seen(self.opened(found).await?)
    }

    /// Values of subjects, with their positions: everybody's for the owner of the valuation, else the caller's own.
    pub async fn subject_values(
        &self,
        permit: &Permit<ListSubjectValues>,
        id: ValuationId,
        window: Window,
    ) -> Result<Vec<Listed<i64, SubjectValue>>, Error> {
        let Some(own) = permit.only() else {
            let owner = account(permit)?;
            return seen(self.subject_values_of(id, Some(owner), &window).await?);
        };
        // A subject can't tell a valuation it is not part of from one that does not exist: both have nothing of it.
        let window = Window { subject: Some(own), ..window };
        seen(self.subject_values_of(id, None, &window).await?)
    }

    /// Values of subjects; of an owner's valuation only if one is given.
    async fn subject_values_of(
        &self,
        id: ValuationId,
        owner: Option<AccountId>,
        window: &Window,
    ) -> Result<Opened<SubjectValue>, Error> {
        let found: Found<_> = self
            .database
            .read("list_subject_values", |tx| async move {
                let reading = self.seals.reading(&tx).await?;
                if let Some(owner) = owner {
                    succeeded(&owned(&reading, id, owner).await?)?;
                }
                Ok::<_, Error>(results::subjects(&reading, id, window).await?)
            })
            .await?;
        self.opened(found).await
    }

    /// Values, opened with the keys of their people.
    async fn opened<V: Valued>(&self, found: Found<V>) -> Result<Opened<V>, Error> {
        let keys = self.keys.subjects(&found.people()).await?;
        Ok(found.open(&self.seals, &keys))
    }

    /// The value of one subject, for itself or for the owner of the valuation.
    pub async fn subject_value(
        &self,
        permit: &Permit<GetSubjectValue>,
        id: ValuationId,
        subject: SubjectId,
    ) -> Result<SubjectValue, Error> {
        let user = permit.caller().user().ok_or(Error::NoAccount)?;
        let (owner, own) = (user.account, user.subject == subject);
        let window = &Window { lowest_first: false, after: None, subject: Some(subject), limit: 1 };
        let found = self.subject_values_of(id, (!own).then_some(owner), window).await?.pop();
        found.ok_or(Error::ValuationNotFound)?.1
    }
}

type Opened<V> = Vec<(i64, Result<V, Error>)>;

/// A list for a page: what is corrupt or erased is left out.
fn seen<V>(opened: Opened<V>) -> Result<Vec<Listed<i64, V>>, Error> {
    opened.into_iter().map(|(position, value)| Ok((position, results::seen(value)?))).collect()
}

async fn owned(reading: &Reading<'_>, id: ValuationId, owner: AccountId) -> Result<Valuation, Error> {
    valuations::find(reading, id, owner).await?.ok_or(Error::ValuationNotFound)
}

fn succeeded(valuation: &Valuation) -> Result<(), Error> {
    if valuation.state == State::Succeeded { Ok(()) } else { Err(Error::NotSucceeded) }
}

fn valuation_of(
    dataset: &Dataset,
    id: ValuationId,
    k: Option<NonZeroU32>,
    now: Timestamp,
) -> Result<Valuation, Error> {
    let counts = dataset.counts;
    if counts.validation == 0 {
        return Err(Error::NothingToValue(Split::Validation));
    }
    let training = u32::try_from(counts.training).unwrap_or(u32::MAX);
    let Some(training) = NonZeroU32::new(training) else {
        return Err(Error::NothingToValue(Split::Training));
    };
    if k.is_some_and(|k| k > training) {
        let problem = format!("must not exceed the {training} training records");
        return Err(Error::Invalid(Invalid::field("parameters.k", problem)));
    }
    let default = NonZeroU32::new(DEFAULT_K).unwrap_or(NonZeroU32::MIN);
    Ok(Valuation {
        id,
        dataset: dataset.id,
        dataset_revision: dataset.revision,
        owner: dataset.owner,
        method: Method { k: k.unwrap_or_else(|| default.min(training)) },
        state: State::Pending,
        failure: None,
        attempt: 0,
        progress: Progress { measured_at: now, ..Progress::default() },
        exclusions: Vec::new(),
        summary: None,
        created_at: now,
        started_at: None,
        ended_at: None,
    })
}
