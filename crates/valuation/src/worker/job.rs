//! One job, from the question of consent to the published result.
//!
//! Consent decides twice: before the records are read, and again when the engine is done. Whoever is not permitted at
//! the first is not read at all; whoever is not permitted any more at the second is taken out and the rest is valued
//! anew, until nobody is missing. If consent can't be asked, nothing is valued. Records are read batch by batch with
//! the keys of their people, also while they stand in the clear: whoever was erased is left out in the same way, and
//! each round leaves out somebody who was in before.

use std::collections::{HashMap, HashSet};
use std::num::{NonZeroU32, NonZeroUsize};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use portal_core::id::{DatasetId, PurposeId, SubjectId};
use portal_keys::{KeysError, SubjectKeys};
use portal_store::{ReadTx, StoreError};
use tokio::time::{Instant, sleep};

use super::keeper::{Gauge, keep};
use crate::app::App;
use crate::app::consent::ConsentUnavailable;
use crate::domain::dataset::{Counts, Dataset, Shape, Split, Task};
use crate::domain::id::WorkerId;
use crate::domain::outcome::{Member, Outcome};
use crate::domain::valuation::{Cause, Exclusion, Failure, Valuation};
use crate::engine::{self, EngineError, KnnShapley, TrainingSet, ValidationSet, Values};
use crate::error::Error;
use crate::store::appends::Stored;
use crate::store::results::SealedOutcome;
use crate::store::{Seals, appends, datasets, results, valuations};

/// Pause before consent or the keys are asked again, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How a job ended.
pub enum End {
    /// The process is stopping: to be given back.
    Drained,
    /// There will be no values.
    Failed(Failure),
    /// It is not this worker's any more.
    Lost,
    /// The values are there.
    Published,
    /// The database failed: to be run again.
    Stuck(Error),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        match error {
            Error::Store(StoreError::Disabled(_)) | Error::Keys(KeysError::Disabled(_)) => {
                tracing::error!(%error, "a stored record needs an algorithm that is switched off");
                Self::Failed(Failure::AlgorithmDisabled)
            }
            Error::Store(StoreError::Corrupt { .. }) => {
                tracing::error!(%error, "a stored record can't be read");
                Self::Failed(Failure::Unreadable)
            }
            Error::Keys(KeysError::EpochDisabled(_)) => {
                tracing::error!(%error, "the key of a stored record is switched off");
                Self::Failed(Failure::KeysUnavailable)
            }
            Error::Keys(error) if !error.is_retryable() => {
                tracing::error!(%error, "the key of a stored record can't be had");
                Self::Failed(Failure::Unreadable)
            }
            error => Self::Stuck(error),
        }
    }
}

/// A job that this worker holds.
pub struct Job {
    app: Arc<App>,
    worker: WorkerId,
    valuation: Valuation,
    patience: Duration,
    gauge: Arc<Gauge>,
}

/// Who is in and who is out.
struct People {
    permitted: HashSet<SubjectId>,
    /// Why others are out who were permitted once.
    gone: HashMap<SubjectId, Cause>,
}

/// People who were erased since their records were read.
struct Erased(Vec<SubjectId>);

/// What the engine is given, and what it is not.
#[derive(Default)]
struct Samples {
    training: Part,
    validation: Part,
    members: Vec<Member>,
    /// Records that were found, also those that are not given to it.
    found: Counts,
    subjects: HashSet<SubjectId>,
    excluded: HashMap<Cause, (Exclusion, HashSet<SubjectId>)>,
}

#[derive(Default)]
struct Part {
    features: Vec<f32>,
    labels: Vec<f32>,
}

/// Whether people without keys get some.
#[derive(Clone, Copy)]
enum Absent {
    Missing,
    New,
}

/// How long something is asked for again and again.
struct Patience {
    started: Instant,
    limit: Duration,
    pause: Duration,
}

impl Patience {
    fn new(limit: Duration) -> Self {
        Self { started: Instant::now(), limit, pause: FIRST_PAUSE }
    }

    /// Waits before the next time; `None` if there is none.
    async fn pause(&mut self) -> Option<()> {
        if self.started.elapsed() + self.pause > self.limit {
            return None;
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Some(())
    }
}

impl Job {
    pub fn new(app: Arc<App>, worker: WorkerId, valuation: Valuation, patience: Duration) -> Self {
        let gauge = Gauge::new(Arc::clone(&app.clock));
        Self { app, worker, valuation, patience, gauge }
    }

    pub fn worker(&self) -> WorkerId {
        self.worker
    }

    pub fn valuation(&self) -> &Valuation {
        &self.valuation
    }

    /// Runs until the values are published, there will be none, the job is lost or `stop` resolves.
    pub async fn run(&self, stop: &mut Pin<&mut impl Future<Output = ()>>) -> End {
        let end = tokio::select! {
            result = self.value() => result.err().unwrap_or(End::Published),
            () = keep(&self.app, self.valuation.id, self.worker, &self.gauge) => End::Lost,
            () = stop => End::Drained,
        };
        self.gauge.stop();
        end
    }

    async fn value(&self) -> Result<(), End> {
        let dataset = self.dataset().await?;
        let purpose = dataset.description.purpose;
        let everybody = self.everybody(dataset.id).await?;
        let permitted = self.permitted(purpose, &everybody).await?;
        let mut people = People { permitted, gone: HashMap::new() };
        loop {
            let samples = self.samples(&dataset, &people).await?;
            let Samples { training, validation, members, subjects, excluded, .. } = samples;
            let units = i64::try_from(validation.labels.len()).unwrap_or(i64::MAX);
            let nothing = empty_utility(dataset.description.shape.task, &validation.labels);
            let values = self.compute(dataset.description.shape, training, validation).await?;
            let subjects: Vec<_> = subjects.into_iter().collect();
            let still = self.permitted(purpose, &subjects).await?;
            let gone: Vec<_> = subjects.iter().copied().filter(|subject| !still.contains(subject)).collect();
            if gone.is_empty() {
                let outcome = Outcome::new(members, &values, nothing);
                match self.sealed(&outcome, &subjects).await? {
                    Ok(sealed) => {
                        return self.publish((&outcome, &sealed), exclusions(excluded), units).await;
                    }
                    Err(Erased(erased)) => {
                        tracing::info!(valuation = %self.valuation.id, subjects = erased.len(), "erased meanwhile");
                        people.leave(erased, Cause::Erased);
                    }
                }
            } else {
                tracing::info!(valuation = %self.valuation.id, subjects = gone.len(), "consents ended meanwhile");
                people.leave(gone, Cause::Withdrawn);
            }
        }
    }

    async fn dataset(&self) -> Result<Dataset, End> {
        let (id, owner) = (self.valuation.dataset, self.valuation.owner);
        let find = |tx: ReadTx| async move {
            let reading = self.app.seals.reading(&tx).await?;
            datasets::find(&reading, id, owner).await?.ok_or(Error::DatasetNotFound)
        };
        Ok(self.app.database.read("valued_dataset", find).await?)
    }

    async fn everybody(&self, dataset: DatasetId) -> Result<Vec<SubjectId>, End> {
        let revision = self.valuation.dataset_revision;
        let find = |tx: ReadTx| async move { Ok(appends::subjects(&tx, dataset, revision).await?) };
        let found: Result<_, Error> = self.app.database.read("valued_subjects", find).await;
        Ok(found?)
    }

    /// Asks consent, again and again until patience ends.
    async fn permitted(&self, purpose: PurposeId, subjects: &[SubjectId]) -> Result<HashSet<SubjectId>, End> {
        let mut patience = Patience::new(self.patience);
        loop {
            let error: ConsentUnavailable = match self.app.consent.permitted(purpose, subjects).await {
                Ok(permitted) => return Ok(permitted),
                Err(error) => error,
            };
            let id = self.valuation.id;
            tracing::warn!(
                valuation = %id,
                %error,
                cause = std::error::Error::source(&error),
                "consent can't be asked, so nothing is valued"
            );
            patience.pause().await.ok_or(End::Failed(Failure::ConsentUnavailable))?;
        }
    }

    /// The keys of `subjects`, asked for again and again until patience ends.
    async fn keys(&self, subjects: &[SubjectId], absent: Absent) -> Result<SubjectKeys, End> {
        let mut patience = Patience::new(self.patience);
        loop {
            let keys = match absent {
                Absent::Missing => self.app.keys.subjects(subjects).await,
                Absent::New => self.app.keys.subjects_or_new(subjects).await,
            };
            match keys {
                Ok(keys) => return Ok(keys),
                Err(error) if error.is_retryable() => {
                    let cause = std::error::Error::source(&error);
                    tracing::warn!(valuation = %self.valuation.id, %error, cause, "keys can't be had");
                }
                Err(error) => return Err(Error::Keys(error).into()),
            }
            patience.pause().await.ok_or(End::Failed(Failure::KeysUnavailable))?;
        }
    }

    /// The values, each sealed under the key of its person, unless some of `people`, whose records were used, were erased
    /// meanwhile.
    async fn sealed(
        &self,
        outcome: &Outcome,
        people: &[SubjectId],
    ) -> Result<Result<SealedOutcome, Erased>, End> {
        let keys = self.keys(people, Absent::New).await?;
        let erased: Vec<_> = people.iter().copied().filter(|subject| is_erased(&keys, *subject)).collect();
        if !erased.is_empty() {
            return Ok(Err(Erased(erased)));
        }
        Ok(Ok(results::seal(&self.app.seals, &keys, self.valuation.id, outcome)?))
    }

    /// Reads the records of `people.permitted`, and counts the others.
    ///
    /// What is appended never changes, so each batch is read in a transaction of its own: none waits for keys.
    async fn samples(&self, dataset: &Dataset, people: &People) -> Result<Samples, End> {
        let (id, revision, seals) = (dataset.id, self.valuation.dataset_revision, &self.app.seals);
        let places = |tx: ReadTx| async move {
            Ok::<_, Error>(appends::batches(&seals.reading(&tx).await?, id, revision).await?)
        };
        let places = self.app.database.read("valued_batches", places).await?;
        let (mut samples, width) = (Samples::default(), dataset.description.shape.width());
        for place in places {
            let read = |tx: ReadTx| async move {
                Ok::<_, Error>(appends::read(&seals.reading(&tx).await?, place).await?)
            };
            let batch = self.app.database.read("valued_records", read).await?;
            let subjects = batch.records.iter().map(|record| record.subject);
            let wanted = subjects.filter(|subject| people.permitted.contains(subject)).collect::<Vec<_>>();
            // Also for records in the clear: who was erased is known by the keys alone.
            let keys = self.keys(&wanted, Absent::Missing).await?;
            samples.add((batch, width), people, (seals, &keys))?;
        }
        // A dataset that has gone on since does not say how many records it had.
        if dataset.revision == revision && dataset.counts != samples.found {
            return Err(Error::from(appends::incomplete(id)).into());
        }
        Ok(samples)
    }

    /// Runs the engine on a thread of its own.
    async fn compute(&self, shape: Shape, training: Part, validation: Part) -> Result<Values, End> {
        self.gauge.begin(validation.labels.len());
        let (gauge, k) = (Arc::clone(&self.gauge), self.valuation.method.k);
        let run = move || {
            let (task, width) = (task(shape.task), size(shape.feature_count));
            let training = TrainingSet::new(task, width, training.features, &training.labels)?;
            let validation = ValidationSet::new(task, width, validation.features, &validation.labels)?;
            KnnShapley::new(size(k)).value(&training, &validation, &mut |progress| gauge.advance(progress))
        };
        match tokio::task::spawn_blocking(run).await {
            Ok(Ok(values)) => Ok(values),
            Ok(Err(error)) => Err(self.refused(error)),
            Err(error) => {
                tracing::error!(valuation = %self.valuation.id, %error, "the engine did not come back");
                Err(End::Failed(Failure::Internal))
            }
        }
    }

    fn refused(&self, error: EngineError) -> End {
        let failure = match error {
            EngineError::Cancelled => return End::Lost,
            EngineError::EmptySplit { split: engine::Split::Training } => {
                Failure::NothingToValue(Split::Training)
            }
            EngineError::EmptySplit { split: engine::Split::Validation } => {
                Failure::NothingToValue(Split::Validation)
            }
            error => {
                tracing::error!(valuation = %self.valuation.id, %error, "the engine refused");
                Failure::Internal
            }
        };
        End::Failed(failure)
    }

    async fn publish(
        &self,
        (outcome, sealed): (&Outcome, &SealedOutcome),
        exclusions: Vec<Exclusion>,
        units: i64,
    ) -> Result<(), End> {
        let (id, worker, now) = (self.valuation.id, self.worker, self.app.clock.now());
        let owner = self.valuation.owner;
        let exclusions = &exclusions;
        let publish = |tx: portal_store::Tx| async move {
            let writing = self.app.seals.writing(&tx).await?;
            let ours = valuations::succeed(&writing, id, worker, (&outcome.summary, units), now).await?;
            if ours {
                results::insert(&writing, id, sealed, exclusions).await?;
                let done = super::does("valuation.succeed", id, worker).on(owner);
                let done = done.with("records", outcome.summary.records);
                self.app.note(&writing, done, now).await?;
            }
            Ok(ours)
        };
        let published: Result<bool, Error> = self.app.database.run_tx("publish_valuation", publish).await;
        if published? { Ok(()) } else { Err(End::Lost) }
    }
}

impl People {
    /// Takes `subjects` out for `cause`.
    fn leave(&mut self, subjects: Vec<SubjectId>, cause: Cause) {
        for subject in subjects {
            self.permitted.remove(&subject);
            self.gone.insert(subject, cause);
        }
    }
}

impl Samples {
    /// Takes the permitted records of `batch`.
    fn add(
        &mut self,
        (batch, width): (Stored, usize),
        people: &People,
        (seals, keys): (&Seals, &SubjectKeys),
    ) -> Result<(), Error> {
        self.found.add(batch.split, batch.records.len());
        for record in &batch.records {
            let subject = record.subject;
            if !people.permitted.contains(&subject) {
                let cause = people.gone.get(&subject).copied().unwrap_or(Cause::NotPermitted);
                self.exclude(batch.split, subject, cause);
                continue;
            }
            if is_erased(keys, subject) {
                self.exclude(batch.split, subject, Cause::Erased);
                continue;
            }
            let (features, label) = batch.open(seals, keys, record, width)?;
            let part = match batch.split {
                Split::Training => &mut self.training,
                Split::Validation => &mut self.validation,
            };
            part.features.extend_from_slice(&features);
            part.labels.push(label);
            self.subjects.insert(subject);
            if batch.split == Split::Training {
                self.members.push(Member { record_id: record.record_id.clone(), subject });
            }
        }
        Ok(())
    }

    fn exclude(&mut self, split: Split, subject: SubjectId, cause: Cause) {
        let nothing = Exclusion { cause, training: 0, validation: 0, subjects: 0 };
        let (exclusion, subjects) = self.excluded.entry(cause).or_insert((nothing, HashSet::new()));
        match split {
            Split::Training => exclusion.training += 1,
            Split::Validation => exclusion.validation += 1,
        }
        subjects.insert(subject);
    }
}

fn is_erased(keys: &SubjectKeys, subject: SubjectId) -> bool {
    matches!(keys.get(subject), Err(KeysError::Erased(_)))
}

/// What the engine's game is worth without any training record.
fn empty_utility(task: Task, labels: &[f32]) -> f64 {
    match task {
        Task::Classification => 0.0,
        Task::Regression => {
            let squares: f64 = labels.iter().map(|label| f64::from(*label).powi(2)).sum();
            -squares / (labels.len().max(1) as f64)
        }
    }
}

fn exclusions(excluded: HashMap<Cause, (Exclusion, HashSet<SubjectId>)>) -> Vec<Exclusion> {
    let counted = |(exclusion, subjects): (Exclusion, HashSet<SubjectId>)| Exclusion {
        subjects: i64::try_from(subjects.len()).unwrap_or(i64::MAX),
        ..exclusion
    };
    excluded.into_values().map(counted).collect()
}

const fn task(task: Task) -> engine::Task {
    match task {
        Task::Classification => engine::Task::Classification,
        Task::Regression => engine::Task::Regression,
    }
}

fn size(number: NonZeroU32) -> NonZeroUsize {
    NonZeroUsize::try_from(number).unwrap_or(NonZeroUsize::MAX)
}
