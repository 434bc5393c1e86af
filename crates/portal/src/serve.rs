//! `portal consent|auth|valuation|gateway --config FILE`: one service, as a cluster runs it.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use portal_core::{SystemClock, SystemEntropy, Workload};
use portal_mesh::{Host, Metrics, Readiness, admin, telemetry};
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{self, Unusable};
use crate::services::Config;

pub fn run(workload: Workload, file: &Path) -> anyhow::Result<()> {
    let config = Config::load(workload, file, &config::environment())?;
    // Said before anything is opened.
    Unusable::unless_none(config.policy_problem().into_iter().collect())?;
    telemetry::start(config.telemetry())?;
    runtime()?.block_on(serve(workload, config))
}

async fn serve(workload: Workload, config: Config) -> anyhow::Result<()> {
    let host = host();
    let stop = Stop::listen()?;
    let admin = admin::start(config.server().admin_listen, host.clone()).await?;
    let running = config.start(host).await.with_context(|| format!("{workload} can't start"))?;
    stop.requested().await;
    running.stop().await;
    admin.stop().await;
    Ok(())
}

/// The runtime of a process.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("can't start the runtime")
}

/// The machine's clock and entropy, fresh metrics, nothing ready yet.
pub fn host() -> Host {
    Host {
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        metrics: Metrics::default(),
        readiness: Readiness::default(),
    }
}

/// SIGTERM and Ctrl-C, listened to from the start so that none is missed.
pub struct Stop {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Stop {
    pub fn listen() -> anyhow::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    pub async fn requested(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
