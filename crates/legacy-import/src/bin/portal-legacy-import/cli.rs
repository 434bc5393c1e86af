//! The command line.

use std::num::NonZero;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Imports what an earlier system sealed with Kyber-768 and signed with Dilithium3, both of round 3.
///
/// Exits with 0 if everything is done, 1 if it failed, 2 if the arguments or the configuration are wrong, and 3 if it is
/// done but there is something to look at: records that can't be read, faults, or work that was stopped.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Args, Debug)]
pub struct Common {
    /// The configuration (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Delete the legacy records whose import verifies: no way back
    Commit {
        #[command(flatten)]
        common: Common,
        /// Leave legacy records that can't be read where they are, instead of refusing
        #[arg(long)]
        leave_unreadable: bool,
    },
    /// Print what all records say, in one number, before and after the import
    Digest {
        #[command(flatten)]
        common: Common,
    },
    /// Put the records of an export into the database, as they are; repeat it if it was interrupted
    Load {
        #[command(flatten)]
        common: Common,
        /// The export: one record a line, as JSON
        file: PathBuf,
    },
    /// Count what there is to import, look whether all keys are there, and measure how long it takes
    Plan {
        #[command(flatten)]
        common: Common,
    },
    /// Take the import back; legacy records are as they were
    Rollback {
        #[command(flatten)]
        common: Common,
    },
    /// Import and verify all legacy records, or go on where it was interrupted
    Run {
        #[command(flatten)]
        common: Common,
        /// Import no more records per second than these
        #[arg(long, value_name = "N")]
        max_rows_per_second: Option<NonZero<u32>>,
    },
    /// Check every record, legacy and imported, and name those with faults
    Scan {
        #[command(flatten)]
        common: Common,
        /// Check no more records per second than these
        #[arg(long, value_name = "N")]
        max_rows_per_second: Option<NonZero<u32>>,
    },
    /// Tell how far the import is, and which records can't be imported
    Status {
        #[command(flatten)]
        common: Common,
        /// List every record that can't be imported, not the first 20 only
        #[arg(long)]
        all: bool,
    },
    /// Open and compare all imported records once more
    Verify {
        #[command(flatten)]
        common: Common,
    },
}
