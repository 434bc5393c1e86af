//! `portal migrate data`: the data migrations of one service, by the same record in its database that operators steer by
//! calls. Whoever has the lease moves the rows: the running service or this command, and each goes on where the other
//! was killed.

use std::time::Duration;

use anyhow::bail;
use portal_upkeep::migration::{
    Migration, Operation, OperationError, State, Step, TransitionError, finality,
};

use crate::cli::{DataCommand, DataTarget};
use crate::config::Unusable;
use crate::progress::{self, Bar};
use crate::serve::{self, Stop};
use crate::services::Opened;
use crate::{output, up};

/// How often the progress is looked at.
const LOOK: Duration = Duration::from_millis(200);

pub async fn run(command: &DataCommand) -> anyhow::Result<()> {
    let (DataCommand::Commit { target, .. }
    | DataCommand::Pause(target)
    | DataCommand::Reopen(target)
    | DataCommand::Rollback(target)
    | DataCommand::Start { target, .. }
    | DataCommand::Status(target)
    | DataCommand::Verify(target)) = command;
    let stop = Stop::listen()?;
    let mut config = target.target.config()?;
    // While we hold the lock nobody else can run on the data directory.
    let lock = match &target.target.config {
        None => up::lock(&target.target.data_dir)?,
        Some(_) => None,
    };
    if lock.is_some() {
        config = config.alone();
    }
    if let DataCommand::Reopen(_) = command {
        return reopen(target).await;
    }
    let Some(opened) = config.open(&serve::host()).await? else {
        return Err(super::no_database().into());
    };
    let result = tokio::select! {
        result = steer(command, target, &opened, lock.is_some()) => result,
        () = stop.requested() => Err(anyhow::anyhow!(
            "stopped: portal migrate data start goes on where it was, unless the running service does"
        )),
    };
    opened.close().await;
    result
}

async fn steer(
    command: &DataCommand,
    target: &DataTarget,
    opened: &Opened,
    alone: bool,
) -> anyhow::Result<()> {
    match command {
        DataCommand::Reopen(_) | DataCommand::Status(_) => {}
        DataCommand::Pause(_) => each(opened, target, Operation::Pause).await?,
        DataCommand::Commit { compact, .. } => {
            each(opened, target, Operation::Commit).await?;
            // Pages that the earlier version has let go of still hold what stood there in the clear.
            if (alone || *compact) && !opened.database.compact().await? {
                output::line(
                    "somebody still reads the files: repeat this, so that they forget the old form too",
                );
            }
        }
        DataCommand::Rollback(_) => each(opened, target, Operation::RollBack).await?,
        DataCommand::Verify(_) => each(opened, target, Operation::Verify).await?,
        DataCommand::Start { max_rows_per_second, plan, .. } => {
            // None at all is no rate that anybody can mean: it stands for no limit.
            let max_rows_per_second = max_rows_per_second.map(|rate| if rate == 0 { u32::MAX } else { rate });
            if *plan {
                return plans(opened, target, max_rows_per_second).await;
            }
            each(opened, target, Operation::Start { max_rows_per_second }).await?;
        }
    }
    status(opened, target).await
}

/// Works on the keys alone: the service's data does not open before.
async fn reopen(target: &DataTarget) -> anyhow::Result<()> {
    let Some(name) = &target.name else {
        return Err(Unusable::one("reopen needs the name of the data migration".to_owned()).into());
    };
    let keys = crate::keys::open(&target.target).await?;
    let noted = finality::reopen(&keys, name).await;
    keys.close().await;
    if !noted? {
        let problem = format!("the keys of {} do not say that {name} is committed", target.target.service);
        return Err(Unusable::one(problem).into());
    }
    output::line(&format!("{name} is where the data says: portal migrate data status shows it"));
    Ok(())
}

/// The migrations that are meant, in the order in which they apply.
async fn meant(opened: &Opened, target: &DataTarget) -> anyhow::Result<Vec<Migration>> {
    let mut all = opened.migrations.list().await?;
    if let Some(name) = &target.name {
        all.retain(|migration| migration.record.name == *name);
        if all.is_empty() {
            let problem =
                format!("{} has no data migration {name}: status shows them", target.target.service);
            return Err(Unusable::one(problem).into());
        }
    }
    Ok(all)
}

async fn status(opened: &Opened, target: &DataTarget) -> anyhow::Result<()> {
    let head = ["name", "state", "rows", "verified", "rate", "left", ""].map(str::to_owned);
    let mut rows = vec![head];
    rows.extend(meant(opened, target).await?.iter().map(row));
    output::table(&rows);
    Ok(())
}

fn row(migration: &Migration) -> [String; 7] {
    let Migration { record, progress, .. } = migration;
    let state = match (record.state, record.committed) {
        (State::Done, true) => "committed",
        (state, _) => state.name(),
    };
    let rate = match record.state.active() {
        Some(_) if progress.rows_per_second > 0.0 => format!("{:.0}/s", progress.rows_per_second),
        Some(_) | None => "-".to_owned(),
    };
    [
        record.name.clone(),
        state.to_owned(),
        format!("{}/{}", progress.rows_done, progress.rows_total),
        progress.rows_verified.to_string(),
        rate,
        migration.time_left().map_or_else(|| "-".to_owned(), progress::duration),
        record.failure_reason.clone().unwrap_or_default(),
    ]
}

async fn plans(opened: &Opened, target: &DataTarget, rate: Option<u32>) -> anyhow::Result<()> {
    for migration in meant(opened, target).await? {
        let name = &migration.record.name;
        match opened.migrations.plan(name, rate).await {
            Ok(plan) => {
                let rows = plan.progress.step_total;
                let time = plan.progress.time_left().map(progress::duration);
                let time = time.map_or_else(String::new, |time| format!(", {time} at the rate allowed"));
                output::line(&format!("{name}: {rows} rows{time}. {}", migration.description));
            }
            Err(OperationError::Transition(error)) => output::line(&format!("{name}: {error}")),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Asks for `operation` on every migration that is meant, and waits until what it begins has ended.
async fn each(opened: &Opened, target: &DataTarget, operation: Operation) -> anyhow::Result<()> {
    let mut migrations = meant(opened, target).await?;
    if operation == Operation::RollBack {
        migrations.reverse();
    }
    for migration in migrations {
        let name = migration.record.name.as_str();
        // One that repeats is begun again by the service, when there is a reason.
        let over = migration.record.committed && matches!(operation, Operation::Start { .. });
        if over && target.name.is_none() {
            continue;
        }
        // The last rows that an earlier version has changed are moved before the new form alone is believed: until their
        // batch of the commit they would be taken for corrupt.
        let commits = operation == Operation::Commit && !migration.record.committed;
        if commits && migration.record.state == State::Done {
            let verifying = opened.migrations.apply(name, Operation::Verify).await?;
            wait(opened, name, verifying).await?;
        }
        match opened.migrations.apply(name, operation).await {
            Ok(started) => {
                wait(opened, name, started).await?;
            }
            Err(OperationError::Transition(error))
                if is_so(operation, error)
                    || target.name.is_none() && is_unconcerned(opened, name, operation, error) =>
            {
                output::line(&format!("{name}: {error}"));
            }
            Err(error) => return Err(anyhow::Error::from(error).context(name.to_owned())),
        }
    }
    Ok(())
}

/// What is as it was asked to be already.
const fn is_so(operation: Operation, error: TransitionError) -> bool {
    matches!(
        (operation, error),
        (Operation::Start { .. }, TransitionError::Done) | (Operation::Commit, TransitionError::Committed)
    )
}

/// What nobody can have meant who has named none: to pause what does not run, or to put back what stands as it was, or
/// what the service itself starts again and again. Everything else was not done, and that is no success.
fn is_unconcerned(opened: &Opened, name: &str, operation: Operation, error: TransitionError) -> bool {
    match (operation, error) {
        (Operation::Pause, TransitionError::NotRunning)
        | (Operation::RollBack, TransitionError::NotStarted) => true,
        (Operation::Commit | Operation::RollBack | Operation::Verify, _) => opened.migrations.repeats(name),
        _ => false,
    }
}

/// Works, or watches the running service work, until nothing of the migration is under way any more.
pub async fn wait(opened: &Opened, name: &str, started: Migration) -> anyhow::Result<()> {
    let watch = async {
        let mut bar = Bar::new();
        let mut migration = started;
        while let Some(step) = migration.record.state.active() {
            let progress = &migration.progress;
            bar.show(progress::Step {
                what: doing(step),
                done: progress.step_done,
                total: progress.step_total,
                rate: progress.rows_per_second,
                left: migration.time_left(),
            });
            tokio::time::sleep(LOOK).await;
            migration = opened.migrations.find(name).await?;
        }
        anyhow::Ok(migration)
    };
    let migration = tokio::select! {
        migration = watch => migration?,
        () = opened.migrations.run(std::future::pending()) => bail!("{name} can't be worked on"),
    };
    if migration.record.state == State::Failed {
        let reason = migration.record.failure_reason.unwrap_or_default();
        bail!("{name} has failed: {reason}; start goes on when that is mended")
    }
    Ok(())
}

const fn doing(step: Step) -> &'static str {
    match step {
        Step::Commit => "dropping the old form",
        Step::Move => "moving",
        Step::Undo => "putting back",
        Step::Verify => "verifying",
    }
}
