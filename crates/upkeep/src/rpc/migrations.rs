//! `MigrationService`.

use portal_core::Invalid;
use portal_mesh::Caller;
use portal_mesh::convert::{duration, timestamp};
use portal_mesh::policy::Action;
use portal_proto::common::v1 as pb;
use portal_store::{Tx, migrate};
use prost::Message;
use tonic::{Request, Response, Status};

use super::failure::Failure;
use super::once::{Once, Outcome};
use super::pages::Pages;
use super::{Answer, Inner, Operators, asked, count, rate, refused, schema};
use crate::migration::{Migration, Operation, OperationError, State};
use crate::reasons::MIGRATION_OF_SCHEMA;

impl Operators {
    /// A page of the migrations: those of the schema, then those of the data.
    ///
    /// # Errors
    /// INVALID_FIELD; what the database failed with.
    pub async fn list_migrations<A: Action>(
        &self,
        request: Request<pb::ListMigrationsRequest>,
    ) -> Answer<pb::ListMigrationsResponse> {
        let (caller, request) = asked::<A, _>(request)?;
        let pb::ListMigrationsRequest { page_size, page_token, kind, state } = request;
        let page = (page_size, page_token.as_str());
        let pages = Pages::parse::<A>(&self.0.page_tokens, &caller, [kind, state], page);
        let mut invalid = Invalid::new();
        let known = pb::MigrationKind::try_from(kind).map_err(|_| "must be a kind of migration");
        invalid.check("kind", known);
        let known = pb::MigrationState::try_from(state).map_err(|_| "must be a state of migrations");
        invalid.check("state", known);
        let pages = invalid.finish(Some(())).and(pages).map_err(refused)?;
        let all = self.0.migrations().await?;
        let wanted = all.into_iter().filter(|migration| {
            (kind == 0 || kind == migration.kind) && (state == 0 || state == migration.state)
        });
        let (migrations, next_page_token) =
            pages.cut(wanted, |migration| migration.name.clone().into_bytes());
        Ok(Response::new(pb::ListMigrationsResponse { migrations, next_page_token }))
    }

    /// One migration with its progress.
    ///
    /// # Errors
    /// MIGRATION_NOT_FOUND; what the database failed with.
    pub async fn get_migration<A: Action>(
        &self,
        request: Request<pb::GetMigrationRequest>,
    ) -> Answer<pb::Migration> {
        let (_, request) = asked::<A, _>(request)?;
        let name = request.name.as_str();
        let found = match self.0.migrations.find(name).await {
            Err(OperationError::NotFound) => {
                let all = self.0.schema.list(&self.0.host.database).await.map_err(Failure::from)?;
                all.iter().find(|migration| migration.name == name).map(of_schema)
            }
            found => Some(of_data(&found.map_err(Failure::from)?)),
        };
        found.map(Response::new).ok_or_else(|| Failure::from(OperationError::NotFound).into())
    }

    /// Starts a data migration, or lets it go on; or tells what a start would do.
    ///
    /// # Errors
    /// MIGRATION_NOT_FOUND, MIGRATION_OF_SCHEMA, MIGRATION_DONE, INVALID_FIELD; what the database failed with.
    pub async fn start_migration<A: Action>(
        &self,
        request: Request<pb::StartMigrationRequest>,
    ) -> Answer<pb::Migration> {
        let (caller, request) = asked::<A, _>(request)?;
        let mut invalid = Invalid::new();
        let max_rows_per_second = rate(&mut invalid, request.max_rows_per_second);
        let once = self.0.once::<A>(&mut invalid, &caller, &request, &request.request_id);
        invalid.finish(Some(())).map_err(refused)?;
        if request.validate_only {
            let plan = self.0.migrations.plan(&request.name, max_rows_per_second).await;
            let plan = plan.map_err(|error| self.0.refusal(&request.name, error))?;
            return Ok(Response::new(of_data(&plan)));
        }
        self.0.steer(&request.name, Operation::Start { max_rows_per_second }, once.as_ref()).await
    }

    /// Pauses a data migration after its present batch.
    ///
    /// # Errors
    /// MIGRATION_NOT_FOUND, MIGRATION_OF_SCHEMA, MIGRATION_NOT_RUNNING, INVALID_FIELD; what the database failed with.
    pub async fn pause_migration<A: Action>(
        &self,
        request: Request<pb::PauseMigrationRequest>,
    ) -> Answer<pb::Migration> {
        let (caller, request) = asked::<A, _>(request)?;
        let (name, id) = (&request.name, &request.request_id);
        self.0.ask::<A>(&caller, &request, (name, id), Operation::Pause).await
    }

    /// Puts back what a data migration moved.
    ///
    /// # Errors
    /// MIGRATION_NOT_FOUND, MIGRATION_OF_SCHEMA, MIGRATION_NOT_STARTED, MIGRATION_COMMITTED, INVALID_FIELD; what the
    /// database failed with.
    pub async fn rollback_migration<A: Action>(
        &self,
        request: Request<pb::RollbackMigrationRequest>,
    ) -> Answer<pb::Migration> {
        let (caller, request) = asked::<A, _>(request)?;
        let (name, id) = (&request.name, &request.request_id);
        self.0.ask::<A>(&caller, &request, (name, id), Operation::RollBack).await
    }

    /// Compares everything once more that a data migration has moved.
    ///
    /// # Errors
    /// MIGRATION_NOT_FOUND, MIGRATION_OF_SCHEMA, MIGRATION_NOT_DONE, MIGRATION_COMMITTED, INVALID_FIELD; what the
    /// database failed with.
    pub async fn verify_migration<A: Action>(
        &self,
        request: Request<pb::VerifyMigrationRequest>,
    ) -> Answer<pb::Migration> {
        let (caller, request) = asked::<A, _>(request)?;
        let (name, id) = (&request.name, &request.request_id);
        self.0.ask::<A>(&caller, &request, (name, id), Operation::Verify).await
    }

    /// Drops the old form of what a data migration has moved and verified.
    ///
    /// # Errors
    /// MIGRATION_NOT_FOUND, MIGRATION_OF_SCHEMA, MIGRATION_NOT_DONE, INVALID_FIELD; what the database failed with.
    pub async fn commit_migration<A: Action>(
        &self,
        request: Request<pb::CommitMigrationRequest>,
    ) -> Answer<pb::Migration> {
        let (caller, request) = asked::<A, _>(request)?;
        let (name, id) = (&request.name, &request.request_id);
        self.0.ask::<A>(&caller, &request, (name, id), Operation::Commit).await
    }
}

impl Inner {
    /// All of them, in the order in which they apply.
    async fn migrations(&self) -> Result<Vec<pb::Migration>, Failure> {
        let schema = self.schema.list(&self.host.database).await?;
        let data = self.migrations.list().await?;
        Ok(schema.iter().map(of_schema).chain(data.iter().map(of_data)).collect())
    }

    fn once<A: Action>(
        &self,
        invalid: &mut Invalid,
        caller: &Caller,
        request: &impl Message,
        request_id: &str,
    ) -> Option<Once> {
        Once::parse::<A>(invalid, caller, request, (request_id, self.host.clock.now()))
    }

    async fn ask<A: Action>(
        &self,
        caller: &Caller,
        request: &impl Message,
        (name, request_id): (&str, &str),
        operation: Operation,
    ) -> Answer<pb::Migration> {
        let mut invalid = Invalid::new();
        let once = self.once::<A>(&mut invalid, caller, request, request_id);
        invalid.finish(Some(())).map_err(refused)?;
        self.steer(name, operation, once.as_ref()).await
    }

    async fn steer(&self, name: &str, operation: Operation, once: Option<&Once>) -> Answer<pb::Migration> {
        let steer = |tx: Tx| async move {
            if let Some(kept) = self.before(&tx, once).await? {
                return Ok(Outcome::Again(kept));
            }
            let migration = of_data(&self.migrations.apply_in(&tx, name, operation).await?);
            self.keep(&tx, once, &migration.encode_to_vec()).await?;
            Ok::<_, Failure>(Outcome::First(migration))
        };
        match self.host.database.run_tx("steer_migration", steer).await {
            Err(Failure::Operation(error)) => Err(self.refusal(name, error)),
            Err(failure) => Err(failure.into()),
            Ok(Outcome::Again(kept)) => Ok(Response::new(self.open(once, kept).await?)),
            Ok(Outcome::First(migration)) => {
                self.migrations.wake();
                Ok(Response::new(migration))
            }
        }
    }

    /// Schema migrations have names too, but take no orders.
    fn refusal(&self, name: &str, error: OperationError) -> Status {
        match error {
            OperationError::NotFound if self.schema.has(name) => MIGRATION_OF_SCHEMA.status(),
            error => Failure::from(error).into(),
        }
    }
}

fn of_schema(migration: &migrate::Migration) -> pb::Migration {
    let state = if migration.applied { pb::MigrationState::Done } else { pb::MigrationState::Pending };
    pb::Migration {
        name: migration.name.clone(),
        description: schema::description(&migration.name),
        kind: pb::MigrationKind::Schema.into(),
        state: state.into(),
        committed: migration.applied,
        ..pb::Migration::default()
    }
}

fn of_data(migration: &Migration) -> pb::Migration {
    let Migration { description, record, progress } = migration;
    let update_time = record.started_at.map(|_| timestamp(record.changed_at.max(progress.updated_at)));
    pb::Migration {
        name: record.name.clone(),
        description: (*description).to_owned(),
        kind: pb::MigrationKind::Data.into(),
        state: state(record.state).into(),
        reversible: record.reversible(),
        rows_total: count(progress.rows_total),
        rows_done: count(progress.rows_done),
        rows_verified: count(progress.rows_verified),
        start_time: record.started_at.map(timestamp),
        update_time,
        end_time: record.ended_at.map(timestamp),
        time_left: migration.time_left().map(duration),
        failure_reason: record.failure_reason.clone().unwrap_or_default(),
        committed: record.committed,
        step_rows_total: count(progress.step_total),
        step_rows_done: count(progress.step_done),
    }
}

const fn state(state: State) -> pb::MigrationState {
    match state {
        State::Committing => pb::MigrationState::Committing,
        State::Done => pb::MigrationState::Done,
        State::Failed => pb::MigrationState::Failed,
        State::Paused => pb::MigrationState::Paused,
        State::Pending => pb::MigrationState::Pending,
        State::RolledBack => pb::MigrationState::RolledBack,
        State::RollingBack => pb::MigrationState::RollingBack,
        State::Running => pb::MigrationState::Running,
        State::Verifying => pb::MigrationState::Verifying,
    }
}
