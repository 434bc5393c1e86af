//! `portal`: the one binary. It reads the environment, the arguments and the configuration, wires the services, and
//! turns errors into exit codes: 0 done, 1 failed, 2 wrong usage or configuration.
#![forbid(unsafe_code)]

mod certs;
mod cli;
mod config;
mod files;
mod healthcheck;
mod import;
mod keys;
mod ledger;
mod migrate;
mod output;
mod policy;
mod progress;
mod serve;
mod services;
mod up;
mod verify;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::config::Unusable;

/// A call makes and drops hundreds of objects, futures of several kilobytes among them: a quarter of a service's time went to
/// the allocator of the C library (ADR 0015).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // Clap prints what is wrong, or the help, and exits with 2 or 0 by itself.
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            output::error(&format!("{error:#}"));
            let usage = error.downcast_ref::<Unusable>().is_some();
            ExitCode::from(if usage { 2 } else { 1 })
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    let done = |()| ExitCode::SUCCESS;
    match command {
        Command::Auth { config } => serve::run(portal_core::Workload::Auth, &config).map(done),
        Command::Certs { command } => certs::run(&command).map(done),
        Command::CheckConfig { file, no_files, service } => {
            config::check(&file, service, !no_files).map(done)
        }
        Command::Consent { config } => serve::run(portal_core::Workload::Consent, &config).map(done),
        Command::Gateway { config } => serve::run(portal_core::Workload::Gateway, &config).map(done),
        Command::Healthcheck { admin } => Ok(healthcheck::run(admin)),
        Command::Import { command } => import::run(&command),
        Command::Keys { command } => keys::run(&command).map(done),
        Command::Ledger { command } => ledger::run(&command).map(done),
        Command::Migrate { command } => migrate::run(&command).map(done),
        Command::Policy { command } => policy::run(&command),
        Command::Up(options) => up::run(&options).map(done),
        Command::Valuation { config } => serve::run(portal_core::Workload::Valuation, &config).map(done),
        Command::Verify { command } => verify::run(&command),
    }
}
