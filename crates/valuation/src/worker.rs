//! Runs valuations, one at a time, and clears away what broken calls left.
//!
//! A job belongs to whoever holds its lease. The lease is renewed while the job runs, with its progress; a worker that
//! finds it gone, because the job was cancelled or another worker took it, stops within a second and writes nothing.
//! After a kill -9 the lease lapses, and any worker takes the job up from the start: running it twice does no harm,
//! since only the holder can publish, and all of a result is published by one transaction.

mod job;
mod keeper;

use std::sync::Arc;
use std::time::Duration;

use portal_core::id::{Id, ValuationId};
use portal_mesh::Drain;
use portal_store::idempotency;
use portal_upkeep::audit::{Happened, SERVICE};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::app::App;
use crate::domain::id::{AppendId, WorkerId};
use crate::domain::valuation::{Failure, Valuation};
use crate::error::Error;
use crate::metrics::Outcome;
use crate::store::valuations::Claimed;
use crate::store::{appends, failure_name, valuations};
use job::{End, Job};

/// How long a job stays with a worker that says nothing.
const LEASE: Duration = Duration::from_secs(10);
/// How often a worker without a job looks for one that another process was given.
const POLL: Duration = Duration::from_secs(1);
/// Workers that may die of one job before it is given up.
const MAX_ATTEMPTS: i64 = 5;
/// How often expired rows are deleted.
const SWEEP: Duration = Duration::from_secs(60);

/// Takes and runs jobs until `drain` starts. A job under way is then given back.
pub async fn run(app: Arc<App>, patience: Duration, drain: Drain) {
    let worker = WorkerId::generate(app.clock.now(), app.entropy.as_ref());
    let mut changed = app.signals.changed.subscribe();
    let stop = drain.started();
    tokio::pin!(stop);
    loop {
        changed.borrow_and_update();
        let claimed = tokio::select! {
            () = &mut stop => return,
            claimed = claim(&app, worker) => claimed,
        };
        let valuation = match claimed {
            Ok(Some(valuation)) => valuation,
            nothing => {
                if let Err(error) = nothing {
                    tracing::warn!(%error, "no job can be taken");
                }
                tokio::select! {
                    () = &mut stop => return,
                    () = wake(&mut changed) => continue,
                }
            }
        };
        let job = Job::new(Arc::clone(&app), worker, valuation, patience);
        let (started, end) = (Instant::now(), job.run(&mut stop).await);
        let drained = matches!(end, End::Drained);
        app.metrics.job_ended(settle(&app, &job, end).await, started.elapsed());
        app.signals.changed.send_replace(());
        if drained {
            return;
        }
    }
}

async fn wake(changed: &mut watch::Receiver<()>) {
    // Either the time is up or something changed; if nobody can change anything any more, the drain has begun.
    drop(timeout(POLL, changed.changed()).await);
}

async fn claim(app: &App, worker: WorkerId) -> Result<Option<Valuation>, Error> {
    let now = app.clock.now();
    let claimed = app
        .database
        .run_tx("claim_valuation", |tx| async move {
            let writing = app.seals.writing(&tx).await?;
            let claimed = valuations::claim(&writing, worker, now.plus(LEASE), now).await?;
            match &claimed {
                Claimed::Ended(id) => {
                    app.note(&writing, failed(*id, worker, Failure::Unreadable), now).await?;
                }
                Claimed::Nothing => {}
                Claimed::Taken(job) => {
                    let run = does("valuation.run", job.id, worker).on(job.owner);
                    app.note(&writing, run.with("attempt", job.attempt), now).await?;
                }
            }
            Ok::<_, Error>(claimed)
        })
        .await?;
    match claimed {
        Claimed::Taken(valuation) if valuation.attempt > MAX_ATTEMPTS => {
            tracing::error!(valuation = %valuation.id, "given up: its workers keep dying");
            fail(app, worker, &valuation, Failure::Internal).await?;
            Ok(None)
        }
        Claimed::Taken(valuation) => Ok(Some(*valuation)),
        Claimed::Ended(_) | Claimed::Nothing => Ok(None),
    }
}

async fn fail(app: &App, worker: WorkerId, job: &Valuation, failure: Failure) -> Result<bool, Error> {
    let (id, owner, now) = (job.id, job.owner, app.clock.now());
    app.database
        .run_tx("fail_valuation", |tx| async move {
            let writing = app.seals.writing(&tx).await?;
            let ours = valuations::fail(&writing, id, worker, failure, now).await?;
            if ours {
                app.note(&writing, failed(id, worker, failure).on(owner), now).await?;
            }
            Ok(ours)
        })
        .await
}

/// Gives a job back.
async fn release(app: &App, worker: WorkerId, job: &Valuation) -> Result<(), Error> {
    let (id, owner, now) = (job.id, job.owner, app.clock.now());
    app.database
        .run_tx("release_valuation", |tx| async move {
            if valuations::release(&tx, id, worker).await? {
                let writing = app.seals.writing(&tx).await?;
                app.note(&writing, does("valuation.release", id, worker).on(owner), now).await?;
            }
            Ok::<_, Error>(())
        })
        .await
}

/// What a worker does to a job.
fn does(action: &'static str, id: ValuationId, worker: WorkerId) -> Happened {
    Happened::new(action, SERVICE).to(id).with("worker", worker)
}

fn failed(id: ValuationId, worker: WorkerId, failure: Failure) -> Happened {
    does("valuation.fail", id, worker).with("failure", failure_name(failure))
}

/// Writes down how a job ended. If the database does not take it, the lease lapses and the job is run again.
async fn settle(app: &App, job: &Job, end: End) -> Outcome {
    let (worker, id) = (job.worker(), job.valuation().id);
    let settled = match end {
        End::Drained => release(app, worker, job.valuation()).await.map(|()| Outcome::Left),
        End::Failed(failure) => {
            tracing::warn!(valuation = %id, ?failure, "valuation failed");
            let failed = fail(app, worker, job.valuation(), failure).await;
            failed.map(|ours| if ours { Outcome::Failed } else { Outcome::Left })
        }
        End::Lost => Ok(Outcome::Left),
        End::Published => Ok(Outcome::Succeeded),
        End::Stuck(error) => Err(error),
    };
    settled.unwrap_or_else(|error| {
        tracing::warn!(valuation = %id, %error, "a job will be run again when its lease has lapsed");
        Outcome::Left
    })
}

/// Throws away abandoned appends at once, and whatever has expired once a minute, until `drain` starts.
pub async fn sweep(app: Arc<App>, mut abandoned: mpsc::UnboundedReceiver<AppendId>, drain: Drain) {
    let stop = drain.started();
    tokio::pin!(stop);
    let mut ticks = interval(SWEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let swept = tokio::select! {
            () = &mut stop => return,
            _ = ticks.tick() => sweep_expired(&app).await,
            Some(id) = abandoned.recv() => discard(&app, id).await,
        };
        if let Err(error) = swept {
            tracing::warn!(%error, "what has expired could not be deleted; trying again later");
        }
    }
}

async fn sweep_expired(app: &App) -> Result<(), Error> {
    let now = app.clock.now();
    app.database
        .run_tx("purge_request_ids", |tx| async move { Ok::<_, Error>(idempotency::purge(&tx, now).await?) })
        .await?;
    let find = |tx: portal_store::ReadTx| async move { Ok::<_, Error>(appends::expired(&tx, now).await?) };
    for id in app.database.read("expired_appends", find).await? {
        discard(app, id).await?;
    }
    Ok(())
}

async fn discard(app: &App, id: AppendId) -> Result<(), Error> {
    app.database.run_tx("discard_append", |tx| async move { Ok(appends::discard(&tx, id).await?) }).await
}
