//! How fast consent is over mutual TLS on loopback, how much CPU time an operation takes, and how much memory it needs:
//! `cargo run --release -p portal-tests --bin load`. Ends with an error if a budget is not kept.
//!
//! ```text
//! load [postgres|sqlite] [MEASURE…] [--seconds N] [--subjects N]
//! ```
//!
//! | measure | what is done |
//! |---|---|
//! | `check` | CheckConsent 1,000 times a second at fixed times, then as often as 32 callers can |
//! | `give` | GiveConsent with a request id: one caller after the other, then as often as 32 callers can |
//! | `batch` | BatchRecordConsents, 1,000 records a call, two callers |
//! | `beside` | CheckConsent 200 times a second through the gateway of a `portal up`, alone and beside sign-ins |
//! | `memory` | the resident memory of a service that starts on `--subjects` (1,000,000) people with 3 consents each |
//!
//! Without a measure all but `beside` and `memory` are taken. But for `beside`, which needs the program built, the service and its caller have a runtime each in one process, so that the
//! CPU time of each can be told; the database is a process of its own (PostgreSQL, `fsync` on) or a file (SQLite). Calls that
//! are due at a time are measured from that time: a service that stands still is not asked less.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a measurement: what fails ends it"
)]

mod beside;
mod calls;
mod cpu;
mod memory;
mod report;
mod world;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use portal_testkit::{EphemeralPostgres, TestDatabase};

use report::Report;
use world::World;

/// As in `portal`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What the command line asks for.
struct Arguments {
    database: Kind,
    measures: Vec<Measure>,
    /// How long each measure lasts.
    time: Duration,
    subjects: usize,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Kind {
    Postgres,
    Sqlite,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Measure {
    Batch,
    Beside,
    Check,
    Give,
    Memory,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [memory::SERVE, url, keys] = words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        return memory::serve(url, keys);
    }
    let Some(arguments) = parse(&mut words.into_iter()) else {
        println!(
            "usage: load [postgres|sqlite] [check] [give] [batch] [beside] [memory] [--seconds N] [--subjects N]"
        );
        return ExitCode::from(2);
    };
    let service = runtime("service");
    let caller = runtime("caller");
    let mut report = Report::default();
    caller.block_on(async {
        let database = match arguments.database {
            Kind::Sqlite => TestDatabase::sqlite(),
            Kind::Postgres => {
                let Some(server) = EphemeralPostgres::as_installed() else { return };
                TestDatabase::on(Arc::new(server)).await
            }
        };
        let world = World::start(&database, &service).await;
        for measure in &arguments.measures {
            match measure {
                Measure::Check => calls::check(&world, arguments.time, &mut report).await,
                Measure::Give => calls::give(&world, arguments.time, &mut report).await,
                Measure::Batch => calls::batch(&world, arguments.time, &mut report).await,
                Measure::Beside => beside::measure(arguments.time, &mut report).await,
                Measure::Memory => memory::measure(&world, &database, arguments.subjects, &mut report).await,
            }
        }
        world.stop().await;
    });
    service.shutdown_timeout(Duration::from_secs(5));
    report.end()
}

fn runtime(name: &str) -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).thread_name(name).enable_all().build().unwrap()
}

fn parse(words: &mut dyn Iterator<Item = String>) -> Option<Arguments> {
    let (mut database, mut measures) = (Kind::Postgres, Vec::new());
    let (mut seconds, mut subjects) = (10, 1_000_000);
    while let Some(word) = words.next() {
        match word.as_str() {
            "postgres" => database = Kind::Postgres,
            "sqlite" => database = Kind::Sqlite,
            "batch" => measures.push(Measure::Batch),
            "beside" => measures.push(Measure::Beside),
            "check" => measures.push(Measure::Check),
            "give" => measures.push(Measure::Give),
            "memory" => measures.push(Measure::Memory),
            "--seconds" => seconds = words.next()?.parse().ok()?,
            "--subjects" => subjects = words.next()?.parse().ok()?,
            _ => return None,
        }
    }
    if measures.is_empty() {
        measures = vec![Measure::Check, Measure::Give, Measure::Batch];
    }
    Some(Arguments { database, measures, time: Duration::from_secs(seconds), subjects })
}
