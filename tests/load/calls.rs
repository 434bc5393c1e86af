//! Calls, one at a time, at fixed times, and as many as there are callers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use portal_core::id::SubjectId;
use portal_proto::consent::v1 as pb;
use portal_testkit::mesh::TestUser;
use portal_tests::uuid;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;

use crate::cpu::Used;
use crate::report::{Measured, Report, line};
use crate::world::World;

/// Callers at a time, each on a stream of its own.
const CALLERS: usize = 32;
/// Calls a second, where they are due at fixed times.
const RATE: u32 = 1_000;
/// Batches at a time: while one is written, another is put together.
const BATCHES: usize = 2;
/// Records of a batch.
const BATCH: usize = 1_000;
/// People that checks ask about.
const PEOPLE: usize = 10_000;
const CHECK: &str = "portal.consent.v1.DecisionService/CheckConsent";

pub async fn check(world: &World, time: Duration, report: &mut Report) {
    let people = Arc::new(filled(world, PEOPLE).await);
    let asked = AtomicUsize::new(0);
    let question = || {
        let number = asked.fetch_add(1, Ordering::Relaxed);
        pb::CheckConsentRequest {
            subject_id: people[number % people.len()].to_string(),
            purpose_id: world.purposes[number % world.purposes.len()].clone(),
            ..pb::CheckConsentRequest::default()
        }
    };
    let decisions = world.decisions();
    let ask = |question: pb::CheckConsentRequest| {
        let mut decisions = decisions.clone();
        async move {
            let reply = decisions.check_consent(question).await.unwrap().into_inner();
            assert_eq!(reply.decision(), pb::Decision::Permit);
        }
    };
    // What is compiled, opened or cached at the first calls is not what is measured.
    at_once(CALLERS, time / 5, || ask(question())).await;
    let before = in_service(world, CHECK);
    let measured = due(RATE, time, || ask(question())).await;
    let served = in_service(world, CHECK);
    line("CheckConsent, 1,000 a second", &measured, 1);
    let [fast, all] = [0, 1].map(|index| served[index] - before[index]);
    let share = fast / all * 100.0;
    report.budget(&format!("in the service 99 % within 0.2 ms (are {share:.2} %)"), share >= 99.0);
    report.budget("through the mesh p50 < 0.4 ms", measured.quantile(0.5).as_secs_f64() < 0.4e-3);
    report.budget("through the mesh p99 < 1 ms", measured.quantile(0.99).as_secs_f64() < 1e-3);
    let measured = at_once(CALLERS, time, || ask(question())).await;
    line("CheckConsent, 32 at a time", &measured, 1);
    report.budget("at least 20,000 /s", measured.rate() >= 20_000.0);
}

pub async fn give(world: &World, time: Duration, report: &mut Report) {
    let consents = world.consents();
    let give = || {
        let request = pb::GiveConsentRequest {
            subject_id: TestUser::subject().subject.to_string(),
            purpose_id: world.purposes[0].clone(),
            notice_id: world.notice.clone(),
            language: "en".to_owned(),
            method: pb::IndicationMethod::Button.into(),
            request_id: uuid(),
            ..pb::GiveConsentRequest::default()
        };
        let mut consents = consents.clone();
        async move {
            let reply = consents.give_consent(request).await.unwrap().into_inner();
            assert!(!reply.receipt_id.is_empty());
        }
    };
    at_once(CALLERS, time / 5, give).await;
    let measured = at_once(1, time, give).await;
    line("GiveConsent, one at a time", &measured, 1);
    report.budget("p50 < 3 ms", measured.quantile(0.5).as_secs_f64() < 3e-3);
    report.budget("p99 < 10 ms", measured.quantile(0.99).as_secs_f64() < 10e-3);
    let measured = at_once(CALLERS, time, give).await;
    line("GiveConsent, 32 at a time", &measured, 1);
    report.budget("at least 1,500 /s", measured.rate() >= 1_500.0);
}

pub async fn batch(world: &World, time: Duration, report: &mut Report) {
    let record = || {
        let people: Vec<_> = (0..BATCH).map(|_| TestUser::subject().subject).collect();
        record(world, people, 0)
    };
    record().await;
    let measured = at_once(BATCHES, time, record).await;
    line("BatchRecordConsents, records", &measured, BATCH);
    report.budget("at least 10,000 records/s", measured.rate() * BATCH as f64 >= 10_000.0);
}

/// People who have consented to everything.
pub async fn filled(world: &World, count: usize) -> Vec<SubjectId> {
    let people: Vec<_> = (0..count).map(|_| TestUser::subject().subject).collect();
    for purpose in 0..world.purposes.len() {
        for part in people.chunks(BATCH) {
            record(world, part.to_vec(), purpose).await;
        }
    }
    people
}

/// Records that `people` consented.
fn record(world: &World, people: Vec<SubjectId>, purpose: usize) -> impl Future<Output = ()> + Send + use<> {
    let record = |subject: SubjectId| pb::ConsentRecord {
        subject_id: subject.to_string(),
        purpose_id: world.purposes[purpose].clone(),
        notice_id: world.notice.clone(),
        language: "en".to_owned(),
        status: pb::ConsentStatus::Given.into(),
        method: pb::IndicationMethod::Button.into(),
        ..pb::ConsentRecord::default()
    };
    let records = people.into_iter().map(record).collect();
    let request = pb::BatchRecordConsentsRequest { records, request_id: uuid() };
    let mut consents = world.consents();
    async move {
        let reply = consents.batch_record_consents(request).await.unwrap().into_inner();
        let good = |result: &pb::ConsentRecordResult| {
            matches!(result.result, Some(pb::consent_record_result::Result::Reply(_)))
        };
        assert!(reply.results.iter().all(good), "{:?}", reply.results.first());
    }
}

/// Calls of `method` that took the service at most 0.2 ms, and all.
fn in_service(world: &World, method: &str) -> [f64; 2] {
    let text = world.metrics.encode().unwrap();
    let bucket = |end: &str| {
        let lines = text.lines().filter(|line| {
            line.starts_with("portal_rpc_server_duration_seconds_bucket") && line.contains(method)
        });
        let bucket = lines.filter(|line| line.contains(end)).find_map(|line| line.rsplit(' ').next());
        bucket.map_or(0.0, |count| count.parse().unwrap())
    };
    [bucket("le=\"0.0002\""), bucket("le=\"+Inf\"")]
}

/// Calls one after the other by each of `callers`, for `time`.
async fn at_once<F>(callers: usize, time: Duration, call: impl Fn() -> F) -> Measured
where
    F: Future<Output = ()> + Send + 'static,
{
    let (started, used) = (Instant::now(), Used::now());
    let mut latencies = Vec::new();
    let mut under_way = JoinSet::new();
    for _ in 0..callers {
        under_way.spawn(timed(Instant::now(), call()));
    }
    while let Some(latency) = under_way.join_next().await {
        latencies.push(latency.unwrap());
        if started.elapsed() < time {
            under_way.spawn(timed(Instant::now(), call()));
        }
    }
    measured(started, used, latencies)
}

/// `rate` calls a second at fixed times, for `time`.
pub async fn due<F>(rate: u32, time: Duration, call: impl Fn() -> F) -> Measured
where
    F: Future<Output = ()> + Send + 'static,
{
    let (started, used) = (Instant::now(), Used::now());
    let mut under_way = JoinSet::new();
    let mut times = times(started, Duration::from_secs(1) / rate, time);
    while let Some(due) = times.recv().await {
        under_way.spawn(timed(due, call()));
    }
    let latencies = under_way.join_all().await;
    measured(started, used, latencies)
}

/// Tells each time when it is there: by a thread, since the runtime's timer is a millisecond late.
fn times(started: Instant, every: Duration, time: Duration) -> UnboundedReceiver<Instant> {
    let (sender, times) = unbounded_channel();
    std::thread::spawn(move || {
        let mut due = started;
        while due < started + time {
            while let Some(rest) = due.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero()) {
                std::thread::park_timeout(rest);
            }
            if sender.send(due).is_err() {
                return;
            }
            due += every;
        }
    });
    times
}

async fn timed(due: Instant, call: impl Future<Output = ()>) -> Duration {
    call.await;
    due.elapsed()
}

fn measured(started: Instant, used: Used, latencies: Vec<Duration>) -> Measured {
    let elapsed = started.elapsed();
    let after = Used::now();
    let used = Used { service: after.service - used.service, database: after.database - used.database };
    Measured { latencies, elapsed, used }
}
