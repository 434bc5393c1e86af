//! `portal-legacy-import`: imports what an earlier system sealed. Exit codes: 0 done, 1 failed, 2 wrong usage or
//! configuration, 3 done but there is something to look at.
//!
//! | module | holds |
//! |---|---|
//! | `cli` | the arguments |
//! | `config` | the configuration file |
//! | `look` | `digest`, `plan`, `scan`, `status`: commands that change nothing |
//! | `open` | the database and the keys |
//! | `output` | what people read |
//! | `work` | `load`, `run`, `verify`, `rollback`, `commit` |
#![forbid(unsafe_code)]

mod cli;
mod config;
mod look;
mod open;
mod output;
mod work;

use std::process::ExitCode;

use clap::Parser;
use portal_legacy_import::importer::Unreadables;

use crate::cli::{Cli, Command};
use crate::config::Unusable;

/// How a command ended that did not fail.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    /// As it should.
    Done,
    /// There is something to look at.
    Look,
}

fn main() -> ExitCode {
    // Clap prints what is wrong, or the help, and exits with 2 or 0 by itself.
    let cli = Cli::parse();
    output::log();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::error(&format!("can't start: {error}"));
            return ExitCode::from(1);
        }
    };
    match runtime.block_on(run(cli.command)) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Look) => ExitCode::from(3),
        Err(error) => {
            output::error(&format!("{error:#}"));
            let usage = error.downcast_ref::<Unusable>().is_some();
            ExitCode::from(if usage { 2 } else { 1 })
        }
    }
}

async fn run(command: Command) -> anyhow::Result<Outcome> {
    match command {
        Command::Commit { common, leave_unreadable } => {
            let unreadables = if leave_unreadable { Unreadables::Leave } else { Unreadables::Refuse };
            work::commit(&common.config, unreadables).await
        }
        Command::Digest { common } => look::digest(&common.config).await,
        Command::Load { common, file } => work::load(&common.config, &file).await,
        Command::Plan { common } => look::plan(&common.config).await,
        Command::Rollback { common } => work::roll_back(&common.config).await,
        Command::Run { common, max_rows_per_second } => {
            work::run(&common.config, max_rows_per_second.map(Into::into)).await
        }
        Command::Scan { common, max_rows_per_second } => {
            look::scan(&common.config, max_rows_per_second.map(Into::into)).await
        }
        Command::Status { common, all } => look::status(&common.config, all).await,
        Command::Verify { common } => work::verify(&common.config).await,
    }
}
