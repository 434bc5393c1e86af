//! How long proofs about a large log take, from its database on: `cargo bench -p portal-ledger`. The number of leaves may
//! follow, and `postgres`: `cargo bench -p portal-ledger -- 1000000 postgres`. Ends with an error if a budget is not kept.
//!
//! The log is filled the way services fill it, so this also tells how many entries a second are appended and given
//! positions.
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

#[allow(dead_code, reason = "the tests need more of it")]
#[path = "../tests/it/world.rs"]
mod world;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use portal_core::SystemEntropy;
use portal_core::entropy::random_bytes;
use portal_ledger::LeafRef;
use portal_testkit::TestDatabase;

use world::World;

const LEAVES: u64 = 10_000_000;
/// Entries of a transaction.
const PART: u64 = 10_000;
const PROOFS: usize = 2_000;
/// How long half of the proofs may take.
const TIME: Duration = Duration::from_millis(1);
/// Hashes of an inclusion proof in ten million leaves.
const HASHES: usize = 24;

#[tokio::main]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let leaves = words.iter().find_map(|word| word.parse().ok()).unwrap_or(LEAVES);
    let database = if words.iter().any(|word| word == "postgres") {
        let Some(database) = TestDatabase::postgres().await else { return ExitCode::SUCCESS };
        database
    } else {
        TestDatabase::sqlite()
    };
    let world = World::new(&database).await;
    fill(&world, leaves).await;
    let mut kept = true;
    let mut measured = Vec::with_capacity(PROOFS);
    let mut hashes = 0;
    for _ in 0..PROOFS {
        let position = random(leaves);
        let begun = Instant::now();
        let found = world.log.inclusion(LeafRef::Position(position), None).await.unwrap();
        measured.push(begun.elapsed());
        hashes = hashes.max(found.path.len());
    }
    kept &= tell("inclusion", measured, hashes);
    let (mut measured, mut hashes) = (Vec::with_capacity(PROOFS), 0);
    for _ in 0..PROOFS {
        let old = 1 + random(leaves - 1);
        let begun = Instant::now();
        let found = world.log.consistency(old, None).await.unwrap();
        measured.push(begun.elapsed());
        hashes = hashes.max(found.path.len());
    }
    kept &= tell("consistency", measured, hashes);
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn fill(world: &World, leaves: u64) {
    let begun = Instant::now();
    let mut done = 0;
    while done < leaves {
        let part = PART.min(leaves - done);
        world.fill(usize::try_from(part).unwrap()).await;
        done += part;
        if done % (50 * PART) == 0 || done == leaves {
            let rate = done as f64 / begun.elapsed().as_secs_f64();
            println!("{done:>10} of {leaves} entries, {rate:.0} /s");
        }
    }
}

/// A line of the table, and whether the budget is kept. A consistency proof has up to twice the hashes of one of
/// inclusion, less two.
fn tell(name: &str, mut measured: Vec<Duration>, hashes: usize) -> bool {
    measured.sort_unstable();
    let [median, high] = [0.5, 0.99].map(|share| measured[(measured.len() as f64 * share) as usize]);
    println!(
        "{name:<12} p50 {:>6.0} us  p99 {:>6.0} us  at most {hashes} hashes",
        median.as_secs_f64() * 1e6,
        high.as_secs_f64() * 1e6
    );
    let kept = median < TIME && (name != "inclusion" || hashes <= HASHES);
    if !kept {
        println!("MISSED: the budget is {TIME:?} and {HASHES} hashes");
    }
    kept
}

fn random(below: u64) -> u64 {
    u64::from_be_bytes(random_bytes(&SystemEntropy)) % below
}
