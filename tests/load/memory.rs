//! The memory of a service with everybody's consents in its snapshot: of a process of its own, started on what the first
//! one has written.

use std::io::{BufRead, BufReader, Read as _};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use portal_consent::Service;
use portal_store::DatabaseConfig;
use portal_testkit::TestDatabase;
use portal_testkit::mesh::TestMesh;

use crate::calls;
use crate::cpu::resident;
use crate::report::Report;
use crate::world::{World, config};

/// The first word of a command line that asks for a service on a database.
pub const SERVE: &str = "serve";

/// People whose consents are recorded between two signs of life.
const STEP: usize = 50_000;
const BUDGET: u64 = 400_000_000;
/// Later than everything that was written: the clock of each mesh begins at the same time.
const LATER: Duration = Duration::from_secs(86_400);

pub async fn measure(world: &World, database: &TestDatabase, subjects: usize, report: &mut Report) {
    let started = Instant::now();
    let mut done = 0;
    while done < subjects {
        let step = STEP.min(subjects - done);
        calls::filled(world, step).await;
        done += step;
        let rate = done as f64 * world.purposes.len() as f64 / started.elapsed().as_secs_f64();
        println!(
            "  {done} of {subjects} people with {} consents each, {rate:.0} consents/s",
            world.purposes.len()
        );
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([SERVE, database.url(), &database.keys_section("consent").await])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let started = Instant::now();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = lines.next().unwrap().unwrap();
    assert_eq!(ready, "ready");
    let memory = resident(child.id());
    drop(child.stdin.take());
    child.wait().unwrap();
    println!(
        "{:<44} {:>9.0} MB  ready after {:.1} s",
        format!("resident, {subjects} people"),
        memory as f64 / 1e6,
        started.elapsed().as_secs_f64()
    );
    report.budget("under 400 MB", memory < BUDGET);
}

/// Serves until standard input ends; says when all consents are in memory.
pub fn serve(url: &str, keys: &str) -> ExitCode {
    crate::runtime("service").block_on(async {
        let mesh = TestMesh::start().await;
        mesh.clock.advance(LATER);
        let config = config(&mesh, DatabaseConfig::from_url(url), toml::from_str(keys).unwrap());
        let host = mesh.host();
        let metrics = host.metrics.clone();
        let running = Service::start(config, host).await.unwrap();
        while !is_loaded(&metrics.encode().unwrap()) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        println!("ready");
        drop(tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await);
        running.stop().await;
    });
    ExitCode::SUCCESS
}

/// Whether the snapshot is answered from.
fn is_loaded(metrics: &str) -> bool {
    let age = metrics.lines().find_map(|line| line.strip_prefix("portal_consent_snapshot_age_seconds "));
    age.and_then(|age| age.parse::<f64>().ok()).is_some_and(|age| age >= 0.0)
}
