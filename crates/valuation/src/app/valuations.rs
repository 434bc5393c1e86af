//! Starting, following and cancelling valuations, and reading their values.

use std::num::NonZeroU32;

use portal_core::id::{AccountId, DatasetId, Id, SubjectId, ValuationId};
use portal_core::{Invalid, Timestamp};
use portal_mesh::Permit;
use portal_mesh::policy::Action;
use portal_store::ReadTx;

use super::once::Once;
use super::{App, account};
use crate::domain::dataset::{Dataset, Split};
use crate::domain::outcome::{RecordValue, SubjectValue};
use crate::domain::valuation::{Method, Progress, State, Valuation};
use crate::error::Error;
use crate::service::policy::{GetSubjectValue, ListRecordValues, ListSubjectValues, StartValuation};
use crate::store::results::Window;
use crate::store::{datasets, results, valuations};

/// Neighbours if the caller does not say.
const DEFAULT_K: u32 = 5;

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
        let once = &once;
        let reply = self
            .database
            .run_tx("start_valuation", |tx| async move {
                let start = async {
                    let dataset = datasets::find(&tx, dataset, owner).await?.ok_or(Error::DatasetNotFound)?;
                    let valuation = valuation_of(&dataset, id, k, now)?;
                    valuations::insert(&tx, &valuation).await?;
                    Ok(valuation)
                };
                once.run(&tx, now, start).await
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
        let owner = account(permit)?;
        self.database.read("get_valuation", |tx| async move { owned(&tx, id, owner).await }).await
    }

    /// The caller's valuations, newest first.
    pub async fn valuations<A: Action>(
        &self,
        permit: &Permit<A>,
        (dataset, state): (Option<DatasetId>, Option<State>),
        (after, limit): (Option<ValuationId>, u32),
    ) -> Result<Vec<Valuation>, Error> {
        let filter = &valuations::Filter { owner: account(permit)?, dataset, state };
        self.database
            .read("list_valuations", |tx| async move {
                Ok(valuations::list(&tx, filter, after, limit.into()).await?)
            })
            .await
    }

    /// Cancels one of the caller's valuations. From then on it can't get values; its worker stops soon after.
    pub async fn cancel_valuation<A: Action>(
        &self,
        permit: &Permit<A>,
        id: ValuationId,
        once: Once<Valuation>,
    ) -> Result<Vec<u8>, Error> {
        let (owner, now, once) = (account(permit)?, self.clock.now(), &once);
        let reply = self
            .database
            .run_tx("cancel_valuation", |tx| async move {
                let cancel = async {
                    owned(&tx, id, owner).await?;
                    valuations::cancel(&tx, id, now).await?;
                    owned(&tx, id, owner).await
                };
                once.run(&tx, now, cancel).await
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
    ) -> Result<Vec<(i64, RecordValue)>, Error> {
        let (owner, window) = (account(permit)?, &window);
        self.database
            .read("list_record_values", |tx| async move {
                succeeded(&owned(&tx, id, owner).await?)?;
                Ok(results::records(&tx, id, window).await?)
            })
            .await
    }

    /// Values of subjects, with their positions: everybody's for the owner of the valuation, else the caller's own.
    pub async fn subject_values(
        &self,
        permit: &Permit<ListSubjectValues>,
        id: ValuationId,
        window: Window,
    ) -> Result<Vec<(i64, SubjectValue)>, Error> {
        let Some(own) = permit.only() else {
            let (owner, window) = (account(permit)?, &window);
            return self
                .database
                .read("list_subject_values", |tx| async move {
                    succeeded(&owned(&tx, id, owner).await?)?;
                    Ok(results::subjects(&tx, id, window).await?)
                })
                .await;
        };
        // A subject can't tell a valuation it is not part of from one that does not exist: both have nothing of it.
        let window = &Window { subject: Some(own), ..window };
        self.database
            .read("list_own_values", |tx| async move { Ok(results::subjects(&tx, id, window).await?) })
            .await
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
        self.database
            .read("get_subject_value", |tx| async move {
                if !own {
                    succeeded(&owned(&tx, id, owner).await?)?;
                }
                let found = results::subjects(&tx, id, window).await?.pop();
                found.map(|(_, value)| value).ok_or(Error::ValuationNotFound)
            })
            .await
    }
}

async fn owned(tx: &ReadTx, id: ValuationId, owner: AccountId) -> Result<Valuation, Error> {
    valuations::find(tx, id, owner).await?.ok_or(Error::ValuationNotFound)
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
