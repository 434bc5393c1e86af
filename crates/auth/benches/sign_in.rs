//! Signing in over mutual TLS on loopback, on SQLite and on PostgreSQL: `cargo bench -p portal-auth`. Ends with an error if a
//! budget is not kept.
//!
//! - Whether the time tells who has an account: 2,000 wrong passwords for addresses that somebody has and 2,000 for ones that
//!   nobody has, one at a time, in an order that chance gives, and Welch's t of the two.
//! - How many sign in a second, beside how many passwords the machine hashes with nothing else to do, in turns.
//! - Refreshes, 8 at a time: 2,000 a second within 5 ms each are no more than ten. Introspections, 32 at a time.
//!
//! The service and its callers share a process and the machine's cores.
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
#[path = "../tests/it/fixture.rs"]
mod fixture;

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use portal_core::entropy::random_bytes;
use portal_core::{Sensitive, SystemEntropy};
use portal_crypto::kdf::ServiceSecret;
use portal_crypto::password::{Cost, PasswordHasher};
use portal_proto::auth::v1 as pb;
use portal_testkit::TestDatabase;
use tokio::task::JoinSet;

use fixture::{Auth, PASSWORD, sign_in};

/// Addresses of each kind.
const ADDRESSES: usize = 2_000;
const CALLERS: usize = 32;
/// People who sign in again and again; and how many of them at a time.
const PEOPLE: usize = 64;
const AT_A_TIME: usize = 32;
/// Refreshes at a time.
const REFRESHING: usize = 8;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(3);

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
    let auth = Arc::new(Auth::start(database).await);
    sign_up(&auth).await;
    let kept = sign_ins(&auth).await & refreshes(&auth).await & introspections(&auth).await;
    kept & enumeration(&auth).await
}

fn email(kind: &str, number: usize) -> String {
    format!("{kind}-{number}@example.org")
}

async fn sign_up(auth: &Arc<Auth>) {
    let next = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..AT_A_TIME {
        let (auth, next) = (Arc::clone(auth), Arc::clone(&next));
        callers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= ADDRESSES {
                    return;
                }
                auth.sign_up(&email("known", number)).await;
            }
        });
    }
    callers.join_all().await;
    println!("  {ADDRESSES} people signed up in {:.0} s", begun.elapsed().as_secs_f64());
}

/// Seconds that each of many calls took.
struct Sample(Vec<f64>);

impl Sample {
    fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len() as f64
    }

    /// The variance of the mean.
    fn variance_of_mean(&self) -> f64 {
        let (mean, count) = (self.mean(), self.0.len() as f64);
        self.0.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0) / count
    }

    fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        sorted[((sorted.len() as f64 * share) as usize).min(sorted.len() - 1)]
    }
}

async fn enumeration(auth: &Auth) -> bool {
    let mut order: Vec<(u64, &str, usize)> = ["known", "unknown"]
        .into_iter()
        .flat_map(|kind| {
            (0..ADDRESSES).map(move |number| (u64::from_be_bytes(random_bytes(&SystemEntropy)), kind, number))
        })
        .collect();
    order.sort_unstable();
    let (mut known, mut unknown) = (Sample(Vec::new()), Sample(Vec::new()));
    for (_, kind, number) in order {
        let email = email(kind, number);
        let begun = Instant::now();
        let refused = auth.try_sign_in(&email, "a wrong password").await;
        let taken = begun.elapsed().as_secs_f64();
        assert_eq!(refused.unwrap_err().code(), tonic::Code::Unauthenticated);
        (if kind == "known" { &mut known } else { &mut unknown }).0.push(taken);
    }
    let t = (known.mean() - unknown.mean()) / (known.variance_of_mean() + unknown.variance_of_mean()).sqrt();
    let [a, b] = [&known, &unknown].map(|sample| sample.mean() * 1e3);
    println!(
        "  a wrong password: {a:.3} ms if somebody has the address, {b:.3} ms if nobody has; Welch's t {t:.2}"
    );
    budget("|t| < 4.5", t.abs() < 4.5)
}

/// Hashes alone and sign-ins, in turns.
async fn sign_ins(auth: &Arc<Auth>) -> bool {
    let (mut alone, mut signed_in) = (0.0, 0.0);
    for _ in 0..ROUNDS {
        alone += tokio::task::spawn_blocking(hashes).await.unwrap() / ROUNDS as f64;
        let next = Arc::new(AtomicUsize::new(0));
        let (calls, _) = at_once(AT_A_TIME, ROUND, |_| {
            let (auth, next) = (Arc::clone(auth), Arc::clone(&next));
            async move {
                let number = next.fetch_add(1, Ordering::Relaxed) % PEOPLE;
                let request = sign_in(&email("known", number), PASSWORD, false);
                auth.sessions().create_session(request).await.unwrap();
            }
        })
        .await;
        signed_in += calls / ROUNDS as f64;
    }
    let share = signed_in / alone;
    println!("  {signed_in:.1} sign-ins a second, {alone:.1} hashes alone: {:.1} %", share * 100.0);
    budget("at least 95 % of the hashes", share >= 0.95)
}

/// Passwords a second that all cores hash.
fn hashes() -> f64 {
    let hasher = PasswordHasher::new(&ServiceSecret::new(&[1; 32]), Cost::default());
    let cores = std::thread::available_parallelism().unwrap().get();
    let begun = Instant::now();
    let work = || {
        let password = Sensitive::new(PASSWORD.as_bytes().to_vec());
        let mut done = 0;
        while begun.elapsed() < ROUND {
            black_box(hasher.hash(&password, &SystemEntropy).unwrap());
            done += 1;
        }
        done
    };
    let done: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    done as f64 / begun.elapsed().as_secs_f64()
}

async fn refreshes(auth: &Arc<Auth>) -> bool {
    let mut sessions = Vec::new();
    for number in 0..REFRESHING {
        sessions.push(Arc::new(tokio::sync::Mutex::new(auth.sign_in(&email("known", number)).await)));
    }
    let (rate, taken) = at_once(REFRESHING, ROUND * 2, |caller| {
        let (auth, session) = (Arc::clone(auth), Arc::clone(&sessions[caller]));
        async move {
            let mut session = session.lock().await;
            *session = auth.refresh(&session).await.unwrap();
        }
    })
    .await;
    let p95 = taken.quantile(0.95) * 1e3;
    println!("  {rate:.0} refreshes a second, p50 {:.2} ms, p95 {p95:.2} ms", taken.quantile(0.5) * 1e3);
    budget("at least 2,000 /s", rate >= 2_000.0) & budget("p95 < 5 ms", p95 < 5.0)
}

async fn introspections(auth: &Arc<Auth>) -> bool {
    let mut tokens = Vec::new();
    for number in 0..PEOPLE {
        tokens.push(auth.sign_in(&email("known", number)).await.access_token);
    }
    let (next, tokens) = (Arc::new(AtomicUsize::new(0)), Arc::new(tokens));
    let (rate, taken) = at_once(CALLERS, ROUND * 2, |_| {
        let mut client = auth.tokens();
        let token = tokens[next.fetch_add(1, Ordering::Relaxed) % PEOPLE].clone();
        async move {
            let request = pb::IntrospectTokenRequest { token, ..Default::default() };
            assert!(client.introspect_token(request).await.unwrap().into_inner().active);
        }
    })
    .await;
    let p99 = taken.quantile(0.99) * 1e3;
    println!("  {rate:.0} introspections a second, p50 {:.2} ms, p99 {p99:.2} ms", taken.quantile(0.5) * 1e3);
    budget("at least 10,000 /s", rate >= 10_000.0) & budget("p99 < 5 ms", p99 < 5.0)
}

/// Calls a second of so many callers, each of whom makes one after the other; and how long each took.
async fn at_once<F>(callers: usize, time: Duration, call: impl Fn(usize) -> F) -> (f64, Sample)
where
    F: Future<Output = ()>,
{
    let begun = Instant::now();
    let (call, taken) = (&call, std::sync::Mutex::new(Vec::new()));
    let caller = |caller| {
        let taken = &taken;
        async move {
            while begun.elapsed() < time {
                let called = Instant::now();
                call(caller).await;
                taken.lock().unwrap().push(called.elapsed().as_secs_f64());
            }
        }
    };
    futures_util::future::join_all((0..callers).map(caller)).await;
    let taken = Sample(taken.into_inner().unwrap());
    (taken.0.len() as f64 / begun.elapsed().as_secs_f64(), taken)
}

fn budget(name: &str, kept: bool) -> bool {
    println!("    {} {name}", if kept { "kept  " } else { "MISSED" });
    kept
}
