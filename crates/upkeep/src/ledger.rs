//! The ledger of a service, with its keys.
//!
//! Its signed heads are noted among the keys, in a database of their own. A log that was set back signs nothing more; an
//! operator may end it ([`end`]), and the service begins another, which has a name of its own: nobody who has a checkpoint
//! of the old one is ever shown a head of that name that does not continue it.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use portal_core::TrustDomain;
use portal_crypto::merkle::TreeHead;
use portal_keys::{Keys, KeysError};
use portal_ledger::{Log, SignedHeads};

use crate::Host;

/// A head is signed this often at most.
const INTERVAL: Duration = Duration::from_secs(1);
/// What the names of milestones begin with that note signed heads: of the first log this alone, of others with its number.
const SIGNED: &str = "ledger-signed";
/// What the names of milestones begin with that note the last heads of logs that have ended.
const ENDED: &str = "ledger-ended";

/// A log that has ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ended {
    /// Which log of its service, from 1.
    pub generation: u32,
    /// Its newest head.
    pub head: TreeHead,
}

/// The log of the service of `host`, which has the tables of [`portal_ledger::schema`], named after the trust domain and the
/// service, and after its number unless it is the first.
///
/// # Errors
/// [`KeysError::Store`].
pub async fn open(
    host: &Host,
    keys: &Keys,
    trust_domain: &TrustDomain,
    metrics: portal_ledger::Metrics,
) -> Result<Log, KeysError> {
    let generation = current(&ended(keys).await?);
    let service = host.service.name();
    let origin = match generation {
        1 => format!("{trust_domain}/{service}"),
        other => format!("{trust_domain}/{service}/{other}"),
    };
    Ok(Log::new(portal_ledger::Host {
        service: host.service,
        origin,
        database: host.database.clone(),
        key: keys.ledger_key(),
        suites: keys.suites(),
        signed_heads: Arc::new(AmongKeys { keys: keys.clone(), generation }),
        interval: INTERVAL,
        clock: Arc::clone(&host.clock),
        entropy: Arc::clone(&host.entropy),
        metrics,
    }))
}

/// The logs of the service that have ended, in their order.
///
/// # Errors
/// [`KeysError::Store`].
pub async fn ended(keys: &Keys) -> Result<Vec<Ended>, KeysError> {
    let mut ended: Vec<_> = keys.reached().await?.iter().filter_map(|name| parse_ended(name)).collect();
    ended.sort_by_key(|ended| ended.generation);
    Ok(ended)
}

/// Ends the log of the service, whose newest signed head is `head`, for good: nothing signs it any more, whichever process
/// still runs. Whoever opens it from now on opens the next one, which has the same entries and nothing signed.
///
/// # Errors
/// [`KeysError::Store`].
pub async fn end(keys: &Keys, head: TreeHead) -> Result<Ended, KeysError> {
    let last = Ended { generation: current(&ended(keys).await?), head };
    keys.reach(&format!("{ENDED}/{}/{}", last.generation, describe(head))).await?;
    Ok(last)
}

/// The number of the log that goes on.
fn current(ended: &[Ended]) -> u32 {
    ended.last().map_or(1, |last| last.generation.saturating_add(1))
}

/// Among the keys: the newest signed head of one log.
struct AmongKeys {
    keys: Keys,
    generation: u32,
}

impl AmongKeys {
    /// What is noted of this log: the newest last.
    async fn noted(&self) -> Result<Vec<(TreeHead, String)>, Box<dyn Error + Send + Sync>> {
        Ok(self.heads(self.keys.reached().await?))
    }

    fn heads(&self, reached: BTreeSet<String>) -> Vec<(TreeHead, String)> {
        let parse = |name: String| Some((parse(self.generation, &name)?, name));
        let mut heads: Vec<_> = reached.into_iter().filter_map(parse).collect();
        heads.sort_by_key(|(head, _)| head.size);
        heads
    }
}

#[async_trait]
impl SignedHeads for AmongKeys {
    async fn recall(&self) -> Result<Option<TreeHead>, Box<dyn Error + Send + Sync>> {
        Ok(self.noted().await?.last().map(|(head, _)| *head))
    }

    async fn note(&self, head: TreeHead) -> Result<(), Box<dyn Error + Send + Sync>> {
        let reached = self.keys.reached().await?;
        if reached
            .iter()
            .filter_map(|name| parse_ended(name))
            .any(|ended| ended.generation == self.generation)
        {
            return Err("this log was ended; start the service anew".into());
        }
        let earlier = self.heads(reached);
        // The new one first: whatever stops this, the newest is not forgotten.
        self.keys.reach(&name(self.generation, head)).await?;
        for (_, name) in earlier.into_iter().filter(|(earlier, _)| *earlier != head) {
            self.keys.take_back(&name).await?;
        }
        Ok(())
    }
}

/// As earlier versions name it, for the first log.
fn name(generation: u32, head: TreeHead) -> String {
    match generation {
        1 => format!("{SIGNED}/{}", describe(head)),
        other => format!("{SIGNED}-{other}/{}", describe(head)),
    }
}

fn describe(head: TreeHead) -> String {
    let root: String = head.root.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}/{root}", head.size)
}

fn parse(generation: u32, milestone: &str) -> Option<TreeHead> {
    let (_, described) = milestone.split_once('/')?;
    let head = parse_head(described)?;
    (name(generation, head) == milestone).then_some(head)
}

fn parse_ended(milestone: &str) -> Option<Ended> {
    let (generation, described) = milestone.strip_prefix(ENDED)?.strip_prefix('/')?.split_once('/')?;
    Some(Ended { generation: generation.parse().ok()?, head: parse_head(described)? })
}

fn parse_head(described: &str) -> Option<TreeHead> {
    let (size, root) = described.split_once('/')?;
    let digit = |at: usize| root.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let root: Vec<u8> = (0..root.len()).step_by(2).map(digit).collect::<Option<_>>()?;
    let head = TreeHead { size: size.parse().ok()?, root: root.try_into().ok()? };
    (describe(head) == described).then_some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_have_names() {
        let head = TreeHead { size: 4_711, root: [0xa7; 32] };
        for generation in [1, 2, 17] {
            let named = name(generation, head);
            assert_eq!(parse(generation, &named), Some(head));
            assert_eq!(parse(generation + 1, &named), None);
            assert_eq!(parse(generation, &named.to_uppercase()), None);
            let ended = format!("{ENDED}/{generation}/{}", describe(head));
            assert_eq!(parse_ended(&ended), Some(Ended { generation, head }));
            assert_eq!((parse(generation, &ended), parse_ended(&named)), (None, None));
        }
        assert!(name(1, head).starts_with("ledger-signed/4711/a7a7"), "as earlier versions have it");
        for other in [
            "d0001_seal_consents",
            "ledger-signed/1/a7",
            "ledger-signed/01/",
            "ledger-signed",
            "ledger-ended/x/1/a7",
        ] {
            assert_eq!((parse(1, other), parse_ended(other)), (None, None), "{other}");
        }
    }
}
