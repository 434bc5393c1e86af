//! [`Importer`]: the tables, the keys of both systems and the engines together, as an operator has them.
//!
//! Invariant: what is done is in the database. A process that is killed leaves a migration that the next one goes on
//! with; one that is asked to stop pauses it.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use portal_core::{Clock, Entropy};
use portal_keys::{Keys, KeysError};
use portal_store::sealed::{RowDigests, Sealing};
use portal_store::{Database, ReadTx, StoreError};
use portal_upkeep::migration::{Finality, Migration, Migrations, Operation, OperationError, State, Step};
use portal_upkeep::scan::Scans;
use portal_upkeep::{Host, IntegrityConfig, MigrationConfig};
use tokio::sync::oneshot;

use crate::imported::{self, Seals};
use crate::migration::{self, ImportRecords};
use crate::reader::Reader;
use crate::refusal::{self, Cause};
use crate::scan::{ImportedTable, LegacyTable};
use crate::store;
use crate::survey::{self, Survey};

/// How often it is looked how far the work is.
const LOOK: Duration = Duration::from_millis(200);

/// What it is opened with.
pub struct Parts {
    /// The database, with the schema of this version.
    pub database: Database,
    /// The keys of the service whose records are imported.
    pub keys: Keys,
    /// The keys of the earlier system.
    pub reader: Reader,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Makes nonces.
    pub entropy: Arc<dyn Entropy>,
}

/// An import.
pub struct Importer {
    database: Database,
    keys: Keys,
    reader: Arc<Reader>,
    seals: Seals,
    migrations: Migrations,
    scans: Scans,
}

/// Why an operation did not begin.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Another operation was begun and not ended.
    #[error("{} is under way and has to end first", name(*.0))]
    Busy(Step),
    /// Counting rows failed, or the state does not allow it.
    #[error(transparent)]
    Operation(#[from] OperationError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There are records that can't be read, and nobody has said that they may be left behind.
    #[error("{0} legacy records can't be read and would be left behind")]
    Unreadable(u64),
    /// There are records that were not imported.
    #[error("{0} legacy records are not imported yet")]
    Unimported(u64),
}

/// What a commit does with records that can't be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unreadables {
    /// It leaves them where they are.
    Leave,
    /// It is refused because of them.
    Refuse,
}

/// How many records there are of each kind.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Legacy records.
    pub legacy: u64,
    /// Imported records.
    pub imported: u64,
    /// Legacy records of which nothing was made yet.
    pub left: u64,
    /// Legacy records that can't be imported, by cause.
    pub refused: Vec<(Cause, u64)>,
}

impl Counts {
    /// Counts them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn read(tx: &ReadTx) -> Result<Self, StoreError> {
        Ok(Self {
            legacy: store::count(tx).await?,
            imported: imported::count(tx).await?,
            left: migration::count(tx, Step::Move).await?,
            refused: refusal::counts(tx).await?,
        })
    }

    /// How many legacy records a commit leaves behind.
    #[must_use]
    pub fn staying(&self) -> u64 {
        self.refused.iter().filter(|(cause, _)| cause.stays()).map(|(_, records)| records).sum()
    }
}

/// What a step is called, to people.
#[must_use]
pub const fn name(step: Step) -> &'static str {
    match step {
        Step::Commit => "commit",
        Step::Move => "run",
        Step::Undo => "rollback",
        Step::Verify => "verify",
    }
}

impl Importer {
    /// Of `parts`.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { database, keys, reader, clock, entropy } = parts;
        let metrics = portal_store::Metrics::default();
        let sealing = Sealing::new(Arc::clone(&entropy), &metrics);
        let seals = Seals::new(sealing, RowDigests::new(keys.digest_key().clone(), &metrics));
        let reader = Arc::new(reader);
        let host = Host {
            service: keys.scope().service,
            database: database.clone(),
            clock: Arc::clone(&clock),
            entropy,
            metrics: portal_upkeep::Metrics::default(),
        };
        let import = ImportRecords::new(Arc::clone(&reader), seals.clone(), keys.clone(), clock);
        let migrations =
            Migrations::new(&host, MigrationConfig::alone(), Finality::not_kept(), vec![Arc::new(import)]);
        let legacy = LegacyTable::new(Arc::clone(&reader));
        let imported = ImportedTable::new(seals.clone(), keys.clone());
        let scans =
            Scans::new(&host, IntegrityConfig::on_demand(), vec![Arc::new(legacy), Arc::new(imported)]);
        Self { database, keys, reader, seals, migrations, scans }
    }

    /// The scans of both tables.
    #[must_use]
    pub const fn scans(&self) -> &Scans {
        &self.scans
    }

    /// How far the import is.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn migration(&self) -> Result<Migration, OperationError> {
        self.migrations.find(migration::NAME).await
    }

    /// How many records there are.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn counts(&self) -> Result<Counts, StoreError> {
        self.database.read("count_records", |tx| async move { Counts::read(&tx).await }).await
    }

    /// Starts an import, or goes on with one. What was refused before is looked at once more.
    ///
    /// # Errors
    /// [`Refused::Busy`] if a rollback or commit has to end first; [`Refused`].
    pub async fn start(&self, max_rows_per_second: Option<u32>) -> Result<Migration, Refused> {
        let start = Operation::Start { max_rows_per_second };
        let migration = self.migration().await?;
        match (migration.record.state, migration.record.step) {
            (State::Pending | State::RolledBack | State::Done, _) => {
                let apply = self.database.run_tx("start_import", |tx| async move {
                    refusal::clear(&tx).await?;
                    self.migrations.apply_in(&tx, migration::NAME, start).await
                });
                let migration = apply.await?;
                self.migrations.wake();
                Ok(migration)
            }
            (_, step @ (Step::Commit | Step::Undo)) => Err(Refused::Busy(step)),
            (_, Step::Move | Step::Verify) => Ok(self.migrations.apply(migration::NAME, start).await?),
        }
    }

    /// Compares everything once more.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn verify(&self) -> Result<Migration, Refused> {
        Ok(self.migrations.apply(migration::NAME, Operation::Verify).await?)
    }

    /// Takes the import back.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn roll_back(&self) -> Result<Migration, Refused> {
        Ok(self.migrations.apply(migration::NAME, Operation::RollBack).await?)
    }

    /// Deletes legacy records whose import verifies. One that was begun goes on.
    ///
    /// # Errors
    /// [`Refused::Unreadable`], [`Refused::Unimported`]; [`Refused`].
    pub async fn commit(&self, unreadables: Unreadables) -> Result<Migration, Refused> {
        let record = self.migration().await?.record;
        if record.state == State::Done && !record.committed {
            let counts = self.counts().await?;
            if counts.left > 0 {
                return Err(Refused::Unimported(counts.left));
            }
            if unreadables == Unreadables::Refuse && counts.staying() > 0 {
                return Err(Refused::Unreadable(counts.staying()));
            }
        }
        Ok(self.migrations.apply(migration::NAME, Operation::Commit).await?)
    }

    /// Works until the operation that was begun has ended or failed, and tells `progress` how far it is. If `stop`
    /// resolves before, it is paused.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn drive(
        &self,
        stop: impl Future<Output = ()>,
        mut progress: impl FnMut(&Migration),
    ) -> Result<Migration, OperationError> {
        let (enough, stopped) = oneshot::channel::<()>();
        let work = self.migrations.run(async move { drop(stopped.await) });
        let watch = async move {
            let mut stop = pin!(stop);
            let ended = loop {
                let migration = match self.migration().await {
                    Ok(migration) => migration,
                    Err(error) => break Err(error),
                };
                progress(&migration);
                if migration.record.state.active().is_none() {
                    break Ok(migration);
                }
                tokio::select! {
                    () = &mut stop => break self.migrations.apply(migration::NAME, Operation::Pause).await,
                    () = tokio::time::sleep(LOOK) => {}
                }
            };
            drop(enough);
            ended
        };
        tokio::join!(watch, work).0
    }

    /// What the legacy records say.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn survey_legacy(&self) -> Result<Survey, StoreError> {
        survey::legacy(&self.database, &self.reader).await
    }

    /// What the imported records say.
    ///
    /// # Errors
    /// [`KeysError`].
    pub async fn survey_imported(&self) -> Result<Survey, KeysError> {
        survey::imported(&self.database, &self.seals, &self.keys).await
    }

    /// Closes the keys and the database.
    pub async fn close(self) {
        self.keys.close().await;
        self.database.close().await;
    }
}
