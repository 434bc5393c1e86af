//! What a call takes the service itself, one after the other over mutual TLS on loopback, on SQLite and on PostgreSQL:
//! `cargo bench -p portal-consent`. `tests/load` asks many at a time. Ends with an error if a budget is not kept.
//!
//! The time in the service is what its own metric says, `portal_rpc_server_duration_seconds`, by the bucket that the call
//! fell into; the time through the mesh is what the caller waited. The service and its caller share a process and two
//! threads here: CPU time is of both.
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

#[allow(dead_code, unused_imports, reason = "the tests need more of it")]
#[path = "../tests/it/world.rs"]
mod world;

use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use portal_testkit::TestDatabase;
use portal_testkit::mesh::TestUser;

use world::{Offer, World, pb, question};

const CALLS: usize = 2_000;
/// Calls before those that are measured: what is compiled, opened or cached at the first ones is another question.
const WARM: usize = 200;

struct Measured {
    latencies: Vec<Duration>,
    cpu: Duration,
    /// The share of the calls that took the service at most so many seconds, by the end of the bucket.
    served: Vec<(f64, f64)>,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let mut kept = run("SQLite", &TestDatabase::sqlite()).await;
    if let Some(database) = TestDatabase::postgres().await {
        kept &= run("PostgreSQL", &database).await;
    }
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn run(name: &str, database: &TestDatabase) -> bool {
    println!("{name}");
    let world = World::start(database).await;
    let offer = world.offer().await;
    let given = world.give(&world.anna, &offer).await.unwrap();
    assert_eq!(given.status(), pb::ConsentStatus::Given);
    let decisions = world.decisions(&world.officer);
    let request = question(world.anna.subject, &offer.purpose);
    let checks = measured(&world, "CheckConsent", || {
        let (mut decisions, request) = (decisions.clone(), request.clone());
        async move {
            let reply = decisions.check_consent(request).await.unwrap().into_inner();
            assert_eq!(reply.decision(), pb::Decision::Permit);
        }
    })
    .await;
    tell("CheckConsent", &checks);
    let kept = budget("99 % within 0.2 ms in the service", share_within(&checks, 0.000_2) >= 0.99);
    let gives = gives(&world, &offer).await;
    tell("GiveConsent, new people", &gives);
    kept & budget("p50 < 3 ms", quantile(&gives, 0.5) < Duration::from_millis(3))
        & budget("p99 < 10 ms", quantile(&gives, 0.99) < Duration::from_millis(10))
}

async fn gives(world: &World, offer: &Offer) -> Measured {
    let consents = world.consents(&world.controller);
    measured(world, "GiveConsent", || {
        let (mut consents, request) = (consents.clone(), offer.give(TestUser::subject().subject));
        async move {
            consents.give_consent(request).await.unwrap();
        }
    })
    .await
}

async fn measured<F: Future<Output = ()>>(world: &World, method: &str, call: impl Fn() -> F) -> Measured {
    for _ in 0..WARM {
        call().await;
    }
    let (before, cpu) = (served(world, method), cpu());
    let mut latencies = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let begun = Instant::now();
        call().await;
        latencies.push(begun.elapsed());
    }
    let cpu = (self::cpu() - cpu) / u32::try_from(CALLS).unwrap();
    let share =
        |((end, after), (_, before)): ((f64, f64), (f64, f64))| (end, (after - before) / CALLS as f64);
    let before = before.into_iter().chain(std::iter::repeat((0.0, 0.0)));
    let served = served(world, method).into_iter().zip(before).map(share).collect();
    Measured { latencies, cpu, served }
}

/// How many calls of `method` took the service at most so many seconds.
fn served(world: &World, method: &str) -> Vec<(f64, f64)> {
    let text = world.metrics.encode().unwrap();
    let name = "portal_rpc_server_duration_seconds_bucket";
    let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(&format!("/{method}\"")));
    let bucket = |line: &str| {
        let end = line.split("le=\"").nth(1)?.split('"').next()?;
        Some((end.parse().unwrap_or(f64::INFINITY), line.rsplit(' ').next()?.parse().ok()?))
    };
    lines.filter_map(bucket).collect()
}

fn share_within(measured: &Measured, seconds: f64) -> f64 {
    let inside = measured.served.iter().filter(|(end, _)| *end <= seconds * 1.001);
    inside.map(|(_, share)| *share).fold(0.0, f64::max)
}

fn tell(name: &str, measured: &Measured) {
    let [median, high] = [0.5, 0.99].map(|share| quantile(measured, share).as_secs_f64() * 1e3);
    let within = measured.served.iter().find(|(_, share)| *share >= 0.99).map_or(f64::NAN, |(end, _)| *end);
    println!(
        "  {name:<26} through the mesh p50 {median:>7.3} ms  p99 {high:>7.3} ms; in the service 99 % within {:.2} ms; \
         CPU {:.0} us",
        within * 1e3,
        measured.cpu.as_secs_f64() * 1e6
    );
}

fn budget(name: &str, kept: bool) -> bool {
    println!("    {} {name}", if kept { "kept  " } else { "MISSED" });
    kept
}

fn quantile(measured: &Measured, share: f64) -> Duration {
    let mut sorted = measured.latencies.clone();
    sorted.sort_unstable();
    sorted[((sorted.len() as f64 * share) as usize).min(sorted.len() - 1)]
}

/// The CPU time of this process, as Linux counts it: in hundredths of a second wherever it runs today.
fn cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}
