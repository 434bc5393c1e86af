//! Sealing and opening one field of 64 bytes: Portal against the AWS Encryption SDK for Rust with a raw AES keyring, in
//! one run. Both have their wrapping key in memory. The suite of the SDK is its fastest with key commitment: without
//! the ECDSA signature that is its default, which is shown too.
//!
//! Ends with an error unless Portal does at least 100 times the operations per second.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::time::{Duration, Instant};

use aws_esdk::client::Client;
use aws_esdk::material_providers::client::Client as MaterialProviders;
use aws_esdk::material_providers::types::keyring::KeyringRef;
use aws_esdk::material_providers::types::material_providers_config::MaterialProvidersConfig;
use aws_esdk::material_providers::types::{AesWrappingAlg, EsdkAlgorithmSuiteId};
use aws_esdk::types::aws_encryption_sdk_config::AwsEncryptionSdkConfig;
use aws_smithy_types::Blob;
use measure::{Field, Times, budget, heading, per_second, rate, row};

const SIGNED: EsdkAlgorithmSuiteId = EsdkAlgorithmSuiteId::AlgAes256GcmHkdfSha512CommitKeyEcdsaP384;
const UNSIGNED: EsdkAlgorithmSuiteId = EsdkAlgorithmSuiteId::AlgAes256GcmHkdfSha512CommitKey;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

struct Sdk {
    client: Client,
    keyring: KeyringRef,
    context: HashMap<String, String>,
}

impl Sdk {
    async fn new() -> Outcome<Self> {
        let client = Client::from_conf(AwsEncryptionSdkConfig::builder().build()?)?;
        let providers = MaterialProviders::from_conf(MaterialProvidersConfig::builder().build()?)?;
        let keyring = providers
            .create_raw_aes_keyring()
            .key_namespace("bench")
            .key_name("raw")
            .wrapping_key(vec![7; 32])
            .wrapping_alg(AesWrappingAlg::AlgAes256GcmIv12Tag16)
            .send()
            .await?;
        // What the envelope of Portal is bound to.
        let pairs = [("table", "preference"), ("column", "value"), ("row", "3"), ("version", "4")];
        let context = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Ok(Self { client, keyring, context })
    }

    async fn seal(&self, suite: EsdkAlgorithmSuiteId, plaintext: &[u8]) -> Outcome<Blob> {
        let call = self.client.encrypt().plaintext(plaintext.to_vec()).keyring(self.keyring.clone());
        let answer = call.encryption_context(self.context.clone()).algorithm_suite_id(suite).send().await?;
        answer.ciphertext.ok_or_else(|| "no ciphertext".into())
    }

    async fn open(&self, ciphertext: &Blob) -> Outcome<Blob> {
        let call = self.client.decrypt().ciphertext(ciphertext.clone()).keyring(self.keyring.clone());
        let answer = call.encryption_context(self.context.clone()).send().await?;
        answer.plaintext.ok_or_else(|| "no plaintext".into())
    }
}

async fn timed<T>(count: usize, mut operation: impl AsyncFnMut() -> Outcome<T>) -> Outcome<(f64, Times)> {
    for _ in 0..count / 10 {
        operation().await?;
    }
    let mut times: Vec<Duration> = Vec::with_capacity(count);
    let begin = Instant::now();
    for _ in 0..count {
        let begin = Instant::now();
        operation().await?;
        times.push(begin.elapsed());
    }
    Ok((per_second(count, begin.elapsed()), Times::new(times)))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let count = std::env::args().nth(1).map_or(Ok(5_000), |count| count.parse())?;
    let (field, sdk) = (Field::new(), Sdk::new().await?);
    let envelope = field.seal();
    let sealed = sdk.seal(UNSIGNED, field.plaintext()).await?;
    assert_eq!(sdk.open(&sealed).await?.as_ref(), field.plaintext());
    println!(
        "bytes more than the plaintext: Portal {}, SDK {}",
        envelope.len() - 64,
        sealed.as_ref().len() - 64
    );

    heading();
    let ours = (rate(count * 100, || drop(field.seal())), rate(count * 100, || field.open(&envelope)));
    row("Portal, seal", ours.0, &Times::of(count * 10, || drop(field.seal())));
    row("Portal, open", ours.1, &Times::of(count * 10, || field.open(&envelope)));
    let (seals, times) = timed(count, async || sdk.seal(UNSIGNED, field.plaintext()).await).await?;
    row("AWS Encryption SDK, seal", seals, &times);
    let (opens, times) = timed(count, async || sdk.open(&sealed).await).await?;
    row("AWS Encryption SDK, open", opens, &times);
    let (signed, times) = timed(count / 10, async || sdk.seal(SIGNED, field.plaintext()).await).await?;
    row("AWS Encryption SDK, seal, its default suite", signed, &times);

    let kept = [
        budget("seals per second, times the SDK's", ours.0 / seals, 100.0),
        budget("opens per second, times the SDK's", ours.1 / opens, 100.0),
    ];
    if kept.contains(&false) { Err("a budget is not kept".into()) } else { Ok(()) }
}
